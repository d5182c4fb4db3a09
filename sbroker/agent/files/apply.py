"""The receiving side: ask what is here, decide (merge.py), and do it, each step only if what is there is still what was decided on."""

import errno
import os
import stat

from . import merge
from .filter import CACHE
from .manifest import OTHER, Entry, look, now_ns, permissions, stamp
from .tree import check_path, copied, raw

_HEX = frozenset("0123456789abcdef")
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # nothing more can be written
_CHANGED = (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY)  # it is not what it was a moment ago
_FEW = 16  # files up to which each is fsynced; beyond, the whole file system once


def checked(row):
    """A row of the other side as (path, base, new). ValueError for anything that could lead outside, or not be carried out."""
    path = raw(row[0])
    check_path(path)
    entries = []
    for given in row[1:3]:
        entry = None if given is None else Entry(*given)
        if entry is not None:
            right = all(isinstance(number, int) and -(1 << 63) <= number < 1 << 63 for number in entry[1:4])
            if entry.kind not in ("f", "d", "l") or not right or entry.size < 0:
                raise ValueError("not an entry: %r" % (given,))
            if entry.kind == "f" and (len(entry.content) != 64 or not _HEX.issuperset(entry.content)):
                raise ValueError("not a hash: %r" % (entry.content,))
            entry = entry._replace(mode=entry.mode & 0o777)
        entries.append(entry)
    return path, entries[0], entries[1]


class View:
    """What merge.Merge asks of a tree. `stats`: path → lstat of what was seen."""

    def __init__(self, tree, index, skipped):
        self.tree, self._index, self._skipped = tree, index, skipped
        self.stats, self._entries = {}, {}

    def entry(self, path):
        if path not in self._entries:
            try:
                found = self.stats[path] = self.tree.lstat(path)
                self._entries[path] = None if found is None else look(self.tree, path, found, self._index, self._skipped)
            except OSError as error:
                self._skipped.append((path, "cannot be reached: %s" % os.strerror(error.errno)))
                self._entries[path] = OTHER
        return self._entries[path]

    def names(self, path):
        try:
            return [name for name in self.tree.names(path) if name != CACHE]
        except OSError:
            return [b"/"]  # not known, and so not empty


