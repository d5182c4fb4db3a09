"""One database: where it is, how it is opened and written to, and that its tables are of this release."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sbroker.errors import StoreError
from sbroker.store import statements
from sbroker.store.place import refuse_network

if TYPE_CHECKING:
    from sqlalchemy import Engine

REVISIONS = ("0001",)  # of the tables, oldest first; the last one is this release's
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # in WAL mode NORMAL may lose the last commits when the power fails
    "PRAGMA journal_size_limit = 16777216",  # what one huge change needed is given back
)


class StaleEpoch(StoreError):
    """Another broker has taken this database over; this one must stop."""


class Database:
    """Two connections of the driver, one to write and one to read, made when needed and given up after any error.

    `errors`: what the driver raises. `engine` is SQLAlchemy's, for what is asked rarely.
    """

    def __init__(self, kind: str, where: str, url: str, connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self.kind, self.where, self.errors = kind, where, errors
        self.statements = _statements(kind)
        self._url, self._connect = url, connect
        self._writer = _Connection(connect, errors)
        self._reader = _Connection(connect, errors)
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        """A cursor in a transaction that is committed at the end of the block, or undone. StoreError for what the driver raises."""
        with self._sentences(), self._writer.transaction("BEGIN IMMEDIATE" if self.kind == "sqlite" else "SELECT 1") as cursor:
            yield cursor

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        """A cursor that sees one moment."""
        begin = "BEGIN" if self.kind == "sqlite" else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        with self._sentences(), self._reader.transaction(begin) as cursor:
            yield cursor

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except self.errors as error:
            raise StoreError(self.sentence(error)) from error

    def sentence(self, error: Exception) -> str:
        """What went wrong and where, without a password."""
        cause = getattr(error, "orig", None) or error
        return "the database %s cannot be used: %s" % (self.where, (str(cause).strip() or type(cause).__name__).splitlines()[0])

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            import sqlalchemy  # a fifth of a second, which the first answer of a cold broker does not have

            connect = self._connect
            self._engine = sqlalchemy.create_engine(
                self._url, creator=lambda: connect(), paramstyle="qmark" if self.kind == "sqlite" else "format"
            )
        return self._engine

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        if self._engine is not None:
            self._engine.dispose()


class _Connection:
    def __init__(self, connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self._connect, self._errors = connect, errors
        self._connection: Any = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def transaction(self, begin: str) -> Iterator[Any]:
        with self._lock:
            cursor = self._begin(begin)
            try:
                yield cursor
                self._connection.commit()
            except BaseException:
                self._drop()
                raise
            cursor.close()

    def _begin(self, begin: str) -> Any:
        if self._connection is not None:
            try:
                cursor = self._connection.cursor()
                cursor.execute(begin)
                return cursor
            except self._errors:
                self._drop()  # a server that was restarted meanwhile: nothing was said on this connection yet
        self._connection = self._connect()
        cursor = self._connection.cursor()
        cursor.execute(begin)
        return cursor

    def _drop(self) -> None:
        """Closing undoes what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*self._errors):
                connection.close()

    def close(self) -> None:
        with self._lock:
            self._drop()


def _statements(kind: str) -> statements.Statements:
    """Those of "sqlite" or "postgresql"."""
    if kind == "sqlite":
        return statements.compiled()
    from sbroker.store import compiling  # with SQLAlchemy

    return compiling.compile_all(kind)


def connect(address: str | os.PathLike) -> Database:
    """The database at a path or an URL (sqlite, postgresql). StoreError for what cannot hold state."""
    text = os.fspath(address)
    kind, separator, rest = text.partition("://")
    if not separator:
        return _sqlite(text)
    if kind == "sqlite":
        if not rest.lstrip("/"):
            raise StoreError("%s names no file" % text)
        return _sqlite(rest.removeprefix("/"))
    if kind not in ("postgresql", "postgres"):
        raise StoreError("store: %s is not a database that sbroker knows: sqlite, or postgresql://USER@HOST/NAME" % kind)
    try:
        import psycopg
    except ImportError as error:
        raise StoreError("a PostgreSQL store needs the package psycopg: pip install 'sbroker[postgres]'") from error
    url = "postgresql://" + rest
    user, at, host = rest.rpartition("@")
    where = "postgresql://" + (user.partition(":")[0] + at + host if at else rest)
    return Database("postgresql", where, "postgresql+psycopg://", lambda: psycopg.connect(url), (psycopg.Error, OSError))


def _sqlite(path: str) -> Database:
    path = os.path.abspath(path)
    refuse_network(path)
    try:
        # Scripts and environments are in there: nobody else reads it. The files beside it (-wal, -shm) get the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError("cannot open the database %s: %s" % (path, error.strerror)) from error

    def make() -> sqlite3.Connection:
        # isolation_level None: transactions begin when we say so, and hold the making of tables too
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            for pragma in PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return Database("sqlite", path, "sqlite://", make, (sqlite3.Error,))


def is_full(error: StoreError) -> bool:
    """Whether a change failed for want of room (SQLite calls a used up quota an I/O error)."""
    return isinstance(error.__cause__, sqlite3.OperationalError) and any(words in str(error.__cause__) for words in ("is full", "disk I/O"))


def take(database: Database, now: float) -> tuple[str, int]:
    """Make or migrate the tables, take the next epoch: (store id, epoch). StoreError, with a sentence, if that cannot be."""
    with database.writing() as cursor:
        found = _revision(database, cursor)
        if found is None:
            for statement in database.statements.create:
                cursor.execute(statement)
            cursor.execute(database.statements.other["set_revision"], (REVISIONS[-1],))
            cursor.execute(database.statements.put["meta"], (1, uuid.uuid4().hex, 0, now, 0))
    if found not in (None, REVISIONS[-1]):
        if found not in REVISIONS:
            raise StoreError(
                "the database %s was written by a newer sbroker (schema %s, this release knows up to %s): install that release, "
                "or restore the backup made before it" % (database.where, found, REVISIONS[-1])
            )
        from sbroker.store import migrate  # Alembic costs 0.3 s: only a migration pays for it

        migrate.upgrade(database, str(found), REVISIONS[-1])
    with database.writing() as cursor:
        cursor.execute(database.statements.other["next_epoch"], (1,))
        cursor.execute(database.statements.other["identity"])
        store_id, epoch = cursor.fetchone()
        return store_id, epoch


def _revision(database: Database, cursor: Any) -> str | None:
    """Revision of the tables, None for an empty database. StoreError for a database of something else."""
    cursor.execute(database.statements.other["tables"])
    names = {name for (name,) in cursor.fetchall()}
    if {"alembic_version", "meta"} <= names:
        cursor.execute(database.statements.other["revision"])
        row = cursor.fetchone()
        if row is not None:
            return row[0]
    if names:
        raise StoreError("the database holds tables of another program (%s): give sbroker one of its own" % ", ".join(sorted(names)[:3]))
    return None
