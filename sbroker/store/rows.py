"""Changes of the live state → rows of the tables: what one commit writes.

A `Ledger` remembers of each live job which attempt it is at, so that a requeued job leaves a record of the run before. It belongs to the
writer thread; after a failed commit it is made anew from the database.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from sbroker.core.effects import Del, Put
from sbroker.model import Job, JobSpec
from sbroker.states import JobState
from sbroker.store import codec

NO_SPEC = JobSpec(name="")  # stands in a job's row for the specification, which lies in its own table


class Batch:
    """Rows to write, by table: `puts` key → row in the order of the table's columns; `retired` keys that leave the live state but stay
    on record; `dels` keys that go. Puts are written first."""

    def __init__(self) -> None:
        self.puts: dict[str, dict[Any, tuple]] = {}
        self.retired: dict[str, dict[Any, None]] = {}
        self.dels: dict[str, dict[Any, None]] = {}
        self.events: list[tuple] = []

    def put(self, table: str, key: Any, row: tuple) -> None:
        self.puts.setdefault(table, {})[key] = row
        for gone in (self.dels, self.retired):
            if table in gone:
                gone[table].pop(key, None)

    def delete(self, table: str, key: Any) -> None:
        if table in self.puts:
            self.puts[table].pop(key, None)
        self.dels.setdefault(table, {})[key] = None


class _Known:
    """What the ledger knows of one live job: its value as last written, and of its record: attempt, number, the run before it, and the
    hash of the job's specification."""

    __slots__ = ("after", "attempt", "job", "record", "spec_hash")

    def __init__(self, job: Job, attempt: int, record: int, after: int, spec_hash: str) -> None:
        self.job, self.attempt, self.record, self.after, self.spec_hash = job, attempt, record, after, spec_hash


class Ledger:
    def __init__(self) -> None:
        self._jobs: dict[int, _Known] = {}
        self._record = 0  # number of the last record
        self._specs: set[str] = set()  # hashes that the database has
        self._blobs: set[str] = set()

    def begin(self, record: int) -> None:
        """The database has records up to this number."""
        self._record = record

    def learn(self, job: Job, attempt: int, record: int, run: int, spec_hash: str) -> None:
        """Take note of a live job read from the database; `run` as its row has it."""
        self._jobs[job.id] = _Known(job, attempt, record, job.run if run < 0 else run - 1, spec_hash)
        self._specs.add(spec_hash)

    def _next(self) -> int:
        self._record += 1
        return self._record

    def forget(self) -> None:
        """The database may have lost blobs and specifications that no job needs."""
        self._blobs.clear()
        self._specs.clear()

    def add_blobs(self, batch: Batch, blobs: dict[str, bytes]) -> None:
        for digest, data in blobs.items():
            if digest not in self._blobs:
                self._blobs.add(digest)
                batch.put("blob", digest, (digest, zlib.compress(data, 1)))

    def add(self, batch: Batch, changes: Iterable[Put | Del], now: float) -> None:
        """Translate `changes`, in order, into rows of `batch`. `now` ends the record of a run whose end nobody told."""
        for change in changes:
            table, key = change.table, change.key
            if isinstance(change, Put):
                if table == "job":
                    self._put_job(batch, change.value, now)
                else:
                    batch.put(table, key, _row(table, key, change.value))
            elif table == "job":
                self._jobs.pop(key, None)
                batch.retired.setdefault("job", {})[key] = None
            elif table in ("run", "step"):
                batch.retired.setdefault(table, {})[key] = None
            else:
                batch.delete(table, key)

    def _put_job(self, batch: Batch, job: Job, now: float) -> None:
        known = self._jobs.get(job.id)
        if known is None:
            known = self._jobs[job.id] = _Known(job, 0, self._next(), -1, self._spec(batch, job.spec))
            if job.request_id:
                batch.put("request", (job.uid, job.request_id), (job.uid, codec.plain(job.request_id), job.id))
        else:
            if known.job.spec is not job.spec:
                known.spec_hash = self._spec(batch, job.spec)
            if job.state is JobState.PENDING and known.job.state is not JobState.PENDING:
                # Requeued: what the job was remains as the record of its last run.
                record = known.job if known.job.end_time is not None else msgspec.structs.replace(known.job, end_time=now)
                batch.put("job", (job.id, known.attempt), _job_row(record, known, False))
                known.attempt, known.record, known.after = known.attempt + 1, self._next(), known.job.run
            known.job = job
        batch.put("job", (job.id, known.attempt), _job_row(job, known, True))

    def _spec(self, batch: Batch, spec: JobSpec) -> str:
        """The hash under which `spec` is stored; queues its row unless the database has it."""
        doc = codec.dump(spec)
        digest = hashlib.blake2b(doc.encode(), digest_size=16).hexdigest()
        if digest not in self._specs:
            self._specs.add(digest)
            batch.put("spec", digest, (digest, codec.plain(spec.script_hash), codec.plain(spec.environ_hash), doc))
        return digest


def _job_row(job: Job, known: _Known, live: bool) -> tuple:
    rest, pending = codec.dump_rest(job.array_pending), job.array_pending
    doc = codec.dump(msgspec.structs.replace(job, spec=NO_SPEC, array_pending=() if rest else pending))
    plain = codec.plain
    return (
        job.id,
        known.attempt,
        known.record,
        job.array_id,
        job.array_task,
        job.uid,
        plain(job.user),
        job.account and plain(job.account),
        job.qos and plain(job.qos),
        plain(job.partition),
        plain(job.spec.name),
        job.state.value,
        job.submit_time,
        job.start_time,
        job.end_time,
        job.run if job.run > known.after else -1,
        live,
        known.spec_hash,
        rest,
        doc,
    )


def _row(table: str, key: Any, value: Any) -> tuple:
    """The row of any table but `job`: key columns, `live` where there is one, value."""
    head = key if isinstance(key, tuple) else (key,)
    if table in ("seen", "counter"):
        return (*head, value)
    if table in ("run", "step"):
        return (*head, True, codec.dump(value))
    return (*head, codec.dump(value))
