"""What a crash or a full disk leaves: a prefix of what was written, and everything that was called durable."""

import random
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy

from sbroker.core.effects import Put
from sbroker.errors import StoreError
from sbroker.model import Job, JobSpec
from sbroker.store import Store


class Clock:
    def now(self) -> float:
        return 1000.0

    boottime = now


# Each change puts a job with its script and counts it, which must stay together. Durable numbers go to standard output.
WRITER = """
import os, sys
from sbroker.clock import SystemClock
from sbroker.core.effects import Put
from sbroker.model import Job, JobSpec
from sbroker.store import Store

store = Store.open(sys.argv[1], SystemClock())
count = {row.key: row.value for row in store.load() if row.table == "counter"}.get("n", 0)
base = count
store.on_durable(lambda number: os.write(1, b"%d\\n" % (base + number)))
while True:
    count += 1
    spec = JobSpec(name="j%d" % count, script_hash="s%d" % count)
    job = Job(id=count, user="u", uid=1, gid=1, spec=spec)
    store.write([Put("job", count, job), Put("counter", "n", count)], {"s%d" % count: b"script %d" % count})
    if count % 10 == 0:
        store.flush()
"""


def test_killed_at_any_moment_it_keeps_a_prefix_with_all_that_was_durable(tmp_path):
    """Ten writers one after another on the same database, each killed while it writes."""
    path, chance = str(tmp_path / "sbroker.db"), random.Random(7)
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        told = b""
        for _ in range(chance.randrange(1, 60)):  # so many commits, and then some more that we are not told of
            told = writer.stdout.readline() or told
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.wait()
        durable = int((told + rest).rsplit(b"\n", 2)[-2])
        store = Store.open(path, Clock())
        rows = store.load()
        count = next(row.value for row in rows if row.table == "counter")
        assert count >= durable > 0
        assert [row.key for row in rows if row.table == "job"] == list(range(1, count + 1))
        assert store.blob("s%d" % count) == b"script %d" % count
        store.close()


class Watched:
    """A store and what it told."""

    def __init__(self, path) -> None:
        self.failures: list = []
        self.failed = threading.Event()
        self.store = Store.open(path, Clock())
        self.store.on_failure(self._failure)
        self.store.load()

    def _failure(self, first, last, error):
        self.failures.append((first, last, error))
        self.failed.set()


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path / "sbroker.db")
    yield made
    made.store.close()


def full(engine, pages):
    """Let the database have so many pages at most: what SQLite does then is what it does on a full disk."""

    def limit(connection, record):
        connection.execute("PRAGMA max_page_count = %d" % pages)

    engine.dispose()
    sqlalchemy.event.listen(engine, "connect", limit)
    return lambda: (sqlalchemy.event.remove(engine, "connect", limit), engine.dispose())


def big(number):
    return Put("job", number, Job(id=number, user="u", uid=1, gid=1, spec=JobSpec(name="j%d" % number, comment="x" * 100_000)))


def test_a_full_disk_loses_only_what_it_says(watched):
    store = watched.store
    store.write([Put("counter", "n", 1)])
    store.flush()
    empty = full(store._engine, 60)
    numbers = [store.write([Put("counter", "n", 2), big(1)])]
    numbers += [number for number in (_try(store, [big(job)]) for job in range(2, 40)) if number]
    assert watched.failed.wait(60)
    first, last, error = watched.failures[0]
    assert "full" in str(error)
    assert store.durable == first - 1
    assert last == numbers[-1]
    with pytest.raises(StoreError):
        store.write([Put("counter", "n", 3)])
    kept = store.load()
    assert {row.key for row in kept if row.table == "job"} == set(range(1, store.durable))
    # Still full: small changes fit, another big one fails again and tells its own number.
    empty()
    number = store.write([big(number) for number in range(100, 110)])
    store.flush()
    assert store.durable == number
    assert number > last
    assert len(store.load()) == len(kept) + 10


def _try(store, changes):
    try:
        return store.write(changes)
    except StoreError:
        return None


def test_failing_again_and_again(watched):
    """Endings must get through as soon as there is room: each load makes the store writable again."""
    store = watched.store
    empty = full(store._engine, 40)
    for _ in range(3):
        watched.failed.clear()
        store.write([big(number) for number in range(1, 20)])
        assert watched.failed.wait(60)
        assert store.load() == []
    assert [first for first, _, _ in watched.failures] == [1, 2, 3]
    empty()
    store.write([Put("counter", "n", 1)])
    store.flush()
    assert store.durable == 4


def test_what_failed_can_be_written_later(watched):
    """The ledger forgets what a failed commit had in it: specifications and scripts are not thought to be stored."""
    store = watched.store
    empty = full(store._engine, 40)
    job = Job(id=1, user="u", uid=1, gid=1, spec=JobSpec(name="j", script_hash="s"))
    store.write([Put("job", 1, job), *(big(number) for number in range(2, 20))], {"s": b"script"})
    assert watched.failed.wait(60)
    store.load()
    empty()
    store.write([Put("job", 1, job)], {"s": b"script"})
    store.flush()
    assert store.load() == [Put("job", 1, job)]
    assert store.blob("s") == b"script"
