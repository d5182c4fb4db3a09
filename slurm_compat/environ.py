"""The variables that Slurm gives to a batch script, to salloc's command, to a step and to each task.

Pure: from the run's description (`info`, ARCHITECTURE.md), the step and the environment it starts from. Nothing of ours is kept in
SLURM_* names. Runs in the broker and in the agent's zipapp: standard library, Python 3.6.
"""

from slurm_compat import carry, hostlist, layout

# gres name → the variables that tell a program its devices; only gpu has any
DEVICE_NAMES = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_OTHER_DEVICES = ("NEURON_RT_VISIBLE_CORES", "TPU_VISIBLE_CHIPS", "TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_PROCESS_BOUNDS")
_GPU_NAMES = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS") + DEVICE_NAMES
NO_PORT = 65535  # srun listens on no port here; scripts that print these variables want a number
_SIMPLE = (  # field of the spec → variable, when the field is set
    ("ntasks_per_node", "SLURM_NTASKS_PER_NODE"),
    ("ntasks_per_socket", "SLURM_NTASKS_PER_SOCKET"),
    ("ntasks_per_core", "SLURM_NTASKS_PER_CORE"),
    ("ntasks_per_gpu", "SLURM_NTASKS_PER_GPU"),
    ("cpus_per_task", "SLURM_CPUS_PER_TASK"),
    ("cpus_per_gpu", "SLURM_CPUS_PER_GPU"),
    ("mem_per_cpu", "SLURM_MEM_PER_CPU"),
    ("mem_per_gpu", "SLURM_MEM_PER_GPU"),
    ("gpu_bind", "SLURM_GPU_BIND"),
    ("hint", "SLURM_HINT"),
    ("network", "SLURM_NETWORK"),
)
_GPU_FIELDS = (
    ("gpus", "SLURM_GPUS"),
    ("gpus_per_node", "SLURM_GPUS_PER_NODE"),
    ("gpus_per_socket", "SLURM_GPUS_PER_SOCKET"),
    ("gpus_per_task", "SLURM_GPUS_PER_TASK"),
)
_OF_A_TASK = [
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_GTIDS",
    "SLURM_TASK_PID",
    "SLURMD_NODENAME",
    "SLURM_CPUS_ON_NODE",
    "SLURM_TOPOLOGY_ADDR",
    "SLURM_TOPOLOGY_ADDR_PATTERN",
]


def gpus(gres):
    """Device indices of a node's share {"gpu:a100": [0, 1]}, of all types, ascending."""
    return sorted(index for name, found in gres.items() if name.split(":")[0] == "gpu" for index in found)


def _index_list(indices):
    return ",".join(str(index) for index in indices)


def gres_text(items, with_name=False):
    """[{name, type, count}] → "a100:2" as the user may have typed it after --gpus=."""
    out = []
    for item in items:
        parts = ([item.get("name", "gpu")] if with_name else []) + ([item["type"]] if item.get("type") else [])
        out.append(":".join(parts + [str(item.get("count", 1))]))
    return ",".join(out)


