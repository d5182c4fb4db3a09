"""PSI/J: jobs of one and of several processes, their ends, and one that is cancelled."""

import datetime
import pathlib

import psij
from psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1

executor = JobExecutor.get_instance("slurm")
jobs = []
for number, (launcher, code) in enumerate((("single", 0), ("srun", 0), ("single", 3))):
    spec = JobSpec(executable="/bin/bash", arguments=["-c", "echo $SLURM_PROCID; exit %d" % code], stdout_path=pathlib.Path("out-%d" % number).absolute(), launcher=launcher)
    spec.resources = ResourceSpecV1(node_count=2, processes_per_node=2) if launcher == "srun" else ResourceSpecV1(process_count=1)
    spec.attributes = JobAttributes(duration=datetime.timedelta(minutes=3), queue_name="debug", account="lab")
    job = Job(spec)
    executor.submit(job)
    jobs.append(job)
states = [job.wait().state for job in jobs]
assert states == [JobState.COMPLETED, JobState.COMPLETED, JobState.FAILED], states
assert sorted(pathlib.Path("out-1").read_text().split()) == ["0", "1", "2", "3"]
long = Job(JobSpec(executable="/bin/sleep", arguments=["100"]))
executor.submit(long)
long.wait(target_states=[psij.JobState.ACTIVE])
long.cancel()
assert long.wait().state is JobState.CANCELED
