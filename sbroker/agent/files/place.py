"""Where a root lies on a node: at the same path if that is free or was ours before, else below STATE. And taking all of an owner's away again."""

import errno
import os
import stat

from .base import Home
from .tree import native, text

# What root never makes a user's folder in, wherever the submit host has one: something there may be taken for the system's own.
_SYSTEM = frozenset("bin boot dev etc lib lib32 lib64 libx32 proc root run sbin sys usr var".split())


class Gone(Exception):
    """The replica that was here is not: removed, or another file system is mounted there."""


def prepare(options, user):
    """As the agent, before it becomes the user: make STATE, and for a node the folders of the roots that only root can make.

    Nothing is made where others than root can write (the user makes it himself, later), nor in the system's folders. OSError.
    """
    state = native(options["state"])
    if os.geteuid() == 0:
        above = os.path.dirname(state)
        os.makedirs(above, 0o711, exist_ok=True)
        try:
            os.mkdir(state, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(state)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, user["uid"]):
            raise OSError(errno.EEXIST, "is not a folder of uid %d" % user["uid"], state)
        if found.st_uid != user["uid"]:
            os.chown(state, user["uid"], user["gid"], follow_symlinks=False)
        if options["side"] == "node" and options["do"] != "wipe":
            for root in options["roots"]:
                _make_as_root(native(root["path"]), user)
    else:
        os.makedirs(state, 0o700, exist_ok=True)


def _make_as_root(path, user):
    parts = [part for part in os.path.normpath(path).split("/") if part]
    if not parts or parts[0] in _SYSTEM or not path.startswith("/"):
        return
    at, own = "/", False
    for number, part in enumerate(parts):
        at = os.path.join(at, part)
        own = own or part == native(user["name"])
        try:
            found = os.stat(at)
        except FileNotFoundError:
            try:
                os.mkdir(at, 0o700 if number == len(parts) - 1 else 0o755)  # the replica is its owner's alone, whatever the modes in it say
            except OSError:
                return  # read-only, full, …: the replica will lie elsewhere
            if own or number == len(parts) - 1:
                os.chown(at, user["uid"], user["gid"], follow_symlinks=False)
                if number < len(parts) - 1:
                    return  # the rest is the user's to make
            continue
        except OSError:
            return
        link = os.lstat(at)
        trusted = link.st_uid == 0 and (stat.S_ISLNK(link.st_mode) or not link.st_mode & 0o022)
        if not trusted or found.st_uid != 0 or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
            return


def choose(options, home, root, out):
    """The folder (bytes) of `root` (base.Root) on this node, made if need be. `out`: it must be there already. Gone, OSError."""
    wanted = root.path
    if root.at is not None:
        found = _lstat(root.at)
        if found is not None and stat.S_ISDIR(found.st_mode) and found.st_ino == root.meta.get("ino"):
            return root.at
        if out:
            raise Gone()
        root.forget()
    elif out:
        raise Gone()
    at = wanted if _take(wanted, home, root) else None
    if at is None:
        at = os.fsencode(home.state) + wanted
        _make(at, 0o700)
    root.remember(at=text(at), ino=os.lstat(at).st_ino)
    return at


def _make(path, mode):
    """Make a folder and those above it, all with the same mode: os.makedirs leaves those above to the umask, and a worker has none."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        _make(os.path.dirname(path), mode)
        os.mkdir(path, mode)


def _lstat(path):
    try:
        return os.lstat(path)
    except OSError:
        return None


def _take(path, home, root):
    """Make the folder at the very path; True if it is ours now: made, empty and the user's own, or inside a replica of ours."""
    found = _lstat(path)
    if found is None:
        try:
            _make(os.path.dirname(path), 0o755)
            os.mkdir(path, 0o700)
            return True
        except OSError:
            return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    for other in home.roots():
        if other.folder != root.folder and other.at is not None and path.startswith(other.at + b"/"):
            around = _lstat(other.at)
            inside = os.path.realpath(path) == os.path.realpath(other.at) + path[len(other.at) :]
            if inside and around is not None and around.st_ino == other.meta.get("ino"):
                return os.access(path, os.W_OK | os.X_OK)
    try:
        return found.st_uid == os.geteuid() and not os.listdir(path)
    except OSError:
        return False


def wipe(state):
    """Remove everything of the owner that is here. Returns [(path, sentence)] of what could not be removed."""
    home, left = Home(state), []
    for root in home.roots():
        found = _lstat(root.at) if root.at is not None else None
        if found is None or not stat.S_ISDIR(found.st_mode) or found.st_ino != root.meta.get("ino"):
            continue
        _remove([os.path.join(root.at, name) for name in os.listdir(root.at)], left)
        try:
            os.rmdir(root.at)
        except OSError:
            pass  # in a folder of root's: empty it may stay
    if not left:  # else the next wipe must find what there was
        _remove([os.path.join(os.fsencode(home.state), name) for name in os.listdir(os.fsencode(home.state))], left)
    return left


def _remove(paths, left):
    """rm copes with trees of any depth; what a job made without write permission is its owner's to open again."""
    import subprocess

    for path in paths:
        for command in (["rm", "-rf", "--"], ["chmod", "-R", "u+rwX", "--"], ["rm", "-rf", "--"]):
            subprocess.run([*command, path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if not os.path.lexists(path):
                break
        else:
            left.append((path, "cannot be removed"))
