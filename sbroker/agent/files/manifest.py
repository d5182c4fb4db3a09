"""What is in a folder: entries by path, hashes remembered by stat, and what could not be looked at.

An entry is (kind, mode, size, mtime_ns, content):
    "f" file    permissions, bytes, mtime, sha256 as hex
    "d" folder  permissions, 0, 0, ""
    "l" link    0, 0, 0, target (str, surrogateescape)
    "x" something else, or a file that cannot be read: 0, 0, 0, "". It is never sent, and what it stands on is left alone.
Permissions are rwx only: set-id bits and the sticky bit stay where they were set.
"""

import errno
import os
import re
import stat
import time
from collections import namedtuple

from . import tree as trees

Entry = namedtuple("Entry", "kind mode size mtime content")
FOLDER = Entry("d", 0o755, 0, 0, "")
OTHER = Entry("x", 0, 0, 0, "")
_TRIES = 3  # how often a file is read again that changes under our hands
_TICK = 20 * 10**6  # ns: two writes within one tick of the kernel's clock leave the same times
_COARSE = 2 * 10**9  # … of a file system that keeps whole seconds only
TEMPORARY = re.compile(rb"\.sbroker-[0-9a-f]{8}-[0-9]+-[0-9]+\.tmp\Z")  # what apply.py calls a file that is not complete
_ENOUGH = 100000  # entries: when a limit is passed we go on for so many, to name the biggest


def now_ns():
    return int(time.time() * 1e9)


def stamp(found):
    """What tells that a file was written since: [size, mtime_ns, inode, ctime_ns]."""
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


class Index:
    """path → (stamp, sha256) of files that were hashed. Belongs to one root on one side; may be lost: then all is hashed again."""

    def __init__(self, rows=None):
        self.rows, self.updates = rows or {}, {}
        self.version = None  # of the file that it was read from
        self._by_content = None

    def content(self, path, found):
        """The sha256 of a file whose lstat is `found`, if it is known."""
        row = self.rows.get(path)
        return row[1] if row is not None and row[0] == stamp(found) else None

    def learn(self, path, found, content, since):
        """`content` was read after `since` (ns). A file written a tick before could be written again and keep its times: not remembered."""
        coarse = found.st_mtime_ns % 10**9 == 0 and found.st_ctime_ns % 10**9 == 0
        if found.st_mtime_ns < since - (_COARSE if coarse else _TICK):
            self.rows[path] = self.updates[path] = (stamp(found), content)
            self._by_content = None
        else:
            self.forget(path)

    def forget(self, path):
        if self.rows.pop(path, None) is not None:
            self.updates[path] = self._by_content = None

    def only(self, paths):
        """Forget all but `paths`: a whole scan did not find them."""
        for path in [path for path in self.rows if path not in paths]:
            self.forget(path)

    def where(self, content):
        """Paths that had this content when they were last looked at."""
        if self._by_content is None:
            self._by_content = {}
            for path, row in self.rows.items():
                self._by_content.setdefault(row[1], []).append(path)
        return self._by_content.get(content, [])


class Scan:
    """What a walk found. `entries`: path → Entry, without the folder itself; `skipped`: [(path, sentence)]; `notes`: [sentence]."""

    def __init__(self):
        self.entries, self.skipped, self.notes = {}, [], []
        self.pending = []  # (path, stat) of files whose content is not known yet: `hash_pending`
        self.complete = True


def permissions(found):
    return stat.S_IMODE(found.st_mode) & 0o777


def look(tree, path, found, index, skipped):
    """The Entry of what is at `path` (lstat `found`), hashed if need be; None if it went away meanwhile."""
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        return Entry("d", permissions(found), 0, 0, "")
    try:
        if stat.S_ISLNK(mode):
            return Entry("l", 0, 0, 0, trees.text(tree.readlink(path)))
        if stat.S_ISREG(mode):
            content = index.content(path, found)
            if content is not None:
                return Entry("f", permissions(found), found.st_size, found.st_mtime_ns, content)
            return hash_file(tree, path, index, skipped)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        skipped.append((path, "cannot be read: %s" % os.strerror(error.errno)))
        return OTHER
    skipped.append((path, "is a %s: only files, folders and links are brought over" % _special(mode)))
    return OTHER


