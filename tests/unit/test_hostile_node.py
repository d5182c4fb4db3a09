"""What a node's agent says acts on runs that are placed there, and on nothing else; how a run goes is for its head to say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sbroker.agent import heard, wire
from sbroker.core.events import Hello, Reports
from sbroker.daemon.calls import make_call
from sbroker.daemon.links import Link
from sbroker.model import Report
from sbroker.states import PartState
from tests.unit.core_cluster import BOB, Cluster

CALL = wire.fields(b"1", b"id", b"scontrol", b"/", b"uid=0\noperator=1\npid=1", b"ping\0", b"USER=root\0")
DATA: dict[str, dict[str, Any]] = {
    "refused": {"error": "no"}, "step_start": {"step": 7, "name": "x"}, "step_end": {"step": 0, "code": 9, "state": "FAILED"},
    "ending": {"why": "time_limit"}, "ended": {"code": 3, "why": "exit"},
}  # fmt: skip


def placed(nodes: int = 1) -> tuple[Cluster, int]:
    """A job of Bob's that runs on the first nodes, with a step."""
    cluster = Cluster()
    job = cluster.submit(BOB, nodes_min=nodes, nodes_max=nodes)
    cluster.begin(job)
    cluster.report("node1", "step_start", job, step=0, name="s", ntasks=1)
    return cluster, job


def snapshot(cluster: Cluster) -> Any:
    state = cluster.state
    return (dict(state.jobs), dict(state.all_runs), {key: dict(found) for key, found in state.parts.items()}, {job: dict(steps) for job, steps in state.steps.items()},
            {name: node for name, node in state.nodes.items() if name != "node4"})  # fmt: skip


@pytest.mark.parametrize("kind", heard.KINDS)
def test_reports_of_runs_elsewhere_change_nothing(kind):
    cluster, job = placed(2)
    before = snapshot(cluster)
    decision = cluster.report("node4", kind, job, **DATA.get(kind, {}))
    assert snapshot(cluster) == before
    assert {effect.node for effect in decision.effects} <= {"node4"}


@pytest.mark.parametrize("kind", ["started", "step_start", "step_end", "ending", "ended", "suspended", "resumed", "notice"])
def test_a_node_that_is_not_the_head_does_not_say_how_the_run_goes(kind):
    cluster, job = placed(2)
    before = snapshot(cluster)
    cluster.report("node2", kind, job, **DATA.get(kind, {}))
    assert snapshot(cluster) == before


def test_an_incarnation_of_another_node_is_its_own_affair():
    """Reports are counted by node and incarnation: claiming another's makes none of its reports look seen."""
    cluster, job = placed()
    theirs = cluster.state.nodes["node1"].incarnation
    cluster.do(Hello(node="node4", incarnation=theirs, boot_id="other", live=((job, 0, "ACTIVE"),)))
    cluster.do(Reports(reports=(Report(node="node4", incarnation=theirs, seq=1000, kind="notice", job=job, run=0, time=0.0),)))
    cluster.report("node1", "ended", job, code=0, why="exit")
    assert cluster.job(job).state.value == "COMPLETED"


class FakeDaemon:
    def __init__(self, state: Any) -> None:
        self.broker = type("Broker", (), {"state": state})()
        self.staging = type("Staging", (), {"output": lambda _self, channel, job: self.taken.append(("output", job.id))})()
        self.taken: list[Any] = []
        self.links: dict[str, Any] = {}

    def call_from_job(self, channel: Any, job: Any, run: int, body: bytes) -> None:
        self.taken.append(("call", job.id, run, body))


class FakeLink(Link):
    """One node's link without a connection."""

    def __init__(self, daemon: FakeDaemon, node: str) -> None:
        self.daemon, self.node, self.channels, self.sent, self.ready, self._next = daemon, node, {}, [], True, 0  # type: ignore[assignment]

    def send(self, header: dict[str, Any], body: bytes = b"") -> bool:
        self.sent.append(header)
        return True


