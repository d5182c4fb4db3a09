"""simple_slurm: an array, and a job that depends on it."""

import datetime
import pathlib
import subprocess

from simple_slurm import Slurm

array = Slurm(array=range(3, 6), cpus_per_task=1, job_name="name", output=f"{Slurm.JOB_ARRAY_MASTER_ID}_{Slurm.JOB_ARRAY_ID}.out", time=datetime.timedelta(minutes=3))
first = array.sbatch("echo " + Slurm.SLURM_ARRAY_TASK_ID)
after = Slurm(dependency={"after": first, "afterok": first}, output="after.out", partition="debug", wait=True).sbatch("echo after")
assert after > first
assert pathlib.Path("after.out").read_text() == "after\n"
assert [pathlib.Path("%d_%d.out" % (first, task)).read_text() for task in range(3, 6)] == ["3\n", "4\n", "5\n"]
Slurm(ntasks=2).srun("true")
assert subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout == ""
