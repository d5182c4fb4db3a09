"""Variables of real jobs and steps (22.05.8), against ours: the allocation is the recorded one, the variables must follow from it."""

import json
import shlex
from pathlib import Path

import pytest

from slurm_compat import environ, hostlist, layout, srun

FACTS = json.loads((Path(__file__).parent / "environ.json").read_text())
FORMS = FACTS["forms"]
HOME = {"HOME": "/home/alice", "LOGNAME": "alice", "SHELL": "/bin/bash", "USER": "alice"}
# what says which ports and addresses a real srun used, and facts of the recording machine
NOT_OURS = {"SLURM_SRUN_COMM_PORT", "SLURM_STEP_LAUNCHER_PORT", "SLURM_PTY_PORT"}
SHORT = {
    "n": "ntasks",
    "c": "cpus_per_task",
    "N": "nodes",
    "t": "time",
    "p": "partition",
    "A": "account",
    "w": "nodelist",
    "x": "exclude",
    "m": "distribution",
    "O": "overcommit",
    "G": "gpus",
    "s": "oversubscribe",
    "o": "output",
    "B": "extra_node_info",
    "i": "input",
}
FLAGS = {
    "overcommit",
    "oversubscribe",
    "exclusive",
    "get_user_env",
    "requeue",
    "no_requeue",
    "contiguous",
    "spread_job",
    "use_min_nodes",
    "pty",
}
NUMBERS = {
    "ntasks",
    "cpus_per_task",
    "ntasks_per_node",
    "ntasks_per_socket",
    "ntasks_per_core",
    "ntasks_per_gpu",
    "cpus_per_gpu",
    "threads_per_core",
}


def gres(text, named):
    out = []
    for item in text.split(","):
        parts = item.split(":")
        if named:
            parts = parts[1:]
        count = int(parts.pop()) if parts and parts[-1].isdigit() else 1
        out.append({"name": "gpu", "type": parts[0] if parts else None, "count": count})
    return out


def spec_of(command):
    """A JobSpec as the broker would make it from the recorded command line (only what the variables depend on)."""
    spec = {"work_dir": "/home/alice/w", "command": "env.sh"}
    options, words = {}, shlex.split(command)[1:]
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("-", "_")
        else:
            name, value = SHORT.get(word[1], word[1]), word[2:]
            if not value and name not in FLAGS:
                value = words.pop(0)
        options[name] = value
    for name, value in options.items():
        if name in NUMBERS:
            spec[name] = int(value)
        elif name == "gres":
            spec["gres"] = gres(value, True)
        elif name.startswith("gpus"):
            spec[name] = gres(value, False)
        elif name in ("hint", "profile", "distribution", "export"):
            spec[name] = value
        elif name in ("overcommit", "get_user_env"):
            spec[name] = True
    if options.get("mem"):
        spec["mem_per_node"] = {"2G": 2048, "1G": 1024, "0": 0}[options["mem"]]
    if options.get("mem_per_cpu"):
        spec["mem_per_cpu"] = 500
    if options.get("mem_per_gpu"):
        spec["mem_per_gpu"] = 1024
    if "cpu_freq" in options:
        spec["cpu_freq"] = options["cpu_freq"]
    if "open_mode" in options:
        spec["open_mode"] = options["open_mode"]
    if "dependency" in options:
        spec["dependency"] = {"items": [{"kind": options["dependency"].split(":")[0], "job": 99}]}
    if "extra_node_info" in options:
        spec.update(ntasks=4, threads_per_core=1)
    return spec, options, words


