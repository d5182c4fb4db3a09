"""Content that has arrived and is not in place yet, and content that is somewhere in the owner's replicas already.

STATE/.sbroker/store/WORKER/SHA256 holds the beginning of that content, or all of it. Each worker has a folder of its own, locked as long as it
lives; what a cut leaves in one is taken over by the next worker and gone on with. Nothing there is believed before it was hashed. Content is
moved, not linked, to where it belongs: a job that writes in place changes its own file and nothing else, and the disk holds it once. Whatever
is still needed after that is found again in the replicas by their indexes, and copied (blocks are shared where the file system can). What
nobody took is bounded, the oldest go first.
"""

import errno
import fcntl
import hashlib
import os
import time

from .manifest import stamp
from .tree import Tree, copied, hashed, write_all

BOUND = 8 << 30  # bytes of unused content that may stay in a store
EMPTY = hashlib.sha256().hexdigest()


def _locked(folder, how):
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
    except OSError:
        os.close(fd)
        raise
    return fd


class Store:
    """One owner's store below `home` (base.Home)."""

    def __init__(self, home):
        self._all = os.path.join(home.path, "store")
        self.ready = {}  # sha256 → bytes: whole and right, in this process's opinion
        self._open = None  # (sha256, descriptor, hash so far, bytes)
        everybody = _locked(self._all, fcntl.LOCK_EX)
        try:
            self.folder = os.path.join(self._all, "%d-%d" % (os.getpid(), time.time() * 1e9))
            os.mkdir(self.folder, 0o700)
            self._lock = _locked(self.folder, fcntl.LOCK_EX)
            self.device = os.fstat(self._lock).st_dev
            for name in os.listdir(self._all):
                self._inherit(os.path.join(self._all, name))
        finally:
            os.close(everybody)

    def _inherit(self, folder):
        """Take over what a worker left that is no more."""
        try:
            lock = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # it lives, or it is ours
        try:
            for name in os.listdir(folder):
                if self._size(name) < os.stat(os.path.join(folder, name)).st_size:
                    os.rename(os.path.join(folder, name), self.path(name))
                else:
                    os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        finally:
            os.close(lock)

    def close(self):
        """What is left is for the next worker."""
        self.pause()
        everybody = _locked(self._all, fcntl.LOCK_EX)
        try:
            os.rmdir(self.folder)
        except OSError:
            pass  # something is left
        os.close(self._lock)
        os.close(everybody)

    def path(self, content):
        return os.path.join(self.folder, content)

    def have(self, content, size):
        """How many of `size` bytes are here; all of them are ready then (or were wrong and are gone)."""
        if content in self.ready:
            return size
        try:
            have = os.stat(self.path(content)).st_size
        except FileNotFoundError:
            if content != EMPTY:
                return 0
            self.whole(content, b"")
            return 0
        if have < size:
            return have
        fd = os.open(self.path(content), os.O_RDONLY | os.O_CLOEXEC)
        try:
            right = have == size and hashed(fd, size)[0] == content
        finally:
            os.close(fd)
        if not right:
            self.drop(content)
            return 0
        self.ready[content] = size
        return size

    def whole(self, content, data):
        """Take content that came in one piece; False if it is not what it says."""
        if hashlib.sha256(data).hexdigest() != content:
            return False
        fd = os.open(self.path(content), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        self.ready[content] = len(data)
        return True

    def piece(self, content, at, data):
        """Take a piece that follows what is here. ValueError if it does not."""
        if self._open is None or self._open[0] != content:
            self.pause()
            fd = os.open(self.path(content), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            digest, size = hashlib.sha256(), os.fstat(fd).st_size
            done = 0
            while done < size:
                block = os.pread(fd, min(1 << 20, size - done), done)
                digest.update(block)
                done += len(block)
            os.lseek(fd, size, os.SEEK_SET)
            self._open = [content, fd, digest, size]
        current = self._open
        if at != current[3]:
            raise ValueError("a piece at %d follows %d bytes of content" % (at, current[3]))
        write_all(current[1], data)
        current[2].update(data)
        current[3] += len(data)

    def finish(self, content, size):
        """The last piece has come; False if the whole is not what it should be: it is gone then."""
        current = self._open
        if current is None or current[0] != content:
            self.piece(content, self._size(content), b"")
            current = self._open
        right = current[3] == size and current[2].hexdigest() == content
        self.pause()
        if not right:
            self.drop(content)
            return False
        self.ready[content] = size
        return True

    def _size(self, content):
        try:
            return os.stat(self.path(content)).st_size
        except FileNotFoundError:
            return 0

    def pause(self):
        """Leave the piece that is being taken as it is."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def drop(self, content):
        self.ready.pop(content, None)
        try:
            os.unlink(self.path(content))
        except FileNotFoundError:
            pass

    def find(self, content, size, indexes):
        """Fetch content from a file that is known to have it: `indexes`: [(folder (bytes), Index), …]. True if it is ready now."""
        for folder, index in indexes:
            for path in index.where(content):
                try:
                    with Tree(folder) as tree:
                        found = tree.lstat(path)
                        if found is None or index.rows[path][0] != stamp(found):
                            continue
                        source = tree.open(path)
                    try:
                        if self._fetch(content, size, source):
                            return True
                    finally:
                        os.close(source)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
        return False

    def _fetch(self, content, size, source):
        fd = os.open(self.path(content), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            right = copied(source, fd, size) == content and os.fstat(fd).st_size == size
        finally:
            os.close(fd)
        if right:
            self.ready[content] = size
        else:
            self.drop(content)
        return right

    def prune(self, bound=BOUND):
        """Forget the oldest of what nobody took until `bound` bytes are left."""
        found, total = [], 0
        for name in os.listdir(self.folder):
            try:
                status = os.stat(self.path(name))
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, name))
            total += status.st_size
        for _, size, name in sorted(found):
            if total <= bound:
                break
            self.drop(name)
            total -= size
