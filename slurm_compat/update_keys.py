"""Keys of scontrol update for jobs: what each changes in the job's JobSpec, and its complaints."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sbroker.errors import Code, Refused
from sbroker.model import INFINITE, Dependency, DepItem, Gres, Job
from sbroker.states import JobState
from slurm_compat.control.session import Session
from slurm_compat.grammar import Invalid, dependency, gres, timelimit, when
from slurm_compat.grammar import words as grammar_words
from slurm_compat.hostlist import HostlistError, expand
from slurm_compat.show.scene import clock
from slurm_compat.update_pairs import BadUpdate, Pair

MAX_NICE = 2147483645
_NUMBER = re.compile(r"\d+$")


class Changes:
    """What one update asks for. `spec`: JobSpec field → value; `per_job`: computed from each job (TimeLimit+=5, EndTime)."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now = session.api.now()
        self.spec: dict[str, Any] = {}
        self.per_job: list[Callable[[Job], dict[str, Any]]] = []
        self.hold: str | None = None  # Priority=0
        self.refusal = ""  # Slurm's words, where what is asked for is not to be had here
        self.operator_only = False
        self.count = 0
        self.exit_code = 0
        self.warnings: list[str] = []


def fault(text: str) -> BadUpdate:
    return BadUpdate(f"scontrol: error: {text}")


def _count(text: str, name: str) -> int:
    if not _NUMBER.match(text):
        raise fault(f"Invalid {name} value: {text}")
    return int(text)


