"""`Store`: what the rest of the broker sees of the database."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sbroker.api import HistoryQuery, Record
from sbroker.clock import Clock
from sbroker.core.effects import Del, Put
from sbroker.errors import StoreError
from sbroker.store import codec, database, live
from sbroker.store.database import Database
from sbroker.store.rows import Ledger
from sbroker.store.writer import Item, Writer


class Store:
    """One broker's hold on a database. Every method may be called from any thread; those that read block for a query.

    Order of use: `open`, `on_durable` and `on_failure`, `load`, then `write` as often as needed, `close`.
    """

    def __init__(self, found: Database, clock: Clock, store_id: str, epoch: int) -> None:
        self.store_id, self.epoch = store_id, epoch
        self._database, self._clock = found, clock
        self._writer = Writer(found, epoch)

    @classmethod
    def open(cls, address: str | os.PathLike, clock: Clock) -> Store:
        """Open the database at a path or URL, made or migrated as needed, and take its next epoch: whoever had it before may write no more.

        StoreError, with a sentence, if it cannot be used: a network file system, a newer schema, another program's tables, no access.
        """
        found = database.connect(address)
        try:
            return cls(found, clock, *database.take(found, clock.now()))
        except BaseException:
            found.close()
            raise

    def keep(self, seconds: float | None) -> None:
        """How long accounting keeps a job after its end, with its script and environment; None: for ever. What is older goes soon."""
        self._writer.keep = seconds

    # the live state

    def load(self) -> list[Put]:
        """All live rows, what others refer to first: what the core's state is made of.

        Also the way back after a failed commit: `write` works again from here on. Waits until what was queued is committed.
        StoreError if the database cannot be read.
        """
        with self._writer.still():
            ledger = Ledger()
            with self._database.reading() as cursor:
                rows = list(live.rows(cursor, self._database.statements, ledger))
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

    @property
    def full(self) -> bool:
        """The disk is full, and the reserve for what must be recorded is in use: take in nothing new."""
        return self._writer.reserve is not None and not self._writer.reserve.kept

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
        row = self._row("blob", digest)
        if row is None:
            raise StoreError("the database has no data for the hash %s" % digest)
        return zlib.decompress(row[0])

    def request(self, uid: int, request_id: str) -> int | None:
        """The job that this request of this user made, if it is on record."""
        row = self._row("request", uid, codec.plain(request_id))
        return None if row is None else row[0]

    def events(self, after: int = 0, limit: int = 1000) -> list[tuple[int, float, str, int | None, str]]:
        """Log entries with a number above `after`, oldest first: (number, time, kind, job, text)."""
        with self._database.reading() as cursor:
            cursor.execute(self._database.statements.other["events"], (after,))
            return [tuple(row) for row in cursor.fetchmany(limit)]

    def history(self, query: HistoryQuery) -> list[Record]:
        """Accounting records in the order in which they began, a requeued job with one for each run: an earlier one has a state that has
        not ended, and an end time. Takes time: call it in a thread."""
        from sbroker.store import accounting

        return accounting.history(self._database, query, self._clock.now())

    def _row(self, name: str, *parameters: Any) -> Any:
        with self._database.reading() as cursor:
            cursor.execute(self._database.statements.other[name], parameters)
            return cursor.fetchone()

    def close(self) -> None:
        """Commit what is queued, end the writer thread, close the database."""
        self._writer.close()
        self._database.close()
