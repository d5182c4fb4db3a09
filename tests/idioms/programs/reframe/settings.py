site_configuration = {
    "systems": [{
        "name": "here",
        "hostnames": [".*"],
        "partitions": [
            {"name": name, "scheduler": name, "launcher": "srun", "access": ["-p debug"], "environs": ["plain"], "max_jobs": 4, "time_limit": "5m",
             "sched_options": {"use_nodes_option": True}}
            for name in ("slurm", "squeue")
        ],
    }],
    "environments": [{"name": "plain"}],
}
