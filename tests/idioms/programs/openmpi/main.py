"""Open MPI as its guide starts it under a Slurm without PMIx: mpirun inside a job, whose daemons are started by srun."""

import subprocess
import sys
from pathlib import Path


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, (argv, done)
    return done


run("srun", "-N2", "true")  # both nodes are up
Path("job.sh").write_text(f"""#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=job.out
export PATH={Path(sys.executable).parent}:$PATH
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# virtual nodes have more CPUs than the machine: nothing to bind to
mpirun --bind-to none {sys.executable} ranks.py || exit
mpirun --bind-to none -n 2 sh -c 'exit 3' 2>errors
echo "code $?"
""")
run("sbatch", "--wait", "job.sh")
*lines, last = Path("job.out").read_text().splitlines()
names = ["node1", "node1", "node2", "node2"]
assert sorted(lines) == ["%d/4 %s sum 10 near 2" % (rank, name) for rank, name in enumerate(names)], lines
assert last == "code 3", Path("errors").read_text()
steps = run("sacct", "-n", "-P", "-o", "jobname").stdout.split()
assert steps.count("prted") == 2, steps
