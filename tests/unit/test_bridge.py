"""Two channels joined: bytes in order, memory bounded, and a close that overtakes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from sbroker.daemon.bridge import Bridge
from sbroker.daemon.channels import CREDIT, Channel


class Wire:
    """Takes the frames of one channel."""

    def __init__(self) -> None:
        self.frames: list[tuple[dict[str, Any], bytes]] = []
        self.channels: dict[int, Channel] = {}

    def send(self, header: dict[str, Any], body: bytes = b"") -> bool:
        self.frames.append((header, body))
        return True

    def data(self) -> bytes:
        return b"".join(body for header, body in self.frames if header["op"] == "chan_data")

    def ops(self) -> list[str]:
        return [header["op"] for header, _ in self.frames]

    def credit(self) -> int:
        return sum(header["bytes"] for header, _ in self.frames if header["op"] == "chan_credit")


def joined() -> tuple[Wire, Wire, Channel, Channel, Bridge, list[tuple[int, bytes]]]:
    wires, seen = (Wire(), Wire()), []
    ends = [Channel(wire, 2, 1, 0) for wire in wires]  # type: ignore[arg-type]
    bridge = Bridge(ends[0], ends[1], lambda side, data: seen.append((side, data)))
    return wires[0], wires[1], ends[0], ends[1], bridge, seen


def test_bytes_cross_and_credit_is_given_for_what_has_gone_out() -> None:
    async def run() -> None:
        one, other, end, far, bridge, seen = joined()
        end.frame("chan_data", {}, b"x" * CREDIT)
        assert other.data() == b"x" * CREDIT
        assert one.credit() == CREDIT
        part = CREDIT // 4
        end.frame("chan_data", {}, b"y" * 2 * part)  # the far end has taken nothing yet
        assert (far.pending, one.credit()) == (2 * part, CREDIT)
        far.frame("chan_credit", {"bytes": part}, b"")
        assert (far.pending, one.credit()) == (part, CREDIT)
        far.frame("chan_credit", {"bytes": part}, b"")
        assert (far.pending, one.credit()) == (0, CREDIT + 2 * part)
        assert [(side, len(data)) for side, data in seen] == [(0, CREDIT), (0, 2 * part)]
        assert not bridge.closed.done()

    asyncio.run(run())


def test_credit_for_small_pieces_goes_back_together() -> None:
    """A sender that has used up its window gets at least half of it; until then a word for each piece would be as much work as the piece."""

    async def run() -> None:
        one, other, end, far, _, _ = joined()
        for _ in range(CREDIT // 100):
            end.frame("chan_data", {}, b"x" * 100)
            far.frame("chan_credit", {"bytes": 100}, b"")
            assert len(other.data()) - one.credit() < CREDIT // 2 and far.pending == 0
        assert one.ops().count("chan_credit") == 1

    asyncio.run(run())


def test_a_close_goes_behind_what_was_said_before() -> None:
    async def run() -> None:
        _, other, end, far, bridge, _ = joined()
        end.frame("chan_data", {}, b"x" * (CREDIT + 10))
        end.frame("chan_close", {"why": "done"}, b"")
        assert "chan_close" not in other.ops()
        far.frame("chan_credit", {"bytes": 10}, b"")
        assert other.ops()[-1] == "chan_close"
        assert len(other.data()) == CREDIT + 10
        assert bridge.closed.done() and bridge.why == ["done", ""]

    asyncio.run(run())


def test_a_broken_link_closes_at_once() -> None:
    async def run() -> None:
        _, other, end, _, bridge, _ = joined()
        end.frame("chan_data", {}, b"x" * (CREDIT + 10))
        end.closed("link")
        assert other.ops()[-1] == "chan_close"
        assert bridge.closed.done() and "link" in bridge.why

    asyncio.run(run())