class Receiver:
    """One sync's receiving half. `tree`: where; `index`, `store`: of this side; `mark`: what our temporary names begin with;
    `policy`: merge.Policy."""

    def __init__(self, tree, index, store, mark, policy):
        self.tree, self.index, self.store, self.mark = tree, index, store, mark
        self.policy, self.out = policy, policy.out
        self.skipped, self.conflicts, self.kept = [], [], set()
        self.files = self.removed = 0
        self.changed = []  # paths that are new or other than before
        self._counter, self._modes, self._touched = 0, {}, []
        self._across = False  # the store is behind another mount

    def decide(self, rows):
        """Make the plan. Returns what contents are needed: [(sha256, bytes), …]."""
        self.rows = rows
        self.view = View(self.tree, self.index, self.skipped)
        self.plan = merge.Merge(rows, self.view, self.policy).run()
        self.conflicts += self.plan.conflicts
        self.kept |= self.plan.kept
        sizes = {}
        self._uses = {}
        for action in self.plan.actions:
            if action.do == "put" and action.to.kind == "f":
                sizes[action.to.content] = action.to.size
                self._uses[action.to.content] = self._uses.get(action.to.content, 0) + 1
        return list(sizes.items())

    def apply(self, sync=True):
        """Carry the plan out. `kept` and `conflicts` say what was not, or otherwise."""
        if sync:
            self._make_durable(list(self._uses))
        self.tree.renamed()  # folders may have gone while the contents came
        for action in self.plan.actions:
            try:
                done = self._attempt(action)
            except OSError as error:
                if error.errno in _HOPELESS:
                    raise
                self.skipped.append((action.path, "cannot be written %s: %s" % ("here" if self.out else "on the node", os.strerror(error.errno))))
                done = False
            if not done and action.row is not None:
                self.kept.add(action.row)
        for path in sorted(self._modes, reverse=True):
            try:
                self.tree.chmod(path, self._modes[path])
            except OSError:
                pass  # removed meanwhile, or a file system without permissions
        if sync and self._touched:
            self._sync_tree()

    def _attempt(self, action):
        try:
            return getattr(self, "_" + action.do)(action)
        except OSError as error:
            if error.errno not in _CHANGED:
                raise
            return self._late(action)

    # --- what is there now

    def _unchanged(self, action):
        """Whether what is there is what the plan was made for. What an earlier action put there counts."""
        path, expect = action.path, action.expect
        found = self.tree.lstat(path)
        if expect is None:
            return found is None
        if found is None:
            return False
        if expect.kind == "d":
            return stat.S_ISDIR(found.st_mode)
        seen = self.view.stats.get(path)
        return seen is not None and stat.S_IFMT(seen.st_mode) == stat.S_IFMT(found.st_mode) and stamp(seen) == stamp(found)

    def _late(self, action):
        """Somebody wrote there after we had looked: nothing of his is overwritten."""
        if action.do != "put":
            return False
        self.tree.renamed()
        found = self.tree.lstat(action.path)
        here = None if found is None else look(self.tree, action.path, found, self.index, self.skipped)
        if merge.same(here, action.to):
            return True
        other = self._late_beside(action) if self.out and action.to.kind != "d" and found is not None else None
        if other is not None:
            text = "was written while it was brought back: the version of %s is put beside it" % self.policy.node
        else:
            text = "was written while it was brought over: what is there stays"
        self.conflicts.append(merge.Conflict(action.path, other, text))
        return other is not None

    def _late_beside(self, action):
        """Put the other side's version beside. Its path, or None."""
        above, _, name = action.path.rpartition(b"/")
        for number in range(1, 10000):
            other = (above + b"/" if above else b"") + merge.beside(name, self.policy.tag, number)
            try:
                if self.tree.lstat(other) is None and self._put(action._replace(path=other, expect=None)):
                    return other
            except OSError as error:
                if error.errno != errno.EEXIST:
                    return None  # the folder itself is not what it was: the next sync sees that
        return None

    # --- the actions: True if the row is carried out

    def _delete(self, action):
        if not self._unchanged(action):
            return self.tree.lstat(action.path) is None
        fd, name = self._writable(action.path)
        if action.expect.kind == "d":
            self.tree.renamed()  # or we would hold it open
            fd, name = self.tree.at(action.path)
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not self._only_cache(action.path):
                    return False  # something that does not go over is in it
            self._modes.pop(action.path, None)
        else:
            os.unlink(name, dir_fd=fd)
            self.index.forget(action.path)
        self.removed += 1
        self._touched.append(action.path)
        return True

    def _only_cache(self, path):
        """Remove a folder in which nothing is but Python's cache: left alone it would still be a package."""
        if self.tree.names(path) != [CACHE]:
            return False
        cache = path + b"/" + CACHE
        try:
            for name in self.tree.names(cache):
                os.unlink(name, dir_fd=self.tree.folder(cache))
            self.tree.renamed()
            os.rmdir(CACHE, dir_fd=self.tree.folder(path))
            self.tree.renamed()
            fd, name = self.tree.at(path)
            os.rmdir(name, dir_fd=fd)
        except OSError:
            return False
        return True

    def _aside(self, action):
        fd, name = self._writable(action.path)
        if self.tree.lstat(action.to) is not None:
            return False
        os.rename(name, action.to.rpartition(b"/")[2], src_dir_fd=fd, dst_dir_fd=fd)
        self.tree.renamed()
        self.index.forget(action.path)
        self._touched.append(action.path)
        self.changed.append(action.to)
        return True

    def _meta(self, action):
        if not self._unchanged(action):
            return False
        if action.to.mode != action.expect.mode:
            if action.to.kind == "d":
                self._modes[action.path] = action.to.mode
            else:
                self.tree.chmod(action.path, action.to.mode)
        if action.to.kind == "f" and action.to.mtime != action.expect.mtime:
            self.tree.mtime(action.path, action.to.mtime)
        if action.to.kind == "f":
            self._learn(action.path, action.to.content)
        self.files += 1
        return True

    def _put(self, action):
        entry = action.to
        if entry.kind == "f" and entry.content not in self.store.ready:
            self.skipped.append((action.path, "was changed while it was brought over"))
            return False
        if not self._unchanged(action):
            return self._late(action)
        fd, name = self._writable(action.path)
        if action.expect is not None and (action.expect.kind == "d" or entry.kind == "d"):
            if action.expect.kind == "d":
                self.tree.renamed()
                fd, name = self.tree.at(action.path)
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
            self.index.forget(action.path)
            action = action._replace(expect=None)
        if entry.kind == "d":
            os.mkdir(name, entry.mode | 0o700, dir_fd=fd)  # as it is to be, since the worker has no umask; but what is in it must come first
            if entry.mode & 0o700 != 0o700:
                self._modes[action.path] = entry.mode
        elif entry.kind == "l":
            self._put_link(fd, name, raw(entry.content), action.expect)
        else:
            self._put_file(fd, name, entry, action.expect)
            self._learn(action.path, entry.content)
        self.files += 1
        self.changed.append(action.path)
        self._touched.append(action.path)
        return True

    def _put_link(self, fd, name, target, expect):
        if expect is None:
            return os.symlink(target, name, dir_fd=fd)
        temporary = self._temporary()
        os.symlink(target, temporary, dir_fd=fd)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)

    def _put_file(self, fd, name, entry, expect):
        """Move the content into place, or copy it if it is needed again or lies on another file system."""
        source = self.store.path(entry.content)
        self._uses[entry.content] = left = self._uses.get(entry.content, 1) - 1
        temporary = None
        if left > 0 or self._across or os.fstat(fd).st_dev != self.store.device:
            temporary = self._temporary()
            self._copy(source, fd, temporary)
        where = {} if temporary is None else {"dir_fd": fd}
        ready = source if temporary is None else temporary
        if temporary is None:
            self.store.ready.pop(entry.content)
        os.chmod(ready, entry.mode, **where)
        os.utime(ready, ns=(entry.mtime, entry.mtime), **where)
        source_fd = None if temporary is None else fd
        try:
            if expect is None:
                try:
                    # unlike rename, it fails if somebody made a file of that name meanwhile
                    os.link(ready, name, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)
                    os.unlink(ready, **where)
                    return
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
                        raise
            os.rename(ready, name, src_dir_fd=source_fd, dst_dir_fd=fd)
        except OSError as error:
            self._uses[entry.content] = left + 1
            if temporary is not None:
                os.unlink(temporary, dir_fd=fd)
                raise
            self.store.ready[entry.content] = entry.size
            if error.errno != errno.EXDEV:
                raise
            self._across = True
            self._put_file(fd, name, entry, expect)

    def _copy(self, source, fd, temporary):
        read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            write = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=fd)
            try:
                copied(read, write, os.fstat(read).st_size)
                os.fsync(write)
            finally:
                os.close(write)
        finally:
            os.close(read)

    def _temporary(self):
        self._counter += 1
        return self.mark + b"%d-%d.tmp" % (os.getpid(), self._counter)

    def _writable(self, path):
        """`tree.at(path)`, in a folder that can be written in: its permissions are put back at the end."""
        fd, name = self.tree.at(path)
        above = path.rpartition(b"/")[0]
        found = os.fstat(fd)
        if not found.st_mode & 0o200 or not found.st_mode & 0o100:
            if found.st_uid == os.geteuid():
                self._modes.setdefault(above, permissions(found))
                os.fchmod(fd, permissions(found) | 0o700)
        return fd, name

    def _learn(self, path, content):
        found = self.tree.lstat(path)
        if found is not None and stat.S_ISREG(found.st_mode):
            self.index.learn(path, found, content, now_ns())
        else:
            self.index.forget(path)

    # --- durability: what is agreed on must be there after a power failure, or the next sync would take it for a change

    def _make_durable(self, contents):
        ready = [content for content in contents if content in self.store.ready]
        if len(ready) > _FEW and _syncfs(self.store.folder):
            return
        for content in ready:
            _fsync(self.store.path(content), os.O_RDONLY)

    def _sync_tree(self):
        folders = {path.rpartition(b"/")[0] for path in self._touched}
        if len(folders) > _FEW and _syncfs(self.tree.path):
            return
        for folder in folders:
            try:
                os.fsync(self.tree.folder(folder))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
                    raise


def _fsync(path, flags):
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _syncfs(path):
    """Write out the file system that holds `path`; False where the C library cannot."""
    import ctypes

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0
    except (AttributeError, OSError):
        return False
    finally:
        os.close(fd)
