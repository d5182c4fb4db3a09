"""The step ledger: nothing is given twice, and what is given back is whole."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sbroker.agent.ledger import Busy, Ledger, Never

NODES = [{"node": "n%d" % number, "cpus": cpus, "mem": 1000 * cpus, "gres": {"gpu:a100": [0, 1]}} for number, cpus in enumerate((4, 2, 2))]


class Steps(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.ledger, self.held, self.number = Ledger(NODES), {}, 0

    @rule(
        ntasks=st.integers(1, 6),
        cpus=st.integers(1, 3),
        nodes=st.integers(1, 3),
        exact=st.booleans(),
        gres=st.sampled_from([None, [], [{"name": "gpu", "type": None, "count": 1}]]),
    )
    def place(self, ntasks, cpus, nodes, exact, gres):
        request = {"ntasks": ntasks, "cpus_per_task": cpus, "nodes_min": nodes, "exact": exact, "gres": gres}
        before = repr([vars(node) for node in self.ledger._nodes])
        try:
            placed = self.ledger.place(self.number, request)
        except (Busy, Never):
            assert repr([vars(node) for node in self.ledger._nodes]) == before
            return
        assert len(placed) >= nodes
        self.held[self.number] = placed
        self.number += 1

    @rule(data=st.data())
    def release(self, data):
        if self.held:
            step = data.draw(st.sampled_from(sorted(self.held)))
            self.ledger.release(step)
            del self.held[step]

    @invariant()
    def nothing_twice(self):
        for node in NODES:
            mine = [share for placed in self.held.values() for share in placed if share["node"] == node["node"]]
            assert sum(share["cpus"] for share in mine) <= node["cpus"]
            assert sum(share["mem"] for share in mine) <= node["mem"]
            given = [index for share in mine for ids in share["gres"].values() for index in ids]
            assert len(given) == len(set(given))
        if not self.held:
            assert len(self.ledger.place("all", {"ntasks": 8, "nodes_min": 3})) == 3
            self.ledger.release("all")


TestSteps = Steps.TestCase
TestSteps.settings = settings(max_examples=60, deadline=None)


def place(ledger, step, **request):
    return [(share["node"], share["cpus"]) for share in ledger.place(step, request)]


def test_whole_nodes_unless_exact():
    ledger = Ledger(NODES)
    assert place(ledger, 0, ntasks=1, nodes_min=1, nodes_max=1) == [("n0", 4)]
    assert place(ledger, 1, ntasks=1, nodes_min=1, nodes_max=1) == [("n1", 2)]
    assert place(ledger, 2, ntasks=2, nodes_min=1, exact=True) == [("n2", 2)]
    with pytest.raises(Busy):
        place(ledger, 3, ntasks=1, exact=True)
    assert place(ledger, 3, ntasks=8, nodes_min=3, overlap=True) == [("n0", 4), ("n1", 2), ("n2", 2)]
    ledger.release(0)
    assert place(ledger, 3, ntasks=1, exact=True) == [("n0", 1)]


def test_never():
    ledger = Ledger(NODES)
    for reason, request in [
        ("More processors requested than permitted", {"ntasks": 9}),
        ("More processors requested than permitted", {"ntasks": 5, "nodes_max": 1}),
        ("Requested node configuration is not available", {"ntasks": 1, "nodelist": ["n9"]}),
        ("Requested node configuration is not available", {"ntasks": 5, "exclude": ["n0"]}),
        ("Memory required by task is not available", {"ntasks": 1, "mem_per_node": 9000}),
        ("Invalid generic resource (gres) specification", {"ntasks": 1, "gres": [{"name": "gpu", "type": None, "count": 3}]}),
    ]:
        with pytest.raises(Never) as never:
            ledger.place(0, request)
        assert str(never.value) == reason


def test_devices_side_by_side():
    ledger = Ledger(NODES[:1])
    one = {"ntasks": 1, "exact": True, "gres": [{"name": "gpu", "type": "a100", "count": 1}]}
    assert ledger.place(0, one)[0]["gres"] == {"gpu:a100": [0]}
    assert ledger.place(1, dict(one, gres=None, gpus_total=1))[0]["gres"] == {"gpu:a100": [1]}
    with pytest.raises(Busy):
        ledger.place(2, one)
    assert ledger.place(2, dict(one, gres=[]))[0]["gres"] == {}