def hash_file(tree, path, index, skipped):
    """The Entry of a file by reading it. One that grows is taken as far as it went when it was opened."""
    fd = tree.open(path)
    try:
        for _ in range(_TRIES):
            since, before = now_ns(), os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                break
            content, size = trees.hashed(fd, before.st_size)
            after = os.fstat(fd)
            if size == before.st_size and stamp(after) == stamp(before):
                index.learn(path, before, content, since)
                return Entry("f", permissions(before), size, before.st_mtime_ns, content)
            if size == before.st_size and trees.hashed(fd, size)[0] == content:
                return Entry("f", permissions(before), size, before.st_mtime_ns, content)
    finally:
        os.close(fd)
    skipped.append((path, "changes all the time: it was read %d times, and each time it was another" % _TRIES))
    return OTHER


def _special(mode):
    for test, name in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "fifo"), (stat.S_ISBLK, "block device"), (stat.S_ISCHR, "character device")):
        if test(mode):
            return name
    return "special file"


class Walk:
    """One look at everything below `tree` that `filter` lets through.

    `filter`: enter(path, names, read) → None, or a sentence why this folder is left out altogether (read(name) → bytes of a file in it);
    wanted(path, is_folder) → bool; passing(path) → bool: whether something below a folder that is not wanted may be. `mark`: what names begin with that
    a sync of this root, killed, may have left: such files are removed. `too_much(path, entry)` → True: the limit is passed; an entry's
    content is None if the file has not been read.
    """

    def __init__(self, tree, index, filter, mark=None, too_much=None):
        self.tree, self.index, self.filter, self.scan = tree, index, filter, Scan()
        self._passed = {}
        self._mark, self._too_much, self._count = mark, too_much or (lambda path, entry: False), 0

    def run(self):
        """The Scan; files that are not in the index are pending."""
        folders = [b""]
        while folders:
            path = folders.pop()
            try:
                names = self.tree.names(path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self.scan.skipped.append((path, "cannot be read: %s" % os.strerror(error.errno)))
                continue
            reason = self.filter.enter(path, names, lambda name, above=path: self._read(above, name))
            if reason is not None:
                self.scan.entries.pop(path, None)
                if reason:
                    self.scan.notes.append(reason)
                continue
            below = self._folder(path, names)
            if below is None:
                return self.scan
            folders.extend(reversed(below))
        return self.scan

    def _read(self, above, name, most=1 << 20):
        try:
            fd = self.tree.open(above + b"/" + name if above else name)
        except OSError:
            return b""
        try:
            return os.read(fd, most)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _folder(self, path, names):
        """Look at the names of one folder; the folders to go into, or None when the walk is over because of a limit."""
        below, prefix = [], path + b"/" if path else b""
        entries, wanted, index = self.scan.entries, self.filter.wanted, self.index
        fd = self.tree.folder(path)
        for name in names:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue  # removed since it was listed
            at, mode = prefix + name, found.st_mode
            if name.startswith(b".sbroker-") and TEMPORARY.match(name) is not None:
                if self._mark is not None and name.startswith(self._mark):
                    self._clean(fd, name)
                continue
            if stat.S_ISDIR(mode):
                entry = Entry("d", permissions(found), 0, 0, "")
                if wanted(at, True):
                    self._arrived(at)
                    entries[at] = entry
                    below.append(at)
                elif self.filter.passing(at):
                    self._passed[at] = entry
                    below.append(at)
                continue
            if not wanted(at, False):
                continue
            self._arrived(at)
            if stat.S_ISREG(mode):
                content = index.content(at, found)
                entries[at] = Entry("f", permissions(found), found.st_size, found.st_mtime_ns, content)
                if content is None:
                    self.scan.pending.append((at, found))
                if self._too_much(at, entries[at]):
                    self._count += 1
                    if self._count > _ENOUGH:
                        self.scan.complete = False
                        return None
            else:
                entry = look(self.tree, at, found, index, self.scan.skipped)
                if entry is not None:
                    entries[at] = entry
        return below

    def _arrived(self, path):
        """Something goes over: so do the folders on the way to it that were only passed through."""
        while self._passed:
            path = path.rpartition(b"/")[0]
            if path not in self._passed:
                return
            self.scan.entries[path] = self._passed.pop(path)

    @staticmethod
    def _clean(fd, name):
        try:
            os.unlink(name, dir_fd=fd)
        except OSError:
            pass  # not ours after all, or a folder

    def hash_pending(self):
        """Read what has to be read."""
        entries = self.scan.entries
        for path, found in self.scan.pending:
            entry = look(self.tree, path, found, self.index, self.scan.skipped)
            if entry is None:
                entries.pop(path, None)
            else:
                entries[path] = entry
        self.scan.pending = []
