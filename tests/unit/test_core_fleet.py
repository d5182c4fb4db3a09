"""Groups and machines as the core alone decides on them: bought, refused, listed, released."""

from __future__ import annotations

import pytest
from core_cluster import ALICE, ROOT, Cluster

from sbroker.api import Target
from sbroker.core.effects import CreateGroup, Terminate
from sbroker.core.events import Cancel, Created, Listed, Power, Reap, Tick
from sbroker.core.explain import explain
from sbroker.errors import Refused
from sbroker.machines import Entry, Listing, Offer
from sbroker.model import Node, Partition
from sbroker.plan import Market
from sbroker.states import GroupState, JobState, NodeState, Reason

SMALL = Offer(name="small", cpus=4, memory=8000, price=1.0, boot_seconds=60)
DEAR = Offer(name="dear", cpus=4, memory=8000, price=2.0, boot_seconds=10)


def sky(*nodes: Node, offers=(SMALL, DEAR), site=None, **partition) -> Cluster:
    names = tuple(node.name for node in nodes)
    part = Partition(name="p", default=True, sites=("own", "sky"), nodes=names, def_mem_per_cpu=100, default_time=3600, suspend_time=100, **partition)
    found = Cluster(nodes, (part,), sites={"sky": {"max_nodes": 8, "list_lag": 5.0, **(site or {})}})
    found.state.sell(Market("sky", offers, at=1.0))
    return found


def own(name: str = "mine") -> Node:
    return Node(name=name, site="own", cpus=4, sockets=1, cores_per_socket=4, memory=8000)


def only(cluster: Cluster):
    (group,) = cluster.state.groups.values()
    return group


def listing(cluster: Cluster, state: str = "running", *, skip: tuple[int, ...] = (), reason: str = "") -> Listed:
    group = only(cluster)
    entries = tuple(
        Entry(token=group.token, index=index, id="i-%d" % index, state=state, price=1.0, created=cluster.now, reason=reason, addresses=("10.0.0.%d" % index,))
        for index in range(group.count)
        if index not in skip
    )
    return Listed(site="sky", listing=Listing(machines=entries), asked=cluster.now)


def test_jobs_of_one_decision_are_one_order() -> None:
    found = sky()
    decision = found.submit(array="1-3", array_tasks=(1, 2, 3), cpus_per_task=4)
    group = only(found)
    assert (group.count, group.min, group.nodes) == (3, 1, ("sky-small-1", "sky-small-2", "sky-small-3"))
    assert [job.state for job in found.state.array(decision)] == [JobState.RUNNING] * 3
    assert all(job.configuring for job in found.state.array(decision))


def test_the_intent_is_ordered_once_and_asked_again_where_nothing_is_known() -> None:
    found = sky()
    found.submit()
    token = only(found).token
    effects = found.do(Created(token=token, kind="unknown", error="the connection broke")).effects
    (again,) = [effect for effect in effects if isinstance(effect, CreateGroup)]
    assert (again.token, again.at > found.now) == (token, True)
    assert only(found).state is GroupState.ASKED
    found.do(listing(found))  # it had been made
    assert only(found).state is GroupState.FULL


def test_a_refusal_costs_the_job_nothing_and_its_place_is_left_alone() -> None:
    found = sky()
    number = found.submit()
    token = only(found).token
    found.do(Created(token=token, kind="no_capacity", error="nothing left"))
    job = found.job(number)
    assert (job.state, job.run, job.requeues, job.nodes[0].node) == (JobState.RUNNING, 1, 0, "sky-dear-1")
    assert found.state.groups[token].state is GroupState.REFUSED
    assert "sky-small-1" not in found.state.nodes
    other = next(group for group in found.state.groups.values() if group.token != token)
    found.do(Created(token=other.token, kind="quota", error="two at most"))
    assert (found.job(number).state, found.job(number).reason) == (JobState.PENDING, Reason.RESOURCES)
    assert "two at most" in found.job(number).reason_text


def test_a_group_that_is_smaller_than_wanted_gives_the_rest_back() -> None:
    found = sky()
    number = found.submit(array="1-2", array_tasks=(1, 2), cpus_per_task=4)
    found.do(Created(token=only(found).token))
    found.do(listing(found, skip=(1,)))
    assert only(found).state is GroupState.PARTIAL
    found.now += 6  # the provider lags no longer than that
    found.do(listing(found, skip=(1,)))
    assert sorted(job.nodes[0].node for job in found.state.array(number)) in (["sky-dear-1", "sky-small-1"], ["sky-small-1", "sky-small-2"])


def test_a_machine_that_is_listed_no_more_fences_its_node() -> None:
    found = sky()
    number = found.submit()
    found.do(Created(token=only(found).token))
    found.do(listing(found))
    found.hello("sky-small-1")
    assert found.state.nodes["sky-small-1"].state is NodeState.IDLE
    group = only(found)
    found.do(Listed(site="sky", listing=Listing(), asked=found.now))  # it lags
    assert found.job(number).run == 0
    found.now += 6
    found.do(Listed(site="sky", listing=Listing(), asked=found.now))
    assert found.job(number).run == 1
    assert found.state.groups[group.token].state is GroupState.GONE


