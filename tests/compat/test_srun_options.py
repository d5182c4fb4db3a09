"""srun inside an allocation: what it refuses, in 22.05.8's words, and what it makes of its options."""

import pytest

from slurm_compat.environ import step_environ
from slurm_compat.srun import parse_step

INFO = {
    "job": 324,
    "imitate": "22.05",
    "nodes": [{"node": "node%d" % n, "cpus": 8, "mem": 8000, "gres": {}} for n in (1, 2)],
    "spec": {},
    "settings": {},
    "user": {"name": "alice", "uid": 1001, "gid": 1001, "home": "/home/alice", "shell": "/bin/bash"},
}
ENV = {"SLURM_JOB_ID": "324", "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2", "PATH": "/bin", "FOO": "1"}


def parse(*argv, env=None, files=None, info=INFO, tty=""):
    return parse_step(info, {"argv": list(argv), "env": dict(ENV, **(env or {})), "cwd": "/w", "meta": {"tty": tty}, "files": files})


@pytest.mark.parametrize(
    ("argv", "err", "code"),
    [
        (["-n0", "true"], 'srun: error: Invalid numeric value "0" for --ntasks.', 1),
        (["-c0", "true"], 'srun: error: Invalid numeric value "0" for --cpus-per-task.', 1),
        (["-n", "-5", "true"], 'srun: error: Invalid numeric value "-5" for --ntasks.', 1),
        (["-W", "x", "true"], 'srun: error: Invalid numeric value "x" for --wait.', 1),
        (["-m", "bogus", "true"], "srun: error: Invalid --distribution specification", 255),
        (["-l"], "srun: fatal: No command given to execute.", 1),
        (["-r", "-1", "true"], 'srun: error: Invalid numeric value "-1" for --relative.', 1),
        (["--open-mode=x", "true"], "srun: error: Invalid --open-mode specification", 255),
        (["--mem=abc", "true"], "srun: error: Invalid --mem specification", 255),
        (["-t", "abc", "true"], "srun: error: Invalid --time specification", 255),
        (["-N", "x", "true"], 'srun: error: "x" is not a valid node count', 255),
        (["-N2-1", "true"], "srun: error: Maximum node count 1 is less than minimum node count 2", 255),
        (["-N3", "true"], "srun: error: Only allocated 2 nodes asked for 3", 1),
        (["--uid=alice", "true"], "srun: error: --uid only permitted by root user", 1),
        (["--gpu-bind=foo", "true"], "srun: error: Invalid --gpu-bind argument: gpu:foo", 255),
        (["--bell", "true"], "srun: unrecognized option '--bell'\nTry \"srun --help\" for more information", 255),
        (
            ["--cpu-bind=foo", "true"],
            'srun: cluster configuration lacks support for cpu binding\nsrun: error: unrecognized --cpu-bind argument "foo"\nsrun: fatal: Failed to parse --cpu-bind= values.',
            1,
        ),
        (["-r2", "-N2", "true"], "srun: error: --relative and --nodes option incompatible with count of allocated nodes (2+2>2)", 1),
        (["--kill-on-bad-exit=x", "true"], 'srun: error: Invalid numeric value "x" for --kill-on-bad-exit.', 1),
    ],
)
def test_refused(argv, err, code):
    assert parse(*argv)["refuse"] == {"out": "", "err": err + "\n", "code": code}


def test_x11_is_the_allocations():
    assert parse("--x11", "true")["refuse"] == {"out": "", "err": "srun: error: No DISPLAY variable set, cannot setup x11 forwarding.\n", "code": 255}
    late = "srun: error: Ignoring --x11 option for a job step within an existing job. Set x11 options at job allocation time.\n"
    assert parse("--x11=first", "true", env={"DISPLAY": ":10"})["begin_text"] == late
    assert parse("--x11=bogus", "true")["begin_text"] == ""


