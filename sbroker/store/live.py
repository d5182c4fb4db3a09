"""The live rows, as the broker's memory wants them at its start."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection, Table, func, select

from sbroker.core.effects import Put
from sbroker.model import Job, JobSpec
from sbroker.store import codec, schema
from sbroker.store.rows import Ledger


def rows(connection: Connection, ledger: Ledger) -> Iterator[Put]:
    """All live rows; `ledger` learns the jobs."""
    for table in (schema.counter, schema.seen):
        for row in connection.execute(select(table)):
            yield Put(table.name, row[0] if len(row) == 2 else tuple(row[:-1]), row[-1])
    for table in (schema.node, schema.partition, schema.group, schema.machine):
        yield from _values(connection, table)
    yield from _jobs(connection, ledger)
    for table in (schema.run, schema.part, schema.step):
        yield from _values(connection, table)


def _values(connection: Connection, table: Table) -> Iterator[Put]:
    keys = list(table.primary_key)
    query = select(*keys, table.c.doc).order_by(*keys)
    if "live" in table.c:
        query = query.where(table.c.live)
    for row in connection.execute(query):
        yield Put(table.name, row[0] if len(keys) == 1 else tuple(row[:-1]), codec.parse(table.name, row[-1]))


def _jobs(connection: Connection, ledger: Ledger) -> Iterator[Put]:
    job, spec = schema.job, schema.spec
    specs = {
        row.hash: codec.parse("spec", row.doc)
        for row in connection.execute(select(spec.c.hash, spec.c.doc).where(spec.c.hash.in_(select(job.c.spec).where(job.c.live))))
    }
    ledger.begin(connection.execute(select(func.coalesce(func.max(job.c.record), 0))).scalar_one())
    # Of a job that was requeued only the row of the last attempt is live.
    for row in connection.execute(
        select(job.c.id, job.c.attempt, job.c.record, job.c.run, job.c.spec, job.c.rest, job.c.doc).where(job.c.live).order_by(job.c.id)
    ):
        value = build_job(row.doc, row.rest, specs[row.spec])
        ledger.learn(value, row.attempt, row.record, row.run, row.spec)
        yield Put("job", row.id, value)


def build_job(doc: str, rest: str, spec: JobSpec) -> Job:
    """The value of a row of `job`, whose specification and gapless array rest are stored apart."""
    value = codec.parse("job", doc)
    if rest:
        return msgspec.structs.replace(value, spec=spec, array_pending=codec.parse_rest(rest))
    return msgspec.structs.replace(value, spec=spec)
