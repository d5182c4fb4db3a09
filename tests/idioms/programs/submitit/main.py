"""submitit: a job, an array, one of several tasks, and one that fails."""

import time

import submitit


def square(x):
    return x * x


def rank():
    env = submitit.JobEnvironment()
    return env.global_rank, env.num_tasks, env.num_nodes


def broken():
    raise ValueError("as it should")


executor = submitit.AutoExecutor(folder="logs")
executor.update_parameters(timeout_min=5, slurm_partition="debug", slurm_account="lab", slurm_array_parallelism=2)
assert executor.submit(square, 7).result() == 49
assert [job.result() for job in executor.map_array(square, range(4))] == [0, 1, 4, 9]
failed = executor.submit(broken)
assert isinstance(failed.exception(), submitit.core.utils.FailedJobError)
for _ in range(50):  # the exception is on disk before the process has ended
    if failed.get_info(mode="force")["State"] != "RUNNING":
        break
    time.sleep(0.2)
assert failed.get_info(mode="force")["State"] == "FAILED"
executor.update_parameters(nodes=2, tasks_per_node=2)
assert [tuple(result) for result in executor.submit(rank).results()] == [(number, 4, 2) for number in range(4)]
