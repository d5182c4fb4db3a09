"""Accounting: what sacct will ask."""

import pytest
from msgspec.structs import replace

from sbroker.api import HistoryQuery
from sbroker.core.effects import Del, Put
from sbroker.model import Job, JobSpec, NodeShare, Run, Step
from sbroker.states import JobState, RunState
from sbroker.store import Store


class Clock:
    def now(self) -> float:
        return 1000.0

    boottime = now


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path / "sbroker.db", Clock())
    opened.load()
    yield opened
    opened.close()


def job(number: int, **fields) -> Job:
    given = {
        "id": number,
        "user": "alice",
        "uid": 1001,
        "gid": 1001,
        "spec": JobSpec(name="job%d" % number),
        "submit_time": 10.0,
        "partition": "debug",
        "account": "lab",
    }
    return Job(**{**given, **fields})


def ids(store, **query):
    store.flush()
    return [record.job.id for record in store.history(HistoryQuery(**query))]


def test_purged_jobs_stay_on_record_with_their_steps(store):
    done = job(1, state=JobState.COMPLETED, run=0, start_time=20.0, end_time=30.0)
    run, steps = Run(job=1, run=0, head="n1", state=RunState.ENDED), (Step(job=1, run=0, step=-5, name="batch"), Step(job=1, run=0, step=0))
    store.write([Put("job", 1, done), Put("run", (1, 0), run), *(Put("step", (1, 0, step.step), step) for step in steps)])
    store.write([Del("job", 1)])
    store.flush()
    (record,) = store.history(HistoryQuery())
    assert (record.job, record.run, record.steps) == (done, run, steps)
    (record,) = store.history(HistoryQuery(steps=False))
    assert record.steps == ()


def requeue(store):
    """Job 3 runs on n1, is requeued, and waits again."""
    first = job(3, state=JobState.RUNNING, run=0, start_time=20.0, nodes=(NodeShare(node="n1", cpus=1),))
    store.write([Put("job", 3, job(3))])
    store.write([Put("job", 3, first), Put("run", (3, 0), Run(job=3, run=0, head="n1"))])
    store.write([Put("job", 4, job(4))])
    again = replace(first, state=JobState.PENDING, start_time=None, submit_time=40.0, restarts=1, nodes=())
    store.write([Put("run", (3, 0), Run(job=3, run=0, head="n1", why="requeue")), Put("job", 3, again)])
    return again


def test_a_requeued_job_has_a_record_for_each_run(store):
    again = requeue(store)
    second = replace(again, state=JobState.COMPLETED, run=1, start_time=50.0, end_time=60.0, nodes=(NodeShare(node="n2", cpus=1),))
    store.write([Put("job", 3, second), Put("run", (3, 1), Run(job=3, run=1, head="n2"))])
    store.flush()
    before, other, after = store.history(HistoryQuery())
    assert other.job.id == 4  # records stand in the order in which they began
    assert (before.job.state, before.job.start_time, before.job.end_time, before.run.why) == (JobState.RUNNING, 20.0, 1000.0, "requeue")
    assert (after.job, after.run.run) == (second, 1)
    assert [record.run.run for record in store.history(HistoryQuery(nodes=("n1",)))] == [0]


def test_cancelled_while_it_waits_again(store, tmp_path):
    again = requeue(store)
    store.write([Put("job", 3, replace(again, state=JobState.CANCELLED, start_time=45.0, end_time=45.0))])
    store.flush()
    before, _, after = store.history(HistoryQuery())
    assert before.run.run == 0
    assert after.run is None
    assert after.job.state is JobState.CANCELLED


def test_the_record_goes_on_after_a_restart(store, tmp_path):
    again = requeue(store)
    store.close()
    other = Store.open(tmp_path / "sbroker.db", Clock())
    assert Put("job", 3, again) in other.load()
    other.write(
        [
            Put("job", 3, replace(again, state=JobState.RUNNING, run=1, start_time=50.0)),
            Put("run", (3, 1), Run(job=3, run=1, head="n2")),
            Put("job", 5, job(5)),
        ]
    )
    other.flush()
    assert [(record.job.id, record.run and record.run.run) for record in other.history(HistoryQuery())] == [
        (3, 0),
        (4, None),
        (3, 1),
        (5, None),
    ]
    other.close()


def test_what_a_query_selects(store):
    store.write(
        [
            Put("job", 1, job(1, uid=1)),
            Put("job", 2, job(2, uid=2, account="other")),
            Put("job", 3, job(3, partition="gpu")),
            Put("job", 4, job(4, array_id=4, array_pending=(2, 3))),
            Put("job", 5, job(5, array_id=4, array_task=1)),
            Put("job", 6, job(6, spec=JobSpec(name="train"))),
        ]
    )
    assert ids(store, uids=(1,)) == [1]
    assert ids(store, accounts=("other",)) == [2]
    assert ids(store, partitions=("gpu",)) == [3]
    assert ids(store, jobs=(4,)) == [4, 5]
    assert ids(store, jobs=(1, 5, 99)) == [1, 5]
    assert ids(store, names=("train",)) == [6]
    assert ids(store, uids=(1,), names=("train",)) == []


PERIODS = [
    Put("job", 1, job(1, submit_time=100.0, start_time=200.0, end_time=300.0, state=JobState.COMPLETED, run=0)),
    Put("job", 2, job(2, submit_time=100.0, start_time=200.0, state=JobState.RUNNING, run=0)),
    Put("job", 3, job(3, submit_time=250.0)),
    Put("job", 4, job(4, submit_time=100.0, start_time=400.0, end_time=400.0, state=JobState.CANCELLED)),
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"start": 310.0}, [2, 3, 4]),
        ({"end": 90.0}, []),
        ({"end": 150.0}, [1, 2, 4]),
        ({"start": 0.0}, [1, 2, 3, 4]),
        ({"states": ("COMPLETED", "CANCELLED")}, [1, 4]),
        ({"states": ("COMPLETED",), "start": 0.0, "end": 299.0}, []),
        ({"states": ("COMPLETED",), "start": 0.0, "end": 300.0}, [1]),
        ({"states": ("RUNNING",), "start": 250.0, "end": 260.0}, [1, 2]),
        ({"states": ("RUNNING",), "start": 350.0}, [2]),
        ({"states": ("PENDING",), "start": 150.0, "end": 160.0}, [1, 2, 4]),
        ({"states": ("PENDING",), "start": 350.0}, [3, 4]),
        ({"states": ("RUNNING",)}, [2]),
    ],
)
def test_periods(store, query, found):
    store.write(PERIODS)
    assert ids(store, **query) == found
