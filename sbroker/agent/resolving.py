"""Names to addresses, without waiting: the resolver of the C library blocks, so a child asks it.

`addresses(loop, names, then)` calls `then({name: [address, …]})`; a name that is not known, or not in time, has no entry.
"""

import _signal as signal
import os

from . import errand, lean
from . import sockets as socket
from .loop import Stream

_PATIENCE = 3.0  # seconds
_THREADS = 16


def numeric(address):
    """Whether it is an IPv4 or IPv6 address, and no name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
            return True
        except (OSError, ValueError):
            continue
    return False


def hosts_file(path="/etc/hosts"):
    """{name: [address, …]} of a hosts file; {} where there is none."""
    found: dict = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                words = line.partition("#")[0].split()
                for name in words[1:]:
                    found.setdefault(name, []).append(words[0])
    except OSError:
        return {}
    return found


def addresses(loop, names, then, on_end=None):
    """Resolve each name. `on_end()`: called when the child, if there was one, is gone."""
    known = hosts_file()
    found = {name: [name] if numeric(name) else known[name] for name in names if numeric(name) or name in known}
    missing = sorted(set(names) - set(found))
    if not missing:
        return loop.call_soon(lambda: then(found))
    low, high = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(low)
        os.close(high)
        return loop.call_soon(lambda: then(found))
    if pid == 0:
        _child(missing, high)
    os.close(high)
    parts: list = []
    alive = [pid]
    errand.pids.add(pid)  # else it would pass for what a dead supervisor left, and be killed

    def ended(_status):
        errand.pids.discard(pid)
        alive.clear()
        if on_end is not None:
            on_end()

    loop.on_child(pid, ended)

    def done(_error):
        timer.cancel()
        for line in b"".join(parts).split(b"\n"):
            try:
                name, told = lean.loads(line.decode())
            except ValueError:
                continue  # the empty rest, or what was cut off
            found[name] = told
        then(found)

    stream = Stream(loop, low, parts.append, done)

    def late():
        for child in alive:
            os.kill(child, signal.SIGKILL)
        if not stream.closed:
            stream.close()
            done(None)

    timer = loop.call_later(_PATIENCE, late)


def _child(names, fd):
    """Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        os.closerange(3, fd)
        os.closerange(fd + 1, 1 << 16)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        import threading

        left, lock = list(reversed(names)), threading.Lock()

        def work():
            while True:
                with lock:
                    if not left:
                        return
                    name = left.pop()
                try:
                    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                except (OSError, UnicodeError):
                    continue
                told = list(dict.fromkeys(answer[4][0] for answer in answers))
                with lock:
                    os.write(fd, lean.dumps([name, told]).encode() + b"\n")

        threads = [threading.Thread(target=work) for _ in range(min(_THREADS, len(names)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os._exit(0)
