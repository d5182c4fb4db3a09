"""Arrays and dependencies as the real one was seen to treat them."""

from __future__ import annotations

from typing import Any

import pytest

from sbroker.api import Target
from sbroker.core.effects import Wake
from sbroker.core.events import UpdateJob
from sbroker.model import Dependency, DepItem
from sbroker.states import JobState, Reason
from tests.unit.core_cluster import ALICE, Cluster


def dep(*items: tuple[Any, ...], any: bool = False) -> Dependency:
    return Dependency(items=tuple(DepItem(kind=item[0], job=item[1], task=item[2] if len(item) > 2 else None) for item in items), any=any)


def fill(cluster: Cluster) -> int:
    """A job that has all nodes."""
    return cluster.submit(name="hog", nodes_min=4, nodes_max=4, exclusive="node", time_limit=1800)


# -- arrays


def tasks(cluster: Cluster, array: int) -> dict[Any, tuple[int, str]]:
    return {
        job.array_task if job.array_task is not None else job.array_pending: (job.id, job.state.value) for job in cluster.state.array(array)
    }


def test_tasks_get_the_next_ids_and_the_last_keeps_the_arrays() -> None:
    cluster = Cluster()
    array = cluster.submit(array="1-3", array_tasks=(1, 2, 3))
    assert tasks(cluster, array) == {1: (2, "RUNNING"), 2: (3, "RUNNING"), 3: (1, "RUNNING")}
    record = cluster.job(2)
    assert (record.array_size, record.array_range) == (3, (1, 3, 1))


def test_an_array_is_one_record_until_its_tasks_start() -> None:
    cluster = Cluster()
    fill(cluster)
    array = cluster.submit(array="1-9:4", array_tasks=(1, 5, 9))
    assert tasks(cluster, array) == {(1, 5, 9): (2, "PENDING")}
    assert cluster.job(array).array_range == (1, 9, 4)


@pytest.mark.parametrize(
    ("text", "step"), [("7,3,9", 1), ("1,3,5", 1), ("2,4,6-8:2", 2), ("10-20:3,1-5:2", 3), ("1-5:2,10-20", 2), ("4-4:7", 7)]
)
def test_the_first_step_named_is_the_arrays(text: str, step: int) -> None:
    cluster = Cluster()
    fill(cluster)
    assert cluster.job(cluster.submit(array=text, array_tasks=(3, 7, 9))).array_range == (3, 9, step)


def test_no_more_tasks_than_the_limit() -> None:
    cluster = Cluster()
    array = cluster.submit(array="1-5", array_tasks=(1, 2, 3, 4, 5), array_limit=2)
    assert tasks(cluster, array) == {1: (2, "RUNNING"), 2: (3, "RUNNING"), (3, 4, 5): (1, "PENDING")}
    assert cluster.job(array).reason is Reason.ARRAY_TASK_LIMIT
    cluster.finish(2)
    assert cluster.state.jobs[4].array_task == 3
    cluster.do(UpdateJob(target=Target(job=array), who=ALICE, changes={"array_limit": 5}))
    assert not [job for job in cluster.state.array(array) if job.array_pending]


def test_the_limit_holds_for_tasks_that_left_the_rest_too() -> None:
    cluster = Cluster()
    array = cluster.submit(array="1-5", array_tasks=(1, 2, 3, 4, 5), array_limit=2)
    cluster.hold(array, tasks=(5,))
    cluster.hold(array, "", tasks=(5,))
    (job,) = [job for job in cluster.state.array(array) if job.array_task == 5]
    assert job.state is JobState.PENDING
    cluster.tick(1)
    assert cluster.job(job.id).reason is Reason.ARRAY_TASK_LIMIT


def test_some_tasks_are_cancelled_or_held() -> None:
    cluster = Cluster()
    fill(cluster)
    array = cluster.submit(array="1-6", array_tasks=tuple(range(1, 7)))
    cluster.cancel(array, tasks=(5, 6))
    cluster.hold(array, tasks=(2,))
    assert tasks(cluster, array) == {(1, 3, 4): (2, "PENDING"), 2: (3, "PENDING")}
    assert cluster.job(3).reason is Reason.HELD_USER
    cluster.cancel(array)
    assert all(job.state is JobState.CANCELLED for job in cluster.state.array(array))


# -- dependencies


