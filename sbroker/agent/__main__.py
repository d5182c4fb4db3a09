"""python -m sbroker.agent serve --dir DIR --node NAME [--hostname NAME] [--front MODULE]"""

import _signal as signal
import fcntl
import gc
import os
import sys

from . import kernel, limits, users
from . import sockets as socket
from .calls import session_code
from .loop import Loop
from .namespaces import Names
from .relay import Relay


class Options:
    """Of `serve`. Not by argparse: that takes as long to load as half the agent, on every node at its first contact."""

    dir = node = ""
    hostname = None
    front = ""  # module with the NodeFront functions (else the broker names it)
    user_namespace = False  # take `hostname` without root, too
    broker_uid = None  # who may connect as broker, besides root (default: our own uid)
    min_uid = users.MIN_UID  # least uid that a broker which is not root may name
    allow_root_jobs = False
    program = ""  # name of the program that this is, where the broker knows it by one
    ready = -1  # descriptor that gets a + once the agent can be reached

    def __init__(self, argv):
        """ValueError: a sentence."""
        words = iter(argv)
        for word in words:
            key = word[2:].replace("-", "_")
            if not word.startswith("--") or not hasattr(Options, key) or key.startswith("_"):
                raise ValueError(f"unknown option {word}")
            default = getattr(Options, key)
            if default is False:
                setattr(self, key, True)
                continue
            value = next(words, None)
            if value is None:
                raise ValueError(f"{word} needs a value")
            setattr(self, key, int(value) if key in ("broker_uid", "min_uid", "ready") else value)
        if not (self.dir and self.node):
            raise ValueError("--dir and --node are needed")


def main(argv=None):
    """The exit code; 2 for a command line that is wrong."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] != ["serve"]:
            raise ValueError("the command is serve")
        options = Options(words[1:])
    except ValueError as error:
        print(f"sbroker.agent: {error}\nusage: {__doc__}", file=sys.stderr)
        return 2
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
    Relay(loop, folder, options.node, hostname, names, options.front, options.broker_uid, policy, options.program)
    session_code()  # loaded once here, shared by all supervisors
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(signum, loop.stop)
    if options.ready >= 0:
        os.write(options.ready, b"+")
        os.close(options.ready)
    if hasattr(gc, "freeze"):
        gc.freeze()  # what is here now stays shared with the supervisors
    gc.enable()  # `landing` disabled it: what a start makes is there to stay
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
