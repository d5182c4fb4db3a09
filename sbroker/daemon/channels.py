"""One client's byte stream over a link: credit both ways, so that a slow end slows the other and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbroker.daemon.links import Link

CREDIT = 256 << 10


class Channel:
    """Call frames as bytes. `on_data(bytes)` and `on_close(why)` are set by whoever uses it."""

    def __init__(self, link: Link, number: int, job: int, run: int) -> None:
        self.link, self.number, self.job, self.run = link, number, job, run
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_close: Callable[[str], None] = lambda why: None
        self.on_room: Callable[[], None] = lambda: None  # all that was sent has gone out
        self._credit = CREDIT
        self._owed = 0  # bytes used up for which the other half has no credit yet
        self._room = asyncio.Event()
        self._room.set()
        self._queue = bytearray()
        self._open = True
        self.error = ""  # why the other half would not have it

    def send(self, data: bytes) -> None:
        """Queue bytes; what the credit does not cover waits here. `drain` bounds it."""
        if not self._open:
            return
        if data and not self._queue and len(data) <= self._credit:
            self._credit -= len(data)
            self.link.send({"op": "chan_data", "chan": self.number}, data)
            return
        self._queue += data
        self._flush()

    def _flush(self) -> None:
        while self._queue and self._credit > 0:
            with memoryview(self._queue) as view:
                piece = bytes(view[: self._credit])
            del self._queue[: len(piece)]
            self._credit -= len(piece)
            self.link.send({"op": "chan_data", "chan": self.number}, piece)
        if len(self._queue) > CREDIT:
            self._room.clear()
        else:
            self._room.set()

    @property
    def pending(self) -> int:
        """Bytes that wait here for credit."""
        return len(self._queue)

    @property
    def open(self) -> bool:
        return self._open

    async def drain(self) -> None:
        """Wait until there is room; ConnectionError when the channel is closed."""
        await self._room.wait()
        if not self._open:
            raise ConnectionError("the channel is closed")

    def took(self, count: int) -> None:
        """`count` bytes given to on_data have been used up. Credit goes back in halves of the window, not with each piece."""
        self._owed += count
        if self._open and self._owed >= CREDIT // 2:
            owed, self._owed = self._owed, 0
            self.link.send({"op": "chan_credit", "chan": self.number, "bytes": owed})

    def frame(self, op: str, header: dict[str, Any], body: bytes) -> None:
        if op == "chan_data":
            self.on_data(body)
        elif op == "chan_credit":
            self._credit += header["bytes"]
            self._flush()
            if not self._queue:
                self.on_room()
        else:
            self.error = header.get("error", "")
            self.closed(header.get("why", "link"))

    def close(self, why: str) -> None:
        if self._open:
            self.link.send({"op": "chan_close", "chan": self.number, "why": why})
            self.link.channels.pop(self.number, None)
            self._shut()

    def closed(self, why: str) -> None:
        if self._open:
            self._shut()
            self.on_close(why)

    def _shut(self) -> None:
        self._open = False
        self._queue.clear()
        self._room.set()


def join(one: Channel, other: Channel) -> None:
    """Two channels become one: what comes by one goes out by the other, and credit is given when it has gone out."""

    def lead(source: Channel, target: Channel) -> None:
        owed = 0

        def arrived(data: bytes) -> None:
            nonlocal owed
            target.send(data)
            owed += len(data)
            settle()

        def settle() -> None:
            nonlocal owed
            if not target.pending:
                count, owed = owed, 0
                source.took(count)

        source.on_data, target.on_room, source.on_close = arrived, settle, target.close

    lead(one, other)
    lead(other, one)
