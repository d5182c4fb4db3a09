"""Runs that do not end at their time limit: the backstop behind the supervisor's own clock."""

from __future__ import annotations

from sbroker.api import Target
from sbroker.core.effects import End, Wake
from sbroker.core.events import Suspend, UpdateJob
from sbroker.states import JobState, RunState
from tests.unit.core_cluster import ROOT, Cluster

LIMIT, KILL_WAIT, BEYOND = 600, 30, 60


def running(**fields) -> tuple[Cluster, int]:
    cluster = Cluster(kill_wait=KILL_WAIT)
    job = cluster.submit(time_limit=LIMIT, **fields)
    cluster.begin(job)
    return cluster, job


def ends(decision) -> list[End]:
    return [effect for effect in decision.effects if isinstance(effect, End)]


def wake(decision) -> float:
    return min(effect.at for effect in decision.effects if isinstance(effect, Wake))


def test_a_run_that_is_long_overdue_is_told_to_end_and_nothing_is_concluded() -> None:
    cluster, job = running(nodes_min=2, nodes_max=2)
    assert ends(cluster.tick(LIMIT + KILL_WAIT + BEYOND - 1)) == []
    decision = cluster.tick(1)
    assert ends(decision) == [End(job=job, run=0, node="node1", why="time_limit")]
    assert (cluster.job(job).state, cluster.state.runs[job].state) == (JobState.RUNNING, RunState.STARTED)
    cluster.report("node1", "ended", job, code=0)  # it was on its way
    assert cluster.job(job).state is JobState.COMPLETED


def test_the_order_is_repeated_and_not_without_pause() -> None:
    cluster, job = running()
    decision = cluster.tick(LIMIT + KILL_WAIT + BEYOND)
    for _ in range(3):
        assert len(ends(decision)) == 1
        assert wake(decision) == cluster.now + 60
        assert ends(cluster.tick(59)) == []
        decision = cluster.tick(1)
    cluster.report("node1", "ending", job, why="time_limit")
    assert cluster.job(job).state is JobState.TIMEOUT
    assert ends(cluster.tick(3600)) == []


def test_one_that_was_killed_because_it_would_not_end_timed_out() -> None:
    cluster, job = running()
    cluster.tick(LIMIT + KILL_WAIT + BEYOND)
    cluster.now += 35
    cluster.report("node1", "lost", job)
    cluster.report("node1", "empty", job)
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.TIMEOUT, False)


def test_one_that_was_lost_in_time_runs_again() -> None:
    cluster, job = running()
    cluster.now += LIMIT
    cluster.report("node1", "lost", job)
    assert cluster.job(job).state is JobState.PENDING


def test_the_time_counts_from_the_start_and_stands_still_in_a_suspension() -> None:
    cluster = Cluster(kill_wait=KILL_WAIT)
    job = cluster.submit(time_limit=LIMIT)
    cluster.now += 300  # until its node has started
    cluster.begin(job)
    cluster.do(Suspend(target=Target(job=job), who=ROOT))
    assert ends(cluster.tick(5000)) == []
    cluster.do(Suspend(target=Target(job=job), who=ROOT, suspend=False))
    decision = cluster.tick(LIMIT + KILL_WAIT + BEYOND - 1)
    assert ends(decision) == [] and wake(decision) == cluster.now + 1
    assert len(ends(cluster.tick(1))) == 1


def test_another_limit_is_another_time() -> None:
    cluster, job = running()
    cluster.do(UpdateJob(target=Target(job=job), who=ROOT, changes={"time_limit": 2 * LIMIT}))
    assert ends(cluster.tick(LIMIT + KILL_WAIT + BEYOND)) == []
    cluster.do(UpdateJob(target=Target(job=job), who=ROOT, changes={"time_limit": LIMIT}))
    assert len(ends(cluster.tick())) == 1


def test_a_run_without_limit_is_never_overdue() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    assert ends(cluster.tick(10_000_000)) == []


def test_one_that_never_told_of_its_start_is_looked_at_without_hurry() -> None:
    cluster = Cluster(kill_wait=KILL_WAIT)
    job = cluster.submit(time_limit=LIMIT)
    cluster.report("node1", "held", job)
    decision = cluster.tick(LIMIT + KILL_WAIT + BEYOND)
    assert ends(decision) == [] and wake(decision) == cluster.now + 60
