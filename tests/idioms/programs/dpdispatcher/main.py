"""dpdispatcher: two tasks, each a job, with files brought back."""

import os
import pathlib

from dpdispatcher import Machine, Resources, Submission, Task

for number in range(2):
    os.makedirs("local/t%d" % number)
os.makedirs("remote")
machine = Machine.load_from_dict({"batch_type": "Slurm", "context_type": "LocalContext", "local_root": "./local", "remote_root": os.path.abspath("remote")})
resources = Resources.load_from_dict({"number_node": 1, "cpu_per_node": 1, "gpu_per_node": 0, "queue_name": "debug", "group_size": 1, "kwargs": {}})
tasks = [Task(command="echo hi > out", task_work_path="t%d" % number, forward_files=[], backward_files=["out"]) for number in range(2)]
Submission(work_base=".", machine=machine, resources=resources, task_list=tasks).run_submission(check_interval=1)
assert [pathlib.Path("local/t%d/out" % number).read_text() for number in range(2)] == ["hi\n", "hi\n"]