def test_what_is_cancelled_while_it_boots_is_over_at_once() -> None:
    found = sky()
    number = found.submit()
    found.do(Cancel(targets=(Target(job=number),), who=ALICE))
    assert (found.job(number).state, found.job(number).completing) == (JobState.CANCELLED, False)
    effects = found.do(Tick()).effects
    assert [type(effect) for effect in effects if isinstance(effect, Terminate)] == [Terminate]
    found.do(Created(token=only(found).token))  # the answer to what was asked before
    found.now += 6
    found.do(Listed(site="sky", listing=Listing(), asked=found.now))
    assert only(found).state in (GroupState.GONE, GroupState.RELEASING)


def test_an_idle_machine_goes_after_suspend_time_and_not_before() -> None:
    found = sky()
    found.submit()
    found.do(Created(token=only(found).token))
    found.do(listing(found))
    number = next(iter(found.state.jobs))
    assert found.state.nodes["sky-small-1"].idle_since is None
    found.do(Cancel(targets=(Target(job=number),), who=ALICE))
    found.hello("sky-small-1")
    began = found.state.nodes["sky-small-1"].idle_since
    assert began is not None
    found.now = began + 99
    assert not [effect for effect in found.do(Tick()).effects if isinstance(effect, Terminate)]
    found.now = began + 101
    assert [effect.site for effect in found.do(Tick()).effects if isinstance(effect, Terminate)] == ["sky"]


def test_machines_of_nobody_go_but_not_those_younger_than_the_record() -> None:
    found = sky()
    found.submit()
    stray = tuple(Entry(token=token, index=0, id=token, state="running") for token in ("g0-1", "g77-1", "g78-1"))
    foreign = Entry(token="g0-2", index=0, id="x", state="running", ours=False)
    listed = Listed(site="sky", listing=Listing(machines=(*stray, foreign)), asked=found.now)
    assert [effect.token for effect in found.do(listed).effects if isinstance(effect, Terminate)] == ["g0-1"]
    found.do(Reap(tokens=("g77-1", "g78-1"), who=ROOT))
    assert [effect.token for effect in found.do(listed).effects if isinstance(effect, Terminate)] == ["g0-1", "g77-1", "g78-1"]


def test_power_down_is_refused_while_a_job_is_there() -> None:
    found = sky()
    found.submit()
    with pytest.raises(Refused, match="sky-small-1 is in use"):
        found.do(Power(who=ROOT))


@pytest.mark.parametrize(("busy", "burst", "waits"), [(600, 0, False), (600, 700, True), (50, 0, True)])
def test_nothing_is_bought_where_waiting_is_sooner_or_asked_for(busy: int, burst: int, waits: bool) -> None:
    """50 s: before a machine could boot; 700: the partition has that patience."""
    found = sky(own(), offers=(SMALL,), burst_after=burst)
    found.submit(cpus_per_task=4, time_limit=busy)
    number = found.submit(cpus_per_task=4)
    assert bool(found.state.groups) is not waits
    assert (found.job(number).state is JobState.PENDING) is waits
    if waits:
        assert "mine is expected to be free in %d s" % busy in found.job(number).reason_text


def test_a_machine_that_would_end_first_is_not_bought() -> None:
    found = sky(site={"max_lifetime": 3600})
    with pytest.raises(Refused, match="max_lifetime"):
        found.submit(time_limit=3600)  # no waiting makes it live longer
    assert not found.state.groups
    found.submit(time_limit=1800)
    assert found.state.groups


def test_explain_says_that_machines_are_on_order() -> None:
    found = sky()
    number = found.submit()
    assert explain(found.state, found.job(number), found.now)[0].startswith("Job 1 has machines on order, for 1.00 USD an hour: sky-small-1, since ")
    found.do(Created(token=only(found).token, kind="unknown", error="the connection broke"))
    assert explain(found.state, found.job(number), found.now)[0].endswith("asked again: the connection broke.")


def test_a_spot_machine_that_is_there_is_only_for_who_asked() -> None:
    cheap = Offer(name="cheap", cpus=4, memory=8000, price=0.1, spot=True)
    found = sky(offers=(cheap, SMALL))
    mine = found.submit(requeue=True)
    assert found.job(mine).nodes[0].node == "sky-cheap-1"
    others = [found.submit(), found.submit(requeue=True), found.submit(kind="alloc", requeue=True)]
    assert [found.job(other).nodes[0].node for other in others] == ["sky-small-1", "sky-cheap-1", "sky-small-1"]


def test_what_the_configuration_leaves_out_is_refused_and_not_waited_for() -> None:
    found = sky(offers=(SMALL,), site={"spot": "only"})
    with pytest.raises(Refused, match="only its spot market"):
        found.submit()
