"""The SQL of the live state and of commits, as `compiling` makes it from `schema`.

For SQLite it is compiled beforehand (sqlite.json, made by ``python -m sbroker.store.compiling``, compared by a test): a cold broker
answers before it could have imported SQLAlchemy. PostgreSQL's is compiled at the start.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

PURGE = 5000  # records that leave accounting in one transaction
COMPILED = Path(__file__).with_name("sqlite.json")


class Statements(msgspec.Struct, frozen=True):
    """SQL texts with positional parameters: `put`, `delete`, `retire` take one row's as a tuple (all columns; key columns)."""

    create: list[str]  # the tables, in an empty database
    put: dict[str, str]
    delete: dict[str, str]
    retire: dict[str, list[str]]  # a job takes its runs and steps along, and its parts are removed
    live: dict[str, str]  # what `live` reads, by table: keys, then the value
    orphans: list[str]  # what belongs to no record of a job any more is removed, in this order
    other: dict[str, str]


def compiled() -> Statements:
    """SQLite's."""
    return msgspec.json.decode(COMPILED.read_bytes(), type=Statements)
