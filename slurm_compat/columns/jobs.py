"""squeue's columns of a job: a letter for -o, a name for -O, or both.

Facts of Slurm 22.05 that surprise: a name is only known to -O if its letter has none there (`nodes` and `sockets_per_node` are
not), amounts print in the largest unit that loses nothing, and what a cluster without a feature prints is part of the format.
"""

from __future__ import annotations

from collections.abc import Callable

from sbroker.model import INFINITE, Job
from sbroker.states import JobState
from slurm_compat import jobnumbers, jobtext
from slurm_compat.columns.context import Context
from slurm_compat.hostlist import compress_sorted
from slurm_compat.render import Column
from slurm_compat.timefmt import duration, limit
from slurm_compat.units import gres_text, mebibytes, tres_text

NULL = "(null)"
NA = "N/A"
_PENDING = JobState.PENDING
_MAX_PRIORITY = 4294967295


def job_id(j: Job, c: Context) -> str:
    return jobtext.job_id(j, c.room) if j.array_id else str(j.id)


def nodelist(j: Job, c: Context) -> str:
    if not j.nodes or j.state is _PENDING:
        return ""
    return j.nodes[0].node if len(j.nodes) == 1 else compress_sorted(share.node for share in j.nodes)


def reason_or_nodes(j: Job, c: Context) -> str:
    return f"({jobtext.reason(j)})" if jobtext.explained(j) else nodelist(j, c)


def node_count(j: Job, c: Context) -> int:
    return jobnumbers.shown_nodes(j, c.world)


def cpu_count(j: Job, c: Context) -> int:
    return jobnumbers.numbers(j, c.world).cpus


def min_memory(j: Job, c: Context) -> str:
    return mebibytes(jobnumbers.min_memory(j, c.world)[1], c.convert)


def tres_alloc(j: Job, c: Context) -> str:
    found = jobnumbers.numbers(j, c.world)
    return tres_text(found.cpus, found.mem, found.nodes, found.gres, convert=c.convert)


def start(j: Job, c: Context) -> float | None:
    return jobtext.start(j, c.view.estimate(j.id) if j.state is _PENDING else None, c.now)


def end_text(j: Job, c: Context) -> str:
    when = jobtext.end(j, start(j, c))
    return "NONE" if when == INFINITE else c.times.at(when)


def time_used(j: Job, c: Context) -> str:
    return "0:00" if j.start_time is None else duration(jobtext.elapsed(j, c.now))


def time_left(j: Job, c: Context) -> str:
    if j.time_limit == INFINITE:
        return "UNLIMITED"
    return duration(j.time_limit - int(jobtext.elapsed(j, c.now)))


def batch_host(j: Job, c: Context) -> str:
    if j.spec.kind == "alloc":
        return j.spec.submit_host or "n/a"
    return j.nodes[0].node if j.nodes and j.state is not _PENDING else "n/a"


def planned_nodes(j: Job, c: Context) -> str:
    return (compress_sorted(c.view.planned(j.id)) if j.state is _PENDING else "") or NULL


def geometry(j: Job, c: Context) -> str:
    return ":".join(str(n or "*") for n in (j.spec.sockets_per_node, j.spec.cores_per_socket, _threads(j)))


def _threads(j: Job) -> int | None:
    return j.spec.threads_per_core or (1 if j.spec.hint == "nomultithread" else None)


def oversubscribe(j: Job, c: Context) -> str:
    part = c.view.partitions.get(j.partition)
    return jobtext.oversubscribe(j, part.oversubscribe if part else "no")


def accrue(j: Job, c: Context) -> str:
    """When it began to gather priority by its age."""
    return NA if j.held or (j.eligible_time or 0) > c.now else c.times.at(j.eligible_time)


def pending_secs(j: Job, c: Context) -> int:
    until = c.now if j.state is _PENDING or j.start_time is None else j.start_time
    return max(0, int(until) - int(j.submit_time))


def _fixed(text: str) -> Callable[[Job, Context], str]:
    return lambda j, c: text


def _spec(name: str, none: str) -> Callable[[Job, Context], str]:
    """A field of the specification as it is, or `none`."""

    def text(j: Job, c: Context) -> str:
        value = getattr(j.spec, name)
        return none if value is None else str(value)

    return text


def _flag(name: str) -> Callable[[Job, Context], str]:
    return lambda j, c: "1" if getattr(j.spec, name) else "0"


def _gres(*names: str) -> Callable[[Job, Context], str]:
    return lambda j, c: ",".join(filter(None, (gres_text(getattr(j.spec, name)) for name in names))) or NA


