"""What is kept of a root on one side: what both sides last agreed on, hashes, and a lock. All below STATE/.sbroker/roots/KEY/.

    root    {"path": on the submit host, "at": here, "ino": of the folder that we made (a node)}
    base    a line of JSON {"seq": ns of the commit, "dirty": a job may have changed the replica since, "name": hash of the rows}, then the rows, compressed. A node
            has the one that counts; the submit side keeps copies in STATE/.sbroker/bases/ID, so that the rows need not be sent each time
    index   hashes by stat (manifest.Index)
    out     paths that jobs brought out: they go in again although .gitignore names them (the submit side)
    lock    flock: one sync at a time

Only `base` is worth an fsync: all else can be found again by reading the files.
"""

import fcntl
import hashlib
import json
import os
import select
import zlib

from ..rundir import contents, sync_folder
from .manifest import Entry, Index, now_ns
from .tree import native, raw, text, write_all

KEEP_BASES = 128


class Cancelled(Exception):
    """The other side went away while we waited for a lock."""


def key_of(path):
    return hashlib.sha256(path).hexdigest()[:16]


def replace(path, data, durable):
    """Write a file in one step."""
    temporary = "%s.%d.new" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if durable:
        sync_folder(os.path.dirname(path))


def packed(entries):
    """path → Entry as bytes: the same entries give the same bytes, on every machine."""
    rows = [[text(path)] + list(entries[path]) for path in sorted(entries)]
    return json.dumps(rows, separators=(",", ":")).encode("ascii")


def unpacked(data):
    return {raw(row[0]): Entry(*row[1:]) for row in json.loads(data.decode("ascii"))}


def name_of(data):
    """The name of a base: what both sides compare before they send the rows."""
    return hashlib.sha256(data).hexdigest()


NOTHING = name_of(packed({}))


class Home:
    """One owner's state on one side. `state`: a path as in JSON; exists."""

    def __init__(self, state):
        self.state = native(os.fspath(state))
        self.path = os.path.join(self.state, ".sbroker")
        for name in ("", "roots", "bases", "store"):
            os.makedirs(os.path.join(self.path, name), 0o700, exist_ok=True)

    def root(self, path):
        """The Root of `path` (bytes, on the submit host)."""
        return Root(os.path.join(self.path, "roots", key_of(path)), path)

    def roots(self):
        """Every Root that is known here."""
        found = []
        for key in sorted(os.listdir(os.path.join(self.path, "roots"))):
            folder = os.path.join(self.path, "roots", key)
            try:
                meta = json.loads(contents(os.path.join(folder, "root")).decode("ascii"))
                found.append(Root(folder, raw(meta["path"])))
            except (ValueError, KeyError):
                continue  # being made
        return found

    def copy_of_base(self, name):
        """The rows of the base `name` if the submit side has them: path → Entry, or None."""
        if name == NOTHING:
            return {}
        path = os.path.join(self.path, "bases", name)
        try:
            data = zlib.decompress(contents(path))
        except zlib.error:
            return None
        if name_of(data) != name:
            return None
        os.utime(path)
        return unpacked(data)

    def keep_base(self, entries):
        """Remember a base; the oldest are forgotten."""
        data = packed(entries)
        folder = os.path.join(self.path, "bases")
        replace(os.path.join(folder, name_of(data)), zlib.compress(data, 1), False)
        names = os.listdir(folder)
        if len(names) > KEEP_BASES:
            names.sort(key=lambda name: _mtime(os.path.join(folder, name)))
            for name in names[: len(names) - KEEP_BASES]:
                _remove(os.path.join(folder, name))


def _mtime(path):
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0


def _remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


