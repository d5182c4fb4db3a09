"""An event loop that survives fork: one selector, one wakeup pipe, timers on CLOCK_BOOTTIME. No threads, no asyncio.

`Loop` calls back for readable and writable descriptors, timers, signals and ended children; `Stream` moves bytes over one
descriptor and never blocks. An exception in a callback ends `run()`: whoever owns the process decides what that means.
"""

import _heapq as heapq
import _signal as signal
import _struct as struct
import errno
import os
import select
import sys
import time

from . import sockets as socket

CLOCK_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", 7)  # the name came with Python 3.7
_MAX_SLEEP = 30.0  # epoll sleeps on CLOCK_MONOTONIC: look again after a machine's sleep
_READ = 1 << 18
READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
WRITABLE = select.EPOLLOUT | select.EPOLLERR


def boottime():
    """Seconds since boot, sleep included."""
    return time.clock_gettime(CLOCK_BOOTTIME)


class Timer:
    """One call to come. `cancel()` is allowed at any time, also afterwards."""

    __slots__ = ("fn", "order", "when")

    def __init__(self, when, order, fn):
        self.when, self.order, self.fn = when, order, fn

    def cancel(self):
        self.fn = None

    def __lt__(self, other):
        return (self.when, self.order) < (other.when, other.order)