def _extra(name: str, none: str) -> Callable[[Job, Context], str]:
    return lambda j, c: j.spec.extra.get(name, none)


def profile(j: Job, c: Context) -> str:
    asked_for = {word.strip().lower() for word in (j.spec.profile or "").split(",")} - {"", "none"}
    if not asked_for:
        return "None" if j.spec.profile else "NotSet"
    words = ("Energy", "Lustre", "Network", "Task")
    return ",".join(w for w in words if "all" in asked_for or w.lower() in asked_for)


def switches(j: Job, part: int) -> str | None:
    return (j.spec.switches or "").partition("@")[part] or None


def array_order(j: Job, c: Context) -> tuple[int, int]:
    task = j.array_task if j.array_task is not None else (1 << 32 if j.array_id else 0)
    return (j.array_id or j.id, task)


def _number(text: Callable[[Job, Context], int]) -> Callable[[Job, Context], str]:
    return lambda j, c: str(text(j, c))


# letter, -O names, heading, text[, what -S compares where that is not the text]
_ROWS: tuple[tuple, ...] = (
    ("a", "account", "ACCOUNT", lambda j, c: j.account or NULL),
    ("A", "jobid", "JOBID", lambda j, c: str(j.id)),
    ("b", "tres-per-node gres", "TRES_PER_NODE", _gres("gres", "gpus_per_node")),
    ("B", "batchhost", "EXEC_HOST", batch_host),
    ("c", "mincpus", "MIN_CPUS", lambda j, c: str(jobnumbers.min_cpus(j.spec)), lambda j, c: jobnumbers.min_cpus(j.spec)),
    ("C", "numcpus", "CPUS", _number(cpu_count), cpu_count),
    ("d", "mintmpdisk", "MIN_TMP_DISK", lambda j, c: mebibytes(j.spec.tmp or 0, c.convert), lambda j, c: j.spec.tmp or 0),
    ("D", "numnodes", "NODES", lambda j, c: str(node_count(j, c))[:7], node_count),  # 22.05 has room for seven digits
    ("e", "endtime", "END_TIME", end_text, lambda j, c: jobtext.end(j, start(j, c)) or 0),
    ("E", "dependency", "DEPENDENCY", lambda j, c: jobtext.dependency(j, c.view.jobs) or NULL),
    ("f", "feature", "FEATURES", _spec("constraint", NULL), lambda j, c: j.spec.constraint or ""),
    ("F", "arrayjobid", "ARRAY_JOB_ID", lambda j, c: str(j.array_id or j.id)),
    ("g", "groupname", "GROUP", lambda j, c: j.group or str(j.gid), lambda j, c: j.group),
    ("G", "groupid", "GROUP", lambda j, c: str(j.gid), lambda j, c: j.gid),
    ("h", "oversubscribe", "OVER_SUBSCRIBE", oversubscribe),
    ("H", "sockets", "SOCKETS_PER_NODE", _spec("sockets_per_node", "*"), lambda j, c: j.spec.sockets_per_node or 0),
    ("i", "jobarrayid", "JOBID", job_id, array_order),
    ("I", "cores", "CORES_PER_SOCKET", _spec("cores_per_socket", "*"), lambda j, c: j.spec.cores_per_socket or 0),
    ("j", "name", "NAME", lambda j, c: j.spec.name),
    ("J", "threads", "THREADS_PER_CORE", lambda j, c: str(_threads(j) or "*"), lambda j, c: _threads(j) or 0),
    ("k", "comment", "COMMENT", _spec("comment", NULL)),
    ("K", "arraytaskid", "ARRAY_TASK_ID", lambda j, c: jobtext.task_id(j, c.room)),
    ("l", "timelimit", "TIME_LIMIT", lambda j, c: limit(j.time_limit), lambda j, c: j.time_limit if j.time_limit >= 0 else 1 << 40),
    ("L", "timeleft", "TIME_LEFT", time_left, lambda j, c: 1 << 40 if j.time_limit < 0 else j.time_limit - jobtext.elapsed(j, c.now)),
    ("M", "timeused", "TIME", time_used, lambda j, c: jobtext.elapsed(j, c.now)),
    ("m", "minmemory", "MIN_MEMORY", min_memory, lambda j, c: jobnumbers.min_memory(j, c.world)[1]),
    ("n", "reqnodes", "REQ_NODES", lambda j, c: compress_sorted(j.spec.nodelist)),
    ("N", "nodelist", "NODELIST", nodelist),
    ("o", "command", "COMMAND", lambda j, c: jobtext.command(j) or NULL),
    ("O", "contiguous", "CONTIGUOUS", _flag("contiguous"), lambda j, c: j.spec.contiguous),
    ("P", "partition", "PARTITION", lambda j, c: jobtext.partition(j)),
    ("p", "priority", "PRIORITY", lambda j, c: f"{j.priority / _MAX_PRIORITY:.14f}", lambda j, c: j.priority),
    ("q", "qos", "QOS", lambda j, c: j.qos or NULL),
    ("Q", "prioritylong", "PRIORITY", lambda j, c: str(j.priority), lambda j, c: j.priority),
    ("r", "reason", "REASON", lambda j, c: jobtext.reason(j)),
    ("R", "reasonlist", "NODELIST(REASON)", reason_or_nodes),
    ("s", "selectjobinfo", "", _fixed("")),
    ("S", "starttime", "START_TIME", lambda j, c: c.times.at(start(j, c)), lambda j, c: start(j, c) or 1 << 40),
    ("t", "statecompact", "ST", lambda j, c: jobtext.COMPACT[jobtext.state(j)]),
    ("T", "state", "STATE", lambda j, c: jobtext.state(j)),
    ("u", "username", "USER", lambda j, c: j.user),
    ("U", "userid", "UID", lambda j, c: str(j.uid), lambda j, c: j.uid),
    ("v", "reservation", "RESERVATION", _spec("reservation", NULL), lambda j, c: j.spec.reservation or ""),
    ("V", "submittime", "SUBMIT_TIME", lambda j, c: c.times.at(j.submit_time), lambda j, c: j.submit_time),
    ("w", "wckey", "WCKEY", _spec("wckey", NULL)),
    ("W", "licenses", "LICENSES", _spec("licenses", NULL)),
    ("x", "", "EXC_NODES", lambda j, c: compress_sorted(j.spec.exclude)),
    ("X", "corespec", "CORE_SPEC", _spec("core_spec", NA)),
    ("y", "nice", "NICE", lambda j, c: str(j.spec.nice)),
    ("Y", "schednodes", "SCHEDNODES", planned_nodes),
    ("z", "sct", "S:C:T", geometry),
    ("Z", "workdir", "WORK_DIR", lambda j, c: j.spec.work_dir),
    ("", "accruetime", "ACCRUE_TIME", accrue),
    ("", "admin_comment", "ADMIN_COMMENT", _spec("admin_comment", NULL)),
    ("", "allocnodes", "ALLOC_NODES", lambda j, c: jobtext.submitted_from(j) or NULL),
    ("", "allocsid", "ALLOC_SID", lambda j, c: str(j.spec.sid)),
    ("", "associd", "ASSOC_ID", _fixed("0")),
    ("", "batchflag", "BATCH_FLAG", lambda j, c: "1" if j.spec.kind == "batch" else "0"),
    ("", "boardspernode", "BOARDS_PER_NODE", _fixed("0")),
    ("", "burstbuffer", "BURST_BUFFER", _extra("bb", NULL)),
    ("", "burstbufferstate", "BURST_BUFFER_STATE", _fixed(NULL)),
    ("", "cluster", "CLUSTER", lambda j, c: c.cluster),
    ("", "clusterfeature", "CLUSTER_FEATURES", _fixed(NULL)),
    ("", "container", "CONTAINER", _extra("container", NULL)),
    ("", "cpus-per-task", "CPUS_PER_TASK", lambda j, c: str(j.spec.cpus_per_task or 1)),
    ("", "cpus-per-tres", "CPUS_PER_TRES", lambda j, c: f"gres:gpu:{j.spec.cpus_per_gpu}" if j.spec.cpus_per_gpu else NA),
    ("", "deadline", "DEADLINE", lambda j, c: c.times.at(j.spec.deadline)),
    ("", "delayboot", "DELAY_BOOT", lambda j, c: duration(j.spec.delay_boot or 0)),
    ("", "derivedec", "DERIVED_EC", lambda j, c: str(j.derived_exit.code)),
    ("", "eligibletime", "ELIGIBLE_TIME", lambda j, c: NA if jobtext.waits_for_tasks(j) else c.times.at(j.eligible_time or j.begin)),
    ("", "exit_code", "EXIT_CODE", lambda j, c: str(j.exit.code)),
    ("", "hetjobid", "HET_JOB_ID", _fixed(NA)),
    ("", "hetjobidset", "HET_JOB_ID_SET", _fixed(NA)),
    ("", "hetjoboffset", "HET_JOB_OFFSET", _fixed(NA)),
    ("", "lastschedeval", "LAST_SCHED_EVAL", lambda j, c: c.times.at(j.last_eval or j.submit_time)),
    ("", "maxcpus", "MAX_CPUS", lambda j, c: str(jobnumbers.asked(j, c.world).cpus)),
    ("", "maxnodes", "MAX_NODES", _number(lambda j, c: len(j.nodes) if j.nodes and j.state is not _PENDING else jobnumbers.most_nodes(j, c.world))),
    ("", "mcslabel", "MCSLABEL", _fixed(NULL)),
    ("", "mem-per-tres", "MEM_PER_TRES", lambda j, c: f"gres:gpu:{j.spec.mem_per_gpu}" if j.spec.mem_per_gpu else NA),
    ("", "mintime", "TIME_MIN", lambda j, c: duration(j.spec.time_min or 0)),
    ("", "network", "NETWORK", _spec("network", NULL)),
    ("", "ntperboard", "NTASKS_PER_BOARD", _fixed("0")),
    ("", "ntpercore", "NTASKS_PER_CORE", _spec("ntasks_per_core", NA)),
    ("", "ntpernode", "NTASKS_PER_NODE", lambda j, c: str(j.spec.ntasks_per_node or 0)),
    ("", "ntpersocket", "NTASKS_PER_SOCKET", _spec("ntasks_per_socket", NA)),
    ("", "numtasks", "TASKS", lambda j, c: str(jobnumbers.asked(j, c.world).tasks or 1)),
    ("", "origin", "ORIGIN", _fixed("NA")),
    ("", "originraw", "ORIGIN_RAW", _fixed("NA")),
    ("", "siblingsactive", "ACTIVE_SIBLINGS", _fixed("NA")),
    ("", "siblingsactiveraw", "ACTIVE_SIBLINGS_RAW", _fixed("NA")),
    ("", "siblingsviable", "VIABLE_SIBLINGS", _fixed("NA")),
    ("", "siblingsviableraw", "VIALBLE_SIBLINGS_RAW", _fixed("NA")),
    ("", "pendingtime", "PENDING_TIME", _number(pending_secs)),
    ("", "preempttime", "PREEMPT_TIME", _fixed(NA)),
    ("", "prefer", "PREFER", _extra("prefer", NULL)),
    ("", "profile", "PROFILE", profile),
    ("", "reboot", "REBOOT", _fixed("0")),
    ("", "reqswitch", "REQ_SWITCH", lambda j, c: switches(j, 0) or "0"),
    ("", "requeue", "REQUEUE", lambda j, c: "0" if j.spec.requeue is False else "1"),
    ("", "resizetime", "RESIZE_TIME", _fixed(NA)),
    ("", "restartcnt", "RESTART_COUNT", lambda j, c: str(j.restarts)),
    ("", "sperboard", "SOCKETS_PER_BOARD", _fixed("0")),
    ("", "stderr", "STDERR", lambda j, c: jobtext.stdio(j)[2]),
    ("", "stdin", "STDIN", lambda j, c: jobtext.stdio(j)[0] or NULL),
    ("", "stdout", "STDOUT", lambda j, c: jobtext.stdio(j)[1]),
    ("", "system_comment", "SYSTEM_COMMENT", _fixed(NULL)),
    ("", "tres-alloc tres", "TRES_ALLOC", tres_alloc),
    ("", "tres-bind", "TRES_BIND", lambda j, c: f"gpu:{j.spec.gpu_bind}" if j.spec.gpu_bind else NA),
    ("", "tres-freq", "TRES_FREQ", lambda j, c: f"gpu:{j.spec.extra['gpu-freq']}" if j.spec.extra.get("gpu-freq") else NA),
    ("", "tres-per-job", "TRES_PER_JOB", _gres("gpus")),
    ("", "tres-per-socket", "TRES_PER_SOCKET", _gres("gpus_per_socket")),
    ("", "tres-per-task", "TRES_PER_TASK", _gres("gpus_per_task")),
    ("", "wait4switch", "WAIT4SWITCH", lambda j, c: "5:00" if j.spec.switches else "0:00"),
)
WHOLE = frozenset("lLMNRY")  # never cut at the right margin
SORTABLE = frozenset("bcdefghijlmnptuvzBCDGHIJLMNOPQSTUV")  # Slurm refuses to sort by the other letters


def _column(letter: str, header: str, text: Callable[[Job, Context], str], order: Callable[[Job, Context], object] | None = None) -> Column:
    return Column(header, text, order=(order or text) if letter in SORTABLE else None, whole=bool(letter) and letter in WHOLE)


_COLUMNS = [(letter, names.split(), _column(letter, *rest)) for letter, names, *rest in _ROWS]
LETTERS = {letter: column for letter, _, column in _COLUMNS if letter}
NAMES = {name: column for _, names, column in _COLUMNS for name in names}
