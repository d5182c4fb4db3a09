"""Work that takes its time, in a process of its own: the agent's loop goes on meanwhile."""

import json
import os
import signal
import sys

from .loop import Stream

pids = set()  # of errands that are under way


def run(loop, work, then, patience=None):
    """Call `work()` in a fork of this process, then here `then(result, error)`: what it returned (as JSON takes it) and "", or None and
    a sentence. `patience`: seconds after which it is killed. Returns the pid. OSError when there is no process to be had."""
    low, high = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(low)
        os.close(high)
        raise
    if pid == 0:
        _child(work, low, high)
    os.close(high)
    pids.add(pid)
    heard, ends = [], []
    timer = loop.call_later(patience, lambda: os.kill(pid, signal.SIGKILL)) if patience else None

    def part(_end):
        ends.append(1)
        if len(ends) < 2:
            return
        try:
            result, error = json.loads(b"".join(heard).decode("utf-8", "surrogatepass"))
        except ValueError:
            result, error = None, "the process for it was killed"
        then(result, error)

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
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
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
            stream.write(json.dumps(told).encode("utf-8", "surrogatepass"))
    finally:
        os._exit(0)


class Sentence(Exception):
    """Why something cannot be, for people."""
