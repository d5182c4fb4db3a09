"""ReFrame: the same checks by its schedulers "slurm" (sacct) and "squeue"; one over all idle nodes, one as an array."""

import subprocess

done = subprocess.run(["reframe", "-C", "settings.py", "-c", "checks.py", "-r"], capture_output=True, text=True)
print(done.stdout)
assert done.returncode == 0, done.stderr
assert "Ran 5/5 test case(s) from 3 check(s) (0 failure(s)" in done.stdout
