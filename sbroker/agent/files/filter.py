"""What goes over in which direction: the table in this package's docstring."""

import bisect
import os
import re

from .ignore import Rules, lines

CACHE = b"__pycache__"
CACHES = (CACHE + b"/", b"*.pyc")
_BESIDE = re.compile(rb"\.sbroker-[^/]+-[^/]+$")


class _Named:
    """Patterns of `stage=`. A name that may be anywhere (`data`) does not mean what git calls so (.git/refs/heads/data)."""

    def __init__(self, words):
        words = [word.encode("utf-8", "surrogateescape") for word in words]
        here = [word for word in words if b"/" in word.rstrip(b"/")]
        self._rules, self._here = Rules(words), Rules(here)
        self.empty, self._anywhere = self._rules.empty, len(here) < len(words)
        self._ways = [[part for part in word.split(b"/") if part] for word in words]

    def match(self, path, is_folder):
        if self.empty:
            return False
        rules = self._here if b".git/" in path and b".git" in path.split(b"/")[:-1] else self._rules
        return bool(rules.match(path, is_folder))

    def may(self, folder):
        """Whether something below a folder could be named."""
        parts = folder.split(b"/")
        if self._anywhere and b".git" not in parts:
            return True
        for way in self._ways:
            for mine, part in zip(way, parts):
                if re.search(rb"[*?\[\\]", mine) is not None:
                    return True
                if mine != part:
                    break
            else:
                return True
        return False


_GIVEN, _VERBATIM, _IGNORED, _OURS = "given", "verbatim", "ignored", "ours"  # what holds for all that is in a folder


class Filter:
    """What goes over in one direction ("in" or "out"): a filter for manifest.Walk.

    `stage`: of parse_stage, or None. `excluded`: relative paths that never go. `tracked`: paths that go although .gitignore names them: both
    sides had them before. `above`: [(bytes of a .gitignore, path of the root below its folder)], outermost first.
    """

    def __init__(self, direction, stage=None, excluded=(), tracked=(), above=()):
        stage = stage or {"mode": "auto", "include": [], "exclude": []}
        self._out, self._mode = direction == "out", stage["mode"]
        self._include, self._exclude = _Named(stage["include"]), _Named(stage["exclude"])
        self._excluded, self._tracked, self._sorted = frozenset(excluded), frozenset(tracked), sorted(tracked)
        self._caches = Rules(CACHES)
        self._git = [(b"", below + b"/", Rules(lines(content))) for content, below in above] if direction == "in" else []
        self._own = []
        self._inside = {}  # folder → _GIVEN …

    def enter(self, path, names, read):
        """Before the names of a folder are asked for. "" or a sentence: nothing in this folder goes over."""
        environment = self._out and path and (b"pyvenv.cfg" in names or b"conda-meta" in names)
        if environment and not self._tracks(path) and self._inside.get(path) != _GIVEN:
            return "the virtual environment %s that was made on the node stays there" % path.decode("utf-8", "replace")
        self._leave(self._git, path)
        self._leave(self._own, path)
        prefix = path + b"/" if path else b""
        if not self._out and b".git" in names:
            self._add(self._git, prefix, read(b".git/info/exclude"))
        if not self._out and b".gitignore" in names:
            self._add(self._git, prefix, read(b".gitignore"))
        if b".sbrokerignore" in names:
            self._add(self._own, prefix, read(b".sbrokerignore"))
        return None

    @staticmethod
    def _add(kept, prefix, content):
        rules = Rules(lines(content))
        if not rules.empty:
            kept.append((prefix, None, rules))

    @staticmethod
    def _leave(kept, path):
        inside = path + b"/"
        while kept and kept[-1][0] and not inside.startswith(kept[-1][0]):
            kept.pop()

    def _tracks(self, path):
        """Whether something below the folder `path` is tracked."""
        prefix = path + b"/"
        at = bisect.bisect_left(self._sorted, prefix)
        return at < len(self._sorted) and self._sorted[at].startswith(prefix)

    @staticmethod
    def _named(kept, path, is_folder):
        for prefix, above, rules in reversed(kept):
            decision = rules.match(path[len(prefix) :] if above is None else above + path, is_folder)
            if decision is not None:
                return decision
        return False

    def wanted(self, path, is_folder):
        """Whether this goes over; asked for a folder before what is in it."""
        status = self._status(path, is_folder)
        if is_folder and status in (_GIVEN, _VERBATIM):
            self._inside[path] = status
        if status == _IGNORED:
            return path in self._tracked and not is_folder
        return status in (_GIVEN, _VERBATIM, None)

    def _status(self, path, is_folder):
        """How this file or folder is to be taken; None: like any other; "": never."""
        if path in self._excluded or self._exclude.match(path, is_folder):
            return ""
        above, _, name = path.rpartition(b"/")
        around = self._inside.get(above) if above else None
        if around == _GIVEN or self._include.match(path, is_folder):
            return _GIVEN
        if self._caches.match(path, is_folder) or around == _OURS:
            return ""
        if self._mode != "all" and self._named(self._own, path, is_folder):
            return _OURS
        if self._out:
            return None
        if _BESIDE.search(name) is not None or self._mode == "none":
            return ""
        if around == _VERBATIM or name == b".git":
            return _VERBATIM
        if self._mode == "auto" and (around == _IGNORED or self._named(self._git, path, is_folder)):
            return _IGNORED
        return None

    def passing(self, path):
        """Whether to look into a folder that is not wanted itself."""
        status = self._status(path, True)
        if path in self._excluded or self._exclude.match(path, True):
            return False
        if status == _IGNORED and self._tracks(path):
            self._inside[path] = _IGNORED
            return True
        if not self._include.empty and self._include.may(path):
            self._inside[path] = _IGNORED if status == _IGNORED else _OURS
            return True
        return False

    def hidden(self, path, is_folder):
        """Whether a path that is not there (any more) would not have gone over: then its absence says nothing."""
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            at = b"/".join(parts[:depth])
            folder = is_folder or depth < len(parts)
            if at in self._excluded or self._exclude.match(at, folder):
                return True
            if self._include.match(at, folder):
                return False
            if self._caches.match(at, folder):
                return True
        return self._mode == "none" and not self._out


def ignore_files_above(root):
    """[(bytes of a .gitignore, path of `root` below its folder)], outermost first: those of the git repository that `root` lies in, if it does."""
    found, at, below = [], root, b""
    while not os.path.lexists(os.path.join(at, b".git")):
        at, _, name = at.rstrip(b"/").rpartition(b"/")
        if not name:
            return []
        at, below = at or b"/", name + b"/" + below if below else name
        for name in (b".gitignore", b".git/info/exclude"):
            try:
                with open(os.path.join(at, name), "rb") as stream:
                    found.append((stream.read(1 << 20), below))
            except OSError:
                pass  # there is none
    return found[::-1]
