"""srun --mpi=pmi2 with real processes over virtual nodes: ranks find each other by both versions of PMI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from system import System

CLIENT = "%s %s" % (sys.executable, Path(__file__).parent / "pmi_client.py")
FOUR = """
cluster: system
kill_wait: 2
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
sites:
  here: {provider: local, nodes: "node[1-4]", cpus: 8, memory: 4000M}
"""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    found = System(tmp_path_factory.mktemp("mpi"), FOUR)
    found.sh("srun -N4 true")  # from then on all nodes are up
    yield found
    found.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("options", "nodes", "mapping"),
    [
        ("-N1 -n1", [1], "(vector,(0,1,1))"),
        ("-N4 -n8", [1, 1, 1, 1, 1, 2, 3, 4], "(vector,(0,1,5),(1,3,1))"),
        ("-N4 -n8 --ntasks-per-node=2", [1, 1, 2, 2, 3, 3, 4, 4], "(vector,(0,4,2))"),
        ("-N3 -n7 -m cyclic", [1, 2, 3, 1, 1, 1, 1], "(vector,(0,3,1),(0,1,4))"),
        ("-N3 -n7 -m plane=2", [1, 1, 2, 3, 1, 1, 1], "(vector,(0,1,2),(1,2,1),(0,1,3))"),
    ],
)
def test_all_ranks_find_each_other(four, version, options, nodes, mapping):
    four.drain()  # which CPUs are free decides who gets how many ranks
    said = four.ok("srun --mpi=pmi2 %s %s %d ring" % (options, CLIENT, version))
    expected = ["%d/%d on node%d of %s" % (rank, len(nodes), node, mapping) for rank, node in enumerate(nodes)]
    assert sorted(said.splitlines()) == sorted(expected)


def test_several_steps_at_once_have_spaces_of_their_own(four):
    steps = "for step in 1 2 3; do srun -n4 -N2 --overlap --mpi=pmi2 %s 1 ring & done; wait" % CLIENT
    said = four.ok("salloc -Q -N2 -n4 bash -c '%s'" % steps)
    lines = said.splitlines()
    assert len(lines) == 12 and {lines.count(line) for line in lines} == {3}


@pytest.mark.parametrize("version", [1, 2])
def test_an_abort_of_one_rank_ends_the_step(four, version):
    done = four.sh("srun --mpi=pmi2 -N2 -n4 --ntasks-per-node=2 %s %d abort 3 5" % (CLIENT, version))
    assert done.returncode == 137
    said = done.stderr.splitlines()
    assert said[0] == "srun: Job step aborted: Waiting up to 4 seconds for job step to finish."
    assert "*** STEP" in said[1] and "CANCELLED AT" in said[1]
    assert sorted(said[2:]) == ["srun: error: node1: tasks 0-1: Killed", "srun: error: node2: tasks 2-3: Killed"]


def test_a_rank_that_ends_is_the_others_own_matter(four):
    """As with Slurm: only -K or -W make an end of it."""
    done = four.sh("srun --mpi=pmi2 -N2 -n2 %s 1 gone 1 7" % CLIENT)
    assert (done.returncode, done.stderr) == (7, "srun: error: node2: task 1: Exited with exit code 7\n")


def test_the_variables(four):
    show = "env | grep -E '^(PMI_(RANK|SIZE|JOBID)|SLURM_MPI_TYPE)=' | sort"
    said = four.ok('srun --mpi=pmi2 -n1 bash -c "%s; test -S /proc/self/fd/\\$PMI_FD && echo a socket"' % show)
    job = said.splitlines()[0].removeprefix("PMI_JOBID=")
    assert said == f"PMI_JOBID={job}\nPMI_RANK=0\nPMI_SIZE=1\nSLURM_MPI_TYPE=pmi2\na socket\n" and job.endswith(".0")
    assert four.sh('srun --mpi=none bash -c "%s"' % show, SLURM_MPI_TYPE="pmi2").stdout == ""
    assert four.ok('srun -n1 bash -c "%s"' % show, SLURM_MPI_TYPE="pmi2").count("\n") == 4


def test_what_is_no_pmi_is_said_in_the_tasks_own_output(four):
    done = four.sh("srun --mpi=pmi2 -n1 bash -c 'echo hello >&$PMI_FD; read -r line <&$PMI_FD; echo \"[$line]\"'")
    assert (done.stdout, done.returncode) == ("[]\n", 0)
    assert done.stderr == "slurmstepd-node1: error: mpi/pmi2: 'hello' has no value\n"


def test_a_space_has_a_name_that_no_other_run_has(four):
    """MPICH's shared memory is called after it, and stays where a run was killed."""
    (four.work / "again.sh").write_text("#!/bin/sh\n#SBATCH -N2 -n2 --requeue -o again.out --open-mode=append\nfor step in 1 2; do srun --mpi=pmi2 %s 1 name; done\n"
        "[ -n \"$SLURM_RESTART_COUNT\" ] || { scontrol requeue $SLURM_JOB_ID; sleep 60; }\n" % CLIENT)  # fmt: skip
    job = four.ok("sbatch --parsable again.sh").strip()
    four.until("squeue -h -j %s -o %%r" % job, "BeginTime")
    four.sh("scontrol update JobId=%s StartTime=now" % job)
    four.drain()
    names = (four.work / "again.out").read_text().split()
    names = [name for name in names if name.startswith(job + ".")]
    assert len(names) == 8 and sorted(map(names.count, set(names))) == [2, 2, 2, 2], names
    assert {name.rpartition(".")[0] for name in names} == {job + ".0", job + ".1"}


def test_who_asks_and_does_not_read_has_its_answers_later(four):
    assert four.ok("srun --mpi=pmi2 -n1 %s 1 flood 40000" % CLIENT) == "40000\n"


def test_pmix_is_refused_with_a_way_on(four):
    done = four.sh("srun --mpi=pmix hostname")
    assert done.returncode == 1 and done.stdout == ""
    assert "srun: error: Invalid MPI type 'pmix', --mpi=list for acceptable types\n" in done.stderr and "mpirun" in done.stderr
    assert four.ok("srun --mpi=list") == "MPI plugin types are...\n\tnone\n\tpmi2\n"
