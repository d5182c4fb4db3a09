"""The store against a plain dictionary: whatever is written, in whatever portions, and however often it is opened again."""

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.api import HistoryQuery
from sbroker.core.effects import Del, Put
from sbroker.model import Job, JobSpec, Node, Part, Run, Step
from sbroker.states import JobState
from sbroker.store import Store

SMALL = st.integers(0, 3)
STATES = st.sampled_from([JobState.PENDING, JobState.RUNNING, JobState.COMPLETED])


class Clock:
    def now(self) -> float:
        return 1000.0

    boottime = now


def make_job(number, state, run, name):
    return Job(id=number, user="u", uid=1, gid=1, spec=JobSpec(name=name), state=state, run=run, array_pending=tuple(range(run + 1)))


JOBS = st.builds(
    lambda number, state, run, name: Put("job", number, make_job(number, state, run - 1, name)), SMALL, STATES, SMALL, st.text(max_size=3)
)
RUNS = st.builds(lambda job, run, why: Put("run", (job, run), Run(job=job, run=run, head="n", why=why)), SMALL, SMALL, st.text(max_size=3))
PARTS = st.builds(lambda job, run: Put("part", (job, run, "n"), Part(job=job, run=run, node="n")), SMALL, SMALL)
STEPS = st.builds(lambda job, run, step: Put("step", (job, run, step - 5), Step(job=job, run=run, step=step - 5)), SMALL, SMALL, SMALL)
NODES = st.builds(lambda name, load: Put("node", name, Node(name=name, site="s", load=load)), st.sampled_from("abc"), st.floats(0, 9))
NUMBERS = st.builds(lambda name, value: Put("counter", name, value), st.sampled_from("xy"), st.integers(0, 1 << 62))
PUTS = st.one_of(JOBS, JOBS, RUNS, PARTS, STEPS, NODES, NUMBERS)
CHANGES = st.one_of(PUTS, PUTS, PUTS, PUTS.map(lambda put: Del(put.table, put.key)))


def apply(model, change):
    if isinstance(change, Put):
        model[change.table, change.key] = change.value
        return
    model.pop((change.table, change.key), None)
    if change.table == "job":  # takes its rows along
        for key in [key for key in model if key[0] in ("run", "part", "step") and key[1][0] == change.key]:
            del model[key]


def without_returning_jobs(batches):
    """The ids of jobs are never used again: leave out what would touch a job that was purged."""
    gone: set[int] = set()
    for batch in batches:
        kept = []
        for change in batch:
            owner = change.key if change.table == "job" else change.key[0] if change.table in ("run", "part", "step") else None
            if owner in gone and owner is not None:
                continue
            if isinstance(change, Del) and change.table == "job":
                gone.add(change.key)
            kept.append(change)
        yield kept


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(CHANGES, max_size=8), st.sampled_from(["on", "on", "flush", "reopen", "load"])), max_size=12))
def test_it_holds_what_a_dictionary_would(script):
    batches = list(without_returning_jobs([batch for batch, _ in script]))
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder + "/sbroker.db", Clock())
        store.load()
        model: dict = {}
        for batch, (_, then) in zip(batches, script, strict=True):
            store.write(batch)
            for change in batch:
                apply(model, change)
            if then == "flush":
                store.flush()
            elif then == "reopen":
                store.close()
                store = Store.open(folder + "/sbroker.db", Clock())
            if then in ("reopen", "load"):
                assert {(row.table, row.key): row.value for row in store.load()} == model
        store.flush()
        assert {(row.table, row.key): row.value for row in store.load()} == model
        # Accounting knows every job that ever was, the live ones as they are.
        records = {record.job.id: record.job for record in store.history(HistoryQuery())}
        assert set(records) == {change.key for batch in batches for change in batch if isinstance(change, Put) and change.table == "job"}
        assert {key[1]: value for key, value in model.items() if key[0] == "job"}.items() <= records.items()
        store.close()
