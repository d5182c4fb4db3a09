"""srun inside an allocation: argv and environment → what the step is to be, or srun's refusal. Pure; standard library, Python 3.6.

`parse_step` is sans-I/O: where it needs a file (multi-prog, a host file, a node list file) it answers {"read": [paths]} and is called again
with the call's "files".
"""

import os
import shlex

from slurm_compat import environ, getopt, hostlist, layout, multiprog, optable
from slurm_compat.grammar import Invalid, gres, memory, numbers, timelimit, words
from slurm_compat.talk import CAUGHT, Talk

__all__ = ["CAUGHT", "Talk", "parse_step"]

DEFAULT_CPU_BIND = "cluster configuration lacks support for cpu binding"
MPI_LIST = "MPI plugin types are...\n\tnone\n"
_MPI_KNOWN = ("none", "openmpi")
_MPI_LATER = ("pmi2", "pmix", "pmix_v2", "pmix_v3", "pmix_v4", "pmix_v5", "cray_shasta")
_FLAGS = ("label", "unbuffered", "quit_on_interrupt", "disable_status", "exact", "overlap", "overcommit", "quiet", "preserve_env", "pty", "multi_prog")
_JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_JOBID")
_RANGE = 1 << 31


class Refusal(Exception):
    """srun says this and ends. out, err: str; code: int."""

    def __init__(self, err, code=1, out=""):
        Exception.__init__(self, err)
        self.out, self.err, self.code = out, err, code


class _Read(Exception):
    """These files have to be read first."""


def _error(text, code=1):
    return Refusal("srun: error: %s\n" % text, code)


