"""SQL text of what a commit does, made by SQLAlchemy for the dialect when first needed: a commit only hands tuples to the driver."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

from sqlalchemy import Table, bindparam, delete, false, update
from sqlalchemy.engine import Dialect

from sbroker.store import schema

ONCE = frozenset({"blob", "spec", "request"})  # what such a key says never changes
FIXED = frozenset({"record", "array_id"})  # columns of a job's row that never change: their indexes need not be touched
# What leaves the live state with one key: (table, key columns).
_RETIRED = {
    "job": ((schema.job, ("id",)), (schema.run, ("job",)), (schema.step, ("job",))),
    "run": ((schema.run, ("job", "run")),),
    "step": ((schema.step, ("job", "run", "step")),),
}


class Statements:
    """Each text takes the parameters of one row as a tuple: a row's columns in order to put, key columns to delete or retire."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._made: dict[tuple[str, str], list[str]] = {}

    def put(self, table: str) -> str:
        return self._get("put", table)[0]

    def delete(self, table: str) -> str:
        return self._get("delete", table)[0]

    def retire(self, table: str) -> list[str]:
        """Several: a job takes its runs and steps along, and its parts are removed."""
        return self._get("retire", table)

    @cached_property
    def guard(self) -> str:
        """Parameters: number of the last change, epoch. Touches no row when another broker has taken over."""
        meta = schema.meta
        return self._text(update(meta).values(written=bindparam("w")).where(meta.c.epoch == bindparam("e")), ["w", "e"])

    def _get(self, what: str, table: str) -> list[str]:
        if (what, table) not in self._made:
            self._made[what, table] = getattr(self, "_" + what)(schema.metadata.tables[table])
        return self._made[what, table]

    def _put(self, table: Table) -> list[str]:
        insert = importlib.import_module("sqlalchemy.dialects." + self._dialect.name).insert  # each has its own, for ON CONFLICT
        names = [column.name for column in table.columns if column is not schema.event.c.seq]
        keys = [column.name for column in table.primary_key]
        statement: Any = insert(table).values({name: bindparam(name) for name in names}).inline()
        if table.name in ONCE:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        elif table is not schema.event:
            statement = statement.on_conflict_do_update(
                index_elements=keys, set_={name: statement.excluded[name] for name in names if name not in keys and name not in FIXED}
            )
        return [self._text(statement, names)]

    def _delete(self, table: Table, keys: tuple[str, ...] = ()) -> list[str]:
        names = keys or tuple(column.name for column in table.primary_key)
        return [
            self._text(delete(table).where(*(table.c[name] == bindparam("k_" + name) for name in names)), ["k_" + name for name in names])
        ]

    def _retire(self, table: Table) -> list[str]:
        texts = []
        for other, names in _RETIRED[table.name]:
            where = [other.c[name] == bindparam("k_" + name) for name in names]
            texts.append(self._text(update(other).values(live=false()).where(*where, other.c.live), ["k_" + name for name in names]))
        return texts + (self._delete(schema.part, ("job",)) if table is schema.job else [])

    def _text(self, statement: Any, order: list[str]) -> str:
        """SQL with positional parameters, which must come in `order`."""
        compiled = statement.compile(dialect=self._dialect)
        if list(compiled.positiontup) != order:
            raise AssertionError("parameters %s, not %s" % (compiled.positiontup, order))
        return str(compiled)
