"""What one side does for each root, in one direction. Each frame is sent by the side whose turn it is: the scripts below read alike on both sides.

    node (has the base)                         submit side
    root: where it is, name of the base      →
                                             ←  base: whether the rows of it are wanted           in only
    sender: rows "changes"                   →  receiver: decides
                                             ←  rows "wants"
    contents                                 →  puts them in place, durably
                                             ←  rows "kept" (numbers of changes without agreement), result
    the node commits the base; summary       →                                                    in: the receiver is the node
"""

import os

from . import apply, merge, place, venv
from .base import Home, around
from .cas import Store
from .filter import Filter, ignore_files_above
from .limit import Limit
from .manifest import Entry, Walk
from .transfer import Failed
from .tree import Tree, raw, text

VERSION = 1
TOLD = 100  # conflicts and skipped files that an outcome names
_WORTH = 1 << 20  # bytes: for less the other replicas are not searched


class Session:
    """All roots, one after another. Adds to `outcome`."""

    def __init__(self, pipe, options, outcome):
        self.pipe, self.options, self.outcome = pipe, options, outcome
        self.is_node, self.out = options["side"] == "node", options["do"] == "out"
        self.home = Home(options["state"])
        self.store = Store(self.home)
        self.moves = []  # (path, where it is on the node) of roots that could not have their own path

    def run(self):
        if self.options["do"] not in ("in", "out"):
            raise ValueError("do is %r" % (self.options["do"],))
        for root in self._greet():
            before = self.pipe.moved
            facts = self._node(root) if self.is_node else self._submit(root)
            self._account(root, facts, self.pipe.moved - before)
        self.store.prune()

    def _greet(self):
        """The roots, as the submit side says: an environment may need another one beside it."""
        mine = {"op": "hello", "v": VERSION}
        if self.is_node:
            self.pipe.send(mine)
            hello = self.pipe.receive("hello")[0]
        else:
            hello = self.pipe.receive("hello")[0]
            roots = self.options["roots"]
            mine["roots"] = [each for root in roots for each in (venv.needed(root, self.options) if root.get("what") == "env" else [root])]
            self.pipe.send(mine)
        if hello.get("v") != VERSION:
            raise Failed("the agents of the submit host and of %s are of different releases" % self.options["node"])
        roots = hello["roots"] if self.is_node else mine["roots"]
        return [root for root in roots if not (self.out and root.get("what") == "env")]

    def _account(self, root, facts, moved):
        path = root["path"]
        self.outcome["roots"].append({"path": path, "at": facts["at"], "bytes": moved, "files": facts["files"], "removed": facts["removed"]})
        self.outcome["bytes"] += moved
        self.outcome["files"] += facts["files"]
        self.outcome["removed"] += facts["removed"]
        self.outcome["notes"] += facts["notes"]
        venv.add_to(self.outcome["env"], facts.get("env", {}))
        above = path.rstrip("/") + "/"
        for name, rows in (("conflicts", [{"path": above + row[0], "beside": row[1], "text": row[2]} for row in facts["conflicts"]]),
                           ("skipped", [{"path": above + row[0], "text": row[1]} for row in facts["skipped"]])):
            room = max(0, TOLD - len(self.outcome[name]))
            self.outcome[name] += rows[:room]
            self.outcome["more"] += len(rows) - len(rows[:room])
        self.outcome["more"] += facts["more"]

    # --- one root

    def _node(self, root):
        path = raw(root["path"])
        record = self.home.root(path)
        record.lock(sock=self.pipe.sock)
        try:
            record = self._again(record)  # as it is now that we have waited
            at = place.choose(self.options, self.home, record, self.out)
        finally:
            record.unlock()
        others = around(record, self.home.roots())
        record.lock(others, self.pipe.sock)
        try:
            with Tree(at) as tree:
                base = record.load(others)
                if not self.out and not record.dirty and not self.options.get("busy"):
                    base = self._heal(record, tree, base)
                self.pipe.send({"op": "root", "at": text(at), "base": record.name})
                if self.out:
                    facts = self._bring_back(root, record, tree, base)
                else:
                    if self.pipe.receive("base")[0]["want"]:
                        self.pipe.send_rows("base", [[text(name)] + list(entry) for name, entry in base.items()])
                    facts = self._take_in(root, record, tree, base)
        finally:
            record.unlock()
        if at != path:
            self.moves.append((root["path"], text(at)))
        return dict(facts, at=text(at))

    def _again(self, record):
        fresh = self.home.root(record.path)
        fresh._locked = record._locked
        return fresh

    def _heal(self, record, tree, base):
        """No job can have removed it, and it is not there: something else did (a cleaner of old files, …). It is to come again."""
        missing = [path for path in sorted(base) if tree.lstat(path) is None]
        if missing:
            base = dict(base)
            for path in missing:
                del base[path]
            record.commit(base, False)
        return base

    def _submit(self, root):
        path = raw(root["path"])
        record = self.home.root(path)
        record.remember(at=root["path"])
        header = self.pipe.receive("root")[0]
        with Tree(path) as tree:
            facts = self._take_back(root, record, tree, header) if self.out else self._send_in(root, record, tree, header)
        if raw(header["at"]) != path:
            self.moves.append((root["path"], header["at"]))
        return dict(facts, at=header["at"])

    # --- the sending half

    def _changes(self, root, record, tree, index, base, filter):
        """(Scan, rows) of what this side has changed. Failed if that is more than may move."""
        limit = Limit(self.options.get("limit"), base)
        walk = Walk(tree, index, filter, record.mark, limit.too_much)
        scan = walk.run()
        if limit.passed():
            stays = "%s on %s" % (text(tree.path), self.options["node"]) if self.out else ""
            raise Failed(limit.sentence(root["path"], scan.complete, stays), final=self.out)
        walk.hash_pending()
        index.only(scan.entries)

        def gone(path, entry):
            if filter.hidden(path, entry.kind == "d"):
                return False
            try:
                return tree.lstat(path) is None
            except OSError:
                return False  # in a folder that cannot be looked into

        return scan, merge.changes(base, scan.entries, gone)

    def _send(self, tree, rows):
        """Tell the changes, give what is wanted. The receiver's result."""
        self.pipe.send_rows("changes", [[text(path), old, new] for path, old, new in rows])
        paths = {}
        for path, _, new in rows:
            if new is not None and new.kind == "f":
                paths.setdefault(new.content, path)

        def opened(content):
            try:
                return tree.open(paths[content])
            except (OSError, KeyError):
                return None

        self.pipe.send_contents(self.pipe.receive_rows("wants"), opened)
        kept = set(self.pipe.receive_rows("kept"))
        return dict(self.pipe.receive("result")[0], kept=kept)

    def _sum_up(self, result, scan, **more):
        """Add what the sender knows; tell the receiver."""
        facts = dict(result, op="summary", **more)
        del facts["kept"]
        facts["skipped"] = facts["skipped"] + [[text(path), sentence] for path, sentence in scan.skipped]
        facts["notes"] = facts["notes"] + scan.notes
        facts["more"] += max(0, len(facts["skipped"]) - TOLD) + max(0, len(facts["notes"]) - TOLD)
        facts.update(skipped=facts["skipped"][:TOLD], notes=facts["notes"][:TOLD])
        self.pipe.send(facts)
        return facts

    # --- the receiving half

    def _receiver(self, root, record, tree, index):
        tag = raw("%s-%s" % (self.options["node"], self.options["job"])).replace(b"/", b"_")
        mirror = root.get("what") == "env"
        policy = merge.Policy(self.out, bool(self.options.get("busy")), mirror, tag, self.options["node"])
        return apply.Receiver(tree, index, self.store, record.mark, policy)

    def _receive(self, root, receiver, record):
        """Hear the changes, decide, and get what contents are missing."""
        rows, closed = [apply.checked(row) for row in self.pipe.receive_rows("changes")], self._excluded(root)
        # what the sender could not know, or does not want to: our own state may lie in the folder
        self._numbers = [number for number, row in enumerate(rows) if not any(row[0] == path or row[0].startswith(path + b"/") for path in closed)]
        self._rows = len(rows)
        needs = receiver.decide([rows[number] for number in self._numbers])
        wants = self._search([(content, size, self.store.have(content, size)) for content, size in needs], [(receiver.tree.path, receiver.index)])
        if sum(size - at for _, size, at in wants) > _WORTH:
            others = [other for other in self.home.roots() if other.folder != record.folder and other.at is not None]
            wants = self._search(wants, [(other.at, other.index()) for other in others])
        self.pipe.send_rows("wants", wants)
        self.pipe.receive_contents(self.store, wants)

    def _search(self, wants, places):
        """What is not in the store, nor in any of `places`."""
        return [want for want in wants if want[0] not in self.store.ready and not self.store.find(want[0], want[1], places)]

    def _conclude(self, receiver, **facts):
        """Tell the result; the sender's summary."""
        carried_out = set(self._numbers).difference(self._numbers[number] for number in receiver.kept)
        self.pipe.send_rows("kept", [number for number in range(self._rows) if number not in carried_out])
        conflicts = [[text(path), None if other is None else os.path.basename(text(other)), sentence] for path, other, sentence in receiver.conflicts]
        skipped = [[text(path), sentence] for path, sentence in receiver.skipped]
        more = max(0, len(conflicts) - TOLD) + max(0, len(skipped) - TOLD)
        result = {"op": "result", "files": receiver.files, "removed": receiver.removed, "conflicts": conflicts[:TOLD], "skipped": skipped[:TOLD],
                  "more": more, "notes": [], "env": {}}
        self.pipe.send(dict(result, **facts))
        return self.pipe.receive("summary")[0]

    # --- in

    def _send_in(self, root, record, tree, header):
        base = self.home.copy_of_base(header["base"])
        self.pipe.send({"op": "base", "want": base is None})
        known = base is not None
        if not known:
            base = {raw(row[0]): Entry(*row[1:]) for row in self.pipe.receive_rows("base")}
        record.lock(sock=self.pipe.sock)
        try:
            index = record.index()
            filter = self._filter_in(root, record, base)
            scan, rows = self._changes(root, record, tree, index, base, filter)
            record.save_index(index)
        finally:
            record.unlock()
        result = self._send(tree, rows)
        if not known or result["base"] != header["base"]:
            self.home.keep_base(merge.agreed(base, rows, result["kept"]))
        return self._sum_up(result, scan)

    def _filter_in(self, root, record, base):
        if root.get("what") == "env":
            return venv.Everything()
        tracked = record.brought_out().union(base)
        return Filter("in", root.get("stage"), self._excluded(root), tracked, ignore_files_above(raw(root["path"])))

    def _take_in(self, root, record, tree, base):
        index = record.index()
        receiver = self._receiver(root, record, tree, index)
        self._receive(root, receiver, record)
        receiver.apply()
        after = merge.agreed(base, receiver.rows, receiver.kept)
        if after != base or not record.dirty:
            record.commit(after, True)
        record.save_index(index)
        facts = {}
        if root.get("what") == "env":
            facts["notes"], facts["env"] = venv.settle(root["path"], text(tree.path), self.moves, self.options["node"])
        return self._conclude(receiver, base=record.name, **facts)

    # --- out

    def _bring_back(self, root, record, tree, base):
        index = record.index()
        filter = Filter("out", root.get("stage"), self._excluded(root), base)
        scan, rows = self._changes(root, record, tree, index, base, filter)
        record.save_index(index)
        result = self._send(tree, rows)
        after, busy = merge.agreed(base, rows, result["kept"]), bool(self.options.get("busy"))
        if after != base or record.dirty != busy:
            record.commit(after, busy)
        return self._sum_up(result, scan, base=record.name)

    def _take_back(self, root, record, tree, header):
        index = record.index()
        receiver = self._receiver(root, record, tree, index)
        self._receive(root, receiver, record)
        record.lock(sock=self.pipe.sock)
        try:
            receiver.apply()
            record.save_index(index)
            before = record.brought_out()
            if not before.issuperset(receiver.changed):
                record.save_brought_out(before.union(receiver.changed))
        finally:
            record.unlock()
        facts = self._conclude(receiver)
        if facts["base"] != header["base"]:
            base = self.home.copy_of_base(header["base"])
            if base is not None:
                self.home.keep_base(merge.agreed(base, receiver.rows, receiver.kept))
        return facts

    def _excluded(self, root):
        """The excluded files and our own state, as paths below the root."""
        above = raw(root["path"]).rstrip(b"/") + b"/"
        state = os.fsencode(self.home.state)
        at = state.find(b"/.sbroker/")
        paths = [raw(path) for path in root.get("exclude", ())] + [state if at < 0 else state[: at + len(b"/.sbroker")]]
        return [path[len(above) :] for path in map(os.path.normpath, paths) if path.startswith(above)]
