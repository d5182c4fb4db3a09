"""What sacct asks: records of every run of every job, whether live or long gone."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, and_, or_, select
from sqlalchemy.exc import SQLAlchemyError

from sbroker.api import HistoryQuery, Record
from sbroker.errors import StoreError
from sbroker.model import Run, Step
from sbroker.store import codec, schema
from sbroker.store.database import Database
from sbroker.store.live import build_job

_CHUNK = 500  # ids in one query


def history(database: Database, query: HistoryQuery, now: float) -> list[Record]:
    """Records that `query` selects, in the order in which they began. An open period reaches from the beginning to `now`.

    What a requeued job was before has a state that has not ended, and an end time; its run says why. StoreError if they cannot be read.
    """
    try:
        with database.engine.connect() as connection:
            return _records(connection, query, now)
    except SQLAlchemyError as error:
        raise StoreError(database.sentence(error)) from error


def _records(connection: Connection, query: HistoryQuery, now: float) -> list[Record]:
    job = schema.job
    chosen = select(job.c.id, job.c.run, job.c.spec, job.c.rest, job.c.doc).where(*_conditions(query, now))
    rows = connection.execute(chosen.order_by(job.c.record)).all()
    specs = {}
    for hashes in _chunks(sorted({row.spec for row in rows})):
        for digest, doc in connection.execute(select(schema.spec.c.hash, schema.spec.c.doc).where(schema.spec.c.hash.in_(hashes))):
            specs[digest] = codec.parse("spec", doc)
    jobs = [(row.run, build_job(row.doc, row.rest, specs[row.spec])) for row in rows]
    if query.nodes:
        wanted = frozenset(query.nodes)
        jobs = [(number, value) for number, value in jobs if any(share.node in wanted for share in value.nodes)]
    runs, steps = _runs(connection, [value.id for _, value in jobs], query.steps)
    # The row's number of a run and not the value's: a job that waits again still carries the one of its last run.
    return [Record(job=value, run=runs.get((value.id, number)), steps=tuple(steps.get((value.id, number), ()))) for number, value in jobs]


def _runs(connection: Connection, ids: list[int], with_steps: bool) -> tuple[dict[tuple[int, int], Run], dict[tuple[int, int], list[Step]]]:
    runs: dict[tuple[int, int], Run] = {}
    steps: dict[tuple[int, int], list[Step]] = {}
    run, step = schema.run, schema.step
    for some in _chunks(sorted(set(ids))):
        for row in connection.execute(select(run.c.job, run.c.run, run.c.doc).where(run.c.job.in_(some))):
            runs[row.job, row.run] = codec.parse("run", row.doc)
        if with_steps:
            found = select(step.c.job, step.c.run, step.c.doc).where(step.c.job.in_(some)).order_by(step.c.job, step.c.run, step.c.step)
            for row in connection.execute(found):
                steps.setdefault((row.job, row.run), []).append(codec.parse("step", row.doc))
    return runs, steps


def _conditions(query: HistoryQuery, now: float) -> Iterator[ColumnElement[bool]]:
    job = schema.job
    if query.jobs:
        yield or_(job.c.id.in_(query.jobs), job.c.array_id.in_(query.jobs))
    for column, wanted in (
        (job.c.uid, query.uids),
        (job.c.account, query.accounts),
        (job.c.partition, query.partitions),
        (job.c.name, query.names),
    ):
        if wanted:
            yield column.in_([codec.plain(value) if isinstance(value, str) else value for value in wanted])
    period = query.start is not None or query.end is not None
    start, end = query.start or 0.0, now if query.end is None else query.end
    if query.states:
        yield or_(*(_in_state(state, period, start, end) for state in query.states))
    elif period:
        yield and_(job.c.submit_time <= end, or_(job.c.end_time.is_(None), job.c.end_time >= start))


def _in_state(state: str, period: bool, start: float, end: float) -> ColumnElement[bool]:
    """Jobs that are in `state`; with a period, those that were in it at some time of the period."""
    job = schema.job
    if not period:
        return job.c.state == state
    if state == "PENDING":
        return and_(
            job.c.submit_time <= end,
            or_(job.c.start_time >= start, and_(job.c.start_time.is_(None), or_(job.c.end_time.is_(None), job.c.end_time >= start))),
        )
    if state == "RUNNING":
        return and_(job.c.run >= 0, job.c.start_time <= end, or_(job.c.end_time.is_(None), job.c.end_time >= start))
    if state == "SUSPENDED":
        return and_(job.c.state == state, job.c.start_time <= end)
    return and_(job.c.state == state, job.c.end_time >= start, job.c.end_time <= end)


def _chunks(values: list) -> Iterator[list]:
    for at in range(0, len(values), _CHUNK):
        yield values[at : at + _CHUNK]
