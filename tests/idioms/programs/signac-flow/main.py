"""signac-flow: operations submitted as jobs."""

import pathlib
import subprocess
import sys
import time

import signac
from flow import FlowProject


class Project(FlowProject):
    pass


@Project.post.isfile("out.txt")
@Project.operation
def work(job):
    pathlib.Path(job.fn("out.txt")).write_text("done")


if len(sys.argv) > 1:
    Project().main()
    raise SystemExit(0)
project = signac.init_project()
for number in range(2):
    project.open_job({"number": number}).init()
subprocess.run([sys.executable, "main.py", "submit"], check=True)
for _ in range(200):
    if not subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout:
        break
    time.sleep(0.2)
assert all(job.isfile("out.txt") for job in project)
