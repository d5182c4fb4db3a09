"""srun inside an allocation: argv and environment → what the step is to be, or srun's refusal. Pure; standard library, Python 3.6.

`parse_step` is sans-I/O: where it needs a file (multi-prog, a host file, a node list file) it answers {"read": [paths]} and is called again
with the call's "files".
"""

import os

from slurm_compat import carry, getopt, hostlist, multiprog, optable, srunsize
from slurm_compat.grammar import Invalid, numbers, timelimit, words
from slurm_compat.releases import version
from slurm_compat.srunsize import Refusal
from slurm_compat.talk import Talk

__all__ = ["Talk", "parse_step"]

DEFAULT_CPU_BIND = "cluster configuration lacks support for cpu binding"
MPI_LIST = "MPI plugin types are...\n\tnone\n\tpmi2\n"
_MPI_KNOWN = {"none": "none", "openmpi": "none", "pmi2": "pmi2"}  # openmpi: an old word for "nothing to be done"
_FLAGS = (
    "label",
    "unbuffered",
    "quit_on_interrupt",
    "disable_status",
    "exact",
    "overlap",
    "overcommit",
    "quiet",
    "preserve_env",
    "pty",
    "multi_prog",
)
X11_LATE = "srun: error: Ignoring --x11 option for a job step within an existing job. Set x11 options at job allocation time.\n"
_JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_JOBID")
_CPU_BINDS = [
    "quiet",
    "q",
    "verbose",
    "v",
    "none",
    "no",
    "rank",
    "sockets",
    "socket",
    "cores",
    "core",
    "threads",
    "thread",
    "ldoms",
    "ldom",
    "boards",
    "board",
    "rank_ldom",
    "help",
]


def _refused_rows(call):
    for name, row in optable.by_name("srun").items():
        if row.cls == optable.REFUSED and call.typed(name):
            if name in ("uid", "gid"):
                raise srunsize.error("--%s only permitted by root user" % name)
            if name == "no-allocate":
                raise srunsize.error("must specify a node list with -Z, --no-allocate.")
            if name == "x11":
                if call.options[name] in (True, None, "all", "batch", "first", "last"):
                    if not call.env.get("DISPLAY"):
                        raise Refusal("srun: error: No DISPLAY variable set, cannot setup x11 forwarding.\n", 255)
                    call.warnings.append(X11_LATE)
                continue
            if name == "reboot":
                continue  # of an allocation that is already there: without effect in Slurm, too
            raise srunsize.error("--%s: %s" % (name, row.note))


def _information(call):
    """--version, --help, --usage, --mpi=list: answered without a step."""
    if call.typed("version"):
        raise Refusal("", 0, version(call.info.get("imitate", "22.05")) + "\n")
    mpi = call.text("mpi")
    if mpi == "list":
        raise Refusal("", 0, MPI_LIST)


def check_mpi(mpi):
    """--mpi, or the cluster's default, as the kind of wire-up that there is: "none" or "pmi2". Raises Refusal."""
    if mpi in _MPI_KNOWN:
        return _MPI_KNOWN[mpi]
    lines = [
        "Couldn't find the specified plugin name for mpi/%s looking at all files" % mpi,
        "cannot find mpi plugin for mpi/%s" % mpi,
        "MPI: Cannot create context for mpi/%s" % mpi,
        "MPI: Unable to load any plugin",
        "Invalid MPI type '%s', --mpi=list for acceptable types" % mpi,
    ]
    if mpi == "pmix" or mpi.startswith("pmix_v"):
        lines.append("PMIx is not offered here: start Open MPI's programs by its own mpirun, without srun; it starts its daemons by srun")
    raise Refusal("".join("srun: error: %s\n" % line for line in lines))


def _mpi(call):
    asked = call.text("mpi")
    return check_mpi((call.info.get("settings") or {}).get("mpi_default") or "none" if asked is None else asked)


def _kill_on_bad_exit(call):
    value = call.options.get("kill-on-bad-exit")
    if value is None:
        return False
    if value is True:
        return True
    return numbers.natural(value, "--kill-on-bad-exit") != 0 if call.typed("kill-on-bad-exit") else numbers.leading(value) != 0