def info_of(command, want, kind):
    spec, options, rest = spec_of(command)
    names = hostlist.expand(want["SLURM_JOB_NODELIST"])
    cpus = layout.counts_list(want["SLURM_JOB_CPUS_PER_NODE"])
    gpus = [int(index) for index in want.get("SLURM_JOB_GPUS", want.get("SLURM_STEP_GPUS", "")).split(",") if index]
    if "srun_gpt" in kind:
        gpus = [0, 1]
    nodes = [
        {"node": name, "cpus": count, "mem": 1000 * count, "gres": {"gpu:a100": gpus} if gpus else {}}
        for name, count in zip(names, cpus, strict=True)
    ]
    array = None
    if want.get("SLURM_ARRAY_JOB_ID"):
        array = {"id": int(want["SLURM_ARRAY_JOB_ID"])}
        array.update(
            (key, int(want["SLURM_ARRAY_TASK_" + name]))
            for key, name in (("task", "ID"), ("count", "COUNT"), ("min", "MIN"), ("max", "MAX"), ("step", "STEP"))
        )
    name = options.get("job_name") or ("sbatch" if "<" in command else "wrap" if "--wrap" in command else "env.sh")
    if "<" in command:
        spec["command"] = ""
    info = {
        "cluster": "oracle",
        "imitate": "22.05",
        "job": int(want["SLURM_JOB_ID"]),
        "run": 0,
        "name": name,
        "submit_host": "LOGIN",
        "array": array,
        "user": {"name": "alice", "uid": 1001, "gid": 1001, "home": "/home/alice", "shell": "/bin/bash"},
        "spec": spec,
        "partition": options.get("partition", "debug"),
        "account": options.get("account", "lab"),
        "qos": "normal",
        "nodes": nodes,
        "settings": {"def_mem_per_cpu": 1000},
        "kill_wait": 5,
    }
    return info, options, rest


def wanted(base, diff):
    want = dict(base)
    want.update(diff)
    return {key: value for key, value in want.items() if value is not None and key not in NOT_OURS}


def forms(prefix, several=None):
    return [
        pytest.param(command, diff, id=name)
        for name, command, diff in FORMS
        if command.startswith(prefix) and several in (None, "/" in name)
    ]


@pytest.mark.parametrize(("command", "diff"), forms("sbatch"))
def test_batch(command, diff):
    want = wanted(FACTS["plain"], diff)
    info, _, _ = info_of(command, want, "batch")
    got = environ.batch_environ(info, want["SLURMD_NODENAME"], dict(HOME, PATH="/bin"))
    del got["PATH"]
    assert got == want


@pytest.mark.parametrize(("command", "diff"), forms("salloc", False) + [pytest.param("salloc ./env.sh", {}, id="salloc_plain")])
def test_alloc(command, diff):
    want = wanted(FACTS["salloc_plain"], diff)
    info, _, _ = info_of(command, want, "alloc")
    info["name"] = "interactive"
    assert dict(HOME, **environ.alloc_environ(info)) == want


def step_of(request, want, standalone, info):
    names = hostlist.expand(want["SLURM_STEP_NODELIST"])
    cpus = {node["node"]: node["cpus"] for node in info["nodes"]}
    gres = {node["node"]: {} if request.get("gres") == [] else node["gres"] for node in info["nodes"]}
    nodes = [{"node": name, "cpus": cpus[name], "gres": gres[name]} for name in names]
    made = layout.layout(info, request, nodes)
    return {
        "step": int(want["SLURM_STEP_ID"]),
        "layout": made,
        "nodes": nodes,
        "ntasks": request["ntasks"],
        "standalone": standalone,
        "umask": 0o022,
        "set_env": request["set_env"],
        "verbose": 0,
        "gpus_per_task": request["gpus_per_task"],
        "pty": request["pty"],
    }


@pytest.mark.parametrize(("command", "diff"), forms("srun") + forms("salloc", True) + [pytest.param("srun ./env.sh", {}, id="srun_plain")])
def test_tasks(command, diff):
    want = wanted(FACTS["srun_plain"], diff)
    alone = command.startswith("srun")
    info, _, rest = info_of(command, want, "srun_gpt" if "gpus-per-task" in command else "step")
    if not alone and "--gres=gpu" in command and "none" in command:
        info["nodes"] = [dict(node, gres={"gpu:a100": [0, 1]}) for node in info["nodes"]]
    info["name"] = want["SLURM_JOB_NAME"]
    base = dict(HOME)
    if alone:
        argv = shlex.split(command)[1:]
    else:
        base.update(environ.alloc_environ(info))
        argv = rest[1:]
    request = srun.parse_step(info, {"argv": argv, "env": base, "cwd": "/", "meta": {"tty": "0,1,2"}})
    assert "refuse" not in request, request
    step = step_of(request, want, alone, info)
    node = want["SLURMD_NODENAME"]
    shared = environ.step_environ(info, step, node, request["env"])
    got = environ.task_environ(info, step, node, int(want["SLURM_PROCID"]), shared)
    assert {key: value for key, value in got.items() if key not in NOT_OURS} == want