def test_unknown_and_later_mpi():
    err = parse("--mpi=bogus", "true")["refuse"]["err"]
    assert err == (
        "srun: error: Couldn't find the specified plugin name for mpi/bogus looking at all files\n"
        "srun: error: cannot find mpi plugin for mpi/bogus\n"
        "srun: error: MPI: Cannot create context for mpi/bogus\nsrun: error: MPI: Unable to load any plugin\n"
        "srun: error: Invalid MPI type 'bogus', --mpi=list for acceptable types\n"
    )
    pmix = parse("--mpi=pmix", "true")["refuse"]["err"]
    assert pmix.startswith(err.replace("bogus", "pmix")) and "mpirun" in pmix[len(err) :]
    assert "Invalid MPI type '', --mpi=list" in parse("--mpi=", "true")["refuse"]["err"]
    assert parse("--mpi=list")["refuse"] == {"out": "MPI plugin types are...\n\tnone\n\tpmi2\n", "err": "", "code": 0}


@pytest.mark.parametrize(
    ("argv", "env", "default", "kind"),
    [
        ([], {}, "none", "none"),
        (["--mpi=pmi2"], {}, "none", "pmi2"),
        (["--mpi=openmpi"], {}, "pmi2", "none"),
        ([], {"SLURM_MPI_TYPE": "pmi2"}, "none", "pmi2"),
        ([], {}, "pmi2", "pmi2"),
        (["--mpi=none"], {"SLURM_MPI_TYPE": "pmi2"}, "pmi2", "none"),
        ([], {"SLURM_MPI_TYPE": "none"}, "pmi2", "none"),
    ],
)
def test_the_kind_of_mpi(argv, env, default, kind):
    """--mpi, SLURM_MPI_TYPE, MpiDefault: in this order; the tasks see the kind in SLURM_MPI_TYPE, unless it is none."""
    request = parse(*argv, "true", env=env, info=dict(INFO, settings={"mpi_default": default}))
    assert request["mpi"] == kind
    step = {"step": 0, "layout": {"nodes": ["node1"], "tasks": [[0]]}, "nodes": [{"node": "node1", "cpus": 1}], "ntasks": 1, "mpi": request["mpi"]}
    assert step_environ(INFO, step, "node1", request["env"]).get("SLURM_MPI_TYPE") == (None if kind == "none" else kind)


def test_warnings():
    assert parse("-n1", "true")["begin_text"] == "srun: Warning: can't run 1 processes on 2 nodes, setting nnodes to 1\n"
    assert parse("-n6", "--ntasks-per-node=4", "true")["begin_text"].startswith(
        "srun: Warning: can't honor --ntasks-per-node set to 4 which"
    )
    assert parse("--pty", "true")["begin_text"].splitlines() == [
        "srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device",
        "srun: error: Not using a pseudo-terminal, disregarding --pty option",
    ]
    assert parse("--pty", "true", tty="0,1")["pty"] is True
    assert parse("--begin=now", "true")["begin_text"] == "srun: error: --begin is ignored because nodes are already allocated.\n"


def sizes(*argv, **more):
    request = parse(*argv, **more)
    return request["ntasks"], request["nodes_min"], request["nodes_max"]


def test_tasks_and_nodes():
    assert sizes("true") == (2, 2, 2)
    assert sizes("-n4", "true") == (4, 2, 2)
    assert sizes("-n1", "true") == (1, 1, 1)
    assert sizes("-N1", "true") == (1, 1, 1)
    assert sizes("-N1-2", "-n3", "true") == (3, 1, 2)
    assert sizes("--ntasks-per-node=3", "true") == (6, 2, 2)
    assert sizes("true", env={"SLURM_NTASKS": "5"}) == (5, 2, 2)


