"""`Store`: what the rest of the broker sees of the database."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from sbroker.api import HistoryQuery, Record
from sbroker.clock import Clock
from sbroker.core.effects import Del, Put
from sbroker.errors import StoreError
from sbroker.store import accounting, codec, database, live, schema
from sbroker.store.rows import Ledger
from sbroker.store.writer import Item, Writer


class Store:
    """One broker's hold on a database. Every method may be called from any thread; those that read block for a query.

    Order of use: `open`, `on_durable` and `on_failure`, `load`, then `write` as often as needed, `close`.
    """

    def __init__(self, engine: Engine, clock: Clock, store_id: str, epoch: int) -> None:
        self.store_id, self.epoch = store_id, epoch
        self._engine, self._clock = engine, clock
        self._writer = Writer(engine, clock, epoch)

    @classmethod
    def open(cls, address: str | os.PathLike, clock: Clock) -> Store:
        """Open the database at a path or URL, made or migrated as needed, and take its next epoch: whoever had it before may write no more.

        StoreError, with a sentence, if it cannot be used: a network file system, a newer schema, another program's tables, no access.
        """
        engine = database.connect(address)
        try:
            return cls(engine, clock, *database.take(engine, clock.now()))
        except BaseException:
            engine.dispose()
            raise

    # the live state

    def load(self) -> list[Put]:
        """All live rows, what others refer to first: what the core's state is made of.

        Also the way back after a failed commit: `write` works again from here on. Waits until what was queued is committed.
        StoreError if the database cannot be read.
        """
        with self._writer.still():
            ledger = Ledger()
            try:
                with self._engine.connect() as connection:
                    rows = list(live.rows(connection, ledger))
            except SQLAlchemyError as error:
                raise StoreError(database.sentence(self._engine, error)) from error
            self._writer.restart(ledger)
            return rows

    def write(
        self, changes: Iterable[Put | Del], blobs: Mapping[str, bytes] | None = None, events: Iterable[tuple[str, int | None, str]] = ()
    ) -> int:
        """Queue one indivisible change; its number, which `durable` reaches when it is committed. Returns at once.

        `blobs`: hash → data that the changes refer to (those known already cost nothing); `events`: (kind, job or None, text) for the
        log. The values must not be changed afterwards. StoreError after a failed commit until `load`; StaleEpoch when another broker
        has the database.
        """
        return self._writer.add(Item(list(changes), dict(blobs) if blobs else {}, list(events), self._clock.now()))

    @property
    def durable(self) -> int:
        """Number of the last change that is committed: all smaller ones are, but those that a failure was told of."""
        return self._writer.durable

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """`callback(number)` after each commit, from the writer thread."""
        self._writer.durable_callback = callback

    def on_failure(self, callback: Callable[[int, int, StoreError], None]) -> None:
        """`callback(first, last, error)` from the writer thread: changes `first` to `last` are lost, and so is the memory that holds them.

        Call `load` for the state that the database has. With StaleEpoch there is no way back: stop.
        """
        self._writer.failure_callback = callback

    def flush(self) -> None:
        """Wait until all that was queued is committed or lost."""
        with self._writer.still():
            pass

    # what is kept by hash, requests, the log

    def blob(self, digest: str) -> bytes:
        """The data stored under this hash, queued ones included. StoreError if there is none."""
        queued = self._writer.queued_blob(digest)
        if queued is not None:
            return queued
        data = self._scalar(select(schema.blob.c.data).where(schema.blob.c.hash == digest))
        if data is None:
            raise StoreError("the database has no data for the hash %s" % digest)
        return zlib.decompress(data)

    def request(self, uid: int, request_id: str) -> int | None:
        """The job that this request of this user made, if it is on record."""
        request = schema.request
        return self._scalar(select(request.c.job).where(request.c.uid == uid, request.c.id == codec.plain(request_id)))

    def events(self, after: int = 0, limit: int = 1000) -> list[tuple[int, float, str, int | None, str]]:
        """Log entries with a number above `after`, oldest first: (number, time, kind, job, text)."""
        event = schema.event
        query = select(event.c.seq, event.c.time, event.c.kind, event.c.job, event.c.text)
        return self._read(
            lambda connection: [
                tuple(row) for row in connection.execute(query.where(event.c.seq > after).order_by(event.c.seq).limit(limit))
            ]
        )

    def history(self, query: HistoryQuery) -> list[Record]:
        """Accounting records in the order in which they began, a requeued job with one for each run: an earlier one has a state that has
        not ended, and an end time. Takes time: call it in a thread."""
        return self._read(lambda connection: accounting.history(connection, query, self._clock.now()))

    def _scalar(self, query: Any) -> Any:
        return self._read(lambda connection: connection.execute(query).scalar())

    def _read(self, work: Callable[[Any], Any]) -> Any:
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise StoreError(database.sentence(self._engine, error)) from error

    def close(self) -> None:
        """Commit what is queued, end the writer thread, close the database."""
        self._writer.close()
        self._engine.dispose()
