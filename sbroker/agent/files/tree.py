"""A folder reached by descriptors: no component of a path below it is followed if it is a symbolic link.

Paths are bytes, relative to the folder, components joined by "/"; b"" is the folder itself. Whoever can write in the folder may rename or
replace anything while we work: what is opened is then what was there at that moment, never something outside.
"""

import errno
import fcntl
import hashlib
import os
import stat

PIECE = 256 << 10  # bytes: what is read, hashed or sent at once
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FICLONE = 0x40049409
_ZEROS = bytes(PIECE)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Tree:
    """The folder `path` (followed, should it be a link: the caller named it). OSError if it cannot be opened."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        self._stack = []  # (component, descriptor) from the top to the folder used last: its neighbours are opened in one step

    def close(self):
        self._forget(0)
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _forget(self, depth):
        while len(self._stack) > depth:
            os.close(self._stack.pop()[1])

    def folder(self, path):
        """A descriptor of the folder `path`, valid until the next call. OSError (ENOENT, ENOTDIR, ELOOP: not a folder, or one on the way is not)."""
        if not path:
            return self.fd
        parts = path.split(b"/")
        same = 0
        for part, (name, _) in zip(parts, self._stack):
            if part != name:
                break
            same += 1
        self._forget(same)
        fd = self._stack[-1][1] if self._stack else self.fd
        for part in parts[same:]:
            check_name(part)
            fd = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=fd)
            self._stack.append((part, fd))
        return fd

    def at(self, path):
        """(descriptor of the folder that holds `path`, last component)."""
        above, _, name = path.rpartition(b"/")
        check_name(name)
        return self.folder(above), name

    def renamed(self):
        """To be called after folders were renamed or removed: what is held open may have another name now."""
        self._forget(0)

    def lstat(self, path):
        """os.stat_result of what is there, or None."""
        try:
            if not path:
                return os.fstat(self.fd)
            fd, name = self.at(path)
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def names(self, path):
        """Names (bytes) in the folder `path`, sorted."""
        return sorted(os.fsencode(name) for name in os.listdir(self.folder(path)))

    def open(self, path, flags=os.O_RDONLY, mode=0o600):
        """A descriptor of the file `path`. Opening never waits for the other end of a fifo."""
        fd, name = self.at(path)
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, mode, dir_fd=fd)

    def readlink(self, path):
        fd, name = self.at(path)
        return os.readlink(name, dir_fd=fd)

    def mtime(self, path, mtime_ns):
        fd, name = self.at(path)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)

    def chmod(self, path, mode):
        """Set the permissions of a file or folder; a link is an OSError (ELOOP), not its target's change."""
        if not path:
            return os.fchmod(self.fd, mode)
        fd, name = self.at(path)
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        # without a handle on files that we may not read, so by name: the worst that a race does is to change another file of the same user
        os.chmod(name, mode, dir_fd=fd)


def check_name(name):
    """ValueError unless `name` can be one component of a path below a folder."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError("not a name: %r" % (name,))


def check_path(path):
    """ValueError unless `path` stays below the folder, whatever is there."""
    for part in path.split(b"/"):
        check_name(part)


def pieces(fd, size, at=0):
    """What a file has from `at` up to `size`, in pieces of at most PIECE bytes; fewer than `size` if it is shorter. Holes are not read."""
    found = os.fstat(fd)
    sparse = found.st_blocks * 512 < min(size, found.st_size)
    hole = data = at  # up to `hole` nothing is to be read, and up to `data` everything
    while at < size:
        count = min(PIECE, size - at)
        if sparse and at >= data and at + count > hole:
            hole, data = _extent(fd, at)
        piece = _ZEROS[:count] if at + count <= hole else os.pread(fd, count, at)
        if not piece:
            return
        yield piece
        at += len(piece)


def _extent(fd, at):
    """(where the next data begin, where they end); as if all were data where the file system does not say."""
    end = os.fstat(fd).st_size
    try:
        begin = os.lseek(fd, at, os.SEEK_DATA)
        return begin, os.lseek(fd, begin, os.SEEK_HOLE)
    except OSError as error:
        return (end, at) if error.errno == errno.ENXIO else (at, end)


def hashed(fd, size):
    """(sha256 as hex, bytes read) of the first `size` bytes at most, from the start."""
    digest, at = hashlib.sha256(), 0
    for data in pieces(fd, size):
        digest.update(data)
        at += len(data)
    return digest.hexdigest(), at


def write_all(fd, data):
    """Write where the file ends. A long run of zeros becomes a hole."""
    if len(data) == PIECE and data == _ZEROS:
        os.ftruncate(fd, os.lseek(fd, PIECE, os.SEEK_CUR))
        return
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copied(source, target, size):
    """Copy `size` bytes between two descriptors, sharing the blocks where the file system can; the sha256 (hex) of what is in `target` now."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
        os.ftruncate(target, size)
        return hashed(target, size)[0]
    except OSError:
        pass  # another file system, or one without shared blocks
    digest = hashlib.sha256()
    for data in pieces(source, size):
        digest.update(data)
        write_all(target, data)
    return digest.hexdigest()


def text(path):
    """A path as str for JSON; `raw` is the inverse. Not os.fsdecode: an agent may run where the locale is ASCII."""
    return path.decode("utf-8", "surrogateescape")


def raw(path):
    return path.encode("utf-8", "surrogateescape")


def native(path):
    """A path from JSON as str for this interpreter's own calls."""
    return os.fsdecode(raw(path))