def dependency_text(dependency):
    """spec.dependency → SLURM_JOB_DEPENDENCY ("afterok:99:100,singleton")."""
    groups = []
    for item in dependency.get("items", ()):
        kind = item["kind"]
        if kind == "singleton":
            groups.append([kind])
            continue
        one = str(item.get("job", 0))
        if item.get("task") is not None:
            one += "_%d" % item["task"]
        if item.get("delay"):
            one += "+%d" % (item["delay"] // 60)
        if groups and groups[-1][0] == kind:
            groups[-1].append(one)
        else:
            groups.append([kind, one])
    return ("?" if dependency.get("any") else ",").join(":".join(group) for group in groups)


def job_tasks(info):
    """Tasks of each node of the allocation (list), as in SLURM_TASKS_PER_NODE: by -n if there is one, else one for each so many CPUs."""
    spec, nodes = info["spec"], info["nodes"]
    per_task = spec.get("cpus_per_task") or 1
    capacity = [max(node["cpus"] // per_task, 1) for node in nodes]
    ntasks = job_ntasks(info)
    if ntasks is None:
        return capacity
    if ntasks < len(nodes) or spec.get("overcommit"):
        return layout.fill(ntasks, capacity, True)
    return layout.fill(ntasks, capacity, ntasks > sum(capacity))


def job_ntasks(info):
    """What SLURM_NTASKS of the job is, None if the user's options do not say."""
    spec, nodes = info["spec"], info["nodes"]
    if spec.get("ntasks"):
        return spec["ntasks"]
    if spec.get("ntasks_per_node"):
        return spec["ntasks_per_node"] * len(nodes)
    if spec.get("ntasks_per_gpu"):
        total = sum(len(gpus(node.get("gres") or {})) for node in nodes)
        return total * spec["ntasks_per_gpu"] or None
    return None


def _nodelist(nodes):
    return hostlist.compress([node["node"] for node in nodes])


def _topology(name):
    return {"SLURM_TOPOLOGY_ADDR": name, "SLURM_TOPOLOGY_ADDR_PATTERN": "node"}


def _job(info):
    """What every environment of the job has."""
    spec, nodes, user = info["spec"], info["nodes"], info["user"]
    job = str(info["job"])
    env = {
        "SLURM_CLUSTER_NAME": info.get("cluster", ""),
        "SLURM_JOB_ID": job,
        "SLURM_JOBID": job,
        "SLURM_JOB_NAME": info.get("name", ""),
        "SLURM_JOB_NODELIST": _nodelist(nodes),
        "SLURM_JOB_NUM_NODES": str(len(nodes)),
        "SLURM_JOB_PARTITION": info.get("partition", ""),
        "SLURM_JOB_CPUS_PER_NODE": layout.counts([node["cpus"] for node in nodes]),
        "SLURM_SUBMIT_DIR": spec.get("work_dir", "/"),
        "SLURM_SUBMIT_HOST": info.get("submit_host", ""),
    }
    for key, name in (("account", "SLURM_JOB_ACCOUNT"), ("qos", "SLURM_JOB_QOS"), ("reservation", "SLURM_JOB_RESERVATION")):
        if info.get(key):
            env[name] = info[key]
    if info.get("imitate", "22.05") != "22.05" and info.get("start_time"):
        env["SLURM_JOB_START_TIME"] = "%d" % info["start_time"]
        if info.get("time_limit", -1) >= 0:
            env["SLURM_JOB_END_TIME"] = "%d" % (info["start_time"] + info["time_limit"])
    if spec.get("submit_dir"):  # where the user was, when --chdir named another folder to run in
        env["SLURM_SUBMIT_DIR"] = spec["submit_dir"]
    return env, user


def _owner(info):
    """Whose job it is; on a node where all jobs run as one user, not that one."""
    user = info.get("owner") or info["user"]
    return {"SLURM_JOB_UID": str(user["uid"]), "SLURM_JOB_USER": user["name"], "SLURM_JOB_GID": str(user["gid"])}


def _wishes(info):
    """What the user asked for, said again as variables: sbatch and salloc export them, srun reads them."""
    spec = info["spec"]
    env = {}
    for field, name in _SIMPLE:
        if spec.get(field) is not None:
            env[name] = str(spec[field])
    for field, name in _GPU_FIELDS:
        if spec.get(field):
            env[name] = gres_text(spec[field])
    if spec.get("mem_per_node"):
        env["SLURM_MEM_PER_NODE"] = str(spec["mem_per_node"])
    ntasks = job_ntasks(info)
    if ntasks is not None:
        env["SLURM_NTASKS"] = env["SLURM_NPROCS"] = str(ntasks)
    if spec.get("distribution"):
        env["SLURM_DISTRIBUTION"] = spec["distribution"].split("=")[0]
        plane = layout.parse_distribution(spec["distribution"])["plane"]
        if plane:
            env["SLURM_DIST_PLANESIZE"] = str(plane)
    if spec.get("overcommit"):
        env["SLURM_OVERCOMMIT"] = "1"
    threads = spec.get("threads_per_core") or (1 if spec.get("hint") == "nomultithread" else None)
    if threads:
        env["SLURM_THREADS_PER_CORE"] = str(threads)
    if spec.get("profile"):
        env["SLURM_PROFILE"] = spec["profile"].capitalize()
    if spec.get("cpu_freq"):
        env["SLURM_CPU_FREQ_REQ"] = spec["cpu_freq"].capitalize()
    return env


def _array(info):
    found = info.get("array")
    if not found:
        return {}
    names = (("ID", "task"), ("COUNT", "count"), ("MIN", "min"), ("MAX", "max"), ("STEP", "step"))
    env = {"SLURM_ARRAY_TASK_" + name: str(found[key]) for name, key in names}
    env["SLURM_ARRAY_JOB_ID"] = str(found["id"])
    return env


def _devices(indices, gres, info):
    """The variables that tell programs their devices: `indices` of a share's `gres`."""
    env = {"SLURM_GPUS_ON_NODE": str(len(indices))}
    env.update((name, _index_list(indices)) for name in DEVICE_NAMES)
    kinds = {name.partition(":")[2] for name in gres}
    if any(kind.startswith(("trainium", "inferentia")) for kind in kinds):
        cores = (info.get("here") or {}).get("neuron_cores") or 1
        env["NEURON_RT_VISIBLE_CORES"] = _index_list(core for index in indices for core in range(index * cores, (index + 1) * cores))
    if any(kind.startswith("tpu") for kind in kinds):
        env["TPU_VISIBLE_CHIPS"] = _index_list(indices)
        if len(indices) == 1:  # one of several: a slice of its own, which the library does not find out by itself
            env["TPU_CHIPS_PER_PROCESS_BOUNDS"] = env["TPU_PROCESS_BOUNDS"] = "1,1,1"
    return env


def _default_memory(info):
    """SLURM_MEM_PER_CPU or _NODE of a batch job that asked for no memory: the partition's default, as it was applied."""
    spec, settings = info["spec"], info.get("settings") or {}
    if spec.get("mem_per_cpu") is not None or spec.get("mem_per_node") is not None or spec.get("mem_per_gpu") is not None:
        return {}
    if settings.get("def_mem_per_cpu"):
        return {"SLURM_MEM_PER_CPU": str(settings["def_mem_per_cpu"])}
    if settings.get("def_mem_per_node"):
        return {"SLURM_MEM_PER_NODE": str(settings["def_mem_per_node"])}
    return {}


def carried_environ(info, node, env, cwd, origin="", names=()):
    """What of an environment (str → str) that was made elsewhere goes to `node`, by the table of carry.py.

    cwd: the folder of the processes that get it. origin: the site of the node where it was made, "" the submit host. names: the
    variables that the user named, None for all.
    """
    if not carry.foreign(info, node, origin):
        return dict(env)
    user = info["user"]
    own = {"HOME": user["home"], "USER": user["name"], "LOGNAME": user["name"], "SHELL": user["shell"], "HOSTNAME": node, "PWD": cwd}
    own["PATH"] = (info.get("here") or {}).get("path") or carry.DEFAULT_PATH
    return carry.carried(env, names, own)


def exported_names(info):
    """The variables that the job's --export names (set); None if its environment is a file's, which names all that is in it."""
    spec = info["spec"]
    return None if (spec.get("extra") or {}).get("export-file") else carry.named(spec.get("export"))


def submitted_environ(info, node, env):
    """What of the environment that a batch job was submitted with goes to `node`."""
    spec = info["spec"]
    return carried_environ(info, node, env, spec.get("work_dir"), spec.get("origin") or "", exported_names(info))


def batch_environ(info, node, user_env):
    """The batch script's environment on `node`; `user_env` is what `submitted_environ` left, and a login's variables if they are wanted.

    The spawner adds SLURM_TASK_PID, which only the new process knows.
    """
    spec = info["spec"]
    index = [found["node"] for found in info["nodes"]].index(node)
    share = info["nodes"][index]
    env = dict(user_env)
    common, user = _job(info)
    env.update(common)
    env.update(_owner(info))
    env.update(_wishes(info))
    env.update(_default_memory(info))
    env.update(_array(info))
    env.update(_topology(node))
    env.update(
        {
            "ENVIRONMENT": "BATCH",
            "HOSTNAME": node,
            "HOME": user_env.get("HOME") or user["home"],
            "USER": user_env.get("USER") or user["name"],
            "LOGNAME": user_env.get("LOGNAME") or user["name"],
            "SHELL": user_env.get("SHELL") or user["shell"],
            "TMPDIR": user_env.get("TMPDIR") or "/tmp",
            "SLURMD_NODENAME": node,
            "SLURM_CPUS_ON_NODE": str(share["cpus"]),
            "SLURM_GTIDS": "0",
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(index),
            "SLURM_PROCID": "0",
            "SLURM_NNODES": common["SLURM_JOB_NUM_NODES"],
            "SLURM_NODELIST": common["SLURM_JOB_NODELIST"],
            "SLURM_NODE_ALIASES": "(null)",
            "SLURM_PRIO_PROCESS": user_env.get("SLURM_PRIO_PROCESS", "0"),
            "SLURM_TASKS_PER_NODE": layout.counts(job_tasks(info)),
        }
    )
    if info.get("name") == "sbatch" and not spec.get("command"):
        env.pop("SLURM_JOB_NAME", None)  # a script from standard input has no name of its own, and sbatch then exports none
    if info.get("restart_count"):
        env["SLURM_RESTART_COUNT"] = str(info["restart_count"])
    if spec.get("dependency"):
        env["SLURM_JOB_DEPENDENCY"] = dependency_text(spec["dependency"])
    if spec.get("open_mode"):
        env["SLURM_OPEN_MODE"] = spec["open_mode"][0]
    if spec.get("export") and spec["export"] != "ALL":
        env["SLURM_EXPORT_ENV"] = spec["export"]
        env["SLURM_GET_USER_ENV"] = "1"
    if spec.get("get_user_env"):
        env["SLURM_GET_USER_ENV"] = "1"
    indices = gpus(share.get("gres") or {})
    for name in _GPU_NAMES:
        env.pop(name, None)  # of the job that this one was submitted from
    if indices:
        env.update(_devices(indices, share.get("gres") or {}, info))
        env["SLURM_JOB_GPUS"] = _index_list(indices)
    return env


def alloc_environ(info):
    """What salloc adds to its command's environment."""
    common, _ = _job(info)
    env = dict(common)
    env.update(_wishes(info))
    env.update(
        {
            "SLURM_NNODES": common["SLURM_JOB_NUM_NODES"],
            "SLURM_NODELIST": common["SLURM_JOB_NODELIST"],
            "SLURM_NODE_ALIASES": "(null)",
            "SLURM_TASKS_PER_NODE": layout.counts(job_tasks(info)),
        }
    )
    return env


def login_environ(info, node):
    """What a login into the job has on `node` beyond a plain one: the allocation, the node's place in it and its devices."""
    index = [found["node"] for found in info["nodes"]].index(node)
    share = info["nodes"][index]
    env = dict(alloc_environ(info), SLURMD_NODENAME=node, SLURM_NODEID=str(index), SLURM_CPUS_ON_NODE=str(share["cpus"]))
    indices = gpus(share.get("gres") or {})
    if indices:
        env.update(_devices(indices, share.get("gres") or {}, info), SLURM_JOB_GPUS=_index_list(indices))
    return env


def step_environ(info, step, node, base):
    """The environment that all tasks of a step on `node` share.

    step: step (id), layout ({"nodes", "tasks"}), nodes ([{"node", "cpus", "gres"}] what the step has of each), ntasks, cpus_per_task,
    ntasks_per_node, standalone (srun made the allocation itself), umask, comm_host, comm_port, options (see srun.parse_step), origin (the
    site of the node where srun was called, "" the submit host), exported (the variables that its --export names), cwd.
    base: the client's environment (str → str).
    """
    env = base = carried_environ(info, node, base, step.get("cwd"), step.get("origin") or "", step.get("exported") or ())
    common, user = _job(info)
    names = step["layout"]["nodes"]
    per_node = [len(mine) for mine in step["layout"]["tasks"]]
    nodelist = hostlist.compress(names)
    submitted = ("SLURM_SUBMIT_DIR", "SLURM_SUBMIT_HOST", "SLURM_JOB_NAME")
    env.update((key, value) for key, value in common.items() if step.get("standalone") or key not in submitted or key not in base)
    env.update(_owner(info))
    for name in _OF_A_TASK:
        env.pop(name, None)
    for name in _GPU_NAMES + ("SLURMD_TRES_BIND",):
        env.pop(name, None)
    ntasks = str(step["ntasks"])
    port = str(step.get("comm_port", NO_PORT))
    per_step = layout.counts(per_node)
    env.update(
        {
            "SLURM_STEP_ID": str(step["step"]),
            "SLURM_STEPID": str(step["step"]),
            "SLURM_STEP_NODELIST": nodelist,
            "SLURM_STEP_NUM_NODES": str(len(names)),
            "SLURM_STEP_NUM_TASKS": ntasks,
            "SLURM_STEP_TASKS_PER_NODE": per_step,
            "SLURM_STEP_LAUNCHER_PORT": port,
            "SLURM_SRUN_COMM_PORT": port,
            "SLURM_SRUN_COMM_HOST": step.get("comm_host", "127.0.0.1"),
            "SLURM_LAUNCH_NODE_IPADDR": step.get("comm_host", "127.0.0.1"),
            "SLURM_NNODES": str(len(names)),
            "SLURM_NTASKS": ntasks,
            "SLURM_NPROCS": ntasks,
            "SLURM_TASKS_PER_NODE": per_step,
            "SLURM_PRIO_PROCESS": base.get("SLURM_PRIO_PROCESS", "0"),
            "SLURM_UMASK": "%04o" % step.get("umask", 0o022),
            "SRUN_DEBUG": str(3 + step.get("verbose", 0)),
        }
    )
    if step.get("standalone"):
        env["SLURM_NODELIST"] = nodelist
    else:
        env["SLURM_NODELIST"] = common["SLURM_JOB_NODELIST"]
        env["SLURM_JOB_CPUS_PER_NODE_PACK_GROUP_0"] = common["SLURM_JOB_CPUS_PER_NODE"]
        env.setdefault("SLURM_DISTRIBUTION", "block" if step["ntasks"] > len(names) else "cyclic")
    if step.get("mpi", "none") == "none":
        env.pop("SLURM_MPI_TYPE", None)
    else:
        env["SLURM_MPI_TYPE"] = step["mpi"]
    env.update(step.get("set_env") or {})
    if step.get("pty"):
        env["SLURM_PTY_PORT"] = port
    for key, value in (("USER", user["name"]), ("LOGNAME", user["name"]), ("HOME", user["home"])):
        if not step.get("bare_env"):
            env.setdefault(key, value)
    return env


def task_gpus(step, node, rank):
    """(device indices that rank sees, whether each task has its own) of a step on `node`."""
    index = step["layout"]["nodes"].index(node)
    indices = gpus(step["nodes"][index].get("gres") or {})
    per_task = step.get("gpus_per_task") or 0
    if not per_task or not indices:
        return indices, False
    local = step["layout"]["tasks"][index].index(rank)
    return indices[local * per_task : (local + 1) * per_task], True


def task_environ(info, step, node, rank, base):
    """The environment of one task; `base` is its node's `step_environ`. The spawner adds SLURM_TASK_PID."""
    names = step["layout"]["nodes"]
    index = names.index(node)
    mine = step["layout"]["tasks"][index]
    env = dict(base)
    env.update(_topology(node))
    env.update(
        {
            "SLURMD_NODENAME": node,
            "SLURM_CPUS_ON_NODE": str(step["nodes"][index]["cpus"]),
            "SLURM_GTIDS": ",".join(str(found) for found in mine),
            "SLURM_LOCALID": str(mine.index(rank)),
            "SLURM_NODEID": str(index),
            "SLURM_PROCID": str(rank),
        }
    )
    if rank == mine[0]:
        env.setdefault("TMPDIR", "/tmp")
    indices, own = task_gpus(step, node, rank)
    if indices:
        for name in _OTHER_DEVICES:
            env.pop(name, None)
        env.update(_devices(indices, step["nodes"][index].get("gres") or {}, info))
        env["SLURM_STEP_GPUS"] = _index_list(indices)
        if own:
            env["SLURM_GPUS_ON_NODE"] = str(len(gpus(step["nodes"][index].get("gres") or {})))
            env["SLURMD_TRES_BIND"] = "gpu:per_task:%d" % step["gpus_per_task"]
    return env
