"""Room on the disk that is given back when the disk is full, so that what has happened can still be written down.

Without it the end of a job could only be recorded after somebody has made room.
"""

from __future__ import annotations

import os

SIZE = 4 << 20  # bytes: thousands of endings
_RETRY = 10.0  # seconds between looks whether there is room again


class Reserve:
    """A file beside the database. Belongs to the writer thread; `kept` may be read by anybody."""

    def __init__(self, path: str, size: int = SIZE) -> None:
        self.kept = True  # until we know better
        self._path, self._size = path, size
        self._looked: float | None = None

    def keep(self, now: float) -> None:
        """Take the room, if there is so much that others do not miss it. Looks at the disk now and then only."""
        if self._looked is not None and (self.kept or now - self._looked < _RETRY):
            return
        self._looked = now
        try:
            if os.path.exists(self._path) and os.stat(self._path).st_size == self._size:
                self.kept = True
                return
            disk = os.statvfs(os.path.dirname(self._path))
            self.kept = disk.f_bavail * disk.f_frsize > 3 * self._size and self._take()
        except OSError:  # no room, or no right to it: then there is no reserve
            self.give_up()

    def _take(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size)
        finally:
            os.close(file)
        return True

    def give_up(self) -> None:
        """Give the room back."""
        self.kept = False
        try:
            os.unlink(self._path)
        except OSError:  # it was not there, or stays: nothing is lost by that
            return
