"""Output of batch scripts: whatever breaks, what was written is in the file once."""

from __future__ import annotations

import os
import random
import socket
import threading
from pathlib import Path

import pytest

from sbroker.agent import writer
from sbroker.agent.wire import LinkReader, link_frame


class Sender:
    """A supervisor's side of one connection."""

    def __init__(self, files: list[dict], umask: int = 0o022) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        self.reader, self.said = LinkReader(), []
        self.thread = threading.Thread(target=writer.run, args=(theirs, {"files": files, "umask": umask}))
        self.thread.start()

    def tell(self, body: bytes = b"", **header) -> None:
        self.sock.sendall(link_frame(header, body))

    def hear(self, op: str) -> dict:
        while True:
            for header, _ in list(self.said):
                self.said.pop(0)
                if header["op"] in (op, "failed"):
                    return header
            data = self.sock.recv(1 << 16)
            assert data, "the writer is gone"
            self.said += self.reader.feed(data)

    def close(self) -> None:
        self.sock.close()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "_SYNC_SECONDS", 0.01)
    before = os.umask(0o022)  # the writer is a process of its own in life
    yield
    os.umask(before)


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_stream_that_is_cut_again_and_again_is_whole(tmp_path: Path, append: bool, seed: int) -> None:
    rng, path = random.Random(seed), tmp_path / "out"
    path.write_bytes(b"before\n")
    data = bytes(rng.choice(b"ab\n") for _ in range(rng.randrange(1, 4000)))
    files, marks, sent = [{"path": str(path), "append": append}], None, 0
    while True:
        sender = Sender(files)
        sender.tell(op="open", marks=marks)
        marks = sender.hear("opened")["marks"]
        sent = marks[0][0]
        for _ in range(rng.randrange(6)):
            piece = data[sent : sent + rng.randrange(1, 600)]
            sender.tell(piece, op="data", stream=0, offset=sent)
            sent += len(piece)
            if piece and rng.random() < 0.3:
                marks = sender.hear("durable")["marks"]
        if sent == len(data) and rng.random() < 0.7:
            sender.tell(op="end")
            assert sender.hear("done")["op"] == "done"
            sender.close()
            break
        sender.close()
    assert path.read_bytes() == (b"before\n" if append else b"") + data


def test_two_streams_modes_and_the_umask(tmp_path: Path) -> None:
    sender = Sender([{"path": str(tmp_path / "out"), "append": False}, {"path": str(tmp_path / "err"), "append": False}], 0o027)
    sender.tell(op="open", marks=None)
    assert sender.hear("opened")["marks"] == [[0, 0], [0, 0]]
    sender.tell(b"out", op="data", stream=0, offset=0)
    sender.tell(b"err", op="data", stream=1, offset=0)
    assert sender.hear("durable")["marks"] == [[3, 3], [3, 3]]
    sender.tell(op="end")
    sender.hear("done")
    sender.close()
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == ("out", "err")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    sender = Sender([{"path": str(tmp_path / "missing/out"), "append": False}])
    sender.tell(op="open", marks=None)
    assert sender.hear("opened")["error"] == "%s/missing/out: No such file or directory" % tmp_path
    sender.close()


def test_others_may_append_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sender = Sender([{"path": str(path), "append": True}])
    sender.tell(op="open", marks=None)
    sender.hear("opened")
    sender.tell(b"one\n", op="data", stream=0, offset=0)
    marks = sender.hear("durable")["marks"]
    sender.close()
    with open(path, "ab") as other:
        other.write(b"other\n")
    sender = Sender([{"path": str(path), "append": True}])
    sender.tell(op="open", marks=marks)
    sender.hear("opened")
    sender.tell(b"two\n", op="data", stream=0, offset=4)
    sender.tell(op="end")
    sender.hear("done")
    sender.close()
    assert path.read_bytes() == b"one\nother\ntwo\n"
