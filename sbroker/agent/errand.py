"""Work that takes its time, in a process of its own: the agent's loop goes on meanwhile."""

import _signal as signal
import os
import sys

from . import lean
from .loop import Stream

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)  # that our loop may handle
pids = set()  # of errands that are under way


def run(loop, work, then, patience=None):
    """Call `work()` in a fork of this process, then here `then(result, error)`: what it returned (as JSON takes it) and "", or None and
    a sentence. `patience`: seconds after which it is killed. Returns the pid. OSError when there is no process to be had."""

    def told(data):
        try:
            then(*lean.loads(data.decode("utf-8", "surrogatepass")))
        except ValueError:
            then(None, "the process for it was killed")

    return _fork(loop, lambda low, high: _child(work, low, high), told, patience)


def command(loop, argv, env, then, patience=None, first=None):
    """Execute a command in a session of its own, in /, then call `then(bytes)` with what it wrote to its descriptor 3; its other streams are
    /dev/null. `first()`: called in the child before. The rest as in `run`."""

    def spawn(_low, high):
        # shares our memory until it executes: a fork would copy what we touch meanwhile
        null = os.devnull
        actions = [(os.POSIX_SPAWN_DUP2, high, 3), (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
        return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=_SIGNALS)

    def child(_low, high):
        try:
            _settle()
            os.setsid()
            if first is not None:
                first()
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for target, fd in ((0, null), (1, null), (2, null), (3, high)):
                os.dup2(fd, target)
            os.set_inheritable(3, True)
            os.execve(argv[0], argv, env)
        finally:
            os._exit(127)

    if first is None and hasattr(os, "posix_spawn") and os.getcwd() == "/":
        try:
            return _started(loop, spawn, then, patience)
        except NotImplementedError:  # this C library cannot begin a session
            pass
    return _fork(loop, child, then, patience)


def _fork(loop, child, then, patience):
    """`child(low, high)` in a fork, which never returns; `then(bytes)` with all that it wrote to `high`, when it has ended."""

    def start(low, high):
        pid = os.fork()
        if pid == 0:
            child(low, high)
        return pid

    return _started(loop, start, then, patience)


def _started(loop, start, then, patience):
    """`start(low, high)`: the pid of a new process; `then(bytes)` with all that it wrote to `high`, when it has ended."""
    low, high = os.pipe()
    try:
        pid = start(low, high)
    except (OSError, NotImplementedError):
        os.close(low)
        os.close(high)
        raise
    os.close(high)
    pids.add(pid)
    heard, ends = [], []
    timer = loop.call_later(patience, lambda: os.kill(pid, signal.SIGKILL)) if patience else None

    def part(_end):
        ends.append(1)
        if len(ends) < 2:
            return
        then(b"".join(heard))

    def ended(status):
        pids.discard(pid)
        if timer is not None:
            timer.cancel()
        part(status)

    Stream(loop, low, heard.append, part)
    loop.on_child(pid, ended)
    return pid


def _child(work, low, high):
    """Never returns."""
    try:
        _settle()
        os.close(low)
        try:
            told = [work(), ""]
        except OSError as error:
            told = [None, f"{error.filename}: {error.strerror}" if error.filename else str(error)]
        except Exception as error:
            if not isinstance(error, Sentence):
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
            told = [None, str(error) or repr(error)]
        with os.fdopen(high, "wb") as stream:
            stream.write(lean.dumps(told).encode("utf-8", "surrogatepass"))
    finally:
        os._exit(0)


def _settle():
    """Signals as a new process has them."""
    signal.set_wakeup_fd(-1)
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


class Sentence(Exception):
    """Why something cannot be, for people."""
