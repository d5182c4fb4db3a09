"""Who reads srun's output slowly slows the tasks down: nobody in between keeps for him what he does not take."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.flow import system
from tests.flow.test_peers_system import CONFIG

MOST = 40 << 10  # KiB that a process may grow by


@pytest.fixture(params=["tcp", "broker"])
def nodes(request, tmp_path, monkeypatch):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(system, "CONFIG", CONFIG % (0 if request.param == "tcp" else '"%d-%d"' % (port, port)))
        made = system.System(tmp_path)
        yield made
        made.close()


def resident(pid: int) -> int:
    """KiB."""
    try:
        status = Path("/proc/%d/status" % pid).read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)


def ours(home: Path) -> dict[int, int]:
    """KiB of the agents and supervisors of this broker."""
    found = {}
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and os.fsencode(home) in (path / "cmdline").read_bytes():
                found[int(path.name)] = resident(int(path.name))
        except OSError:
            continue
    return found


def test_memory_does_not_grow_with_what_nobody_reads(nodes):
    nodes.ok("srun -N4 true")
    broker = nodes.status()["pid"]
    before = resident(broker)
    process = subprocess.Popen(["bash", "-c", "exec srun -O -N4 -n8 yes"], cwd=nodes.work, env=nodes.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.read(1 << 20)
        small = ours(nodes.home)
        for _ in range(20):
            process.stdout.read(1 << 14)
            time.sleep(0.1)
        assert resident(broker) - before < MOST
        grown = {pid: size - small.get(pid, size) for pid, size in ours(nodes.home).items()}
        assert max(grown.values()) < MOST, grown
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.wait(60)