def _text(field: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.spec[field] = value or None

    return put


def _admin(change: Callable[[Changes, Pair, str], None]) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        change(changes, pair, value)
        changes.operator_only = True

    return put


def _number(field: str, name: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.spec[field] = _count(value, name)

    return put


def _yes_no(field: str, name: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.spec[field] = _flag(value, name)

    return put


def _flag(value: str, name: str) -> bool:
    low = value.lower()
    if low in ("yes", "y", "1"):
        return True
    if low in ("no", "n", "0"):
        return False
    raise fault(f"Invalid {name} value: {value}")


def _hosts(field: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        try:
            changes.spec[field] = tuple(expand(value))
        except HostlistError as error:
            raise BadUpdate(str(error)) from error

    return put


def _memory(field: str, name: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.spec[field] = _count(value, name)
        for other in ("mem_per_node", "mem_per_cpu", "mem_per_gpu"):
            if other != field and field != "tmp":
                changes.spec[other] = None

    return put


def _moment(changes: Changes, value: str) -> float:
    try:
        return when.parse(value, "begin", changes.now, *clock(changes.session.call.env))
    except Invalid as error:
        lines = [line for kind, line in error.lines if kind == "raw"] or [f"Invalid time specification (pos=0): {value}"]
        raise BadUpdate("\n".join([*lines, "No changes specified"])) from error


def _begin(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["begin"] = _moment(changes, value)


def _deadline(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["deadline"] = _moment(changes, value)


def _end_time(changes: Changes, pair: Pair, value: str) -> None:
    end = _moment(changes, value)

    def compute(job: Job) -> dict[str, Any]:
        if job.start_time is None or job.state is JobState.PENDING:
            raise Refused(Code.NOT_RUNNING)
        return {"time_limit": max(60, (int(end - job.start_time) + 59) // 60 * 60)}

    changes.per_job.append(compute)


def _time_limit(changes: Changes, pair: Pair, value: str) -> None:
    sign = pair.sign
    if not sign and value[:1] in "+-" and value not in ("-1",):
        sign, value = value[:1], value[1:]
    minutes = timelimit.minutes(value)
    if minutes is None:
        raise fault("Invalid TimeLimit value")
    if not sign:
        changes.spec["time_limit"] = INFINITE if minutes in (0, INFINITE) else minutes * 60
        return

    def compute(job: Job) -> dict[str, Any]:
        if job.time_limit == INFINITE:
            return {"time_limit": INFINITE}
        step = minutes * 60 if sign == "+" else -minutes * 60
        if job.time_limit + step <= 0:
            raise BadUpdate(f"scontrol: error: TimeLimit decrement larger than current time limit ({minutes} > {job.time_limit // 60})")
        return {"time_limit": job.time_limit + step}

    changes.per_job.append(compute)


def _time_min(changes: Changes, pair: Pair, value: str) -> None:
    minutes = timelimit.minutes(value)
    if minutes is None:
        raise fault("Invalid TimeMin value")
    changes.spec["time_min"] = minutes * 60 if minutes > 0 else None


def _delay_boot(changes: Changes, pair: Pair, value: str) -> None:
    minutes = timelimit.minutes(value)
    if minutes is None:
        raise fault("Invalid DelayBoot value")
    changes.spec["delay_boot"] = minutes * 60


def _priority(changes: Changes, pair: Pair, value: str) -> None:
    number = _count(value, "Priority")
    if number == 0:
        changes.hold = "admin" if changes.session.call.operator else "user"
    else:
        changes.spec["priority"] = number


def _nice(changes: Changes, pair: Pair, value: str) -> None:
    found = re.match(r"[+-]?\d+", value)
    number = int(found[0]) if found else 0
    if pair.value is None:
        number = 100
    if abs(number) > MAX_NICE:
        raise fault(f"Nice value out of range (+/- {MAX_NICE}). Value ignored")
    changes.spec["nice"] = number


def _nodes(changes: Changes, pair: Pair, value: str) -> None:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", value)
    if not found:
        changes.warnings.append(f'scontrol: error: Invalid numeric value "{value}" for requested node count.')
        changes.exit_code = 0
        changes.count -= 1
        return
    low = int(found[1])
    high = int(found[2]) if found[2] else None

    def compute(job: Job) -> dict[str, Any]:
        if low == 0:
            raise Refused(Code.INVALID_NODE_COUNT)
        if job.state is not JobState.PENDING:
            raise Refused(Code.INVALID_UPDATE)
        return {}

    changes.per_job.append(compute)
    changes.spec["nodes_min"] = low
    changes.spec["nodes_max"] = high


def _cpus(changes: Changes, pair: Pair, value: str) -> None:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", value)
    if not found:
        raise fault(f'Invalid numeric value "{value}" for NumCPUs.')
    number = int(found[1])

    def compute(job: Job) -> dict[str, Any]:
        return {"ntasks": max(1, number // (job.spec.cpus_per_task or 1))}

    changes.per_job.append(compute)


def _sharing(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["oversubscribe"] = share = _flag(value, "OverSubscribe")
    changes.spec["exclusive"] = "" if share else "node"
    changes.operator_only = True


def _partition(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["partitions"] = tuple(name for name in value.split(",") if name)


def _mail(changes: Changes, pair: Pair, value: str) -> None:
    try:
        changes.spec["mail_type"] = tuple(grammar_words.mail_types(value))
    except Invalid as error:
        raise BadUpdate(f"Invalid MailType: {value}") from error


def _gres(changes: Changes, pair: Pair, value: str) -> None:
    known = {item.name for node in changes.session.api.view.nodes.values() for item in node.gres} | {"gpu"}
    try:
        found = gres.parse_gres(value, known)
    except (Invalid, gres.BadTres):
        changes.refusal = "Invalid generic resource (gres) specification"
        return
    changes.spec["gres"] = tuple(Gres(name=name, type=kind, count=count) for name, kind, count in found)


def _tres(field: str) -> Callable[[Changes, Pair, str], None]:
    """TresPerJob=gres:gpu:2 and its siblings: the --gpus options by another name."""

    def put(changes: Changes, pair: Pair, value: str) -> None:
        text = ",".join(item.removeprefix("gres:") for item in value.split(",") if item)
        try:
            found = gres.parse_gres(text, {"gpu"})
        except (Invalid, gres.BadTres):
            changes.refusal = "Invalid Trackable RESource (TRES) specification"
            return
        changes.spec[field] = tuple(Gres(name=name, type=kind, count=count) for name, kind, count in found)

    return put


def _dependency(changes: Changes, pair: Pair, value: str) -> None:
    try:
        items, either = dependency.parse(value)
    except dependency.BadDependency:
        changes.refusal = "Job dependency problem"
        return
    made = tuple(DepItem(kind=kind, job=job, task=task, delay=delay) for kind, job, task, delay in items)
    changes.spec["dependency"] = Dependency(items=made, any=either) if made else None


def _throttle(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["array_limit"] = _count(value, "ArrayTaskThrottle") or None


def _requeue(changes: Changes, pair: Pair, value: str) -> None:
    if value not in ("0", "1"):
        changes.spec["requeue"] = _flag(value, "Requeue")
    changes.spec["requeue"] = value == "1" or value.lower() in ("yes", "y")


def _reservation(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["reservation"] = value or None
    if value:
        changes.refusal = "Requested reservation is invalid"


def _extra(name: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.per_job.append(lambda job: {"extra": {**job.spec.extra, name: value}})

    return put


def _switches(changes: Changes, pair: Pair, value: str) -> None:
    changes.spec["switches"] = value if value not in ("", "0") else None


def _switch_wait(changes: Changes, pair: Pair, value: str) -> None:
    changes.per_job.append(lambda job: {"switches": f"{(job.spec.switches or '1').partition('@')[0]}@{value}"})


def _nothing(changes: Changes, pair: Pair, value: str) -> None:
    """Taken, and without effect on what runs where: there is no such machinery here."""


def _refuse(words: str) -> Callable[[Changes, Pair, str], None]:
    def put(changes: Changes, pair: Pair, value: str) -> None:
        changes.refusal = words

    return put


def _shrink(changes: Changes, pair: Pair, value: str) -> None:
    """NodeList= of a pending job is its wish; of a running one it would shrink the job."""
    names: dict[str, Any] = {}
    _hosts("nodelist")(changes, pair, value)
    names["nodelist"] = changes.spec.pop("nodelist")

    def compute(job: Job) -> dict[str, Any]:
        if job.state is not JobState.PENDING:
            raise Refused(Code.INVALID_UPDATE)
        return dict(names)

    changes.per_job.append(compute)


_DENIED = "Access/permission denied"
# name, least letters, what it does; the first row that fits is meant
KEYS: tuple[tuple[str, int, Callable[[Changes, Pair, str], None]], ...] = (
    ("account", 1, _text("account")),
    ("admincomment", 3, _admin(_text("admin_comment"))),
    ("arraytaskthrottle", 3, _throttle),
    ("burstbuffer", 1, _refuse("Requested operation not supported on this system")),
    ("clusters", 8, _refuse("Unspecified error")),
    ("clusterfeatures", 8, _refuse("Unspecified error")),
    ("comment", 3, _text("comment")),
    ("contiguous", 3, _admin(_yes_no("contiguous", "Contiguous"))),
    ("corespec", 4, _admin(_number("core_spec", "CoreSpec"))),
    ("cpuspertask", 9, _number("cpus_per_task", "CPUsPerTask")),
    ("deadline", 3, _admin(_deadline)),
    ("delayboot", 3, _delay_boot),
    ("dependency", 1, _dependency),
    ("eligibletime", 2, _begin),
    ("endtime", 2, _end_time),
    ("excnodelist", 3, _hosts("exclude")),
    ("features", 1, _text("constraint")),
    ("gres", 2, _gres),
    ("licenses", 1, _text("licenses")),
    ("mailtype", 5, _mail),
    ("mailuser", 5, _text("mail_user")),
    ("mincpusnode", 4, _number("mincpus", "MinCPUsNode")),
    ("minmemorycpu", 10, _memory("mem_per_cpu", "MinMemoryCPU")),
    ("minmemorynode", 10, _memory("mem_per_node", "MinMemoryNode")),
    ("mintmpdisknode", 5, _memory("tmp", "MinTmpDiskNode")),
    ("timemin", 5, _time_min),
    ("nice", 2, _nice),
    ("nodelist", 8, _shrink),
    ("numcpus", 6, _cpus),
    ("numnodes", 8, _nodes),
    ("numtasks", 8, _number("ntasks", "NumTasks")),
    ("oversubscribe", 2, _sharing),
    ("shared", 2, _sharing),
    ("partition", 2, _partition),
    ("priority", 2, _priority),
    ("prefer", 3, _extra("prefer")),
    ("qos", 2, _text("qos")),
    ("reboot", 3, _refuse(_DENIED)),
    ("reqcores", 4, _number("cores_per_socket", "ReqCores")),
    ("reqnodelist", 8, _hosts("nodelist")),
    ("reqnodes", 8, _nodes),
    ("reqprocs", 8, _number("ntasks", "NumTasks")),
    ("reqsockets", 4, _number("sockets_per_node", "ReqSockets")),
    ("reqthreads", 4, _number("threads_per_core", "ReqThreads")),
    ("requeue", 4, _requeue),
    ("irequeue", 8, _requeue),
    ("reservationname", 3, _reservation),
    ("resetaccruetime", 4, _nothing),
    ("sitefactor", 5, _refuse(_DENIED)),
    ("starttime", 2, _begin),
    ("stdout", 3, _text("stdout")),
    ("switches", 5, _switches),
    ("tasksspernode", 99, _nothing),
    ("taskspernode", 2, _admin(_number("ntasks_per_node", "TasksPerNode"))),
    ("threadspec", 4, _refuse(_DENIED)),
    ("timelimit", 5, _time_limit),
    ("trespernode", 8, _tres("gres")),
    ("tresperjob", 8, _tres("gpus")),
    ("trespersocket", 8, _tres("gpus_per_socket")),
    ("trespertask", 8, _tres("gpus_per_task")),
    ("wait-for-switch", 1, _switch_wait),
    ("wckey", 2, _text("wckey")),
    ("workdir", 2, _text("work_dir")),
)