def opened(cluster: Cluster, node: str, job: int, run: int = 0, kind: str = "call", **options: Any) -> tuple[list[Any], list[Any]]:
    """(what was let through, what the agent was answered)."""

    async def go() -> tuple[list[Any], list[Any]]:
        daemon = FakeDaemon(cluster.state)
        daemon.links = {name: FakeLink(daemon, name) for name in cluster.state.nodes}
        link = daemon.links[node]
        link._open({"op": "chan_open", "chan": 1, "job": job, "run": run, "kind": kind, "uid": 0, "options": options}, b"x")
        joined = [(name, frame["kind"]) for name, other in daemon.links.items() for frame in other.sent if frame["op"] == "chan_open"]
        return daemon.taken + joined, [frame for frame in link.sent if frame["op"] == "chan_close"]

    return asyncio.run(go())


def test_calls_come_from_where_the_run_is():
    cluster, job = placed(2)
    assert opened(cluster, "node1", job)[0] == [("call", job, 0, b"x")]
    assert opened(cluster, "node2", job)[0] == [("call", job, 0, b"x")]


@pytest.mark.parametrize("kind", ["call", "peer", "output", "session", "files", "nonsense"])
def test_no_channel_for_runs_elsewhere(kind):
    cluster, job = placed(2)
    for node, number, run in (("node3", job, 0), ("node1", job, 1), ("node1", job + 1, 0), ("node1", 0, 0)):
        through, answers = opened(cluster, node, number, run, kind, to="node2")
        assert through == [] and [answer["chan"] for answer in answers] == [1]


@pytest.mark.parametrize("kind", ["session", "files", "nonsense"])
def test_only_these_kinds_are_an_agents_to_open(kind):
    cluster, job = placed(2)
    assert opened(cluster, "node1", job, 0, kind)[0] == []


def test_the_scripts_output_and_calls_between_nodes_are_the_heads():
    cluster, job = placed(2)
    assert opened(cluster, "node1", job, 0, "output")[0] == [("output", job)]
    assert opened(cluster, "node2", job, 0, "output")[0] == []
    assert opened(cluster, "node1", job, 0, "peer", to="node2")[0] == [("node2", "peer")]
    for node, to in (("node2", "node1"), ("node1", "node3"), ("node1", "node1"), ("node1", "nowhere")):
        assert opened(cluster, node, job, 0, "peer", to=to)[0] == []


def test_nothing_more_once_the_run_is_over_there():
    cluster, job = placed()
    cluster.end(job)
    assert cluster.state.parts.get(job, {}).get((0, "node1")) is None or cluster.state.parts[job][0, "node1"].state is PartState.EMPTY
    for kind in ("call", "output", "peer"):
        assert opened(cluster, "node1", job, 0, kind, to="node2")[0] == []


def test_a_call_from_a_node_has_no_more_rights_than_a_users():
    """Not even in his own broker, and whatever the frame says of itself."""
    call = make_call(CALL, 1002, 1002, frozenset({"root"}), job=1, run=0)
    assert (call.uid, call.operator, call.admin) == (1002, False, False)
    mine = make_call(CALL, 1002, 1002, frozenset({"root"}), owner=1002)
    assert (mine.operator, mine.admin) == (False, True)
    other = make_call(CALL, 1003, 1003, frozenset({"root"}), owner=1002)
    assert (other.operator, other.admin) == (False, False)


def test_an_agent_that_goes_by_another_name_is_not_listened_to():
    cluster, _ = placed()
    link = FakeLink(FakeDaemon(cluster.state), "node4")
    with pytest.raises(wire.WireError, match="calls itself 'node1'"):
        link._hello({"op": "hello", "node": "node1", "incarnation": "x:y", "boot_id": "y", "live": [], "inventory": {}}, None)  # type: ignore[arg-type]
