"""srun's command line inside an allocation: the call with its checked values, and how many tasks and nodes, which memory, which devices.

Pure; standard library, Python 3.6. Part of srun.py.
"""

import os

from slurm_compat import environ, getopt, hostlist, layout
from slurm_compat.grammar import Invalid, gres, memory, numbers, words

_BAD_GRES = "Invalid generic resource (gres) specification"
RELATIVE = "-r,--relative not allowed with -w,--nodelist or -x,--exclude."
_TOO_MANY_A_NODE = (
    "srun: Warning: can't honor --ntasks-per-node set to %d which doesn't match the requested tasks %d with the number of "
    "requested nodes %d. Ignoring --ntasks-per-node.\n"
)


class Refusal(Exception):
    """srun says this and ends. out, err: str; code: int."""

    def __init__(self, err, code=1, out=""):
        Exception.__init__(self, err)
        self.out, self.err, self.code = out, err, code


class Read(Exception):
    """These files have to be read first."""


def error(text, code=1):
    return Refusal("srun: error: %s\n" % text, code)


class Parsed:
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
        """(errno, bytes) of a file; raises Read if it is not there yet."""
        files = self.call.get("files") or {}
        if path not in files:
            raise Read(path)
        return files[path]

    def lines(self, path):
        errno, data = self.file(path)
        if errno:
            raise error("Unable to open file %s: %s" % (path, os.strerror(errno)))
        return data.decode("utf-8", "surrogateescape").split()


def node_counts(call, request):
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
    relative = request["relative"]
    if relative is not None:
        asked = low
        if relative + asked > total:
            name = "--nodes" if typed else "SLURM_JOB_NUM_NODES"
            raise error("--relative and %s option incompatible with count of allocated nodes (%d+%d>%d)" % (name, relative, asked, total))
    if low > total:
        raise error("Only allocated %d nodes asked for %d" % (total, low))
    return low, high


def task_count(call, request, low, high):
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
    if (
        per_node
        and call.typed("ntasks-per-node")
        and low * per_node != ntasks
        and (ntasks > low * per_node or call.typed("ntasks") or call.typed("nodes"))
    ):
        call.warnings.append(_TOO_MANY_A_NODE % (per_node, ntasks, low))
        request["ntasks_per_node"] = None
    if ntasks < low:
        call.warnings.append("srun: Warning: can't run %d processes on %d nodes, setting nnodes to %d\n" % (ntasks, low, ntasks))
        low = ntasks
        high = min(high, ntasks) if high is not None else ntasks
    return ntasks, low, high


def whole(call, request):
    """The srun that made the allocation has chosen by it already: its step takes all of it."""
    total = len(call.info["nodes"])
    ntasks = call.positive("ntasks") or (len(request["hosts"]) if request["hosts"] else environ.job_ntasks(call.info) or total)
    request.update(
        exact=False, overlap=False, nodelist=[], exclude=[], relative=None, gres=None, gpus_total=None, mem_per_node=None, mem_per_cpu=None
    )
    request.update(ntasks=ntasks, nodes_min=total, nodes_max=total)
    request["ntasks_per_node"] = call.info["spec"].get("ntasks_per_node")  # as far as it was kept
    if request["hosts"]:
        request["nodes_min"] = request["nodes_max"] = len(set(request["hosts"]))


def memories(call):
    found = {"mem_per_node": None, "mem_per_cpu": None}
    typed = [name for name in ("mem", "mem-per-cpu", "mem-per-gpu") if call.typed(name)]
    for name, field in (("mem", "mem_per_node"), ("mem-per-cpu", "mem_per_cpu")):
        value = call.text(name)
        if value is not None and (name in typed or not typed):
            found[field] = memory.size(value, name)
    return found


def _items(parsed):
    return [{"name": name, "type": kind, "count": count} for name, kind, count in parsed]


def _no_gres(call, why):
    return Refusal("srun: error: %s\n%s" % (why, no_step(call, _BAD_GRES)))


def devices(call, request):
    """gres (per node; None: all that the job has, []: none), gpus_total, gpu_type and gpus_per_task of the step."""
    have: dict = {}  # name → the most that one node of the job has
    for share in call.info["nodes"]:
        mine: dict = {}
        for full, ids in (share.get("gres") or {}).items():
            mine[full.split(":")[0]] = mine.get(full.split(":")[0], 0) + len(ids)
        have.update((name, max(count, have.get(name, 0))) for name, count in mine.items())
    request.update(gres=None, gpus_total=None, gpus_per_task=None, gpu_type=None)
    value = call.text("gres")
    if value is not None:
        request["gres"] = [] if value.lower() == "none" else _items(gres.parse_gres(value, set(have) | {"gpu"}))
        for item in request["gres"]:
            if item["name"] not in have:
                raise _no_gres(call, "Step requested GRES but job doesn't have GRES")
            if item["count"] > have[item["name"]]:
                asked, most = ("%s:%d" % (item["name"], count) for count in (item["count"], have[item["name"]]))
                raise _no_gres(call, "Step requested gres_per_node=%s is more than the job's gres_per_node=%s" % (asked, most))
    for name in ("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"):
        value = call.text(name)
        if value is None or (not call.typed(name) and (call.typed("gres") or not have.get("gpu"))):
            continue
        if not have.get("gpu"):
            raise _no_gres(call, "Step requested GRES but job doesn't have GRES")
        asked = _items(gres.parse_gpus(value))
        count = sum(item["count"] for item in asked)
        if name == "gpus-per-node":
            request["gres"] = asked
        elif name == "gpus":
            request["gpus_total"] = count
            request["gpu_type"] = asked[0]["type"] if asked else None
        elif name == "gpus-per-task":
            request["gpus_per_task"] = count


def no_step(call, reason):
    return "srun: error: Unable to create step for job %s: %s\n" % (call.info["job"], reason)


def placement(call):
    request: dict = {"relative": None, "nodelist": [], "exclude": [], "hosts": []}
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
                raise Refusal(no_step(call, "Requested node configuration is not available"))
    if call.text("nodefile"):
        request["nodelist"] = [host for line in call.lines(call.text("nodefile")) for host in hostlist.expand(line)]
    if request["relative"] is not None and (call.text("nodelist") or call.text("exclude")):
        raise error(RELATIVE)
    return request


def distribution(call, request):
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
        if hostfile and not ntasks and not request["standalone"]:
            ntasks = numbers.leading(call.text("nodes") or "") or len(call.info["nodes"])  # one for each node
        if ntasks and len(hosts) < ntasks:
            raise Refusal("srun: error: Too few NodeNames in Slurm Hostfile\nsrun: error: Failure getting NodeNames from hostfile\n")
        request["hosts"] = hosts[:ntasks] if ntasks else hosts
