"""One connection between broker and agent: frames arrive in order, each after a delay; a cut loses what is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.clock import Clock


class Wire:
    def __init__(self, clock: Clock, to_broker: Callable[[Wire, dict], None], to_agent: Callable[[Wire, dict], None]) -> None:
        self.clock = clock
        self._receivers = {"broker": to_broker, "agent": to_agent}
        self._last = {"broker": 0.0, "agent": 0.0}
        self.open = True
        self.on_close: list[Callable[[], None]] = []

    def send(self, to: str, header: dict[str, Any]) -> None:
        if not self.open:
            return
        slow = 0.5 if self.clock.chance(0.02) else 0.01
        at = max(self._last[to], self.clock.now + self.clock.rng.random() * slow)
        self._last[to] = at
        self.clock.at(at, lambda: self._arrive(to, header))

    def _arrive(self, to: str, header: dict[str, Any]) -> None:
        if self.open:
            self._receivers[to](self, header)

    def cut(self) -> None:
        """Both sides notice, sooner or later."""
        if self.open:
            self.open = False
            for call in self.on_close:
                self.clock.soon(call, 0.1)
