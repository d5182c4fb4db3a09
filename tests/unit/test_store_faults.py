"""What a crash or a full disk leaves: a prefix of what was written, and everything that was called durable."""

import os
import random
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from sbroker.core.effects import Put
from sbroker.errors import StoreError
from sbroker.model import Job, JobSpec
from sbroker.store import Store, database
from sbroker.store.reserve import Reserve


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
from sbroker.store import Store, database
from sbroker.store.reserve import Reserve

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


@pytest.fixture
def full(watched, monkeypatch):
    """`full(pages)`: from now on the database has so many pages at most, and SQLite does what it does on a full disk. None: no end."""
    pragmas = database.PRAGMAS

    def limit(pages):
        monkeypatch.setattr(database, "PRAGMAS", pragmas if pages is None else (*pragmas, "PRAGMA max_page_count = %d" % pages))
        watched.store._database.close()

    return limit


def big(number):
    return Put("job", number, Job(id=number, user="u", uid=1, gid=1, spec=JobSpec(name="j%d" % number, comment="x" * 100_000)))


def test_a_full_disk_loses_only_what_it_says(watched, full):
    store = watched.store
    store.write([Put("counter", "n", 1)])
    store.flush()
    full(60)
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
    full(None)
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


def test_endings_are_recorded_while_the_disk_is_full(watched, monkeypatch):
    """The reserve is given back, so that the next commits have room; and taken again when there is more."""
    store, reserve = watched.store, watched.store._writer.reserve
    store.write([Put("counter", "n", 1)])
    store.write([Put("counter", "n", 2)])
    store.flush()
    store.close()
    assert os.stat(reserve._path).st_size == Reserve(reserve._path)._size
    again = Watched(store._database.where)
    again.store.write([Put("counter", "n", 3)])
    again.store.flush()
    monkeypatch.setattr(database, "PRAGMAS", (*database.PRAGMAS, "PRAGMA max_page_count = 40"))
    again.store._database.close()
    again.store.write([big(number) for number in range(1, 20)])
    assert again.failed.wait(60)
    again.store.load()
    assert again.store.full
    assert not os.path.exists(reserve._path)
    again.store.write([Put("counter", "n", 4)])
    again.store.flush()
    assert again.store.durable == 3
    again.store.close()


@pytest.mark.parametrize(("room", "kept"), [(10 << 20, False), (20 << 20, True)])
def test_a_reserve_is_taken_only_where_it_is_not_missed(tmp_path, monkeypatch, room, kept):
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=room, f_frsize=1))
    reserve = Reserve(str(tmp_path / "reserve"))
    reserve.keep(100.0)
    assert reserve.kept is kept
    reserve.give_up()
    reserve.keep(105.0)
    assert not reserve.kept
    reserve.keep(111.0)
    assert reserve.kept is kept


def test_failing_again_and_again(watched, full):
    """Endings must get through as soon as there is room: each load makes the store writable again."""
    store = watched.store
    full(40)
    for _ in range(3):
        watched.failed.clear()
        store.write([big(number) for number in range(1, 20)])
        assert watched.failed.wait(60)
        assert store.load() == []
    assert [first for first, _, _ in watched.failures] == [1, 2, 3]
    full(None)
    store.write([Put("counter", "n", 1)])
    store.flush()
    assert store.durable == 4


def test_what_failed_can_be_written_later(watched, full):
    """The ledger forgets what a failed commit had in it: specifications and scripts are not thought to be stored."""
    store = watched.store
    full(40)
    job = Job(id=1, user="u", uid=1, gid=1, spec=JobSpec(name="j", script_hash="s"))
    store.write([Put("job", 1, job), *(big(number) for number in range(2, 20))], {"s": b"script"})
    assert watched.failed.wait(60)
    store.load()
    full(None)
    store.write([Put("job", 1, job)], {"s": b"script"})
    store.flush()
    assert store.load() == [Put("job", 1, job)]
    assert store.blob("s") == b"script"
