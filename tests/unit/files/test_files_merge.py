"""The three-way merge on trees in memory: nothing is lost, doing it again changes nothing, both sides end alike."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.agent.files.filter import _BESIDE
from sbroker.agent.files.manifest import Entry
from sbroker.agent.files.merge import Action, Merge, Policy, agreed, beside, changes, same

Tree = dict[bytes, Entry]
_PUT = re.compile(rb"\.sbroker-n1-7.*")


def file(content: str, mode: int = 0o644, mtime: int = 1) -> Entry:
    return Entry("f", mode, len(content), mtime, content)


def folder(mode: int = 0o755) -> Entry:
    return Entry("d", mode, 0, 0, "")


class View:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def entry(self, path: bytes) -> Entry | None:
        return self.tree.get(path)

    def names(self, path: bytes) -> list[bytes]:
        return [other.rpartition(b"/")[2] for other in self.tree if other.rpartition(b"/")[0] == path]


def carry_out(tree: Tree, action: Action) -> None:
    """What apply.py does with files; a plan that it could not carry out fails here."""
    above = action.path.rpartition(b"/")[0]
    assert not above or tree[above].kind == "d", action
    assert tree.get(action.path) == action.expect, action
    if action.do == "delete":
        assert not View(tree).names(action.path)
        del tree[action.path]
    elif action.do == "aside":
        assert action.to not in tree
        inside = action.path + b"/"
        for path in [path for path in tree if path == action.path or path.startswith(inside)]:
            tree[action.to + path[len(action.path) :]] = tree.pop(path)
    else:
        if action.do == "put" and action.expect is not None and action.expect.kind == "d":
            assert not View(tree).names(action.path)
        tree[action.path] = action.to


class World:
    """A submit side, a node, and what both agreed on."""

    def __init__(self) -> None:
        self.submit: Tree = {}
        self.node: Tree = {}
        self.base: Tree = {}

    def sync(self, out: bool, busy: bool = False, node: Tree | None = None) -> Any:
        sender, receiver = (self.node, self.submit) if out else (self.submit, self.node)
        seen = sender if out else {path: entry for path, entry in sender.items() if not any(_BESIDE.search(part) for part in path.split(b"/"))}
        rows = changes(self.base, seen, lambda path, entry: path not in sender)
        before = dict(receiver)
        plan = Merge(rows, View(dict(receiver)), Policy(out, busy, False, b"n1-7", "n1")).run()
        for action in plan.actions:
            carry_out(receiver, action)
        old, self.base = self.base, agreed(self.base, rows, plan.kept)
        # the receiver's own changes are all still there, and so is all of the sender's that counts as agreed
        contents = {entry.content for entry in receiver.values()}
        for path, entry in before.items():
            # (what lies beside as the node had it at the last sync may be replaced by what the node has now)
            if entry.kind != "d" and not same(entry, old.get(path)) and not same(entry, old.get(b"/".join(_PUT.sub(b"", part) for part in path.split(b"/")))):
                assert entry.content in contents, (path, entry)
        for number, (path, _, new) in enumerate(rows):
            if number not in plan.kept and new is not None and new.kind != "d":
                assert new.content in contents, (path, new)
        return plan


def well_formed(tree: Tree) -> bool:
    return all(not path.rpartition(b"/")[0] or (path.rpartition(b"/")[0] in tree and tree[path.rpartition(b"/")[0]].kind == "d") for path in tree)


def edit(tree: Tree, path: bytes, what: Entry | None) -> None:
    """What a user or a job does: remove, write, make a folder, with all that is in the way gone."""
    inside = path + b"/"
    if what is None or what.kind != "d" or path not in tree or tree[path].kind != "d":
        for other in [other for other in tree if other.startswith(inside)]:
            del tree[other]
    if what is None:
        tree.pop(path, None)
        return
    above = path.rpartition(b"/")[0]
    if above and (above not in tree or tree[above].kind != "d"):
        edit(tree, above, folder())
    tree[path] = what


paths = st.sampled_from([b"a", b"b", b"a/x", b"a/y", b"a/x/p", b"b/x", b"a/z/q/r", b"a-"])
entries = st.one_of(
    st.none(),
    st.builds(file, st.sampled_from("1234567"), st.sampled_from([0o644, 0o755]), st.integers(1, 4)),
    st.builds(folder, st.sampled_from([0o755, 0o700])),
    st.builds(lambda target: Entry("l", 0, 0, 0, target), st.sampled_from(["t1", "t2"])),
)
steps = st.lists(st.one_of(
    st.tuples(st.just("submit"), paths, entries), st.tuples(st.just("node"), paths, entries),
    st.tuples(st.sampled_from(["out", "in", "busy"])),
), max_size=14)


def do(world: World, step: tuple) -> None:
    if step[0] in ("submit", "node"):
        edit(getattr(world, step[0]), step[1], step[2])
    else:
        world.sync(step[0] == "out", step[0] == "busy")
    assert well_formed(world.submit) and well_formed(world.node)


def plain(tree: Tree, *others: Tree) -> dict[bytes, tuple[str, str]]:
    """Without what was put beside, which stays where it was put until it is out, and the folders that (here or in `others`) hold such."""
    put = [path for each in (tree, *others) for path in each if any(_BESIDE.search(part) for part in path.split(b"/"))]
    holding = {b"/".join(path.split(b"/")[:depth]) for path in put for depth in range(1, path.count(b"/") + 1)}
    return {path: (entry.kind, entry.content) for path, entry in tree.items() if path not in put and path not in holding}


@given(steps)
@settings(max_examples=1500, deadline=None)
def test_nothing_is_lost(script: list[tuple]) -> None:
    world = World()
    for step in script:
        do(world, step)


@given(steps)
@settings(max_examples=600, deadline=None)
def test_the_same_again_changes_nothing(script: list[tuple]) -> None:
    world = World()
    for step in script:
        do(world, step)
    for out in (True, False):
        world.sync(out)
        assert world.sync(out).actions == []


@given(steps)
@settings(max_examples=600, deadline=None)
def test_both_sides_end_alike(script: list[tuple]) -> None:
    world = World()
    for step in script:
        do(world, step)
    for out in (True, False, True):
        world.sync(out)
    assert plain(world.submit, world.node) == plain(world.node, world.submit)


@given(steps, st.lists(st.tuples(st.sampled_from([1, 2]), paths, entries), max_size=8))
@settings(max_examples=400, deadline=None)
def test_two_nodes_in_either_order(script: list[tuple], jobs: list[tuple]) -> None:
    """Both nodes' results reach the submit side, whoever comes first."""
    world = World()
    for step in script:
        do(world, step)
    world.sync(True)
    world.sync(False)
    replicas = {1: dict(world.node), 2: dict(world.node)}
    for number, path, entry in jobs:
        edit(replicas[number], path, entry)
    ends = []
    for order in ((1, 2), (2, 1)):
        submit = dict(world.submit)
        for number in order:
            one = World()
            one.submit, one.node, one.base = submit, dict(replicas[number]), dict(world.base)
            one.sync(True)
        ends.append({(entry.kind, entry.content) for entry in submit.values()})
    for contents in ends:
        for number in (1, 2):
            for path, entry in replicas[number].items():
                if entry.kind != "d" and not same(entry, world.base.get(path)):
                    assert (entry.kind, entry.content) in contents