class Root:
    """One root on one side. To be used under `lock`."""

    def __init__(self, folder, path):
        self.folder, self.path = folder, path
        try:
            self.meta = json.loads(contents(self._file("root")).decode("ascii"))
        except ValueError:
            self.meta = {}
        self.seq, self.dirty, self.name, self._name = 0, False, NOTHING, NOTHING
        self._locked = []

    def _file(self, name):
        return os.path.join(self.folder, name)

    @property
    def mark(self):
        """What the names of our temporary files begin with."""
        return b".sbroker-" + os.path.basename(self.folder)[:8].encode("ascii") + b"-"

    @property
    def at(self):
        """Where it is here (bytes), or None."""
        return raw(self.meta["at"]) if "at" in self.meta else None

    def remember(self, **meta):
        """Keep facts about the root: at, ino."""
        os.makedirs(self.folder, 0o700, exist_ok=True)
        if dict(self.meta, path=text(self.path), **meta) != self.meta:
            self.meta = dict(self.meta, path=text(self.path), **meta)
            replace(self._file("root"), json.dumps(self.meta).encode("ascii"), True)

    # --- one at a time

    def lock(self, others=(), sock=None):
        """Wait until nobody else syncs this root, nor one of `others` (Roots whose folders are inside ours, or around it). Cancelled if `sock` (None: not
        looked at) says meanwhile that the other side is gone."""
        for root in sorted({root.folder: root for root in [self, *others]}.values(), key=lambda root: root.folder):
            os.makedirs(root.folder, 0o700, exist_ok=True)
            fd = os.open(os.path.join(root.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._locked.append(fd)
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # nothing is to be said by the other side now: whatever can be read is its end
                    if select.select([sock] if sock is not None else [], [], [], 0.05)[0]:
                        self.unlock()
                        raise Cancelled()

    def unlock(self):
        for fd in self._locked:
            os.close(fd)
        self._locked = []

    # --- the base

    def load(self, others=()):
        """path → Entry: what both sides last agreed on; its name is `name` then. `others`: roots inside or around ours that may know it better."""
        base = self._load()
        self.name = self._name
        for other in sorted(others, key=lambda other: other.path):
            rows = other._load()
            if other.seq <= self.seq or not rows:
                continue
            self.name = None
            if other.at.startswith(self.at + b"/"):
                prefix = other.at[len(self.at) + 1 :] + b"/"
                base.update((prefix + path, entry) for path, entry in rows.items())
            else:
                prefix = self.at[len(other.at) + 1 :] + b"/"
                base.update((path[len(prefix) :], entry) for path, entry in rows.items() if path.startswith(prefix))
        self.name = self.name or name_of(packed(base))
        return base

    def _load(self):
        head, _, body = contents(self._file("base")).partition(b"\n")
        try:
            facts = json.loads(head.decode("ascii"))
            base = unpacked(zlib.decompress(body))
        except (ValueError, zlib.error, TypeError):
            self._name = NOTHING
            return {}  # none yet
        self.seq, self.dirty, self._name = facts["seq"], facts["dirty"], facts["name"]
        return base

    def commit(self, base, dirty):
        """What both sides agree on from now on; durable. Returns its name."""
        data = packed(base)
        self.seq, self.dirty = max(now_ns(), self.seq + 1), dirty
        self.name = name_of(data)
        head = json.dumps({"seq": self.seq, "dirty": dirty, "name": self.name}).encode("ascii") + b"\n"
        replace(self._file("base"), head + zlib.compress(data, 1), True)
        return self.name

    def forget(self):
        """The replica is gone: nothing is agreed on."""
        _remove(self._file("base"))
        _remove(self._file("index"))

    # --- what makes it fast

    def index(self):
        try:
            with open(self._file("index"), "rb") as stream:
                found = os.fstat(stream.fileno())
                data = stream.read()
            index = Index({raw(path): (stamp, content) for path, stamp, content in json.loads(data.decode("ascii"))})
            index.version = found.st_ino, found.st_mtime_ns
        except (OSError, ValueError, TypeError):
            index = Index()
        return index

    def save_index(self, index):
        """Add what `index` learnt to what others may have saved since it was read."""
        if not index.updates:
            return
        try:
            found = os.stat(self._file("index"))
            version = found.st_ino, found.st_mtime_ns
        except FileNotFoundError:
            version = None
        saved = index
        if version != index.version:
            saved = self.index()
            for path, row in index.updates.items():
                if row is None:
                    saved.rows.pop(path, None)
                else:
                    saved.rows[path] = row
        rows = [[text(path), row[0], row[1]] for path, row in saved.rows.items()]
        os.makedirs(self.folder, 0o700, exist_ok=True)
        replace(self._file("index"), json.dumps(rows, separators=(",", ":")).encode("ascii"), False)
        index.updates = {}

    # --- what jobs brought out

    def brought_out(self):
        try:
            return {raw(path) for path in json.loads(contents(self._file("out")).decode("ascii"))}
        except ValueError:
            return set()

    def save_brought_out(self, paths):
        replace(self._file("out"), json.dumps(sorted(text(path) for path in paths)).encode("ascii"), False)


def around(root, roots):
    """Those of `roots` whose folder here is inside that of `root`, or around it."""
    mine = root.at
    found = []
    for other in roots:
        if other.folder != root.folder and mine is not None and other.at is not None:
            if other.at.startswith(mine.rstrip(b"/") + b"/") or mine.startswith(other.at.rstrip(b"/") + b"/"):
                found.append(other)
    return found
