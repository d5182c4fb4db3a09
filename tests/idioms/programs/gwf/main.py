"""gwf: two targets, one after the other."""

import pathlib
import subprocess
import time

subprocess.run(["gwf", "config", "set", "backend", "slurm"], check=True)
subprocess.run(["gwf", "run"], check=True)
for _ in range(100):
    time.sleep(0.3)
    if not subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout:
        break
status = subprocess.run(["gwf", "status"], capture_output=True, text=True, check=True).stdout
assert status.count("completed") == 2, status
assert pathlib.Path("b.txt").read_text() == "a\n"
