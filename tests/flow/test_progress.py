"""The live line while a job's nodes come up: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System
from tests.flow.terminal import Terminal


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("progress"))
    try:
        made.ok("srun -N2 true")
        yield made
    finally:
        made.close()


class Stopped:
    """The agent of a node does nothing while the block is open."""

    def __init__(self, system: System, node: str) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(system.home / "spool" / node / "agent.sock"))
            self.pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def __enter__(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGCONT)


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_the_line_comes_and_goes(system: System, command: str) -> None:
    terminal = Terminal([command, "-N2", "-w", "node[1-2]", "bash", "-c", "echo done $SLURM_JOB_NUM_NODES"], system.env, system.work, cols=60)
    with Stopped(system, "node2"):
        terminal.until("%s: 1 of 2 nodes ready, node node2: preparing \\.\\.\\." % command)
    terminal.until("done 2")
    assert terminal.end() == 0
    line, _, rest = terminal.text.rpartition("\r\x1b[K")
    assert "done" not in line
    assert "preparing" not in rest
    terminal.close()


def test_an_interrupt_comes_on_a_clean_line(system: System) -> None:
    terminal = Terminal(["srun", "-w", "node1", "true"], system.env, system.work)
    with Stopped(system, "node1"):
        terminal.until("node node1: preparing")
        terminal.type("\x03")
        terminal.until(r"\r\x1b\[K(\^C)?srun: Job allocation \d+ has been revoked")
    assert terminal.end() == 1
    terminal.close()
    system.drain()


@pytest.mark.parametrize("line", ["srun -w node1 echo x 2> err", "srun -Q -w node1 echo x"])
def test_never_in_files_and_not_when_quiet(system: System, line: str) -> None:
    terminal = Terminal(["bash", "-c", line], system.env, system.work)
    stopped = Stopped(system, "node1")
    with stopped:
        system.until("squeue -h -o %T", "RUNNING")
        system.sh("sleep 2")  # longer than the line waits
    assert terminal.end() == 0
    assert terminal.text == "x\r\n"
    assert not re.search("prepar", Path(system.work, "err").read_text() if Path(system.work, "err").exists() else "")
    terminal.close()
