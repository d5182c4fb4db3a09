"""The names of `socket` over the C module alone: the library's own brings `selectors` and `enum`, which are a tenth of an agent's start."""

import _socket

MYPY = False  # what a type checker takes for true
if MYPY:
    from socket import *  # noqa: F403
    from socket import SCM_RIGHTS as SCM_RIGHTS
else:
    from _socket import *  # noqa: F403

    class socket(_socket.socket):
        """As the library's own, without files and without time-outs by default."""

        __slots__ = ()

        def __enter__(self):
            return self

        def __exit__(self, *_why):
            self.close()

        def accept(self):
            fd, address = self._accept()
            return socket(self.family, self.type, self.proto, fileno=fd), address

    def socketpair(family=_socket.AF_UNIX, kind=_socket.SOCK_STREAM, proto=0):
        return tuple(socket(family, kind, proto, fileno=end.detach()) for end in _socket.socketpair(family, kind, proto))
