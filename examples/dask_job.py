"""dask-jobqueue, unchanged, on sbroker: two workers as two jobs. Needs `pip install dask-jobqueue`."""

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    with SLURMCluster(cores=1, memory="500MB", walltime="00:10:00", interface="lo", log_directory="dask-logs") as cluster:
        cluster.scale(2)
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=120)
            print("workers:", len(client.scheduler_info()["workers"]), "sum:", sum(client.gather(client.map(lambda x: x * x, range(10)))))
