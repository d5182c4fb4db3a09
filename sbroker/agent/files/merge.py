"""What one side's changes mean for the other: pure. Nothing of either side is ever overwritten that the other does not hold.

A row is (path, base, new): what both sides last agreed on and what the sender has now, each an Entry or None; rows are sorted by path. A row
of a folder with base == new is only there because something below it changed. The receiver is asked through a view:

    view.entry(path) → Entry | None        view.names(path) → names (bytes) in a folder

Actions, to be done in order; `expect` is what the receiver had there when it was asked (Entry or None):

    ("delete", path, None, expect)         ("put", path, entry, expect)      in the place of what is expected; a folder that is expected is empty by then
    ("aside", path, to, expect)  rename    ("meta", path, entry, expect)     permissions and mtime only
"""

from collections import namedtuple

from .manifest import FOLDER

Action = namedtuple("Action", "do path to expect row")  # `row`: number of the row it belongs to
Conflict = namedtuple("Conflict", "path beside text")
_NAME_MAX = 255


def same(one, other):
    """Whether two entries are the same thing, whatever its permissions and times."""
    return one is not None and other is not None and one.kind == other.kind != "x" and one.content == other.content


def changes(base, entries, gone):
    """The rows of what `entries` (path → Entry) has that `base` has not. `gone(path, entry)`: whether a path of the base that is not among the
    entries was removed (and is not just hidden)."""
    rows, on_the_way = {}, set()
    for path, entry in entries.items():
        if entry.kind != "x" and base.get(path) != entry:
            rows[path] = (base.get(path), entry)
            above = path.rpartition(b"/")[0]
            while above and above not in on_the_way:
                on_the_way.add(above)
                above = above.rpartition(b"/")[0]
    for path, entry in base.items():
        if path not in entries and gone(path, entry):
            rows[path] = (entry, None)
    for path in on_the_way:
        if path not in rows and path in entries:
            rows[path] = (base.get(path), entries[path])
    return [(path,) + rows[path] for path in sorted(rows)]


def agreed(base, rows, kept):
    """The base after rows were carried out, but for those numbered in `kept`."""
    base = dict(base)
    for number, (path, _, new) in enumerate(rows):
        if number in kept:
            continue
        if new is None:
            base.pop(path, None)
        else:
            base[path] = new
    return base


def beside(name, tag, number):
    """The name that a version gets beside `name`; the `number`th try."""
    suffix = b".sbroker-" + tag + (b".%d" % number if number > 1 else b"")
    return name[: _NAME_MAX - len(suffix)] + suffix


# `out`: the receiver is the submit side. `busy`: it is a node where a job runs: what was changed there stays where it is. `mirror`: the sender is
# always right (environments). `tag`: b"NODE-JOB", for the names that the node's versions get. `node`: its name, for sentences.
Policy = namedtuple("Policy", "out busy mirror tag node")


class Plan:
    """The result. `actions`; `kept`: numbers of rows on which there is no agreement yet; `conflicts`."""

    def __init__(self):
        self.actions, self.kept, self.conflicts = [], set(), []


