"""The store as the daemon uses it: write, wait, load again."""

import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.api import HistoryQuery
from sbroker.core.effects import Del, Put
from sbroker.errors import StoreError
from sbroker.model import Job, JobSpec, Machine, Node, Part, Partition, Run, Step
from sbroker.states import JobState, NodeState, PartState, RunState
from sbroker.store import StaleEpoch, Store, codec, writer


class Clock:
    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    boottime = now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "sbroker.db")


@pytest.fixture
def store(path, clock):
    opened = Store.open(path, clock)
    opened.load()
    yield opened
    opened.close()


def job(number: int, **fields) -> Job:
    spec = fields.pop("spec", None) or JobSpec(name="job%d" % number, submit_line="sbatch %d" % number)
    return Job(**{"id": number, "user": "alice", "uid": 1001, "gid": 1001, "spec": spec, "submit_time": 10.0 * number, **fields})


def reopened(path, clock):
    """What a broker that starts now finds."""
    other = Store.open(path, clock)
    rows = other.load()
    other.close()
    return rows


ROWS = [
    Put("counter", "job", 7),
    Put("seen", ("node1", "inc1"), 42),
    Put("node", "node1", Node(name="node1", site="local", state=NodeState.IDLE)),
    Put("partition", "debug", Partition(name="debug", nodes=("node1",))),
    Put("machine", ("tok", 0), Machine(token="tok", index=0, site="aws")),
    Put("job", 7, job(7, state=JobState.RUNNING, run=0)),
    Put("run", (7, 0), Run(job=7, run=0, head="node1", state=RunState.STARTED)),
    Put("part", (7, 0, "node1"), Part(job=7, run=0, node="node1", state=PartState.ACTIVE)),
    Put("step", (7, 0, -5), Step(job=7, run=0, step=-5, name="batch")),
]


def test_what_is_written_is_found_again(store, path, clock):
    store.write(ROWS)
    store.close()
    assert sorted(reopened(path, clock), key=repr) == sorted(ROWS, key=repr)


def test_the_last_change_of_a_key_counts(store, path, clock):
    for value in (1, 2, 3):
        store.write([Put("counter", "job", value), Put("counter", "x", value), Del("counter", "x")])
    back = [Put("node", "n", Node(name="n", site="s")), Put("run", (1, 0), Run(job=1, run=0, head="n"))]
    store.write([Del("node", "n"), Del("run", (1, 0)), *back])
    store.close()
    assert reopened(path, clock) == [Put("counter", "job", 3), *back]


def test_a_purged_job_takes_its_rows_along(store, path, clock):
    store.write(ROWS)
    store.write([Del("job", 7)])
    store.close()
    assert {row.table for row in reopened(path, clock)} == {"counter", "seen", "node", "partition", "machine"}


def test_purged_in_the_same_commit(store, path, clock):
    store.write([*ROWS, Del("step", (7, 0, -5)), Del("part", (7, 0, "node1")), Del("run", (7, 0)), Del("job", 7)])
    store.close()
    assert not {row.table for row in reopened(path, clock)} & {"job", "run", "part", "step"}


def test_numbers_grow_and_become_durable_in_order(store):
    told = []
    store.on_durable(told.append)
    numbers = [store.write([Put("counter", "n", value)]) for value in range(50)]
    store.flush()
    assert numbers == list(range(1, 51))
    assert store.durable == 50
    assert told == sorted(told)
    assert told[-1] == 50


def test_epochs_grow_and_the_store_keeps_its_id(path, clock):
    first = Store.open(path, clock)
    second = Store.open(path, clock)
    assert (second.epoch, second.store_id) == (first.epoch + 1, first.store_id)
    first.close()
    second.close()


def test_a_broker_that_was_taken_over_writes_nothing(store, path, clock):
    failures, seen = [], threading.Event()
    store.on_failure(lambda first, last, error: (failures.append((first, last, error)), seen.set()))
    store.write([Put("counter", "n", 1)])
    store.flush()
    successor = Store.open(path, clock)
    store.write([Put("counter", "n", 2)])
    assert seen.wait(30)
    ((first, last, error),) = failures
    assert (first, last) == (2, 2)
    assert isinstance(error, StaleEpoch)
    with pytest.raises(StaleEpoch):
        store.write([Put("counter", "n", 3)])
    with pytest.raises(StaleEpoch):
        store.load()
    assert successor.load() == [Put("counter", "n", 1)]
    successor.close()


