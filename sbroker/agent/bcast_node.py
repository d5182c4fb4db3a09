"""The receiving end of sbcast (bcast.py) on each node: pieces of a file, written as the user."""

import os


class Receiver:
    """Files that arrive on this node."""

    def __init__(self):
        self._open = {}  # id → fd, -1 after a failure

    def piece(self, header, data, answer):
        """One piece; `answer(errno)` when the file is complete or cannot be written."""
        number = header["id"]
        fd = self._open.get(number)
        try:
            if fd is None:
                flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if header["force"] else os.O_EXCL)
                fd = self._open[number] = self._create(header["path"], flags, header["mode"])
            if fd >= 0:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        except OSError as error:
            self._close(number)
            self._open[number] = fd = -1
            answer(error.errno)
        if header.get("end"):
            if fd >= 0:
                if header.get("times"):
                    os.utime(fd, ns=tuple(header["times"]))
                answer(0)
            self._close(number)
            self._open.pop(number, None)

    @staticmethod
    def _create(path, flags, mode):
        fd = os.open(path, flags, mode)
        os.fchmod(fd, mode)
        return fd

    def _close(self, number):
        fd = self._open.get(number, -1)
        if fd is not None and fd >= 0:
            os.close(fd)
            self._open[number] = -1
