"""Who may be put on spot machines, and how often."""

from __future__ import annotations

from typing import Any

import pytest
from core_cluster import Cluster

from sbroker.core import spot
from sbroker.errors import Refused
from sbroker.machines import Offer
from sbroker.model import JobSpec, Partition
from sbroker.plan import Market
from sbroker.states import JobState, Reason

SETTINGS = {"max_requeue": 2}


@pytest.mark.parametrize(
    ("fields", "requeues", "wanted"),
    [
        ({}, 0, False),  # that the cluster requeues by default is no wish
        ({"requeue": True}, 0, None),
        ({"requeue": True}, 1, None),
        ({"requeue": True}, 2, False),  # taken away often enough
        ({"requeue": True, "kind": "alloc"}, 0, False),
        ({"requeue": True, "constraint": "ondemand"}, 0, False),
        ({"constraint": "spot"}, 0, True),
        ({"constraint": "spot"}, 9, True),  # nothing else will do
        ({"constraint": "spot", "kind": "alloc"}, 0, False),
        ({"constraint": "spot|ondemand"}, 0, None),
        ({"constraint": "spot|ondemand"}, 2, False),
        ({"requeue": False, "constraint": "us-east-1"}, 0, False),
    ],
)
def test_what_the_plan_is_asked_for(fields, requeues, wanted):
    spec = JobSpec(name="j", **{"kind": "batch", **fields})
    assert spot.market(spec, SETTINGS, requeues) is wanted
    assert spot.may_use_spot(spec, SETTINGS, requeues) is (spot.asked(spec) and requeues < 2)


def test_what_a_site_forbids():
    assert spot.forbidden("aws", None) == spot.forbidden("aws", "allow") == {}
    assert list(spot.forbidden("aws", "never")) == [("aws", "", "", True)]
    assert list(spot.forbidden("aws", "only")) == [("aws", "", "", False)]


def cloud(word: str | None = None, **settings: Any) -> Cluster:
    c = Cluster((), (Partition(name="cloud", default=True, sites=("aws",)),), sites={"aws": {"spot": word}}, **settings)
    size: dict[str, Any] = {"cpus": 8, "memory": 16000, "region": "r1", "type": "m8"}
    c.state.sell(Market("aws", (Offer(name="cheap", spot=True, price=1.0, **size), Offer(name="dear", price=3.0, **size)), at=c.now))
    return c


def bought(c: Cluster, job: int) -> str:
    node = c.state.nodes[c.job(job).nodes[0].node] if c.job(job).nodes else None
    return "" if node is None else "spot" if "spot" in node.features else "ondemand"


def test_only_who_asked_gets_a_spot_machine():
    c = cloud()
    assert bought(c, c.submit(ntasks=8, time_limit=600)) == "ondemand"
    assert bought(c, c.submit(ntasks=8, time_limit=600, requeue=True)) == "spot"
    assert bought(c, c.submit(ntasks=8, time_limit=600, kind="alloc", requeue=True)) == "ondemand"


@pytest.mark.parametrize(("word", "got"), [("never", "ondemand"), ("only", "spot"), ("allow", "spot")])
def test_a_site_may_have_its_own_rule(word, got):
    c = cloud(word)
    assert bought(c, c.submit(ntasks=8, time_limit=600, requeue=True)) == got


def test_a_site_that_sells_nothing_that_would_do_says_so():
    """At the submission, since no waiting changes it."""
    with pytest.raises(Refused, match="spot: only"):
        cloud("only").submit(ntasks=8, time_limit=600)
    with pytest.raises(Refused, match="spot: never"):
        cloud("never").submit(ntasks=8, time_limit=600, constraint="spot")


def lose(c: Cluster, job: int) -> None:
    """The job's machine is there, runs it, and is taken back."""
    from msgspec.structs import replace

    from sbroker.core import fleet
    from sbroker.core.draft import Draft

    name = c.job(job).nodes[0].node
    c.hello(name)
    c.begin(job)
    c.now += 100
    draft = Draft(c.state, c.now)
    fleet.preempted(draft, c.state.nodes[name], "notice")
    for group in draft.groups():
        draft.put_group(replace(group, avoid=None))  # as if that were long ago
    c.state.apply(draft.changes)
    for share in c.job(job).nodes:
        c.report(share.node, "empty", job)
    c.tick(1)


def test_a_job_that_lost_its_machine_too_often_gets_one_on_demand():
    c = cloud(max_requeue=2)
    job = c.submit(ntasks=8, time_limit=600, requeue=True)
    markets = [bought(c, job)]
    for _ in range(2):
        lose(c, job)
        markets.append(bought(c, job))
    assert markets == ["spot", "spot", "ondemand"] and c.job(job).requeues == 2


def test_a_job_that_will_have_nothing_else_is_held():
    c = cloud(max_requeue=1)
    job = c.submit(ntasks=8, time_limit=600, constraint="spot")
    lose(c, job)
    assert c.job(job).state is JobState.RUNNING
    lose(c, job)
    record = c.job(job)
    assert (record.state, record.held, record.reason) == (JobState.PENDING, "admin", Reason.REQUEUED_HELD)
    assert "taken back or lost 2 times" in record.reason_text