class Merge:
    def __init__(self, rows, view, policy):
        self.rows, self.view, self.policy = rows, view, policy
        self.plan = Plan()
        self._row = {path: number for number, (path, _, _) in enumerate(rows)}
        self._gone, self._made, self._fresh, self._folders = set(), {}, set(), {b"": b""}

    def run(self):
        for number in range(len(self.rows) - 1, -1, -1):  # what is in a folder before the folder
            if self.rows[number][2] is None:
                self._remove(number)
        for number, (path, base, new) in enumerate(self.rows):
            if new is None:
                continue
            if new.kind != "d":
                self._file(number, path, base, new)
            elif base != new:
                self._folder(number, path, base, new)
        return self.plan

    # --- what the receiver has, with what is planned

    def _now(self, path):
        if path in self._made:
            return self._made[path]
        if path in self._gone or path.rpartition(b"/")[0] in self._fresh:
            return None
        return self.view.entry(path)

    def _empty(self, path):
        prefix = path + b"/"
        return all(prefix + name in self._gone for name in self.view.names(path))

    def _do(self, do, path, to, expect, number):
        self.plan.actions.append(Action(do, path, to, expect, number))
        if do == "put":
            self._made[path] = to
            if to.kind == "d":
                self._fresh.add(path)
        elif do == "aside":
            self._made[to] = expect
            self._gone.add(path)
            self._made.pop(path, None)
        elif do == "delete":
            self._gone.add(path)

    # --- the three ways

    def _remove(self, number):
        path, base, _ = self.rows[number]
        here = self.view.entry(path)
        if here is None:
            return
        if same(here, base) and (here.kind != "d" or self._empty(path)):
            self._do("delete", path, None, here, number)
        else:
            self.plan.kept.add(number)  # the other side's change is worth more than this side's removal

    def _folder(self, number, path, base, new):
        at = self._place(path)
        if at is None:
            self.plan.kept.add(number)
        elif at not in self._fresh:
            self._meta(number, at, base if at == path else None, new, self._now(at))

    def _place(self, path):
        """Where the sender's folder `path` is at the receiver, made if need be; None: nowhere, what is there stays."""
        if path in self._folders:
            return self._folders[path]
        above, _, name = path.rpartition(b"/")
        parent = self._place(above)
        self._folders[path] = None if parent is None else self._find(path, parent + b"/" + name if parent else name)
        return self._folders[path]

    def _find(self, path, at):
        number = self._row.get(path)
        _, base, new = self.rows[number] if number is not None else (path, None, FOLDER)
        here = self._now(at)
        if here is not None and here.kind == "d":
            return at
        if here is None or (at == path and same(here, base)):
            self._do("put", at, new, here, number)
            return at
        return self._conflict(number, at, here, new)

    def _file(self, number, path, base, new):
        above, _, name = path.rpartition(b"/")
        parent = self._place(above)
        if parent is None:
            self.plan.kept.add(number)
            return
        at = parent + b"/" + name if parent else name
        if at != path:
            base = None
        here = self._now(at)
        if here is None:
            self._do("put", at, new, None, number)
        elif same(here, new):
            self._meta(number, at, base, new, here)
        elif same(here, base) and (here.kind != "d" or self._empty(at)):
            if here.mode != base.mode and new.mode == base.mode and here.kind == new.kind:
                new = new._replace(mode=here.mode)
            self._do("put", at, new, here, number)
        else:
            self._conflict(number, at, here, new)

    def _meta(self, number, path, base, new, here):
        """Permissions and times each have their own three ways; where both changed them the receiver's stay."""
        mode, mtime = here.mode, here.mtime
        if base is None and new.kind == "d" and here.mode == new.mode | 0o700:
            mode = new.mode  # a folder that a sync made which did not get so far as to close it
        elif base is None or new.mode != base.mode:
            mode = new.mode if base is not None and here.mode == base.mode else here.mode
        if new.kind == "f" and new.mtime != here.mtime and (base is None or new.mtime != base.mtime):
            mtime = new.mtime if (base is not None and here.mtime == base.mtime) or new.mtime > here.mtime else here.mtime
        if new.kind != "l" and (mode, mtime) != (here.mode, here.mtime):
            self._do("meta", path, here._replace(mode=mode, mtime=mtime), here, number)

    def _conflict(self, number, path, here, new):
        """Both sides have something else here. The path where the sender's is now, or None."""
        above, _, name = path.rpartition(b"/")
        prefix = above + b"/" if above else b""
        if self.policy.mirror:
            self._do("put", path, new, here, number)
            return path
        if not self.policy.out and self.policy.busy:
            if number is not None:
                self.plan.kept.add(number)
            self._tell(path, None, "changed on both sides: a job runs on %s, so the version there stays there" % self.policy.node)
            return None
        for attempt in range(1, 10000):
            other = prefix + beside(name, self.policy.tag, attempt)
            there = self._now(other)
            if there is not None and there.kind == "x":  # a folder that cannot be looked into: the view has said so
                if number is not None:
                    self.plan.kept.add(number)
                return None
            if self.policy.out:
                before = self.rows[number][1] if number is not None else None
                if there is None or (new.kind != "d" and there.kind != "d" and same(there, before)):
                    self._do("put", other, new, there, number)  # in the place of what the last sync put there
                elif not same(there, new):
                    continue
                self._tell(path, other, "changed on both sides: the version of %s is put beside it" % self.policy.node)
                return other
            if there is None:
                self._do("aside", path, other, here, number)
                self._do("put", path, new, None, number)
                self._tell(path, other, "changed on both sides: the version that was on %s is put beside it there" % self.policy.node)
                return path
        raise ValueError("no free name beside %r" % path)

    def _tell(self, path, other, text):
        self.plan.conflicts.append(Conflict(path, other, text))