def _export(call):
    """--export: (names of variables that go, None for all of them; assignments)."""
    value = call.text("export")
    if value is None or value == "ALL":
        return None, {}
    names, assigned, everything = [], {}, False
    for item in carry.items(value):
        key, equals, text = item.partition("=")
        if equals:
            assigned[key] = text
        elif item == "ALL":
            everything = True
        elif item not in ("NONE", "NIL"):
            names.append(item)
    return (None if everything else names), assigned


def _environment(call, names, assigned):
    env = dict(call.env)
    if names is not None:
        env = {key: value for key, value in env.items() if key.startswith("SLURM_") or key in names}
        env.pop("SLURM_EXPORT_ENV", None)
    env.update(assigned)
    return env


def _defined(call, request):
    """The lines of -v before the step is made."""
    if not request["verbose"]:
        return ""
    rows = {"verbose": str(request["verbose"])}
    allocated = hostlist.compress([node["node"] for node in call.info["nodes"]])
    if not request["standalone"]:
        rows.update({"(null)": allocated, "jobid": str(call.info["job"]), "job-name": call.env.get("SLURM_JOB_NAME", request["name"])})
        rows.update(nodes=str(request["nodes_min"]), ntasks=str(request["ntasks"]))
        if call.text("mem-per-cpu"):
            rows["mem-per-cpu"] = str(request["mem_per_cpu"])
    else:
        if call.options.get("ntasks"):
            rows["ntasks"] = str(request["ntasks"])
        if call.options.get("nodes"):
            rows["nodes"] = str(request["nodes_min"])
        if call.text("gres"):
            rows["gres"] = "gres:" + call.text("gres")
        if call.text("job-name"):
            rows["job-name"] = call.text("job-name")
    if call.text("distribution"):
        rows["distribution"] = call.text("distribution")
    for name in ("nodelist", "exclude"):
        if call.text(name):
            rows[name] = call.text(name)
    for name, shown in (("output", "output"), ("error", "error"), ("input", "input")):
        if call.text(name):
            rows[shown] = call.text(name)
    if request["time_limit"]:
        seconds = request["time_limit"]
        rows["time"] = "%02d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)
    if request["label"]:
        rows["label"] = "set"
    rule = "-------------------- --------------------"
    body = (
        ["defined options", rule]
        + ["%-20s: %s" % row for row in sorted(rows.items(), key=lambda row: row[0].replace("-", ""))]
        + [rule, "end of defined options"]
    )
    if (call.call.get("options") or {}).get("listed"):  # said already, before the wait for the allocation
        body = []
    nodes = call.info["nodes"]
    cpus = [node["cpus"] for node in nodes]
    runs, at = [], 0
    while at < len(cpus):
        end = at
        while end < len(cpus) and cpus[end] == cpus[at]:
            end += 1
        runs.append("%d(x%d)" % (cpus[at], end - at))
        at = end
    body.append("jobid %s: nodes(%d):`%s', cpu counts: %s" % (call.info["job"], len(nodes), allocated, ",".join(runs)))
    return "".join("srun: %s\n" % line for line in body)


def _stdio(call, request):
    for name, field in (("input", "stdin"), ("output", "stdout"), ("error", "stderr")):
        request[field] = call.text(name)
    mode = call.text("open-mode")
    if mode is not None and call.typed("open-mode"):
        request["open_mode"] = words.open_mode(mode)
    else:
        request["open_mode"] = "append" if mode in ("a", "append") else "truncate"
    if request["pty"]:
        ttys = call.call["meta"].get("tty", "")
        if "0" not in ttys:
            request["pty"] = False
            request["warnings"].append("srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device\n")
            request["warnings"].append("srun: error: Not using a pseudo-terminal, disregarding --pty option\n")
        else:
            request["label"] = False


def check_cpu_bind(value):
    """--cpu-bind as typed, None if it was not. Raises Refusal."""
    heads = [part.partition(":")[0] for part in (value.lower().split(",") if value else ())]
    for head in heads:
        if head in ("map_cpu", "mask_cpu", "map_ldom", "mask_ldom"):
            break
        if head not in _CPU_BINDS:
            raise Refusal(
                'srun: %s\nsrun: error: unrecognized --cpu-bind argument "%s"\nsrun: fatal: Failed to parse --cpu-bind= values.\n'
                % (DEFAULT_CPU_BIND, head)
            )


