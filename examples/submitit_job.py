"""submitit, unchanged, on sbroker: one job and a map over an array. Needs `pip install submitit`."""

import submitit


def square(x: int) -> int:
    return x * x


executor = submitit.SlurmExecutor(folder="submitit-logs")
executor.update_parameters(time=5, cpus_per_task=1, array_parallelism=4)
print("one:", executor.submit(square, 7).result())
print("map:", [job.result() for job in executor.map_array(square, range(5))])
