"""The store as the core sees it: batches of changes become durable in order, a crash loses those that are not yet.

Every write carries the epoch of its broker; one of an older epoch is refused (invariant 7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sbroker.core.effects import Del, Put
from tests.sim.clock import Clock


class StaleEpoch(Exception):
    pass


class Disk:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.epoch = 0
        self.rows: dict[tuple[str, Any], Any] = {}
        self.ended: dict[int, Any] = {}  # job → its last durable value, for jobs that left the live state
        self._queue: list[tuple[int, list[Put | Del], Callable[[], None]]] = []
        self._committing = False

    def take(self) -> int:
        """A broker starts, or takes over: what an older one has not committed is lost."""
        self.epoch += 1
        self._queue.clear()
        return self.epoch

    def load(self) -> list[Put]:
        return [Put(table, key, value) for (table, key), value in self.rows.items()]

    def write(self, epoch: int, changes: list[Put | Del], durable: Callable[[], None]) -> None:
        if epoch != self.epoch:
            raise StaleEpoch
        self._queue.append((epoch, changes, durable))
        if not self._committing:
            self._committing = True
            self.clock.soon(self._commit, 0.01)

    def _commit(self) -> None:
        """Group commit: some of what has queued, in order."""
        self._committing = False
        number = self.clock.rng.randint(1, max(1, len(self._queue)))
        batch, self._queue = self._queue[:number], self._queue[number:]
        for _, changes, _ in batch:
            for change in changes:
                at = (change.table, change.key)
                if isinstance(change, Put):
                    self.rows[at] = change.value
                else:
                    if change.table == "job":
                        self.ended[change.key] = self.rows[at]
                    self.rows.pop(at, None)
        for epoch, _, durable in batch:
            if epoch == self.epoch:
                durable()
        if self._queue and not self._committing:
            self._committing = True
            self.clock.soon(self._commit, 0.01)

    def row(self, table: str, key: Any) -> Any:
        return self.rows.get((table, key))