def _binding(call):
    value = call.text("cpu-bind")
    if not call.typed("cpu-bind") or value is None:
        return
    check_cpu_bind(value)
    call.warnings.append("srun: %s\n" % DEFAULT_CPU_BIND)


def parse_step(info, call):
    """srun's argv and environment inside an allocation → the step request (dict), {"refuse": {"out", "err", "code"}} or {"read": [paths]}.

    call: argv (list of str without argv[0]), env (str → str), cwd, meta (of the CALL; "tty" names the terminals), and after a "read"
    answer files: {path: (errno or 0, bytes)}. The request's keys are those of `Ledger.place`, `layout.layout`, `Talk` and: name, argv,
    programs (argv of each rank, or None), env, set_env, bare_env, cwd, stdin, stdout, stderr, open_mode, pty, label, unbuffered,
    time_limit (seconds or None), immediate, standalone, exported (what --export names), begin_text (to say first), prolog, epilog, task_prolog, task_epilog,
    propagate (names of limits that go), submit_line.
    """
    try:
        return _parse(info, call)
    except srunsize.Read as need:
        return {"read": [need.args[0]]}
    except Refusal as no:
        return {"refuse": {"out": no.out, "err": no.err, "code": no.code}}
    except getopt.BadOption as bad:
        return {"refuse": {"out": "", "err": bad.text, "code": bad.code}}
    except Invalid as bad:
        return {"refuse": {"out": bad.out, "err": bad.text("srun"), "code": bad.code}}


def _parse(info, call_fields):
    call = srunsize.Parsed(info, call_fields)
    _information(call)
    _refused_rows(call)
    options = call.options
    request: dict = {"standalone": not any(call.env.get(name) for name in _JOB_VARIABLES) and not call.typed("jobid")}
    request.update((name, call.flag(name.replace("_", "-"))) for name in _FLAGS)
    verbose = options.get("verbose")
    request["verbose"] = verbose if isinstance(verbose, int) and verbose is not True else 0
    exclusive = options.get("exclusive")
    request["exact"] = request["exact"] or (exclusive is not None and not request["standalone"] and call.typed("exclusive"))
    cpus = call.positive("cpus-per-task")
    request["cpus_per_task"] = cpus
    request["exact"] = (request["exact"] or bool(cpus)) and not call.flag("whole")
    request["ntasks_per_node"] = call.positive("ntasks-per-node")
    request["warnings"] = call.warnings
    request.update(srunsize.placement(call))
    _binding(call)
    if call.text("gpu-bind") is not None and call.typed("gpu-bind"):
        words.gpu_bind(call.text("gpu-bind"))
    if call.text("mem-bind") is not None and call.typed("mem-bind"):
        words.mem_bind(call.text("mem-bind"))
    wait = call.text("wait")
    request["wait"] = numbers.natural(wait, "--wait") if wait is not None else 0
    srunsize.distribution(call, request)
    request.update(srunsize.memories(call))
    srunsize.devices(call, request)
    if request["standalone"]:
        srunsize.whole(call, request)
    else:
        low, high = srunsize.node_counts(call, request)
        if request["hosts"]:
            low = high = len(set(request["hosts"]))
        request["ntasks"], request["nodes_min"], request["nodes_max"] = srunsize.task_count(call, request, low, high)
    limit = call.text("time")
    request["time_limit"] = None
    if limit is not None and (call.typed("time") and not request["standalone"]):
        seconds = timelimit.limit(limit, "time")
        request["time_limit"] = seconds if seconds > 0 else None
    if not call.command:
        raise Refusal("srun: fatal: No command given to execute.\n")
    request["mpi"] = _mpi(call)
    _programs(call, request)
    _stdio(call, request)
    request["kill_on_bad_exit"] = _kill_on_bad_exit(call)
    value = options.get("no-kill")
    request["no_kill"] = value is not None and words.no_kill(None if value is True else value)
    immediate = options.get("immediate")
    request["immediate"] = None if immediate is None or request["standalone"] else 0 if immediate is True else numbers.leading(immediate)
    request["env"] = _step_base(call, request)
    request["cwd"] = call.text("chdir") or call_fields["cwd"]
    if not request["cwd"].startswith("/"):
        request["cwd"] = os.path.join(call_fields["cwd"], request["cwd"])
    value = call.options.get("propagate")
    request["propagate"] = None if value is None else list(words.propagate(None if value is True else value))
    request["task_prolog"] = call.text("task-prolog")
    request["task_epilog"] = call.text("task-epilog")
    for name in ("prolog", "epilog"):
        request[name] = call.text(name) if call.text(name) not in (None, "none", "NONE") else None
    request["submit_line"] = "srun" + "".join(" " + word for word in call_fields["argv"])
    request["begin_text"] = "".join(call.warnings) + _defined(call, request)
    if call.typed("begin") and not request["standalone"]:
        request["begin_text"] += "srun: error: --begin is ignored because nodes are already allocated.\n"
    return request