class Loop:
    """Descriptors, timers, signals and children of one process."""

    def __init__(self):
        self._fresh()

    def _fresh(self):
        self._epoll = select.epoll()
        self._watched = {}  # fd → (read, write)
        self._timers = []
        self._order = 0
        self._soon = []
        self._children = {}  # pid → fn
        self._signals = {}  # signum → fn
        self._orphan = None
        self._stopped = False
        self._wake_r, self._wake_w = os.pipe()
        for fd in (self._wake_r, self._wake_w):
            os.set_blocking(fd, False)
        # a full pipe wakes as well as one with room: no warning, where it can be turned off
        signal.set_wakeup_fd(self._wake_w, **({"warn_on_full_buffer": False} if sys.version_info >= (3, 7) else {}))
        self.watch(self._wake_r, read=self._woken)
        self.on_signal(signal.SIGCHLD, self._reap)

    def after_fork(self):
        """In a child: forget everything of the parent's, without touching the parent's selector. Returns the descriptors
        that were watched (the wakeup pipe's excluded), for the caller to close."""
        for signum in self._signals:
            signal.signal(signum, signal.SIG_DFL)
        self._epoll.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        inherited = [fd for fd in self._watched if fd != self._wake_r]
        self._fresh()
        return inherited

    def close(self):
        """Give up the selector, the wakeup pipe and the signal handlers."""
        signal.set_wakeup_fd(-1)
        for signum in self._signals:
            signal.signal(signum, signal.SIG_DFL)
        self._epoll.close()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def own_fds(self):
        """The descriptors that the loop itself needs: the selector and the wakeup pipe."""
        return {self._epoll.fileno(), self._wake_r, self._wake_w}

    def now(self):
        return boottime()

    def call_later(self, seconds, fn):
        """Call `fn()` once, `seconds` from now; returns a Timer."""
        self._order += 1
        timer = Timer(self.now() + seconds, self._order, fn)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, fn):
        """Call `fn()` once before the loop sleeps again."""
        self._soon.append(fn)

    def watch(self, fd, read=None, write=None):
        """Call `read()` when `fd` is readable or hung up and `write()` when writable; replaces what was set before.
        Both None is `unwatch`. PermissionError for a descriptor that cannot be waited for (a regular file)."""
        if read is None and write is None:
            return self.unwatch(fd)
        mask = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        if fd in self._watched:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._watched[fd] = (read, write)

    def unwatch(self, fd):
        """Stop watching; do it before closing `fd`. No error if it was not watched."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def on_child(self, pid, fn, usage=False):
        """Call `fn(wait_status)`, or with `usage` `fn(wait_status, rusage)`, when the child `pid` ends. Call it in the same
        turn as the fork; pid → None forgets it."""
        if fn is None:
            self._children.pop(pid, None)
        else:
            self._children[pid] = fn if usage else (lambda status, _rusage: fn(status))

    def on_orphan(self, fn):
        """Call `fn(pid, wait_status, rusage)` for children nobody registered: those a subreaper inherits."""
        self._orphan = fn

    def on_signal(self, signum, fn):
        """Call `fn()` from the loop after `signum`; None restores the default action."""
        if fn is None:
            self._signals.pop(signum, None)
            signal.signal(signum, signal.SIG_DFL)
        else:
            self._signals[signum] = fn
            signal.signal(signum, _noted)

    def stop(self):
        """`run()` returns after the present turn."""
        self._stopped = True

    def run(self):
        self._stopped = False
        while not self._stopped:
            self.turn()

    def turn(self, limit=None):
        """One turn: wait for something (at most `limit` seconds if given), handle all that is ready."""
        for fd, mask in self._poll(self._timeout(limit)):
            handlers = self._watched.get(fd)
            if handlers is None:
                continue  # unwatched by a callback of this very turn
            if handlers[0] is not None and mask & READABLE:
                handlers[0]()
                handlers = self._watched.get(fd)
            if handlers is not None and handlers[1] is not None and mask & (WRITABLE | select.EPOLLHUP):
                handlers[1]()
        now = self.now()
        while self._timers and self._timers[0].when <= now:
            fn = heapq.heappop(self._timers).fn
            if fn is not None:
                fn()
        soon, self._soon = self._soon, []
        for fn in soon:
            fn()

    def _timeout(self, limit):
        if self._soon or self._stopped:
            return 0
        while self._timers and self._timers[0].fn is None:
            heapq.heappop(self._timers)
        if self._timers:
            wait = max(0.0, min(_MAX_SLEEP, self._timers[0].when - self.now()))
        else:
            wait = -1
        if limit is not None and (wait < 0 or limit < wait):
            return limit
        return wait

    def _poll(self, timeout):
        try:
            return self._epoll.poll(timeout)
        except InterruptedError:
            return []

    def _woken(self):
        try:
            signums = set(os.read(self._wake_r, 4096))
        except BlockingIOError:
            return
        for signum in signums:
            fn = self._signals.get(signum)
            if fn is not None:
                fn()

    def _reap(self):
        while True:
            try:
                pid, status, rusage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            fn = self._children.pop(pid, None)
            if fn is not None:
                fn(status, rusage)
            elif self._orphan is not None:
                self._orphan(pid, status, rusage)


def _noted(_signum, _frame):
    """The wakeup pipe carries the signal to the loop; a handler must exist for Python to write there."""


class Stream:
    """Bytes both ways over a socket or descriptor, which it then owns (a socket object is detached).

    `on_data(bytes)` for what arrives; `on_close(error)` once, with None at the peer's end of file or the OSError that broke it;
    not called for our own `close()`. `on_drain()`, if set, is called each time `pending` has come back to 0.
    """

    def __init__(self, loop, sock_or_fd, on_data=None, on_close=None):
        self.loop = loop
        self.fd = sock_or_fd if isinstance(sock_or_fd, int) else sock_or_fd.detach()
        self.on_data, self.on_close, self.on_drain = on_data, on_close, None
        self.pending = 0  # bytes written here that the kernel has not taken yet
        self._queue = []
        self._paused = on_data is None
        self._closing = False
        os.set_blocking(self.fd, False)
        self._update()

    @property
    def closed(self):
        return self.fd < 0

    def write(self, data):
        """Send `data` as soon as possible; queued without limit (look at `pending`). Dropped after close."""
        if self.fd < 0 or not data or self._closing:
            return
        if not self._queue:
            try:
                sent = os.write(self.fd, data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                sent = 0  # the reading side tells of the break, in a turn of its own
                if self._paused:
                    self.loop.call_soon(self._broken)
                    return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._queue.append(data)
        self.pending += len(data)
        if len(self._queue) == 1:
            self._update()

    def pause(self):
        """Read no more until `resume()`: the peer is held back by the kernel's buffers."""
        self._paused = True
        self._update()

    def resume(self):
        self._paused = self.on_data is None
        self._update()

    def drain(self):
        """Read what is there now, without waiting for the loop."""
        while self.fd >= 0 and not self._paused:
            try:
                data = os.read(self.fd, _READ)
            except OSError:
                return
            if not data:
                return
            self.on_data(data)

    def close(self):
        """Close at once; what is still pending is lost. Use `finish()` to send it first."""
        if self.fd >= 0:
            self.loop.unwatch(self.fd)
            os.close(self.fd)
            self.fd = -1
            self._queue, self.pending = [], 0

    def finish(self):
        """Close when all that was written has been sent; nothing is read any more."""
        if not self._queue:
            return self.close()
        self._closing = self._paused = True
        self._update()

    def detach(self):
        """Give the descriptor back, unwatched; the stream is then closed."""
        self.loop.unwatch(self.fd)
        fd, self.fd = self.fd, -1
        return fd

    def _update(self):
        if self.fd >= 0:
            self.loop.watch(self.fd, None if self._paused else self._read, self._flush if self._queue else None)

    def _broken(self):
        self._end(OSError(errno.EPIPE, os.strerror(errno.EPIPE)))

    def _end(self, error):
        if self.fd < 0:
            return
        self.close()
        if self.on_close is not None and not self._closing:
            self.on_close(error)

    def _read(self):
        try:
            data = os.read(self.fd, _READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # a pseudo-terminal answers EIO when its last user has closed it: that is its end of file
            return self._end(None if error.errno == errno.EIO else error)
        if data:
            self.on_data(data)
        else:
            self._end(None)

    def _flush(self):
        while self._queue:
            data = b"".join(self._queue) if len(self._queue) > 1 else self._queue[0]
            try:
                sent = os.write(self.fd, data)
            except (BlockingIOError, InterruptedError):
                self._queue = [data]
                return
            except OSError as error:
                return self._end(error)
            self.pending -= sent
            self._queue = [memoryview(data)[sent:]] if sent < len(data) else []
        if self._closing:
            return self.close()
        self._update()
        if self.on_drain is not None:
            self.on_drain()


def listen_unix(path, mode=0o600, backlog=128):
    """A listening Unix socket at `path` (replaced if there), non-blocking. Paths longer than the kernel's 108 bytes are fine."""
    return _unix(path, lambda sock, name: _bind(sock, name, path, mode, backlog))


def connect_unix(path, timeout=0, waits=True):
    """A connected Unix socket; OSError as connect(2) gives it. `timeout`: seconds that a full queue of callers is waited for, 0 for ever;
    without `waits` it is BlockingIOError at once, and the socket does not block later either."""

    def connect(sock, name):
        sock.setblocking(waits)
        if timeout:  # not settimeout: it would not wait at all
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6)))
        sock.connect(name)

    return _unix(path, connect)


def _bind(sock, name, path, mode, backlog):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(name)
    finally:
        os.umask(mask)
    sock.listen(backlog)
    sock.setblocking(False)


def _unix(path, act):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = -1
    try:
        name = os.fsencode(path)
        if len(name) > 100:  # sun_path has 108 bytes: go through the folder's descriptor
            folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
            name = b"/proc/self/fd/%d/%s" % (folder, os.path.basename(name))
        act(sock, name)
        return sock
    except BaseException:
        sock.close()
        raise
    finally:
        if folder >= 0:
            os.close(folder)


def forked(child):
    """A fork of this process with a socket between: (pid, our end). `child(sock)` has the other end in the child, and never returns.
    OSError: there is no process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        child(theirs)
    theirs.close()
    return pid, ours


def unix_socket(fd):
    """A socket object for a descriptor, which it then owns (before Python 3.7 the family is not found out)."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)


def peer_ids(fd_or_socket):
    """(pid, uid, gid) of the process at the other end of a connected Unix socket."""
    sock = fd_or_socket if hasattr(fd_or_socket, "getsockopt") else unix_socket(os.dup(fd_or_socket))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    finally:
        if sock is not fd_or_socket:
            sock.close()
    return tuple(int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8))
