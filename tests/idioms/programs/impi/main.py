"""Intel MPI as its guide starts it under Slurm: srun --mpi=pmi2, and mpiexec inside a job."""

import re
import subprocess
import sys
from pathlib import Path


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (argv, done)
    return done


run("srun", "-N2", "true")  # both nodes are up
root = Path(sys.prefix)
Path("job.sh").write_text(f"""#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=job.out
export PATH={root}/bin:$PATH I_MPI_ROOT={root} FI_PROVIDER_PATH={root}/lib I_MPI_OFI_PROVIDER=tcp
srun --mpi=pmi2 {sys.executable} ranks.py
mpiexec {sys.executable} ranks.py
mpiexec -bootstrap slurm -ppn 1 -n 2 hostname | wc -l
""")
run("sbatch", "--wait", "job.sh")
names = ["node1", "node1", "node2", "node2"]
wanted = ["%d/4 %s sum 10 near 2" % (rank, name) for rank, name in enumerate(names)]
text = Path("job.out").read_text()
lines = re.findall(r"\d/4 \w+ sum 10 near \d", text)  # mpiexec mixes what its ranks say
assert (sorted(lines[:4]), sorted(lines[4:])) == (wanted, wanted) and text.split()[-1] == "2", text