class _Call:
    """The options of one srun, with their values checked as they are taken."""

    def __init__(self, info, call):
        self.info, self.call = info, call
        self.env = call["env"]
        parsed = getopt.parse("srun", call["argv"], self.env)
        self.options, self.sources, self.command = parsed.options, parsed.sources, parsed.rest
        self.warnings = []

    def typed(self, name):
        """Whether the user typed the option (else it came from a variable, or not at all)."""
        return self.sources.get(name) == "cli"

    def text(self, name):
        value = self.options.get(name)
        return None if value is None or value is True else value

    def flag(self, name):
        """A switch: typed, or a variable that is set to something other than "no" or 0."""
        value = self.options.get(name)
        return value is not None and (value is True or self.typed(name) or value.lower() not in ("no", "0", ""))

    def positive(self, name):
        """A count of at least one, None if not given. What comes from the environment and is no count is passed by, as srun does."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return numbers.positive(value, "--" + name)
        except Invalid:
            if not self.typed(name):
                return None
            raise

    def file(self, path):
        """(errno, bytes) of a file; raises _Read if it is not there yet."""
        files = self.call.get("files") or {}
        if path not in files:
            raise _Read(path)
        return files[path]

    def lines(self, path):
        errno, data = self.file(path)
        if errno:
            raise _error("Unable to open file %s: %s" % (path, os.strerror(errno)))
        return data.decode("utf-8", "surrogateescape").split()


def _refused_rows(call):
    for name, row in optable.by_name("srun").items():
        if row.cls == optable.REFUSED and call.typed(name):
            if name in ("uid", "gid"):
                raise _error("--%s only permitted by root user" % name)
            if name == "no-allocate":
                raise _error("must specify a node list with -Z, --no-allocate.")
            if name == "reboot":
                continue  # of an allocation that is already there: without effect in Slurm, too
            raise _error("--%s: %s" % (name, row.note))


def _information(call):
    """--version, --help, --usage, --mpi=list: answered without a step."""
    if call.typed("version"):
        raise Refusal("", 0, "slurm-wlm %s\n" % ("22.05.8" if call.info.get("imitate", "22.05") == "22.05" else "24.11.5"))
    mpi = call.text("mpi")
    if mpi == "list":
        raise Refusal("", 0, MPI_LIST)


def _mpi(call):
    mpi = call.text("mpi") or (call.info.get("settings") or {}).get("mpi_default") or "none"
    if mpi in _MPI_KNOWN:
        return "none"
    lines = [
        "Couldn't find the specified plugin name for mpi/%s looking at all files" % mpi,
        "cannot find mpi plugin for mpi/%s" % mpi,
        "MPI: Cannot create context for mpi/%s" % mpi,
        "MPI: Unable to load any plugin",
        "Invalid MPI type '%s', --mpi=list for acceptable types" % mpi,
    ]
    if mpi in _MPI_LATER:
        lines.append("mpi/%s is not part of this release; launchers that bring their own wire-up over srun or ssh work" % mpi)
    raise Refusal("".join("srun: error: %s\n" % line for line in lines))


def _nodes(call, request):
    """nodes_min and nodes_max of the step, and the checks that srun itself makes of them."""
    total = len(call.info["nodes"])
    typed = call.typed("nodes")
    low = high = None
    value = call.text("nodes")
    if value is not None:
        low, high = numbers.nodes(value)
        if high == -1:
            high = None
    if low == 0:
        low = high = None  # Slurm takes it as "not said"
    if low is None:
        low, high = total, total
    if request["nodelist"] and not typed:
        low = min(low, max(len(request["nodelist"]), 1)) if len(request["nodelist"]) > low else low
    relative = request["relative"]
    if relative is not None:
        asked = low
        if relative + asked > total:
            name = "--nodes" if typed else "SLURM_JOB_NUM_NODES"
            raise _error("--relative and %s option incompatible with count of allocated nodes (%d+%d>%d)" % (name, relative, asked, total))
    if low > total:
        raise _error("Only allocated %d nodes asked for %d" % (total, low))
    return low, high


def _tasks(call, request, low, high):
    """ntasks, and node counts narrowed by it."""
    per_node = request["ntasks_per_node"]
    ntasks = call.positive("ntasks")
    if ntasks is None:
        if per_node:
            ntasks = low * per_node
        elif request["hosts"]:
            ntasks = len(request["hosts"])
        elif request["gpus_per_task"] and request["gpus_total"]:
            ntasks = request["gpus_total"] // request["gpus_per_task"] or 1
        else:
            ntasks = low
        return ntasks, low, high
    if per_node and call.typed("ntasks-per-node") and low * per_node != ntasks and ntasks > low * per_node:
        pass_over = "can't honor --ntasks-per-node set to %d which doesn't match the requested tasks %d with the number of requested nodes %d. Ignoring --ntasks-per-node."
        call.warnings.append("srun: Warning: " + pass_over % (per_node, ntasks, low) + "\n")
        request["ntasks_per_node"] = None
    elif per_node and call.typed("ntasks-per-node") and (call.typed("ntasks") or call.typed("nodes")) and low * per_node != ntasks:
        pass_over = "can't honor --ntasks-per-node set to %d which doesn't match the requested tasks %d with the number of requested nodes %d. Ignoring --ntasks-per-node."
        call.warnings.append("srun: Warning: " + pass_over % (per_node, ntasks, low) + "\n")
        request["ntasks_per_node"] = None
    if ntasks < low:
        call.warnings.append("srun: Warning: can't run %d processes on %d nodes, setting nnodes to %d\n" % (ntasks, low, ntasks))
        low = ntasks
        high = min(high, ntasks) if high is not None else ntasks
    return ntasks, low, high


def _whole(call, request):
    """The srun that made the allocation has chosen by it already: its step takes all of it."""
    total = len(call.info["nodes"])
    ntasks = call.positive("ntasks") or (len(request["hosts"]) if request["hosts"] else environ.job_ntasks(call.info) or total)
    request.update(exact=False, overlap=False, nodelist=[], exclude=[], relative=None, gres=None, gpus_total=None, mem_per_node=None, mem_per_cpu=None)
    request.update(ntasks=ntasks, nodes_min=total, nodes_max=total)
    if request["hosts"]:
        request["nodes_min"] = request["nodes_max"] = len(set(request["hosts"]))


def _memory(call):
    found = {"mem_per_node": None, "mem_per_cpu": None}
    typed = [name for name in ("mem", "mem-per-cpu", "mem-per-gpu") if call.typed(name)]
    for name, field in (("mem", "mem_per_node"), ("mem-per-cpu", "mem_per_cpu")):
        value = call.text(name)
        if value is not None and (name in typed or not typed):
            found[field] = memory.size(value, name)
    return found


def _gres(call, request, nodes):
    """gres per node, gpus_total, gpus_per_task of the step."""
    def items(parsed):
        return [{"name": name, "type": kind, "count": count} for name, kind, count in parsed]

    have = {}
    for share in call.info["nodes"]:
        for full, ids in (share.get("gres") or {}).items():
            have[full.split(":")[0]] = max(have.get(full.split(":")[0], 0), len(ids))
    request.update(gres=None, gpus_total=None, gpus_per_task=None, gpu_type=None)
    value = call.text("gres")
    if value is not None:
        if value.lower() != "none":
            known = set(have) | {"gpu"}
            asked = items(gres.parse_gres(value, known))
            for item in asked:
                if item["name"] not in have:
                    raise Refusal("srun: error: Step requested GRES but job doesn't have GRES\n" + _no_step(call, "Invalid generic resource (gres) specification"))
                if item["count"] > have[item["name"]]:
                    text = "%s:%d" % (item["name"], item["count"])
                    mine = "%s:%d" % (item["name"], have[item["name"]])
                    raise Refusal("srun: error: Step requested gres_per_node=%s is more than the job's gres_per_node=%s\n" % (text, mine)
                                  + _no_step(call, "Invalid generic resource (gres) specification"))  # fmt: skip
            request["gres"] = asked
        else:
            request["gres"] = []
    for name in ("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"):
        value = call.text(name)
        if value is None or (not call.typed(name) and call.typed("gres")):
            continue
        if not have.get("gpu"):
            if not call.typed(name):
                continue
            raise Refusal("srun: error: Step requested GRES but job doesn't have GRES\n" + _no_step(call, "Invalid generic resource (gres) specification"))
        asked = items(gres.parse_gpus(value))
        count = sum(item["count"] for item in asked)
        if name == "gpus-per-node":
            request["gres"] = asked
        elif name == "gpus":
            request["gpus_total"] = count
            request["gpu_type"] = asked[0]["type"] if asked else None
        elif name == "gpus-per-task":
            request["gpus_per_task"] = count


def _no_step(call, reason):
    return "srun: error: Unable to create step for job %s: %s\n" % (call.info["job"], reason)


def _placement(call):
    request = {"relative": None, "nodelist": [], "exclude": [], "hosts": []}
    value = call.text("relative")
    if value is not None:
        request["relative"] = numbers.natural(value, "--relative")
    for name, field in (("nodelist", "nodelist"), ("exclude", "exclude")):
        value = call.text(name)
        if value is None:
            continue
        if "/" in value:
            request[field] = [host for line in call.lines(value) for host in hostlist.expand(line)]
        else:
            try:
                request[field] = hostlist.expand(value)
            except hostlist.HostlistError:
                raise Refusal(_no_step(call, "Requested node configuration is not available"))
    if call.text("nodefile"):
        request["nodelist"] = [host for line in call.lines(call.text("nodefile")) for host in hostlist.expand(line)]
    return request


def _distribution(call, request):
    value = call.text("distribution")
    if value is None and call.env.get("SLURM_DISTRIBUTION"):
        value = call.env["SLURM_DISTRIBUTION"]
    if value == "plane" and call.env.get("SLURM_DIST_PLANESIZE"):
        value = "plane=" + call.env["SLURM_DIST_PLANESIZE"]
    found = {"kind": "", "plane": 0, "pack": False}
    if value:
        try:
            found = layout.parse_distribution(words.distribution(value) if call.typed("distribution") else value)
        except Invalid:
            raise
        except ValueError:
            found = {"kind": "", "plane": 0, "pack": False}  # of an environment that means something else by it
    request["distribution"] = found
    hostfile = call.env.get("SLURM_HOSTFILE")
    if found["kind"] == "arbitrary" or (hostfile and not call.typed("distribution")):
        if hostfile:
            hosts = [host for line in call.lines(hostfile) for host in hostlist.expand(line)]
        else:
            hosts = list(request["nodelist"])
        ntasks = call.positive("ntasks")
        if ntasks and len(hosts) < ntasks:
            raise Refusal("srun: error: Too few NodeNames in Slurm Hostfile\nsrun: error: Failure getting NodeNames from hostfile\n")
        request["hosts"] = hosts[:ntasks] if ntasks else hosts


def _kill_on_bad_exit(call):
    value = call.options.get("kill-on-bad-exit")
    if value is None:
        return False
    return value is True or numbers.leading(value) != 0


def _export(call):
    """(names or None for all, assignments, whether anything of the environment but SLURM_* goes)."""
    value = call.text("export")
    if value is None or value == "ALL":
        return None, {}
    names, assigned, everything = [], {}, False
    for item in _export_items(value):
        key, equals, text = item.partition("=")
        if equals:
            assigned[key] = text
        elif item == "ALL":
            everything = True
        elif item not in ("NONE", "NIL"):
            names.append(item)
    return (None if everything else names), assigned


def _export_items(value):
    """Comma-separated, a value may be quoted to hold commas."""
    items, item, quote = [], "", ""
    for letter in value:
        if quote:
            if letter == quote:
                quote = ""
            else:
                item += letter
        elif letter in "'\"":
            quote = letter
        elif letter == ",":
            items.append(item)
            item = ""
        else:
            item += letter
    return [found for found in items + [item] if found]


def _environment(call, names, assigned):
    env = dict(call.env)
    if names is not None:
        env = dict((key, value) for key, value in env.items() if key.startswith("SLURM_") or key in names)
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
    body = ["defined options", rule] + ["%-20s: %s" % row for row in sorted(rows.items())] + [rule, "end of defined options"]
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
    request["open_mode"] = words.open_mode(mode) if mode is not None and call.typed("open-mode") else "append" if mode in ("a", "append") else "truncate"
    request["no_pty"] = None
    if request["pty"]:
        ttys = call.call["meta"].get("tty", "")
        if "0" not in ttys:
            request["pty"] = False
            request["warnings"].append("srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device\n")
            request["warnings"].append("srun: error: Not using a pseudo-terminal, disregarding --pty option\n")
        else:
            request["label"] = False


def _binding(call):
    value = call.text("cpu-bind")
    if not call.typed("cpu-bind") or value is None:
        return
    known = ("quiet", "q", "verbose", "v", "none", "no", "rank", "sockets", "socket", "cores", "core", "threads", "thread", "ldoms", "ldom", "boards", "board", "rank_ldom", "help")
    heads = [part.partition(":")[0] for part in value.lower().split(",")]
    for head in heads:
        if head in ("map_cpu", "mask_cpu", "map_ldom", "mask_ldom"):
            break
        if head not in known:
            raise Refusal('srun: error: unrecognized --cpu-bind argument "%s"\nsrun: fatal: Failed to parse --cpu-bind= values.\n' % value, 1)
    call.warnings.append("srun: %s\n" % DEFAULT_CPU_BIND)


def parse_step(info, call):
    """srun's argv and environment inside an allocation → the step request (dict), {"refuse": {"out", "err", "code"}} or {"read": [paths]}.

    call: argv (list of str without argv[0]), env (str → str), cwd, meta (of the CALL; "tty" names the terminals), and after a "read" answer files:
    {path: (errno or 0, bytes)}. The request's keys are those of `Ledger.place`, `layout.layout`, `Talk` and: name, argv, programs (argv of
    each rank, or None), env, cwd, stdin, stdout, stderr, open_mode, pty, label, unbuffered, time_limit (seconds or None), immediate,
    standalone, warnings (text to say first), task_prolog, task_epilog, submit_line.
    """
    try:
        return _parse(info, call)
    except _Read as need:
        return {"read": [need.args[0]]}
    except Refusal as no:
        return {"refuse": {"out": no.out, "err": no.err, "code": no.code}}
    except getopt.BadOption as bad:
        return {"refuse": {"out": "", "err": bad.text, "code": bad.code}}
    except Invalid as bad:
        return {"refuse": {"out": bad.out, "err": bad.text("srun"), "code": bad.code}}


def _parse(info, call_fields):
    call = _Call(info, call_fields)
    _information(call)
    _refused_rows(call)
    options = call.options
    request = {"standalone": not any(call.env.get(name) for name in _JOB_VARIABLES) and not call.typed("jobid")}
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
    request.update(_placement(call))
    _binding(call)
    if call.text("gpu-bind") is not None and call.typed("gpu-bind"):
        words.gpu_bind(call.text("gpu-bind"))
    wait = call.text("wait")
    request["wait"] = numbers.natural(wait, "--wait") if wait is not None else 0
    _distribution(call, request)
    request.update(_memory(call))
    _gres(call, request, None)
    if request["standalone"]:
        _whole(call, request)
    else:
        low, high = _nodes(call, request)
        if request["hosts"]:
            low = high = len(set(request["hosts"]))
        request["ntasks"], request["nodes_min"], request["nodes_max"] = _tasks(call, request, low, high)
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
    immediate = options.get("immediate")
    request["immediate"] = None if immediate is None or request["standalone"] else 0 if immediate is True else numbers.leading(immediate)
    request["env"] = _step_base(call, request)
    request["cwd"] = call.text("chdir") or call_fields["cwd"]
    if not request["cwd"].startswith("/"):
        request["cwd"] = os.path.join(call_fields["cwd"], request["cwd"])
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
    request["name"] = call.text("job-name") if call.typed("job-name") else os.path.basename(call.command[0])
    request["argv"], request["programs"] = call.command, None
    if request["multi_prog"]:
        name = call.command[0]
        errno, data = call.file(name)
        if errno:
            raise _error("Could not open multi_prog config file %s" % name)
        try:
            text = data.decode("utf-8", "surrogateescape")
            request["programs"] = multiprog.parse(text, request["ntasks"], name, call.command[1:])
        except multiprog.MultiProgError as bad:
            raise Refusal("".join("srun: error: %s\n" % line for line in bad.lines))


def _step_base(call, request):
    """The environment that the tasks start from: the client's, as --export says, with what srun's own options add."""
    names, assigned = _export(call)
    request["bare_env"] = names is not None
    env = _environment(call, names, assigned)
    extra = {}
    if request["cpus_per_task"]:
        extra["SLURM_CPUS_PER_TASK"] = str(request["cpus_per_task"])
    for option, variable in (
        ("ntasks-per-node", "SLURM_NTASKS_PER_NODE"), ("ntasks-per-core", "SLURM_NTASKS_PER_CORE"), ("ntasks-per-socket", "SLURM_NTASKS_PER_SOCKET"),
        ("ntasks-per-gpu", "SLURM_NTASKS_PER_GPU"), ("threads-per-core", "SLURM_THREADS_PER_CORE"),
    ):  # fmt: skip
        if call.typed(option) and call.text(option):
            extra[variable] = call.text(option)
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
            extra.update({prefix: "%s,%s" % (verbose, kind), prefix + "_LIST": listed, prefix + "_TYPE": kind, prefix + "_VERBOSE": verbose})
    request["set_env"] = extra
    return env


def quoted(argv):
    """A command line as a shell would take it."""
    return " ".join(shlex.quote(word) for word in argv)
