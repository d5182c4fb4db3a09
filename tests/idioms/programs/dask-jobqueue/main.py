"""dask-jobqueue: workers as jobs, scaled up and down."""

import subprocess
import time

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    with SLURMCluster(cores=1, memory="500MB", walltime="00:10:00", queue="debug", account="lab", interface="lo", log_directory="logs") as cluster:
        cluster.scale(2)
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=120)
            assert sum(client.gather(client.map(lambda x: x * x, range(10)))) == 285
    for _ in range(100):
        left = subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout
        if not left:
            break
        time.sleep(0.2)
    assert left == ""