def test_after_an_end_of_each_kind() -> None:
    cluster = Cluster()
    good, bad = cluster.submit(), cluster.submit()
    jobs = {
        (kind, target): cluster.submit(dependency=dep((kind, target)))
        for kind in ("afterok", "afternotok", "afterany", "after")
        for target in (good, bad)
    }
    cluster.finish(good)
    cluster.finish(bad, 1)
    state = {key: cluster.job(job).state.value if not cluster.job(job).dep_failed else "never" for key, job in jobs.items()}
    assert state == {
        ("afterok", good): "RUNNING", ("afterok", bad): "never", ("afternotok", good): "never", ("afternotok", bad): "RUNNING",
        ("afterany", good): "RUNNING", ("afterany", bad): "RUNNING", ("after", good): "RUNNING", ("after", bad): "RUNNING",
    }  # fmt: skip
    assert cluster.job(jobs["afterok", bad]).reason is Reason.DEPENDENCY_NEVER


def test_kill_on_invalid_dep() -> None:
    cluster = Cluster()
    bad = cluster.submit()
    job = cluster.submit(dependency=dep(("afterok", bad)), kill_on_invalid_dep=True)
    cluster.finish(bad, 1)
    assert (cluster.job(job).state, cluster.job(job).reason) == (JobState.CANCELLED, Reason.DEPENDENCY_NEVER)


def test_one_of_several_is_enough_with_a_question_mark() -> None:
    cluster = Cluster()
    good, bad = cluster.submit(), cluster.submit()
    either = cluster.submit(dependency=dep(("afterok", bad), ("afterok", good), any=True))
    both = cluster.submit(dependency=dep(("afterok", bad), ("afterok", good)))
    cluster.finish(bad, 1)
    assert cluster.job(either).state is JobState.PENDING
    assert cluster.job(both).dep_failed
    cluster.finish(good)
    assert cluster.job(either).state is JobState.RUNNING


def test_minutes_after_the_start() -> None:
    cluster = Cluster()
    first = cluster.submit(begin=1100.0)
    item = DepItem(kind="after", job=first, delay=120)
    job = cluster.submit(dependency=Dependency(items=(item,)))
    cluster.tick(100)
    cluster.begin(first)
    assert Wake(at=1220.0) in cluster.tick(0).effects
    cluster.tick(119)
    assert cluster.job(job).state is JobState.PENDING
    cluster.tick(1)
    assert cluster.job(job).state is JobState.RUNNING


def test_what_a_held_job_waits_for_is_looked_at_when_it_is_released() -> None:
    cluster = Cluster()
    first = cluster.submit()
    later = DepItem(kind="after", job=first, delay=120)
    held = [cluster.submit(hold=True, dependency=Dependency(items=items)) for items in ((later,), dep(("afternotok", first)).items)]
    cluster.begin(first)
    assert not [effect for effect in cluster.tick(0).effects if isinstance(effect, Wake) and effect.at == 1120.0]
    cluster.tick(200)
    cluster.finish(first)
    assert all(cluster.job(job).deps_left is not None and not cluster.job(job).dep_failed for job in held)
    for job in held:
        cluster.hold(job, "")
    assert cluster.job(held[0]).state is JobState.RUNNING
    assert cluster.job(held[1]).reason is Reason.DEPENDENCY_NEVER


def test_dependencies_on_arrays() -> None:
    cluster = Cluster()
    array = cluster.submit(array="1-3", array_tasks=(1, 2, 3))
    ids = {job.array_task: job.id for job in cluster.state.array(array)}
    all_ok = cluster.submit(dependency=dep(("afterok", array)))
    single = cluster.submit(dependency=dep(("afterok", array, 1)))
    each = cluster.submit(array="1-3", array_tasks=(1, 2, 3), dependency=dep(("aftercorr", array)))
    any_end = cluster.submit(dependency=dep(("afterany", array)))
    cluster.finish(ids[1])
    cluster.finish(ids[2], 1)
    assert cluster.job(single).state is JobState.RUNNING
    assert cluster.job(all_ok).dep_failed
    assert cluster.job(any_end).state is JobState.PENDING
    cluster.finish(ids[3])
    assert cluster.job(any_end).state is JobState.RUNNING
    found = {job.array_task: "never" if job.dep_failed else job.state.value for job in cluster.state.array(each)}
    assert found == {1: "RUNNING", 2: "never", 3: "RUNNING"}
