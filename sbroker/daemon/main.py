"""`sbrokerd`: from the command line to a running daemon, and from there to its end."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sbroker.api import FrontEnd
from sbroker.errors import SbrokerError

log = logging.getLogger("sbroker")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sbrokerd", description="The sbroker daemon. As root: the shared broker of this host.")
    parser.add_argument("--personal", action="store_true", help="the calling user's own broker, even as root")
    parser.add_argument("--home", metavar="DIR", help="keep configuration, database, socket, logs and spool in DIR (default: $SBROKER_HOME, else XDG folders)")
    parser.add_argument("--config", metavar="FILE", help="read this configuration file")
    parser.add_argument("--allow-root-jobs", action="store_true", help="a shared broker also runs jobs of root")
    parser.add_argument("--check", action="store_true", help="read the configuration, say what is wrong with it, and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    return parser.parse_args(argv)


def main(front_end: FrontEnd, argv: list[str]) -> int:
    options = arguments(argv)
    try:
        return _start(front_end, options)
    except SbrokerError as error:
        print("sbrokerd: error: %s" % error, file=sys.stderr)
        return 1
    except OSError as error:
        print("sbrokerd: error: %s" % error, file=sys.stderr)
        return 1


def _start(front_end: FrontEnd, options: argparse.Namespace) -> int:
    from sbroker import paths as paths_module

    shared = not options.personal and not options.home and not os.environ.get("SBROKER_HOME") and os.geteuid() == 0
    environ = dict(os.environ, SBROKER_HOME=options.home) if options.home else os.environ
    paths = paths_module.shared() if shared else paths_module.personal(environ)
    starter = None
    if shared and not options.check:
        from sbroker.daemon import starter as starter_module
        from sbroker.daemon.preload import preload

        preload(front_end)
        folders = [Path(paths.state), Path(paths.socket).parent, Path(paths.logs)]
        starter = starter_module.split(Path(paths.spool), folders, options.allow_root_jobs)
    elif not options.check:
        paths.create()
        if not paths.ours():
            raise SbrokerError("%s must be a folder of your own that others cannot write in" % paths.state)
    os.umask(0o077)  # the database, the secret and the logs are the broker's own
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    from sbroker.config import check, default_config

    path = Path(options.config or paths.config)
    config = check.load(path, files=options.check) if options.config or path.exists() else default_config()
    if options.check:
        print("%s is good" % path)
        return 0
    lock = _lock(Path(paths.state) / "lock")
    if starter is None:
        from sbroker.clock import SystemClock
        from sbroker.daemon.places import agent_options, endpoints
        from sbroker.transports import local

        local.start_early(endpoints(config, paths, "", SystemClock()).values(), agent_options(front_end))
    try:
        asyncio.run(_run(front_end, config, paths, starter, not shared or options.allow_root_jobs))
    finally:
        os.close(lock)
    return 0


def _lock(path: Path) -> int:
    """One broker a state folder; the lock goes with the process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise SbrokerError("another broker already runs here (%s is locked); `sbroker status` names its pid" % path) from None
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return fd


async def _run(front_end: FrontEnd, config: Any, paths: Any, starter: Any, allow_root: bool) -> None:
    from sbroker.daemon.daemon import Daemon

    daemon = Daemon(front_end, config, paths, starter, allow_root)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, daemon.stop_asked.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.start()
    log.info("up: pid %d, %s", os.getpid(), paths.socket)
    await daemon.stop_asked.wait()
    log.info("going down; jobs go on")
    await daemon.stop()
