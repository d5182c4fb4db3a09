"""Steps with real processes: srun inside a batch script, on one node and on several."""

import pytest
from steplab import Cluster


@pytest.fixture
def one(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def two(tmp_path):
    cluster = Cluster(tmp_path, ("node1", "node2"))
    yield cluster
    cluster.stop()


def test_a_step_in_a_batch_script(one):
    out = one.run("srun -n2 -l sh -c 'echo hi from $SLURM_PROCID of $SLURM_NTASKS'; srun -n1 sh -c 'exit 3'; echo rc=$?")
    lines = sorted(out.splitlines())
    assert lines == ["0: hi from 0 of 2", "1: hi from 1 of 2", "rc=3", "srun: error: node1: task 0: Exited with exit code 3"]
    kinds = [kind for kind in one.head.kinds() if kind.startswith("step")]
    assert kinds == ["step_start", "step_end"] * 2


def test_tasks_on_two_nodes(two):
    out = two.run("srun -n4 -l sh -c 'echo $SLURMD_NODENAME $SLURM_LOCALID'", cpus=[3, 1])
    assert sorted(out.splitlines()) == ["0: node1 0", "1: node1 1", "2: node1 2", "3: node2 0"]
