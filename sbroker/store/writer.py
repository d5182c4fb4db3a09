"""The writer thread: takes all that has queued, makes rows of it, commits them in one transaction."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sbroker.core.effects import Del, Put
from sbroker.errors import StoreError
from sbroker.store import codec
from sbroker.store.database import Database, StaleEpoch, is_full
from sbroker.store.reserve import Reserve
from sbroker.store.rows import Batch, Ledger
from sbroker.store.statements import PURGE

log = logging.getLogger("sbroker.store")

PURGE_EVERY = 86400  # seconds between looks for records that are older than accounting is to keep


class Item(msgspec.Struct, frozen=True):
    changes: list[Put | Del]
    blobs: dict[str, bytes]
    events: list[tuple[str, int | None, str]]
    time: float


class Writer:
    """`durable` and the callbacks are as `Store` says."""

    def __init__(self, database: Database, epoch: int) -> None:
        self.durable = 0
        self.durable_callback: Callable[[int], None] = lambda number: None
        self.failure_callback: Callable[[int, int, StoreError], None] = lambda first, last, error: None
        self._database, self._epoch = database, epoch
        self._ledger: Ledger | None = None  # None: `load` comes first
        self._queue: deque[Item] = deque()
        self._last = 0  # number of the last item queued
        self._busy: tuple[Item, ...] = ()  # being committed
        self._error: StoreError | None = None
        self._closing = False
        self.keep: float | None = None  # seconds for which accounting keeps what has ended, None: for ever
        self._purge_at = 0.0
        self._orphans = False  # jobs were removed, but not yet what belonged to them
        self.reserve = Reserve(database.where + "-reserve") if database.kind == "sqlite" else None
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._started = False

    def add(self, item: Item) -> int:
        with self._wake:
            if self._error is not None:
                raise type(self._error)(str(self._error))
            if self._ledger is None or self._closing:
                raise StoreError("the database is %s" % ("closed" if self._closing else "not loaded yet"))
            self._queue.append(item)
            self._last += 1
            self._wake.notify_all()
            return self._last

    def queued_blob(self, digest: str) -> bytes | None:
        with self._wake:
            for item in (*self._busy, *self._queue):
                if digest in item.blobs:
                    return item.blobs[digest]
        return None

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Wait until nothing is queued, and let nothing be queued or committed inside the block."""
        with self._wake:
            while self._queue or self._busy:
                self._wake.wait()
            yield

    def restart(self, ledger: Ledger) -> None:
        """From now on write what follows the state that `ledger` has learnt. Inside `still`. StaleEpoch if that is over."""
        if isinstance(self._error, StaleEpoch):
            raise self._error
        self._ledger, self._error = ledger, None
        if not self._started:
            self._started = True
            self._thread.start()

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._started:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                items = self._busy = tuple(self._queue)
                last = self._last
                self._queue.clear()
                ledger, keep = self._ledger, self.keep  # `keep` as it was before these were written, whatever is said meanwhile
            assert ledger is not None  # nothing is queued before a load
            error: StoreError | None = None
            try:
                self._commit(ledger, items, last)
            except StoreError as failure:
                error = failure
            except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, msgspec.MsgspecError) as failure:
                # A value that no row can hold: the change is refused as a whole.
                error = StoreError("a change cannot be stored: %s: %s" % (type(failure).__name__, failure))
            with self._wake:
                self._busy = ()
                first = last - len(items) + 1
                if error is None:
                    self.durable = last
                else:
                    # What has queued meanwhile was decided on memory that is lost now.
                    self._error, last = error, self._last
                    self._queue.clear()
                self._wake.notify_all()
            if error is None:
                self.durable_callback(last)
                if self.reserve is not None:
                    self.reserve.keep(items[-1].time)
                self._purge(ledger, items[-1].time, keep)
            else:
                if self.reserve is not None and is_full(error):
                    self.reserve.give_up()
                self.failure_callback(first, last, error)

    def _commit(self, ledger: Ledger, items: tuple[Item, ...], last: int) -> None:
        batch = Batch()
        for item in items:
            ledger.add_blobs(batch, item.blobs)
            ledger.add(batch, item.changes, item.time)
            batch.events.extend((item.time, kind, job, codec.plain(words)) for kind, job, words in item.events)
        other = self._database.statements.other
        with self._database.writing() as cursor:
            cursor.execute(other["guard"], (last, self._epoch))
            if cursor.rowcount != 1:
                raise StaleEpoch("another broker has taken over this database: this one stops")
            self._write(cursor, batch)

    def _purge(self, ledger: Ledger, now: float, keep: float | None) -> None:
        """Remove what ended too long ago, some of it at a time, and then what that alone had needed: scripts, environments, requests."""
        if keep is None or now < self._purge_at:
            return
        self._purge_at = now + PURGE_EVERY
        statements = self._database.statements
        try:
            with self._database.writing() as cursor:
                cursor.execute(statements.other["guard"], (self.durable, self._epoch))
                if cursor.rowcount != 1:
                    return  # the next commit will say that another broker has taken over
                cursor.execute(statements.other["purge_jobs"], (now - keep,))
                if cursor.rowcount >= PURGE:
                    self._purge_at = now  # more with the next commit
                elif cursor.rowcount or self._orphans:
                    for statement in statements.orphans:
                        cursor.execute(statement)
                    cursor.execute(statements.other["purge_events"], (now - keep,))
                self._orphans = self._purge_at == now
            ledger.forget()
        except StoreError as error:
            log.warning("old records stay for now: %s", error)

    def _write(self, cursor: Any, batch: Batch) -> None:
        statements = self._database.statements
        for table, rows in batch.puts.items():
            if rows:
                cursor.executemany(statements.put[table], list(rows.values()))
        for table, keys in batch.retired.items():
            given = [key if isinstance(key, tuple) else (key,) for key in keys]
            for statement in statements.retire[table]:
                cursor.executemany(statement, given)
        for table, keys in batch.dels.items():
            if keys:
                cursor.executemany(statements.delete[table], [key if isinstance(key, tuple) else (key,) for key in keys])
        if batch.events:
            cursor.executemany(statements.put["event"], batch.events)
