"""The live rows, as the broker's memory wants them at its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sbroker.core.effects import Put
from sbroker.model import Job, JobSpec
from sbroker.store import codec
from sbroker.store.rows import Ledger
from sbroker.store.statements import Statements

_NUMBERS = ("counter", "seen")  # what others refer to comes first
_VALUES = ("node", "partition", "group", "machine")
_OF_JOBS = ("run", "part", "step")


def rows(cursor: Any, statements: Statements, ledger: Ledger) -> Iterator[Put]:
    """All live rows; `ledger` learns the jobs."""
    for table in _NUMBERS:
        yield from (Put(table, key, value) for key, value in _read(cursor, statements.live[table]))
    for table in _VALUES:
        yield from (Put(table, key, codec.parse(table, doc)) for key, doc in _read(cursor, statements.live[table]))
    yield from _jobs(cursor, statements, ledger)
    for table in _OF_JOBS:
        yield from (Put(table, key, codec.parse(table, doc)) for key, doc in _read(cursor, statements.live[table]))


def _read(cursor: Any, query: str) -> Iterator[tuple[Any, Any]]:
    """(key, last column) of each row; a key of several columns is a tuple."""
    cursor.execute(query)
    for row in cursor:
        yield row[0] if len(row) == 2 else tuple(row[:-1]), row[-1]


def _jobs(cursor: Any, statements: Statements, ledger: Ledger) -> Iterator[Put]:
    specs = {digest: codec.parse("spec", doc) for digest, doc in _read(cursor, statements.live["spec"])}
    cursor.execute(statements.other["last_record"])
    ledger.begin(cursor.fetchone()[0] or 0)
    cursor.execute(statements.live["job"])
    # Of a job that was requeued only the row of the last attempt is live.
    for number, attempt, record, run, digest, rest, doc in cursor:
        value = build_job(doc, rest, specs[digest])
        ledger.learn(value, attempt, record, run, digest)
        yield Put("job", number, value)


def build_job(doc: str, rest: str, spec: JobSpec) -> Job:
    """The value of a row of `job`, whose specification and gapless array rest are stored apart."""
    value = codec.parse("job", doc)
    if rest:
        return msgspec.structs.replace(value, spec=spec, array_pending=codec.parse_rest(rest))
    return msgspec.structs.replace(value, spec=spec)
