"""Two channels of two agents as one pipe: bytes go across with credit both ways, and a close goes across behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sbroker.daemon.channels import Channel


class Bridge:
    """`tap(side, data)` sees what comes from side 0 or 1. `closed` is done when both ends are."""

    def __init__(self, one: Channel, other: Channel, tap: Callable[[int, bytes], None] = lambda side, data: None) -> None:
        self.ends, self._tap = (one, other), tap
        self.why = ["", ""]  # how each end was closed from its side
        self._owed = [0, 0]
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for side in (0, 1):
            self._watch(side)

    def _watch(self, side: int) -> None:
        channel, other = self.ends[side], self.ends[1 - side]

        def arrived(data: bytes) -> None:
            self._tap(side, data)
            self._owed[side] += len(data)
            other.send(data)
            if not other.pending:
                self._credit(side)

        def ended(why: str) -> None:
            self.why[side] = why
            if not other.pending or why == "link":
                other.close("done" if why != "link" else "link")
            self._look()

        def room() -> None:
            """The other side took all that came from here."""
            self._credit(side)
            if self.why[side]:
                other.close("done")
                self._look()

        channel.on_data, channel.on_close, other.on_room = arrived, ended, room

    def _credit(self, side: int) -> None:
        count, self._owed[side] = self._owed[side], 0
        self.ends[side].took(count)

    def _look(self) -> None:
        """An end that we closed says nothing any more: one word of each side is enough."""
        if not self.closed.done() and not any(end.open for end in self.ends):
            self.closed.set_result(None)

    def close(self, why: str = "link") -> None:
        for end in self.ends:
            end.close(why)
        self._look()
