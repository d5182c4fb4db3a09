"""The link between broker and agents over a bad network: it breaks every few thousand bytes, and nothing of a job is lost or done twice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.proxy import Faults, Proxy, running
from tests.flow.system import ROOT, System

NODES = ("node1", "node2")
LINES = 1500
WORD = "x" * 40


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("reattach"))
    try:
        made.ok("srun -N2 true")
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def bad_links(system: System, seed: int, mean: int) -> Iterator[list[Proxy]]:
    """A proxy before every agent. The broker comes to it by its next connection, so it is killed."""
    with contextlib.ExitStack() as stack:
        proxies = []
        for number, node in enumerate(NODES):
            folder = system.home / "spool" / node
            os.rename(folder / "agent.sock", folder / "agent.real")
            faults = Faults(seed * 10 + number, mean, freeze=0.1)
            proxies.append(stack.enter_context(running(str(folder / "agent.sock"), str(folder / "agent.real"), faults)))
        system.ok("squeue -h")  # there is one
        system.kill_broker()
        try:
            yield proxies
        finally:
            for node in NODES:
                os.replace(system.home / "spool" / node / "agent.real", system.home / "spool" / node / "agent.sock")
            system.kill_broker()


@pytest.mark.parametrize("seed", list(range(10,50)))
def test_no_line_is_lost_and_none_comes_twice(system: System, seed: int) -> None:
    work = Path(system.work)
    ledger = work / ("ledger%d" % seed)
    (work / "lines.sh").write_text('echo "task $SLURM_PROCID" >> $1\nfor i in $(seq %d); do echo "$i %s"; done\n' % (LINES, WORD))
    (work / "job.sh").write_text("#!/bin/bash\nsrun -l bash lines.sh %s\nsrun -n1 bash -c 'exit 3'\necho code $?\n" % ledger)
    wanted = ["%d %s" % (i, WORD) for i in range(1, LINES + 1)]
    with bad_links(system, seed, [2000,4000,8000][seed%3]) as proxies:
        job = system.ok("sbatch --parsable -N2 -n3 -o job%d.out job.sh" % seed).strip()
        outside = system.sh("srun -N2 -n2 -l bash lines.sh %s.srun" % ledger)
        assert (outside.returncode, outside.stderr) == (0, "")
        piped = system.sh("seq %d | sed 's/$/ %s/' | srun -n1 cat" % (LINES, WORD))
        assert (piped.returncode, piped.stderr, piped.stdout.splitlines()) == (0, "", wanted)
        failed = system.sh("srun -n2 bash -c 'exit 7'")
        assert failed.returncode == 7
        system.until("sacct -nXP -o state -j " + job, "COMPLETED", 60)
        assert sum(sum(proxy.faults.counted.values()) for proxy in proxies) >= 5
    for rank in range(2):
        assert [line.partition(": ")[2] for line in outside.stdout.splitlines() if line.startswith("%d: " % rank)] == wanted
    said = (work / ("job%d.out" % seed)).read_text().splitlines()
    assert said[-1] == "code 3"
    for rank in range(3):
        assert [line.partition(": ")[2] for line in said if line.startswith("%d: " % rank)] == wanted
    assert sorted(ledger.read_text().splitlines()) == ["task 0", "task 1", "task 2"]
    assert sorted(Path("%s.srun" % ledger).read_text().splitlines()) == ["task 0", "task 1"]
    steps = system.ok("sacct -nP -o jobid,state,exitcode -j " + job).splitlines()
    assert steps[-2:] == ["%s.0|COMPLETED|0:0" % job, "%s.1|FAILED|3:0" % job]
