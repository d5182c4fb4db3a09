"""What a login on a node runs, without the login: the command brings the program once, starts the agent, and becomes its stream."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sbroker_main
from sbroker.agent import wire
from sbroker.daemon.program import Program
from sbroker.providers.base import Endpoint
from sbroker.transports import ssh


@pytest.fixture(scope="module")
def program() -> Program:
    made = Program(sbroker_main.front_end())
    asyncio.run(made.ready())
    return made


@pytest.fixture(scope="module")
def forms(program) -> dict[str, bytes]:
    async def both() -> dict[str, bytes]:
        made = Program(sbroker_main.front_end())
        return {form: await made.data(form) for form in ("pack", "pyz")}

    return asyncio.run(both())


class Login:
    def __init__(self, base: Path, program: Program, pythons: list[str] | None = None) -> None:
        data = {"store": "s", "pythons": pythons or [os.path.realpath(sys.executable)]}
        self.socket = base / "s" / "n1" / "agent.sock"
        command = ssh._command(Endpoint(node="n1", directory=str(base), transport="ssh", data=data), program)
        self.process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def said(self) -> dict:
        return json.loads(self.stdout.readline())

    def bring(self, data: bytes, digest: str | None = None) -> None:
        self.stdin.write(b"%d %s\n" % (len(data), (digest or hashlib.sha256(data).hexdigest()).encode()) + data)
        self.stdin.flush()

    def hello(self) -> dict:
        header = {"op": "hello", "store": "s", "epoch": 1, "version": "1", "node": "n1", "settings": {"front": "slurm_compat.node", "ports": ""}}
        self.stdin.write(wire.link_frame(header))
        self.stdin.flush()
        frames, reader = [], wire.LinkReader()
        while not frames:
            frames = reader.feed(os.read(self.stdout.fileno(), 1 << 16))
        return frames[0][0]

    def agent(self) -> int:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def end(self) -> None:
        self.stdin.close()
        self.process.wait(30)


def gone(pid: int) -> None:
    """Wait until the process has ended (a zombie has, too)."""
    end = time.monotonic() + 30
    while True:
        try:
            state = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        assert time.monotonic() < end, "the agent does not end"
        time.sleep(0.01)


@pytest.fixture
def base(tmp_path) -> Iterator[Path]:
    yield tmp_path / "base"
    for path in tmp_path.glob("base/s/n1/agent.sock"):
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(str(path)) == 0:
                os.kill(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0], signal.SIGTERM)


@pytest.mark.parametrize("magic", ["ours", "another"])
def test_the_program_comes_once_and_the_agent_stays(base, program, forms, magic, monkeypatch):
    if magic == "another":  # than this Python's: sources, for landing and agent
        monkeypatch.setattr(program, "magic", "00")
        landing = ["00", *ssh._landing()[1:]]
        monkeypatch.setattr(ssh, "_landing", lambda: landing)
    first = Login(base, program)
    wanted = first.said()["want"]
    assert wanted == ("pack" if magic == "ours" else "pyz")
    first.bring(forms[wanted])
    assert first.said() == {"ready": True}
    told = first.hello()
    assert (told["op"], told["inventory"]["program"]) == ("hello", program.hash)
    pid = first.agent()
    first.end()
    again = Login(base, program)
    assert again.said() == {"ready": True} and again.agent() == pid
    again.end()
    os.kill(pid, signal.SIGTERM)
    gone(pid)
    third = Login(base, program)
    assert third.said() == {"ready": True} and third.agent() != pid  # the program is there
    third.end()


def test_a_program_that_is_not_whole_is_not_kept(base, program, forms):
    login = Login(base, program)
    login.bring(forms[login.said()["want"]], "0" * 64)
    assert "did not come whole" in login.said()["error"]
    assert list(base.glob("agent-*")) == []
    login.end()


def test_a_folder_that_cannot_be_made_is_said(tmp_path, program):
    (tmp_path / "base").write_text("a file")
    login = Login(tmp_path / "base", program)
    assert str(tmp_path / "base") in login.said()["error"]
    login.end()


def test_no_python_that_is_new_enough(base, program, tmp_path):
    """Those that are too old say so by 125, and the next one is tried."""
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 125\n")
    old.chmod(0o755)
    login = Login(base, program, [str(old), str(tmp_path / "missing")])
    assert login.stdout.readline() == b"" and login.process.wait(30) == 127
