"""python -m sbroker.agent serve --dir DIR --node NAME [--hostname NAME] [--front MODULE]"""

import argparse
import fcntl
import gc
import os
import signal
import socket
import sys

from . import kernel, limits, users
from .calls import session_code
from .loop import Loop
from .namespaces import Names
from .relay import Relay


def main(argv=None):
    parser = argparse.ArgumentParser(prog="sbroker.agent", description="The agent of one node: runs what its broker orders.")
    commands = parser.add_subparsers(dest="command")
    serve_parser = commands.add_parser("serve", help="serve one broker at DIR/agent.sock")
    serve_parser.add_argument("--dir", required=True, help="the agent's folder (state, sockets, runs)")
    serve_parser.add_argument("--node", required=True, help="the node's name")
    serve_parser.add_argument("--hostname", help="take this host name in a namespace of its own (root; else see below)")
    serve_parser.add_argument("--user-namespace", action="store_true", help="take it without root, too")
    serve_parser.add_argument("--front", default="", help="module with the NodeFront functions (else the broker names it)")
    serve_parser.add_argument("--broker-uid", type=int, help="uid that may connect as broker, besides root (default: our own)")
    serve_parser.add_argument("--min-uid", type=int, default=users.MIN_UID, help="least uid that a broker which is not root may name")
    serve_parser.add_argument("--allow-root-jobs", action="store_true", help="root's jobs may run here")
    serve_parser.add_argument("--ready", type=int, default=-1, help="descriptor that gets a + once the agent can be reached")
    options = parser.parse_args(argv)
    if options.command != "serve":
        parser.error("which command?")
    return serve(options)


def serve(options):
    """Serve until SIGTERM; supervisors go on. 1 if another agent has the folder."""
    folder = os.path.abspath(options.dir)
    for path in (folder, os.path.join(folder, "runs")):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o711)  # users reach their own runs, and list nothing
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"sbroker agent: {folder} is served by another agent", file=sys.stderr)
        return 1
    names = Names(folder)
    hostname = socket.gethostname()
    if options.hostname and (os.geteuid() == 0 or options.user_namespace):
        try:
            names.enter(options.hostname)
            hostname = options.hostname
        except OSError as error:
            print(f"sbroker agent: no host name of our own: {error}", file=sys.stderr)
    kernel.become_subreaper()
    limits.raise_own()
    loop = Loop()
    policy = users.Policy(options.min_uid, options.allow_root_jobs)
    Relay(loop, folder, options.node, hostname, names, options.front, options.broker_uid, policy)
    session_code()  # loaded once here, shared by all supervisors
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(signum, loop.stop)
    if options.ready >= 0:
        os.write(options.ready, b"+")
        os.close(options.ready)
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()  # what is here now stays shared with the supervisors
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
