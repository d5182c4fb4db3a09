"""executorlib: functions as jobs that pysqa submits and watches, and as steps of srun."""

from executorlib import SlurmClusterExecutor, SlurmJobExecutor


def add(a, b):
    return a + b


if __name__ == "__main__":
    with SlurmClusterExecutor(cache_directory="./cache", resource_dict={"partition": "debug", "run_time_max": 300, "cores": 1}) as executor:
        first = executor.submit(add, 1, b=2)
        assert executor.submit(add, first, 4).result() == 7
    with SlurmJobExecutor(max_workers=2, hostname_localhost=True) as executor:
        assert [future.result() for future in [executor.submit(add, i, b=i) for i in range(4)]] == [0, 2, 4, 6]