def test_nothing_is_written_before_the_state_was_loaded(path, clock):
    fresh = Store.open(path, clock)
    with pytest.raises(StoreError, match="not loaded"):
        fresh.write([Put("counter", "n", 1)])
    fresh.close()


def test_blobs_are_there_at_once_and_later(store, path, clock):
    store.write(
        [Put("job", 1, job(1, spec=JobSpec(name="x", script_hash="s", environ_hash="e")))], {"s": b"#!/bin/sh\n", "e": b"A=1\0" * 5000}
    )
    assert store.blob("s") == b"#!/bin/sh\n"
    store.close()
    later = Store.open(path, clock)
    assert later.blob("e") == b"A=1\0" * 5000
    with pytest.raises(StoreError, match="no data for the hash"):
        later.blob("nothing")
    later.close()


def ended(number: int, at: float, **spec) -> list:
    """A job that ended and left the live state, with a run and a step."""
    value = job(number, spec=JobSpec(name="x", **spec), state=JobState.COMPLETED, end_time=at, run=0, request_id="r%d" % number)
    run, step = Run(job=number, run=0, head="node1"), Step(job=number, run=0, step=-5)
    puts = [Put("job", number, value), Put("run", (number, 0), run), Put("step", (number, 0, -5), step)]
    return puts + [Del("job", number), Del("run", (number, 0)), Del("step", (number, 0, -5))]


def on_record(store) -> list[int]:
    return [record.job.id for record in store.history(HistoryQuery())]


def touch(store) -> None:
    """Some commit, and what follows it."""
    store.write([Put("counter", "x", int(store.durable))])
    store.flush()
    store.write([])
    store.flush()


def test_scripts_and_environments_stay_as_long_as_the_record(store, path, clock):
    store.write(ended(1, 100.0, script_hash="s1", environ_hash="e"), {"s1": b"1", "e": b"2"})
    clock.at = 1e9
    touch(store)
    store.close()
    later = Store.open(path, clock)
    later.load()
    touch(later)
    assert (on_record(later), later.blob("s1"), later.blob("e")) == ([1], b"1", b"2")
    later.close()


def test_old_records_go_with_all_that_they_alone_needed(store, clock):
    store.write(ended(1, 100.0, script_hash="s1", environ_hash="e"), {"s1": b"1", "e": b"2"}, [("end", 1, "long ago")])
    clock.at = 2100.0
    live = job(3, spec=JobSpec(name="z", script_hash="s3", environ_hash="e"), state=JobState.RUNNING)
    store.write([*ended(2, 1900.0, script_hash="s2"), Put("job", 3, live)], {"s2": b"2", "s3": b"3"}, [("end", 2, "now")])
    store.keep(1000.0)
    touch(store)
    assert on_record(store) == [2, 3]
    assert [store.blob(digest) for digest in ("s2", "s3", "e")] == [b"2", b"3", b"2"]
    with pytest.raises(StoreError):
        store.blob("s1")
    assert (store.request(1001, "r1"), store.request(1001, "r2")) == (None, 2)
    assert [text for _, _, _, _, text in store.events()] == ["now"]
    clock.at += 86400.0
    touch(store)
    assert on_record(store) == [3]
    # what has gone is written again when it comes again
    store.write(ended(4, clock.at, script_hash="s1", environ_hash="e"), {"s1": b"1", "e": b"2"})
    store.flush()
    assert (on_record(store), store.blob("s1")) == ([3, 4], b"1")


def test_what_a_requeued_job_was_before_goes_without_the_job(store, clock):
    running = job(1, state=JobState.RUNNING, run=0, start_time=10.0)
    store.write([Put("job", 1, running), Put("run", (1, 0), Run(job=1, run=0, head="node1"))])
    store.write([Put("job", 1, msgspec.structs.replace(running, state=JobState.PENDING))])
    clock.at = 90000.0
    store.keep(1000.0)
    touch(store)
    assert on_record(store) == [1]
    assert [row.key for row in store.load() if row.table in ("job", "run")] == [1, (1, 0)]