def test_exact():
    assert not parse("true")["exact"]
    assert all(parse(*argv, "true")["exact"] for argv in (["--exact"], ["-c2"], ["--exclusive"]))
    assert not parse("-c2", "--whole", "true")["exact"]
    assert not parse("true", env={"SLURM_CPUS_PER_TASK": "2"})["exact"]  # 22.05: of the job's request only SRUN_CPUS_PER_TASK counts
    assert parse("true", env={"SRUN_CPUS_PER_TASK": "2"})["cpus_per_task"] == 2


def test_export():
    assert "FOO" in parse("true")["env"]
    assert sorted(parse("--export=NONE", "true")["env"]) == ["SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURM_NNODES"]
    env = parse("--export=A=1,FOO,B='x,y'", "true")["env"]
    assert (env["A"], env["B"], env["FOO"], "PATH" in env) == ("1", "x,y", "1", False)
    assert parse("--export=ALL,A=1", "true")["env"]["FOO"] == "1"
    assert "FOO" not in parse("true", env={"SLURM_EXPORT_ENV": "NONE"})["env"]


def test_files_are_asked_for():
    assert parse("--multi-prog", "-n2", "mp", "x") == {"read": ["mp"]}
    made = parse("--multi-prog", "-n2", "mp", "x", files={"mp": (0, b"* echo %t\n")})
    assert made["programs"] == [["echo", "0", "x"], ["echo", "1", "x"]]
    assert parse("--multi-prog", "mp", files={"mp": (2, b"")})["refuse"]["err"] == "srun: error: Could not open multi_prog config file mp\n"
    env = {"SLURM_HOSTFILE": "hosts"}
    files = {"hosts": (0, b"node2\nnode1\nnode2\n")}
    assert parse("true", env=env) == {"read": ["hosts"]}
    assert parse("-n3", "true", env=env, files=files)["hosts"] == ["node2", "node1", "node2"]
    assert parse("true", env=env, files=files)["hosts"] == ["node2", "node1"]  # a task for each node, without -n
    too_few = "srun: error: Too few NodeNames in Slurm Hostfile\nsrun: error: Failure getting NodeNames from hostfile\n"
    assert parse("true", env=env, files={"hosts": (0, b"node2\n")})["refuse"]["err"] == too_few
    assert parse("-n2", "-m", "arbitrary", "true", env=env, files=files)["hosts"] == ["node2", "node1"]
    assert parse("-n5", "true", env=env, files=files)["refuse"]["err"] == too_few
    unknown = "srun: error: Compression type 'odd' unknown, disabling compression support.\n"
    assert parse("--bcast=/x", "--compress=odd", "true")["begin_text"] == unknown
    assert parse("--bcast=/x", "--compress=lz4", "true")["begin_text"] == ""


def test_devices():
    nodes = [dict(node, gres={"gpu:a100": [0, 1]}) for node in INFO["nodes"]]
    info = dict(INFO, nodes=nodes)
    assert parse("true", info=info)["gres"] is None
    assert parse("--gres=none", "true", info=info)["gres"] == []
    assert parse("--gres=gpu:1", "true", info=info)["gres"] == [{"name": "gpu", "type": None, "count": 1}]
    assert parse("-G1", "true", info=info)["gpus_total"] == 1
    assert parse("--gres=gpu:3", "true", info=info)["refuse"]["err"] == (
        "srun: error: Step requested gres_per_node=gpu:3 is more than the job's gres_per_node=gpu:2\n"
        "srun: error: Unable to create step for job 324: Invalid generic resource (gres) specification\n"
    )


def test_verbose_listing():
    assert parse("-v", "-n2", "true", env={"SLURM_JOB_NAME": "interactive"})["begin_text"] == (
        "srun: defined options\nsrun: -------------------- --------------------\nsrun: (null)              : node[1-2]\n"
        "srun: jobid               : 324\nsrun: job-name            : interactive\nsrun: nodes               : 2\n"
        "srun: ntasks              : 2\nsrun: verbose             : 1\nsrun: -------------------- --------------------\n"
        "srun: end of defined options\nsrun: jobid 324: nodes(2):`node[1-2]', cpu counts: 8(x2)\n"
    )
