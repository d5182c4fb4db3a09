"""SQLAlchemy's part in `statements`: from the tables to SQL text of a dialect."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Table, bindparam, delete, false, func, select, update
from sqlalchemy.schema import CreateIndex, CreateTable

from sbroker.store import schema
from sbroker.store.statements import COMPILED, PURGE, Statements

ONCE = frozenset({"blob", "spec", "request"})  # what such a key says never changes
FIXED = frozenset({"record", "array_id"})  # columns of a job's row that never change: their indexes need not be touched
# What leaves the live state with one key: (table, key columns).
_RETIRED = {
    "job": ((schema.job, ("id",)), (schema.run, ("job",)), (schema.step, ("job",))),
    "run": ((schema.run, ("job", "run")),),
    "step": ((schema.step, ("job", "run", "step")),),
}


def compile_all(kind: str) -> Statements:
    """All statements for the dialect "sqlite" or "postgresql"."""
    module = importlib.import_module("sqlalchemy.dialects." + kind)
    # Plain parameters: the drivers' own, "?" and "%s".
    dialect = module.dialect() if kind == "sqlite" else importlib.import_module(module.__name__ + ".psycopg").dialect(paramstyle="format")
    return _Compiler(dialect, module.insert).all()


class _Compiler:
    def __init__(self, dialect: Any, insert: Any) -> None:
        self._dialect, self._insert = dialect, insert

    def all(self) -> Statements:
        tables = [table for table in schema.metadata.sorted_tables if table is not schema.version]
        create = [self._text(CreateTable(table)) for table in schema.metadata.sorted_tables]
        indexes = sorted((index for table in tables for index in table.indexes), key=lambda index: str(index.name))
        return Statements(
            create=create + [self._text(CreateIndex(index)) for index in indexes] + [schema.LIVE_INDEX[self._dialect.name]],
            put={table.name: self._put(table) for table in tables},
            delete={table.name: self._delete(table, tuple(column.name for column in table.primary_key)) for table in tables},
            retire={name: self._retire(name) for name in _RETIRED},
            live=self._live(tables),
            orphans=self._orphans(),
            other=self._other(),
        )

    def _put(self, table: Table) -> str:
        names = [column.name for column in table.columns if column is not schema.event.c.seq]
        keys = [column.name for column in table.primary_key]
        statement = self._insert(table).values({name: bindparam(name) for name in names}).inline()
        if table.name in ONCE:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        elif table is not schema.event:
            changed = {name: statement.excluded[name] for name in names if name not in keys and name not in FIXED}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
        return self._text(statement, names)

    def _delete(self, table: Table, names: tuple[str, ...]) -> str:
        where = [table.c[name] == bindparam("k_" + name) for name in names]
        return self._text(delete(table).where(*where), ["k_" + name for name in names])

    def _retire(self, table: str) -> list[str]:
        texts = []
        for other, names in _RETIRED[table]:
            where = [other.c[name] == bindparam("k_" + name) for name in names]
            texts.append(self._text(update(other).values(live=false()).where(*where, other.c.live), ["k_" + name for name in names]))
        return texts + ([self._delete(schema.part, ("job",))] if table == "job" else [])

    def _live(self, tables: list[Table]) -> dict[str, str]:
        job, spec = schema.job, schema.spec
        texts = {
            "spec": self._text(select(spec.c.hash, spec.c.doc).where(spec.c.hash.in_(select(job.c.spec).where(job.c.live)))),
            "job": self._text(
                select(job.c.id, job.c.attempt, job.c.record, job.c.run, job.c.spec, job.c.rest, job.c.doc)
                .where(job.c.live)
                .order_by(job.c.id)
            ),
        }
        for table in tables:
            keys, value = list(table.primary_key), table.c.get("doc", table.c.get("value"))
            if value is None or table.name in texts:
                continue
            query = select(*keys, value).order_by(*keys)
            texts[table.name] = self._text(query.where(table.c.live) if "live" in table.c else query)
        return texts

    def _orphans(self) -> list[str]:
        jobs, spec, blob = select(schema.job.c.id), schema.spec, schema.blob
        gone = [delete(table).where(table.c.job.not_in(jobs)) for table in (schema.run, schema.step, schema.request)]
        gone.append(delete(spec).where(spec.c.hash.not_in(select(schema.job.c.spec))))
        gone.append(delete(blob).where(blob.c.hash.not_in(select(spec.c.script).union(select(spec.c.environ)))))
        return [self._text(statement) for statement in gone]

    def _other(self) -> dict[str, str]:
        """`guard` (number, epoch) touches no row when another broker has taken over; `purge_jobs` (time) removes some of the records that
        ended before, at most PURGE of them, `purge_events` (time) what the log says of earlier times."""
        meta, blob, job, event, request = schema.meta, schema.blob, schema.job, schema.event, schema.request
        texts = {
            "guard": self._text(update(meta).values(written=bindparam("w")).where(meta.c.epoch == bindparam("e")), ["w", "e"]),
            "purge_events": self._text(delete(event).where(event.c.time < bindparam("t")), ["t"]),
            "next_epoch": self._text(update(meta).values(epoch=meta.c.epoch + bindparam("k_one")), ["k_one"]),
            "identity": self._text(select(meta.c.store_id, meta.c.epoch)),
            "revision": self._text(select(schema.version.c.version_num)),
            "set_revision": self._text(schema.version.insert().values(version_num=bindparam("v")).inline(), ["v"]),
            "last_record": self._text(select(func.max(job.c.record))),
            "blob": self._text(select(blob.c.data).where(blob.c.hash == bindparam("h")), ["h"]),
            "request": self._text(select(request.c.job).where(request.c.uid == bindparam("u"), request.c.id == bindparam("i")), ["u", "i"]),
            "events": self._text(
                select(event.c.seq, event.c.time, event.c.kind, event.c.job, event.c.text)
                .where(event.c.seq > bindparam("a"))
                .order_by(event.c.seq),
                ["a"],
            ),
        }
        # SQLAlchemy's limit for SQLite has an offset beside it, a parameter of its own
        old = "SELECT record FROM job WHERE NOT live AND end_time < %s ORDER BY end_time LIMIT %d"
        texts["purge_jobs"] = "DELETE FROM job WHERE record IN (%s)" % old % ("?" if self._dialect.name == "sqlite" else "%s", PURGE)
        if self._dialect.name == "sqlite":
            texts["tables"] = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        else:
            texts["tables"] = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        return texts

    def _text(self, statement: Any, order: Sequence[str] = ()) -> str:
        """SQL on one line; its parameters must come in `order`."""
        found = statement.compile(dialect=self._dialect)
        names = list(getattr(found, "positiontup", None) or [])
        if names != list(order):
            raise AssertionError("parameters %s, not %s" % (names, order))
        return " ".join(str(found).split())


if __name__ == "__main__":
    COMPILED.write_text(json.dumps(msgspec.to_builtins(compile_all("sqlite")), indent=1) + "\n")