def test_many_old_records_go_a_part_at_a_time(store, clock, monkeypatch):
    monkeypatch.setattr(writer, "PURGE", 3)
    statements = store._database.statements
    few = statements.other["purge_jobs"].replace("LIMIT 5000", "LIMIT 3")
    monkeypatch.setattr(store._database, "statements", msgspec.structs.replace(statements, other={**statements.other, "purge_jobs": few}))
    for number in range(1, 7):
        store.write(ended(number, 100.0 + number, script_hash="s"), {"s": b"1"})
    store.flush()
    clock.at = 5000.0
    store.keep(1000.0)
    left = []
    for _ in range(4):
        store.write([])
        store.flush()
        store.write([])  # it follows the commit: the next one has waited for it
        store.flush()
        left.append(len(on_record(store)))
    assert left[-1] == 0 and left == sorted(left, reverse=True)
    with pytest.raises(StoreError):
        store.blob("s")


def test_equal_specifications_are_one_object_after_a_start(store, path, clock):
    store.write([Put("job", number, job(number, spec=JobSpec(name="same"))) for number in (1, 2, 3)])
    store.close()
    specs = [row.value.spec for row in reopened(path, clock)]
    assert specs[0] is specs[1] is specs[2]


def test_requests_are_remembered_for_each_user(store):
    store.write([Put("job", 5, job(5, request_id="abc"))])
    store.write([Del("job", 5)])
    store.flush()
    assert store.request(1001, "abc") == 5
    assert store.request(1002, "abc") is None


def test_the_log(store, clock):
    store.write([], events=[("submit", 5, "job 5 came"), ("start", None, "up")])
    clock.at = 2000.0
    store.write([], events=[("end", 5, "bytes \udcff")])
    store.flush()
    events = store.events()
    assert [event[1:4] for event in events] == [(1000.0, "submit", 5), (1000.0, "start", None), (2000.0, "end", 5)]
    assert store.events(after=events[1][0]) == events[2:]


def test_array_rests_with_and_without_gaps(store, path, clock):
    whole, gaps = tuple(range(1, 10001)), (1, 2, 5)
    store.write([Put("job", 1, job(1, array_id=1, array_pending=whole)), Put("job", 2, job(2, array_id=2, array_pending=gaps))])
    store.close()
    assert [row.value.array_pending for row in reopened(path, clock)] == [whole, gaps]


def test_bytes_that_are_not_utf8(store, path, clock):
    odd = job(1, user="al\udcffice", spec=JobSpec(name="n\udc80", work_dir="/tmp/\udcfe", comment="zero \0 byte"))
    store.write([Put("job", 1, odd)])
    store.close()
    assert reopened(path, clock) == [Put("job", 1, odd)]


def test_a_value_that_cannot_be_stored_fails_alone(store):
    failures, seen = [], threading.Event()
    store.on_failure(lambda first, last, error: (failures.append(str(error)), seen.set()))
    store.write([Put("counter", "n", 1)])
    store.flush()
    store.write([Put("counter", "n", 1 << 70)])
    assert seen.wait(30)
    assert "cannot be stored" in failures[0]
    with pytest.raises(StoreError):
        store.write([Put("counter", "n", 2)])
    assert store.load() == [Put("counter", "n", 1)]
    store.write([Put("counter", "n", 3)])
    store.flush()
    assert store.durable == 3


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40), st.lists(st.integers(0, 500), unique=True))
def test_any_text_and_any_rest_survive(text, tasks):
    value = job(3, spec=JobSpec(name=text, comment=text), array_pending=tuple(sorted(tasks)))
    assert codec.parse("job", codec.dump(value)) == value
    codec.plain(text).encode()
    rest = codec.dump_rest(value.array_pending)
    assert not rest or codec.parse_rest(rest) == value.array_pending


def test_keys_of_a_newer_release_are_dropped():
    doc = codec.dump(job(1)).replace('"user"', '"colour":"red","user"')
    assert codec.parse("job", doc) == job(1)


def test_replace_keeps_what_was_given(store):
    """The ledger keeps values: writing may not change them."""
    value = job(1, array_pending=(1, 2, 3))
    before = msgspec.json.encode(value)
    store.write([Put("job", 1, value)])
    store.flush()
    assert msgspec.json.encode(value) == before
