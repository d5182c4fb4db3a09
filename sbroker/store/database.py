"""One database: where it is, how it is opened, and that its tables are of this release."""

from __future__ import annotations

import os
import uuid
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url, select, update
from sqlalchemy.exc import SQLAlchemyError

from sbroker.errors import StoreError
from sbroker.store import schema
from sbroker.store.place import refuse_network


class StaleEpoch(StoreError):
    """Another broker has taken this database over; this one must stop."""


def connect(address: str | os.PathLike) -> Engine:
    """An engine for a path or an SQLAlchemy URL (sqlite, postgresql). StoreError for what cannot hold state."""
    text = os.fspath(address)
    if "://" not in text:
        return _sqlite(text)
    url = make_url(text)
    kind = url.get_backend_name()
    if kind == "sqlite":
        if not url.database:
            raise StoreError("%s names no file" % text)
        return _sqlite(url.database)
    if kind != "postgresql":
        raise StoreError("store: %s is not a database that sbroker knows: sqlite, or postgresql://USER@HOST/NAME" % kind)
    try:
        return sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"), paramstyle="format", pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreError("a PostgreSQL store needs the package psycopg: pip install 'sbroker[postgresql]'") from error


def _sqlite(path: str) -> Engine:
    path = os.path.abspath(path)
    refuse_network(path)
    try:
        # Scripts and environments are in there: nobody else reads it. The files beside it (-wal, -shm) get the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError("cannot open the database %s: %s" % (path, error.strerror)) from error
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=path), connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose the last commits when the power fails

    return engine


def begin(connection: Connection) -> None:
    """Start a writing transaction now: the driver of SQLite would put it off until the first row changes, and leave tables out of it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def sentence(engine: Engine, error: SQLAlchemyError) -> str:
    """What went wrong and where, without parameters and passwords."""
    cause = getattr(error, "orig", None) or error
    where = engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string(hide_password=True)
    return "the database %s cannot be used: %s" % (where, str(cause).strip().splitlines()[0])


def take(engine: Engine, now: float) -> tuple[str, int]:
    """Make or migrate the tables, take the next epoch: (store id, epoch). StoreError, with a sentence, if that cannot be."""
    try:
        with engine.connect() as connection:
            begin(connection)
            found = revision(connection)
            if found is None:
                schema.metadata.create_all(connection, checkfirst=False)
                connection.execute(schema.version.insert().values(version_num=schema.HEAD))
                connection.execute(schema.meta.insert().values(id=1, store_id=uuid.uuid4().hex, epoch=0, created=now, written=0))
            elif found != schema.HEAD:
                connection.rollback()
                upgrade(engine, found)
                begin(connection)
            connection.execute(update(schema.meta).values(epoch=schema.meta.c.epoch + 1))
            row = connection.execute(select(schema.meta.c.store_id, schema.meta.c.epoch)).one()
            connection.commit()
            return row.store_id, row.epoch
    except SQLAlchemyError as error:
        raise StoreError(sentence(engine, error)) from error


def revision(connection: Connection) -> str | None:
    """Revision of the tables, None for an empty database. StoreError for a database of something else."""
    names = set(sqlalchemy.inspect(connection).get_table_names())
    if schema.version.name in names:
        found = connection.execute(select(schema.version.c.version_num)).scalar()
        if found is not None and schema.meta.name in names:
            return found
    if names:
        raise StoreError("the database holds tables of another program (%s): give sbroker one of its own" % ", ".join(sorted(names)[:3]))
    return None


def upgrade(engine: Engine, found: str) -> None:
    """Bring tables of an older release to this one's. StoreError if they are of a newer one."""
    if found not in schema.REVISIONS:
        raise StoreError(
            "the database was written by a newer sbroker (schema %s, this release knows up to %s): install that release, "
            "or restore the backup made before it" % (found, schema.HEAD)
        )
    from sbroker.store import migrate  # Alembic costs 0.3 s: only a migration pays for it

    migrate.upgrade(engine, found)
