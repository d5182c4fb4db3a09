"""TCP sockets for the loop: nothing here waits. Names are not resolved: see resolving.py."""

import errno

from . import sockets as socket

_USER_TIMEOUT = 20000  # milliseconds that sent bytes may stay unacknowledged


def tune(sock):
    """Small frames go out at once, and a connection whose other end has vanished does not stay for hours."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", _USER_TIMEOUT)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect(loop, address, port, then):
    """Call `then(socket)` once, with None if it cannot be had; returns a function that gives up."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return _soon(loop, lambda: then(None))
    sock.setblocking(False)
    try:
        number = sock.connect_ex((address, port))
    except (OSError, UnicodeError, OverflowError):
        number = errno.EINVAL
    if number not in (0, errno.EINPROGRESS):
        sock.close()
        return _soon(loop, lambda: then(None))

    def give_up():
        if sock.fileno() >= 0:
            loop.unwatch(sock.fileno())
            sock.close()

    def writable():
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            give_up()
            return then(None)
        loop.unwatch(sock.fileno())
        own = socket.socket(family, socket.SOCK_STREAM, fileno=sock.detach())
        tune(own)
        then(own)

    loop.watch(sock.fileno(), write=writable)
    return give_up


def _soon(loop, fn):
    """`fn()` in a turn of its own, unless the returned function is called first."""
    timer = loop.call_later(0, fn)
    return timer.cancel


def listen(ports, wish=0):
    """A listening socket at `wish` if that is among `ports` and free, else at another of them. ports: (low, high), (0, 0): any.
    Both families where the kernel has both. OSError if none is free."""
    low, high = ports
    tries = list(range(low, high + 1)) if low else [0]
    if wish and (not low or low <= wish <= high):
        tries.insert(0, wish)
    error = OSError(errno.EADDRINUSE, "no port is free among %d-%d" % (low, high))
    for port in tries:
        for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
            try:
                return _listen(family, address, port)
            except OSError as found:
                if found.errno == errno.EADDRINUSE:
                    break
                error = found
    raise error


def _listen(family, address, port):
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
        sock.listen(256)
        sock.setblocking(False)
        return sock
    except BaseException:
        sock.close()
        raise


def parse_ports(text):
    """(low, high) of "LOW-HIGH", "PORT" or "0" (any). ValueError for what is none."""
    low, dash, high = text.partition("-")
    found = (int(low), int(high if dash else low))
    if not (found == (0, 0) or 1 <= found[0] <= found[1] <= 65535):
        raise ValueError("%s is no range of ports: write LOW-HIGH, or 0 for any" % text)
    return found
