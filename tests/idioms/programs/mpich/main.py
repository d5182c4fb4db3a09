"""MPICH as https://mpi4py.readthedocs.io and MPICH's guide start it under Slurm: srun --mpi=pmi2, and mpiexec inside a job."""

import subprocess
import sys
from pathlib import Path


def run(*argv, code=0):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (argv, done)
    return done


def check(text, per_node):
    """`per_node`: ranks of node1 and node2."""
    size = sum(per_node)
    names = ["node1"] * per_node[0] + ["node2"] * per_node[1]
    wanted = ["%d/%d %s sum %d near %d" % (rank, size, name, size * (size + 1) // 2, names.count(name)) for rank, name in enumerate(names)]
    assert sorted(text.splitlines()) == sorted(wanted), text


run("srun", "-N2", "true")  # both nodes are up
check(run("srun", "--mpi=pmi2", "-N2", "-n4", "--ntasks-per-node=2", sys.executable, "ranks.py").stdout, [2, 2])
check(run("srun", "--mpi=pmi2", "-N2", "-n5", sys.executable, "ranks.py").stdout, [4, 1])

Path("job.sh").write_text(f"""#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=job.out
export PATH={Path(sys.executable).parent}:$PATH
mpiexec {sys.executable} ranks.py
""")
run("sbatch", "--wait", "job.sh")
check(Path("job.out").read_text(), [2, 2])

Path("abort.py").write_text("""
import time
from mpi4py import MPI
if MPI.COMM_WORLD.rank == 1:
    MPI.COMM_WORLD.Abort(5)
time.sleep(100)
""")
done = run("srun", "--mpi=pmi2", "-N2", "-n2", sys.executable, "abort.py", code=137)
assert "srun: Job step aborted" in done.stderr and "srun: error: node2: task 1: Killed" in done.stderr, done.stderr

Path("spawn.py").write_text("""
import sys
from mpi4py import MPI
try:
    MPI.COMM_SELF.Spawn(sys.executable, ["-c", "pass"], maxprocs=1)
except MPI.Exception:
    print("refused")
""")
done = run("srun", "--mpi=pmi2", "-n1", sys.executable, "spawn.py")
assert done.stdout == "refused\n" and "spawning processes is not offered here" in done.stderr, done
