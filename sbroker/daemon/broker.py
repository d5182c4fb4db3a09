"""The one place where state changes: event → decide → memory → store → (durable) → effects and answers.

Memory changes at once, so that the next event sees it; whatever leaves the process (answers, frames, calls) waits until the store
says that everything before it is durable (invariant 3). A failed commit discards memory and reads the store again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from sbroker.clock import Clock
from sbroker.core.decide import decide
from sbroker.core.effects import Decision, Wake
from sbroker.core.events import Event, Tick
from sbroker.core.state import State
from sbroker.errors import StoreError
from sbroker.model import Job
from sbroker.store.database import StaleEpoch

log = logging.getLogger("sbroker.broker")

RECOVERY = 1.0  # seconds between a failed commit and reading the store again


class Broker:
    """State, store and the queue between them. All methods belong to the event loop's thread."""

    def __init__(self, store: Any, settings: dict[str, Any], clock: Clock) -> None:
        self.store, self.settings, self.clock = store, settings, clock
        self.state = self._load()
        self.execute: Callable[[Any], None] = lambda effect: None  # set by the daemon: carries out one effect
        self.reset: Callable[[], None] = lambda: None  # set by the daemon: memory was read again, greet the agents anew
        self.stop: Callable[[BaseException], None] = lambda error: None  # set by the daemon: another broker has the store
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[int, list[Any]]] = deque()  # effects by the sequence number they wait for
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._durable = store.durable
        self._changed: dict[int, list[asyncio.Future[Job | None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = float("inf")
        store.on_durable(lambda seq: self._loop.call_soon_threadsafe(self._on_durable, seq))
        store.on_failure(lambda first, last, error: self._loop.call_soon_threadsafe(self._on_failure, first, error))

    def _load(self) -> State:
        return State.load(self.store.load(), self.settings)

    # ---- deciding

    def apply(self, event: Event, blobs: dict[str, bytes] | None = None) -> tuple[Decision, int]:
        """Decide, change memory, queue for the store. The decision and the sequence number to wait for. Refused changes nothing."""
        decision = decide(self.state, event, self.clock.now())
        changes = decision.changes
        if changes:
            seq = self.store.write(changes, blobs or {})  # only queues; raises where memory must not run ahead
            self.state.apply(changes)
            self._tell(changes)
        else:
            seq = self._held[-1][0] if self._held else self._durable
        if decision.effects:
            out = []
            for effect in decision.effects:
                if isinstance(effect, Wake):
                    self._wake(effect.at)
                else:
                    out.append(effect)
            if out:
                if seq <= self._durable:
                    self._run(out)
                else:
                    self._held.append((seq, out))
        return decision, seq

    async def do(self, event: Event, blobs: dict[str, bytes] | None = None) -> Decision:
        """`apply`, and return when it is durable. Raises Refused, or StoreError when the store could not take it."""
        decision, seq = self.apply(event, blobs)
        await self.durable(seq)
        return decision

    def vouch(self) -> int:
        """The number that is durable when it is certain that no other broker had the database before this call."""
        return self.store.write([])

    async def durable(self, seq: int) -> None:
        if seq > self._durable:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((seq, future))
            await future

    # ---- waiting for a job

    async def changed(self, job: int, timeout: float | None = None) -> Job | None:
        """The job after its next change; None when it is purged. asyncio.TimeoutError after `timeout` seconds."""
        future: asyncio.Future[Job | None] = self._loop.create_future()
        self._changed.setdefault(job, []).append(future)
        try:
            return await asyncio.wait_for(future, timeout)
        finally:
            waiting = self._changed.get(job)
            if waiting and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._changed[job]

    def _tell(self, changes: list[Any]) -> None:
        if not self._changed:
            return
        for change in changes:
            # A run's moves, and its parts', count as changes of its job: whoever waits for nodes wants to know when they are ready.
            job = change.key if change.table == "job" else change.key[0] if change.table in ("run", "part") else 0  # no job has id 0
            for future in self._changed.pop(job, ()):
                if not future.done():
                    future.set_result(self.state.jobs.get(job))

    # ---- the store's answers

    def _run(self, effects: list[Any]) -> None:
        for effect in effects:
            try:
                self.execute(effect)
            except Exception:
                # One effect that cannot be carried out must not stop the others; the agents' hello brings it up again.
                log.exception("effect failed: %r", effect)

    def _on_durable(self, seq: int) -> None:
        self._durable = max(self._durable, seq)
        while self._held and self._held[0][0] <= self._durable:
            self._run(self._held.popleft()[1])
        while self._waiting and self._waiting[0][0] <= self._durable:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_result(None)

    def _on_failure(self, seq: int, error: BaseException) -> None:
        log.error("the store could not take changes from %d on: %s; reading it again", seq, error)
        if isinstance(error, StaleEpoch):
            self.stop(error)
            return
        self._held.clear()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(StoreError(str(error)))
        self._waiting.clear()
        # A full disk stays full for a while: reading and greeting again at once would only go round in circles.
        self._loop.call_later(RECOVERY, self._recover)

    def _recover(self) -> None:
        markets = self.state.markets
        try:
            self.state = self._load()
            self.state.markets = markets  # what is for sale has not changed
        except StoreError as error:
            log.error("the store cannot be read: %s; trying again", error)
            self._loop.call_later(RECOVERY, self._recover)
            return
        self._durable = self.store.durable
        for job, watchers in self._changed.items():
            for watcher in watchers:
                if not watcher.done():
                    watcher.set_result(self.state.jobs.get(job))
        self._changed.clear()
        self.reset()
        self._wake(self.clock.now() + 1)

    # ---- time

    def _wake(self, at: float) -> None:
        if at >= self._wake_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = at
        self._timer = self._loop.call_later(max(0.0, at - self.clock.now()), self._tick)

    def _tick(self) -> None:
        self._timer, self._wake_at = None, float("inf")
        try:
            self.apply(Tick())
        except StoreError as error:
            log.warning("no pass: %s", error)
        except Exception:
            log.exception("a pass failed")
            self._wake(self.clock.now() + 5)
