"""ipyparallel: engines as one job."""

import ipyparallel as ipp

with ipp.Cluster(engines=ipp.cluster.launcher.SlurmEngineSetLauncher, n=2, controller_ip="127.0.0.1") as client:
    client.wait_for_engines(2, timeout=100)
    jobs = client[:].apply_sync(lambda: __import__("os").environ["SLURM_JOB_ID"])
assert len(jobs) == 2 and len(set(jobs)) == 1, jobs
