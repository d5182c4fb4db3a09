"""The broker's end of a link: an agent that accepts and never answers is noticed, in the greeting and after it, and is called again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sbroker.agent import wire
from sbroker.clock import SystemClock
from sbroker.core.events import Hello, Silent
from sbroker.daemon import links
from sbroker.providers.base import Endpoint


class Daemon:
    """As much of one as a Link sees. `answer`: what the agent at the other end makes of each connection."""

    def __init__(self, answer: Any) -> None:
        self.clock, self.answer, self.calls, self.events = SystemClock(), answer, 0, []
        self.progress = SimpleNamespace(node=lambda node, text: None)
        self.fleet = SimpleNamespace(lost=lambda node: None)
        state = SimpleNamespace(seen={}, pulse=lambda *args: None)
        self.broker = SimpleNamespace(apply=self.events.append, store=SimpleNamespace(store_id="s", epoch=1), state=state)
        self.server: Any = None

    def settings_of(self, node: str) -> dict[str, Any]:
        return {}

    def agent_program(self, endpoint: Endpoint) -> str:
        return ""

    async def open_transport(self, endpoint: Endpoint, *more: Any) -> Any:
        self.calls += 1
        if self.server is None:
            self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        return await asyncio.open_connection(*self.server.sockets[0].getsockname())


def talk(answer: Any, until: Any, monkeypatch: pytest.MonkeyPatch, greeting: float = 0.2, ping: float = 0.1) -> tuple[Daemon, links.Link]:
    monkeypatch.setattr(links, "GREETING", greeting)
    monkeypatch.setattr(links, "PING", ping)
    monkeypatch.setattr(links.Link, "_attend", lambda self, n: None)  # of leases: not what is tested here

    async def go() -> tuple[Daemon, links.Link]:
        daemon = Daemon(answer)
        link = links.Link(daemon, "n1", Endpoint(transport="local", node="n1"), "front")  # type: ignore[arg-type]
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if until(daemon, link):
                break
        link.close()
        return daemon, link

    return asyncio.run(go())


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass
    writer.close()


async def greeting_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(wire.link_frame({"op": "hello", "node": "n1", "incarnation": "i", "boot_id": "b", "live": [], "inventory": {}, "last_seq": 0}))
    await mute(reader, writer)


pings: list[int] = []


async def lively(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    frames = wire.LinkReader()
    while data := await reader.read(1 << 16):
        for header, _ in frames.feed(data):
            if header["op"] == "hello":
                writer.write(wire.link_frame({"op": "hello", "node": "n1", "incarnation": "i", "boot_id": "b", "live": [], "inventory": {}, "last_seq": 0}))
            elif header["op"] == "ping":
                pings.append(header["n"])
                writer.write(wire.link_frame({"op": "pong", "n": header["n"]}))
    writer.close()


def test_an_agent_that_never_greets_is_called_again(monkeypatch):
    daemon, link = talk(mute, lambda daemon, link: daemon.calls >= 3, monkeypatch)
    assert daemon.calls >= 3
    assert [type(event) for event in daemon.events] == [Silent] * len(daemon.events) and len(daemon.events) >= 2
    assert "n1 accepts the connection and has not answered" in link.error


def test_an_agent_that_falls_silent_is_called_again(monkeypatch):
    daemon, _ = talk(greeting_only, lambda daemon, link: sum(isinstance(event, Hello) for event in daemon.events) >= 3, monkeypatch)
    kinds = [type(event) for event in daemon.events if isinstance(event, Hello | Silent)]
    first = kinds.index(Hello)
    assert Hello in kinds[kinds.index(Silent, first) :], "greeted, silent, and greeted again"
    assert all(event.seconds < 5 for event in daemon.events if isinstance(event, Silent)), "the silence is counted from the last word"


def test_an_agent_that_answers_is_left_alone(monkeypatch):
    daemon, link = talk(lively, lambda daemon, link: len(pings) == 3, monkeypatch, 1.0, 0.7)
    assert daemon.calls == 1
    assert pings == [1, 2, 3]
    assert link.error == ""
