"""What salloc and srun say and return when a node of theirs fails (recorded: 22.05)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flow.system import ROOT, System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("failure"))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("line", ["salloc -Q -N2 srun", "srun -Q -N2"])
def test_every_task_is_told_of_and_the_code_is_theirs(system: System, line: str) -> None:
    """The tasks on the other node tell their end to the head, which must not be gone by then."""
    command = system.start(line + " sh -c 'echo up; exec sleep 600'")
    assert command.stdout is not None
    assert [command.stdout.readline() for _ in range(2)] == ["up\n"] * 2
    system.ok("scontrol update nodename=node2 state=down reason=test")
    _, err = command.communicate(timeout=60)
    said = err.splitlines()
    assert command.returncode == 143, said
    # recorded: the srun of a step is told once, and once more the one that made the allocation
    assert said.count("srun: error: Node failure on node2") == (1 if line.startswith("salloc") else 2)
    assert said.count("salloc: error: Node failure on node2") == line.startswith("salloc")
    assert sorted(line for line in said if "Terminated" in line) == ["srun: error: node1: task 0: Terminated", "srun: error: node2: task 1: Terminated"]
    system.ok("scontrol update nodename=node2 state=resume")
    system.drain()
    assert system.ok("sacct -nXP -o state | tail -n1") == "NODE_FAIL\n"


def test_a_job_that_is_not_to_be_killed_goes_on(system: System) -> None:
    """Its node is taken from it; the step over both ends, the script goes on, and the next step runs on what is left."""
    script = "#!/bin/bash\nsrun -Q -N2 -n2 sh -c 'echo up >> up; exec sleep 600'\necho rc $?\nsrun -N1 -n1 echo on\necho end\n"
    (system.work / "kept.sh").write_text(script)
    job = system.ok("sbatch --parsable --no-kill --no-requeue -N2 -n2 -o kept.out kept.sh").strip()
    system.until("grep -c . up", "2")
    system.ok("scontrol update nodename=node2 state=down reason=test")
    system.until("sacct -nXP -o state -j " + job, "COMPLETED", 60)
    said = (system.work / "kept.out").read_text().splitlines()
    assert said[-3] in ("rc 137", "rc 143"), said  # whether the other task told its end before its node was lost
    assert said[-2:] == ["on", "end"] and "srun: error: Node failure on node2" in said, said
    system.ok("scontrol update nodename=node2 state=resume")
    system.drain()
