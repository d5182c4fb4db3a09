"""The node's end of a batch script's output: bounded, repeated after a break, complete before the run is empty."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sbroker.agent import spool
from sbroker.agent.link import CREDIT
from sbroker.agent.loop import Loop
from sbroker.agent.wire import LinkReader, link_frame


class Sup:
    """What a Spool needs of its supervisor."""

    def __init__(self, folder: Path) -> None:
        self.loop, self.agent, self.plain = Loop(), object(), True
        self.rundir = SimpleNamespace(file=lambda name: str(folder / name))
        self.info = {"job": 1, "run": 0, "user": {"uid": os.getuid()}}
        self.calls = SimpleNamespace(tell_all=lambda frames: [self.tell(*frame) for frame in frames])
        self.told: list[tuple[dict[str, Any], bytes]] = []
        self.notices: list[str] = []

    def tell(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.told.append((header, body))

    def report(self, kind: str, data: dict[str, Any]) -> None:
        self.notices.append(data["text"])

    def turn(self, times: int = 4) -> None:
        for _ in range(times):
            self.loop.turn(0.01)

    def opened(self) -> int:
        return sum(header["op"] == "chan_open" for header, _ in self.told)

    def sent(self, spooled: spool.Spool) -> list[tuple[dict[str, Any], bytes]]:
        """The writer's frames that went out by the present channel."""
        reader = LinkReader()
        data = [body for header, body in self.told if header["op"] == "chan_data" and header["chan"] == spooled.number]
        return [frame for body in data for frame in reader.feed(body)]


def says(spooled: spool.Spool, **header: Any) -> None:
    spooled.frame("chan_data", {}, link_frame(header))


def data_of(frames: list[tuple[dict[str, Any], bytes]], start: int = 0) -> bytes:
    out = b""
    for header, body in frames:
        if header["op"] == "data":
            assert header["offset"] == start + len(out)
            out += body
    return out


@pytest.fixture
def sup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "_MOST", 1 << 20)
    monkeypatch.setattr(spool, "_SEGMENT", 1 << 18)
    monkeypatch.setattr(spool, "_RETRY", (0.0, 0.0))
    made = Sup(tmp_path)
    yield made
    made.loop.close()


def fill(fd: int, data: bytes, sup: Sup) -> int:
    """Write as much as is taken within some turns; the number of bytes."""
    os.set_blocking(fd, False)
    done = 0
    for _ in range(200):
        try:
            done += os.write(fd, data[done : done + 60000])
        except BlockingIOError:
            pass
        sup.turn(1)
        if done == len(data):
            break
    return done


def test_output_is_bounded_and_comes_whole_after_a_break(sup: Sup, tmp_path: Path) -> None:
    answers: list[str | None] = []
    made = spool.Spool(sup, 1)
    made.open(answers.append)
    assert (sup.opened(), sup.sent(made)) == (1, [({"op": "open", "marks": None}, b"")])
    says(made, op="opened", marks=[[0, 0]])
    assert answers == [None]
    data = os.urandom(3 << 20)
    taken = fill(made.streams[0].write_end, data, sup)
    assert 1 << 20 <= taken < (1 << 20) + (1 << 18), "the script is held back"
    assert sum(path.stat().st_size for path in tmp_path.glob("output1.*")) <= (1 << 20) + (1 << 17)
    first = data_of(sup.sent(made))
    assert len(first) <= CREDIT and data.startswith(first)
    says(made, op="durable", marks=[[100, 100]])
    made.frame("chan_close", {"why": "link"}, b"")
    sup.turn()
    assert sup.opened() == 2
    assert sup.sent(made) == [({"op": "open", "marks": [[100, 100]]}, b"")]
    says(made, op="opened", marks=[[100, 100]])
    position = taken
    for _ in range(400):
        made.frame("chan_credit", {"bytes": CREDIT}, b"")
        sup.turn(1)
        got = 100 + len(data_of(sup.sent(made), 100))
        says(made, op="durable", marks=[[got, got]])
        position += fill(made.streams[0].write_end, data[position : position + 100000], sup) if position < len(data) else 0
        if got == len(data):
            break
    assert data_of(sup.sent(made), 100) == data[100:]
    ended: list[bool] = []
    assert not made.finish(lambda: ended.append(True))
    sup.turn()
    assert sup.sent(made)[-1][0] == {"op": "end"} and not ended
    says(made, op="done")
    sup.turn()
    assert ended and made.finish(lambda: None)
    assert list(tmp_path.glob("output1.*")) == []


def test_what_cannot_be_opened_is_answered_and_what_breaks_later_is_reported(sup: Sup) -> None:
    answers: list[str | None] = []
    made = spool.Spool(sup, 2)
    made.open(answers.append)
    says(made, op="failed", error="/x: No such file or directory")
    assert answers == ["/x: No such file or directory"]
    assert made.finish(lambda: None)
    later = spool.Spool(sup, 1)
    later.open(answers.append)
    says(later, op="opened", marks=[[0, 0]])
    later.say(b"words")
    sup.turn()
    assert data_of(sup.sent(later)) == b"words"
    says(later, op="failed", error="/x: No space left on device")
    assert sup.notices == ["the job's output is lost from here on: /x: No space left on device"]
    assert later.finish(lambda: None)


def test_an_agent_that_is_away_is_waited_for(sup: Sup) -> None:
    agent, sup.agent = sup.agent, None
    made = spool.Spool(sup, 1)
    made.open(lambda error: None)
    assert not sup.opened()
    sup.agent = agent
    made.agent_came()
    assert sup.opened() == 1
    made.agent_gone()
    made.agent_came()
    assert sup.opened() == 2
