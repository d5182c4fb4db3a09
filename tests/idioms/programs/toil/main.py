"""toil: a tree of jobs with a follow-on."""

from toil.common import Toil
from toil.job import Job


def double(job, x):
    return x * 2


def total(job, numbers):
    return sum(numbers)


def root(job):
    small = {"cores": 1, "memory": "300M", "disk": "10M"}
    return job.addFollowOnJobFn(total, [job.addChildJobFn(double, x, **small).rv() for x in range(3)], **small).rv()


if __name__ == "__main__":
    options = Job.Runner.getDefaultArgumentParser().parse_args(["./jobs", "--batchSystem", "slurm", "--statusWait", "2", "--logInfo"])
    with Toil(options) as toil:
        assert toil.start(Job.wrapJobFn(root, cores=1, memory="300M", disk="10M")) == 6
