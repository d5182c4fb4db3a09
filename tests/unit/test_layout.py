"""Layouts: every rank is somewhere, once, whatever is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat import layout

NODES = st.lists(st.integers(1, 64), min_size=1, max_size=40)
KINDS = st.sampled_from(["block", "cyclic", "plane"])


@given(NODES, st.integers(1, 500), st.integers(1, 4), KINDS, st.integers(1, 9), st.booleans(), st.booleans())
def test_every_rank_once(cpus, ntasks, per_task, kind, plane, pack, overcommit):
    nodes = [{"node": "n%d" % number, "cpus": count} for number, count in enumerate(cpus)]
    request = {
        "ntasks": ntasks,
        "cpus_per_task": per_task,
        "distribution": {"kind": kind, "plane": plane, "pack": pack},
        "overcommit": overcommit,
    }
    made = layout.layout({}, request, nodes)
    if "error" in made:
        assert not overcommit
        assert ntasks * per_task > sum(cpus)
        return
    assert sorted(rank for mine in made["tasks"] for rank in mine) == list(range(ntasks))
    assert all(mine == sorted(mine) and mine for mine in made["tasks"])
    assert len(made["nodes"]) == len(made["tasks"]) == len(set(made["nodes"]))


@given(NODES, st.integers(1, 500))
def test_block_keeps_to_what_the_nodes_hold(cpus, ntasks):
    if ntasks <= sum(cpus):
        assert all(got <= count for got, count in zip(layout.fill(ntasks, cpus), cpus, strict=True))


@given(st.lists(st.integers(0, 30), max_size=30))
def test_counts_there_and_back(values):
    assert not values or layout.counts_list(layout.counts(values)) == values


@given(st.sets(st.integers(0, 300)))
def test_ranges(numbers):
    found = set()
    for part in filter(None, layout.ranges(numbers).split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    assert found == numbers


def test_arbitrary():
    nodes = [{"node": name, "cpus": 8} for name in ("node1", "node2", "node3")]
    request = {"ntasks": 4, "hosts": ["node2", "node1", "node2", "node3"], "distribution": {"kind": "arbitrary"}}
    assert layout.layout({}, request, nodes) == {"nodes": ["node1", "node2", "node3"], "tasks": [[1], [0, 2], [3]]}
    assert layout.layout({}, dict(request, hosts=["node9"] * 4), nodes) == {"error": "Requested node configuration is not available"}


@pytest.mark.parametrize(
    ("text", "kind"), [("block", "block"), ("*:block", ""), ("cyclic:cyclic,Pack", "cyclic"), ("plane=4", "plane"), ("NoPack", "")]
)
def test_distribution(text, kind):
    assert layout.parse_distribution(text)["kind"] == kind


@pytest.mark.parametrize("text", ["bogus", "plane=x", "block:", "arbitrary:block", "block:block:block:block"])
def test_no_distribution(text):
    with pytest.raises(ValueError, match=r"plane=x|bogus|block"):
        layout.parse_distribution(text)