def _programs(call, request):
    kind = call.text("compress")
    if kind is not None and kind not in ("", "lz4", "none") and call.options.get("compress") is not True:
        call.warnings.append("srun: error: Compression type '%s' unknown, disabling compression support.\n" % kind)
    bcast = call.options.get("bcast")
    request["bcast"] = None if bcast is None else "" if bcast is True else bcast
    request["name"] = call.text("job-name") if call.typed("job-name") else os.path.basename(call.command[0])
    request["argv"], request["programs"] = call.command, None
    if request["multi_prog"]:
        name = call.command[0]
        errno, data = call.file(name)
        if errno:
            raise srunsize.error("Could not open multi_prog config file %s" % name)
        try:
            text = data.decode("utf-8", "surrogateescape")
            request["programs"] = multiprog.parse(text, request["ntasks"], name, call.command[1:])
        except multiprog.MultiProgError as bad:
            raise Refusal("".join("srun: error: %s\n" % line for line in bad.lines))


def _step_base(call, request):
    """The environment that the tasks start from: the client's, as --export says, with what srun's own options add."""
    names, assigned = _export(call)
    request["bare_env"] = names is not None
    request["exported"] = sorted(carry.named(call.text("export")))
    env = _environment(call, names, assigned)
    extra = {}
    if request["cpus_per_task"]:
        extra["SLURM_CPUS_PER_TASK"] = str(request["cpus_per_task"])
    for option, variable in (
        ("ntasks-per-core", "SLURM_NTASKS_PER_CORE"),
        ("ntasks-per-socket", "SLURM_NTASKS_PER_SOCKET"),
        ("ntasks-per-gpu", "SLURM_NTASKS_PER_GPU"),
        ("threads-per-core", "SLURM_THREADS_PER_CORE"),
    ):
        if call.typed(option) and call.text(option):
            extra[variable] = call.text(option)
    if call.typed("ntasks-per-node") and request["ntasks_per_node"]:
        extra["SLURM_NTASKS_PER_NODE"] = str(request["ntasks_per_node"])
    if call.typed("hint") and call.text("hint") == "nomultithread":
        extra["SLURM_THREADS_PER_CORE"] = "1"
    if call.typed("cpu-freq") and call.text("cpu-freq"):
        extra["SLURM_CPU_FREQ_REQ"] = call.text("cpu-freq").capitalize()
    if call.typed("job-name") and not request["standalone"]:
        extra["SLURM_JOB_NAME"] = call.text("job-name")
    if call.typed("distribution"):
        kind = call.text("distribution")
        extra["SLURM_DISTRIBUTION"] = kind.split("=")[0]
        if "=" in kind:
            extra["SLURM_DIST_PLANESIZE"] = kind.split("=")[1]
    for option, prefix in (("cpu-bind", "SLURM_CPU_BIND"), ("mem-bind", "SLURM_MEM_BIND")):
        if call.typed(option) and call.text(option):
            kind, _, listed = call.text(option).partition(":")
            verbose = "verbose" if kind.startswith("v") else "quiet"
            kind = kind.split(",")[-1]
            extra.update(
                {prefix: "%s,%s" % (verbose, kind), prefix + "_LIST": listed, prefix + "_TYPE": kind, prefix + "_VERBOSE": verbose}
            )
    request["set_env"] = extra
    return env