def test_a_cut_in_the_middle_is_gone_on_with() -> None:
    """The base is only written at the end: half of the plan, then all of it again."""
    world = World()
    for name in (b"a", b"b", b"c"):
        edit(world.submit, name, file("1"))
    world.sync(False)
    edit(world.node, b"a", file("2"))
    edit(world.submit, b"a", file("3"))
    edit(world.submit, b"b", file("4"))
    edit(world.submit, b"c", None)
    rows = changes(world.base, world.submit, lambda path, entry: True)
    plan = Merge(rows, View(world.node), Policy(False, False, False, b"n1-7", "n1")).run()
    for action in plan.actions[:2]:
        carry_out(world.node, action)
    world.sync(False)
    assert plain(world.node) == plain(world.submit)
    assert world.node[b"a.sbroker-n1-7"].content == "2"


CASES = [  # base, submit, node, direction, submit after, node after, conflicts
    ("1", "1", "2", "out", "2", "2", 0), ("1", "2", "1", "out", "2", "1", 0), ("1", "1", None, "out", None, None, 0), ("1", "2", None, "out", "2", None, 0),
    ("1", None, "2", "out", "2", "2", 0), ("1", "2", "3", "out", "2", "3", 1), (None, "2", "3", "out", "2", "3", 1), (None, "2", "2", "out", "2", "2", 0),
    ("1", "2", "1", "in", "2", "2", 0), ("1", "1", "2", "in", "1", "2", 0), ("1", None, "1", "in", None, None, 0), ("1", None, "2", "in", None, "2", 0),
    ("1", "2", None, "in", "2", "2", 0), ("1", "2", "3", "in", "2", "2", 1), ("1", "2", "3", "busy", "2", "3", 1), ("1", None, None, "in", None, None, 0),
]


@pytest.mark.parametrize(("base", "submit", "node", "way", "submit_after", "node_after", "conflicts"), CASES)
def test_every_case(base: str, submit: str, node: str, way: str, submit_after: str, node_after: str, conflicts: int) -> None:
    world = World()
    world.base, world.submit, world.node = ({b"f": file(one)} if one else {} for one in (base, submit, node))
    plan = world.sync(way == "out", way == "busy")
    found = [tree[b"f"].content if b"f" in tree else None for tree in (world.submit, world.node)]
    assert (found, len(plan.conflicts)) == ([submit_after, node_after], conflicts)
    if conflicts and way != "busy":
        put = (world.submit if way == "out" else world.node)[b"f.sbroker-n1-7"]
        assert put.content == node


def test_permissions_and_times_have_their_own_three_ways() -> None:
    world = World()
    world.base = {b"f": file("1"), b"g": file("1"), b"d": folder()}
    world.submit = {b"f": file("1", 0o755), b"g": file("1", 0o600, 5), b"d": folder()}
    world.node = {b"f": file("2", mtime=9), b"g": file("1", 0o700), b"d": folder(0o700)}
    world.sync(True)
    assert world.submit == {b"f": file("2", 0o755, 9), b"g": file("1", 0o600, 5), b"d": folder(0o700)}


def test_names_beside_fit() -> None:
    assert len(beside(b"x" * 255, b"n1-7", 12)) == 255
    assert beside(b"out.txt", b"n1-7", 1) == b"out.txt.sbroker-n1-7"
    assert beside(b"out.txt", b"n1-7", 2) == b"out.txt.sbroker-n1-7.2"
