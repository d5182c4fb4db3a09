"""Agents are replaced by those of the sources that are installed now, under running jobs; a broker that does not fit them says so."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System


@pytest.fixture
def system(tmp_path: Path):
    """A broker of a copy of the sources, which can be changed."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("bin", "sbroker", "slurm_compat"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "sbroker_main.py", copy)
    os.symlink(os.path.realpath(ROOT / ".venv"), copy / ".venv")
    made = System(tmp_path)
    made.copy = copy
    made.env["PATH"] = "%s:/usr/local/bin:/usr/bin:/bin" % (copy / "bin")
    yield made
    made.close()


def agent_pids(system: System) -> dict[str, int]:
    return {node: pid for node in ("node1", "node2") if (pid := listener(system.home / "spool" / node / "agent.sock"))}


def listener(path: Path) -> int:
    import socket
    import struct

    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return 0
        return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def test_agents_are_replaced_under_a_running_job(system: System) -> None:
    script = "i=0; while [ ! -e go ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 3"
    (system.work / "job.sh").write_text("#!/bin/sh\nsrun -N2 -n2 -l sh -c '%s'\necho rc=$?\n" % script)
    system.ok("sbatch -N2 -n2 -o job.out job.sh")
    system.until("grep -c 0: job.out | grep -q .. && echo many", "many")
    before = agent_pids(system)
    with open(system.copy / "sbroker" / "agent" / "relay.py", "a") as stream:
        stream.write("# of another release\n")
    system.kill_broker()
    system.ok("squeue -h >/dev/null")
    end = time.monotonic() + 60
    while len(now := agent_pids(system)) < 2 or set(now.values()) & set(before.values()):
        assert time.monotonic() < end, (before, now)
        time.sleep(0.1)
    system.until("sinfo -h -N -n node[1-2] -o %T | sort -u", "mixed")
    said = system.ok("srun --jobid=1 --overlap -N2 -n2 hostname").split()
    assert len(said) == 2
    (system.work / "go").touch()
    system.drain()
    lines = (system.work / "job.out").read_text().splitlines()
    for rank in "01":
        numbers = [int(line[3:]) for line in lines if line.startswith(rank + ": ")]
        assert numbers == list(range(len(numbers))) and len(numbers) > 10
    assert "rc=3" in lines
    # the same sources: nobody is replaced
    system.kill_broker()
    system.ok("squeue -h >/dev/null")
    system.until("sinfo -h -N -n node[1-2] -o %T | sort -u", "idle")
    assert agent_pids(system) == now


def test_a_broker_whose_sources_changed_says_what_to_do(system: System) -> None:
    system.ok("sinfo >/dev/null")
    for path in (system.copy / "slurm_compat" / "commands").glob("sacctmgr*.py"):
        path.write_text("raise RuntimeError('of another release')\n")
    done = system.sh("sacctmgr show cluster")
    assert done.returncode == 1
    assert "restart it" in done.stderr, done.stderr
