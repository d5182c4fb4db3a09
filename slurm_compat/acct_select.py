"""What sacct's options select: a query for the broker, and what is left to filter here."""

from __future__ import annotations

import grp
import pwd
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sbroker.api import Call, HistoryQuery, Record
from slurm_compat.acct_rows import Row
from slurm_compat.grammar import Invalid, timelimit, when
from slurm_compat.hostlist import HostlistError, expand
from slurm_compat.show.scene import clock
from slurm_compat.show.step import BATCH, EXTERN

STATES = {
    "PD": "PENDING",
    "R": "RUNNING",
    "S": "SUSPENDED",
    "CD": "COMPLETED",
    "CA": "CANCELLED",
    "F": "FAILED",
    "TO": "TIMEOUT",
    "NF": "NODE_FAIL",
    "PR": "PREEMPTED",
    "BF": "BOOT_FAIL",
    "DL": "DEADLINE",
    "OOM": "OUT_OF_MEMORY",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
}
_NOT_ACCOUNTED = {"CG": "COMPLETING", "CF": "CONFIGURING", "SE": "SPECIAL_EXIT", "SO": "STAGE_OUT", "SI": "SIGNALING", "ST": "STOPPED"}
_YEARLESS = re.compile(r"\d{1,2}[/.]\d{1,2}(?![/.\d])|\d{4}(?!\d|:|-\d\d-)")
FLAGS = ("schedsubmit", "schedmain", "schedbackfill", "startrecieved", "none", "notset")

_NO_JOB = 1 << 62  # greater than any job id, and still a number for a database


class BadSelection(Exception):
    """sacct refuses. `text`: whole lines."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text + "\n"


@dataclass(frozen=True)
class Wanted:
    """One item of -j. `task`, `step` None: all."""

    job: int
    task: int | None = None
    step: int | None = None


@dataclass
class Selection:
    """`query` goes to the broker; `keeps` filters its answer further."""

    query: HistoryQuery
    wanted: tuple[Wanted, ...] = ()
    nodes: tuple[int, int] | None = None
    cpus: tuple[int, int] | None = None
    limit: tuple[int, int] | None = None  # minutes
    qos: frozenset[str] = frozenset()
    wckeys: frozenset[str] = frozenset()
    gids: frozenset[int] = frozenset()
    features: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    start: float | None = None
    end: float | None = None
    empty: bool = False  # nothing can match
    notes: list[str] = field(default_factory=list)

    def keeps_job(self, record: Record) -> bool:
        job = record.job
        if self.wanted and not any(_names(item, record) for item in self.wanted):
            return False
        if not self.wanted and job.eligible_time is None and job.start_time is None:
            return False  # held from the start: shown only when asked for by id
        return self._numbers(record) and self._words(record)

    def _numbers(self, record: Record) -> bool:
        job = record.job
        if self.nodes is not None and not self.nodes[0] <= len(job.nodes) <= self.nodes[1]:
            return False
        if self.cpus is not None and not self.cpus[0] <= sum(share.cpus for share in job.nodes) <= self.cpus[1]:
            return False
        return self.limit is None or (job.time_limit > 0 and self.limit[0] <= job.time_limit // 60 <= self.limit[1])

    def _words(self, record: Record) -> bool:
        job = record.job
        if self.qos and (job.qos or "normal") not in self.qos:
            return False
        if self.wckeys and (job.spec.wckey or "") not in self.wckeys:
            return False
        if self.gids and job.gid not in self.gids:
            return False
        asked = re.split(r"[&|,*\[\]()]", job.spec.constraint or "")
        if any(feature not in asked for feature in self.features):
            return False
        return not self.flags or (job.start_time is not None and ("schedmain" if job.spec.kind == "batch" else "schedsubmit") in self.flags)

    def keeps_row(self, row: Row) -> bool:
        """With steps named in -j, only those; the job's own line is left out then."""
        if not self.wanted or all(item.step is None for item in self.wanted):
            return True
        return any(
            _names(item, row.record) and (item.step is None or (row.step is not None and row.step.step == item.step))
            for item in self.wanted
        )


def _names(item: Wanted, record: Record) -> bool:
    job = record.job
    if item.task is not None:
        return job.array_id == item.job and (job.array_task == item.task or item.task in job.array_pending)
    return item.job in (job.id, job.array_id)


def jobs(text: str) -> tuple[Wanted, ...]:
    """-j. Raises BadSelection."""
    out = []
    for item in text.split(","):
        item = item.strip()
        if not item:
            continue
        found = re.match(r"(\d+)(.*)$", item)
        if not found:
            raise BadSelection(f"sacct: fatal: Bad job/step specified: {item}")
        number, rest = min(int(found[1]), _NO_JOB), found[2]
        task = step = None
        if rest.startswith("_"):
            digits = re.match(r"_(\d+)", rest)
            if not digits:
                raise BadSelection(f"sacct: fatal: Bad job array element specified: {number}")
            task, rest = int(digits[1]), rest[digits.end() :]
        elif rest.startswith("+"):
            component = re.match(r"\+(\d*)", rest)
            task, rest = -1 - int(component[1] or 0) if component else None, rest[component.end() if component else 0 :]
        if rest.startswith("."):
            step = _step(rest[1:])
            if step is None:
                raise BadSelection(f"sacct: fatal: Bad step specified: {number}")
        elif rest:
            raise BadSelection(f"sacct: fatal: Bad job/step specified: {item}")
        out.append(Wanted(number, task, step))
    return tuple(out)


def _step(word: str) -> int | None:
    named = {"batch": BATCH, "extern": EXTERN, "interactive": EXTERN}.get(word.lower())
    if named is not None:
        return named
    return int(word) if word.isdigit() else None


def states(text: str) -> tuple[str, ...]:
    """-s. Raises BadSelection."""
    out = []
    for item in text.split(","):
        word = item.strip().upper()
        if not word:
            continue
        if word in _NOT_ACCOUNTED or word in _NOT_ACCOUNTED.values():
            raise BadSelection(f"sacct: fatal: job state {item} is not supported / accounted")
        full = STATES.get(word) or (word if word in STATES.values() else None)
        if full is None:
            raise BadSelection(f"sacct: fatal: unrecognized job state value '{item}'")
        out.append(full)
    return tuple(out)


def number_range(text: str, what: str) -> tuple[int, int]:
    """min[-max]. Raises BadSelection."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not found:
        raise BadSelection(f'sacct: error: Invalid numeric value "{text}" for requested {what} range.')
    return int(found[1]), int(found[2] or found[1])


def _users(text: str) -> tuple[int, ...]:
    out = []
    for name in text.split(","):
        if name == "-1":
            return ()
        try:
            out.append(pwd.getpwuid(int(name)).pw_uid if name.isdigit() else pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise BadSelection(f"sacct: error: Invalid user id: {name}") from None
    return tuple(out)


def _groups(text: str) -> frozenset[int]:
    out = set()
    for name in text.split(","):
        try:
            out.add(grp.getgrgid(int(name)).gr_gid if name.isdigit() else grp.getgrnam(name).gr_gid)
        except (KeyError, OverflowError):
            raise BadSelection(f"sacct: error: Invalid group id: {name}") from None
    return frozenset(out)


def _words(text: Any) -> tuple[str, ...]:
    return tuple(word for word in str(text or "").split(",") if word)


def moment(text: str, env: Mapping[str, str], now: float) -> float:
    """-S and -E. Unlike sbatch's times they look back: a clock time is today's, a date without year is the last one. Raises BadSelection."""
    local, mktime = clock(env)
    today = local(now)
    looks_back = not text.lower().lstrip().startswith("now")
    base = mktime((today.tm_year, today.tm_mon, today.tm_mday, 0, 0, 0, 0, 0, -1)) if looks_back else now
    try:
        found = when.parse(text, "starttime", base, local, mktime)
    except Invalid as error:
        lines = [line for kind, line in error.lines if kind == "raw"] or [f"Invalid time specification (pos=0): {text}"]
        raise BadSelection("\n".join(lines)) from None
    if found >= base + 86400 and _YEARLESS.match(text.strip()):
        then = local(found)
        found = mktime((then.tm_year - 1, then.tm_mon, then.tm_mday, then.tm_hour, then.tm_min, then.tm_sec, 0, 0, -1))
    return found


def _minutes(text: str) -> int:
    minutes = timelimit.minutes(text)
    if minutes is None:
        raise BadSelection("sacct: fatal: Invalid time limit specification")
    return minutes


def _period(options: Mapping[str, Any], call: Call, now: float, *, by_id: bool, by_state: bool) -> tuple[float | None, float]:
    """The window in which jobs are looked for: its defaults depend on -j and -s."""
    begin = moment(options["starttime"], call.env, now) if "starttime" in options else None
    end = moment(options["endtime"], call.env, now) if "endtime" in options else None
    if begin is None and not by_id:
        local, mktime = clock(call.env)
        today = local(now)
        begin = now if by_state else mktime((today.tm_year, today.tm_mon, today.tm_mday, 0, 0, 0, 0, 0, -1))
        if by_state and end is not None:
            begin = min(begin, end)
    if end is None:
        end = begin if by_state and begin is not None and "starttime" in options else now
    return begin, end


def select(options: Mapping[str, Any], call: Call, now: float, cluster: str, qos_known: tuple[str, ...]) -> Selection:
    """Options of one call → what to ask for. Raises BadSelection."""
    wanted = jobs(str(options["jobs"])) if options.get("jobs") else ()
    chosen = states(str(options["state"])) if options.get("state") else ()
    begin, end = _period(options, call, now, by_id=bool(wanted), by_state=bool(chosen))
    if begin is not None and begin > end:
        local, _ = clock(call.env)
        shown = [time.strftime("%Y-%m-%dT%H:%M:%S", local(moment)) for moment in (begin, end)]
        raise BadSelection(f"sacct: error: Start time ({shown[0]}) requested is after end time ({shown[1]}).")
    uids: tuple[int, ...] = ()
    if "user" in options:
        uids = _users(str(options["user"]))
    elif not wanted and "allusers" not in options and call.uid != 0:
        uids = (call.uid,)
    try:
        nodes = tuple(expand(str(options.get("nodelist") or "")))
    except HostlistError as error:
        raise BadSelection(str(error)) from None
    query = HistoryQuery(
        jobs=tuple(sorted({item.job for item in wanted})),
        uids=uids,
        accounts=_words(options.get("accounts")),
        partitions=_words(options.get("partition")),
        names=_words(options.get("name")),
        nodes=nodes,
        states=chosen,
        start=begin,
        end=end if begin is not None or "endtime" in options else None,
        steps="allocations" not in options,
    )
    found = Selection(query, wanted, start=begin, end=end)
    if "nnodes" in options:
        found.nodes = number_range(str(options["nnodes"]), "node")
    if "ncpus" in options:
        found.cpus = number_range(str(options["ncpus"]), "cpu")
    if "timelimit-min" in options:
        low = _minutes(str(options["timelimit-min"]))
        found.limit = (low, _minutes(str(options["timelimit-max"])) if "timelimit-max" in options else low)
    found.qos = frozenset(_words(options.get("qos")))
    for name in sorted(found.qos):
        if name not in qos_known:
            raise BadSelection(
                f"sacct: error: You gave a bad qos '{name}'. Valid QOS's are {','.join(qos_known)}\nsacct: fatal: problem processing qos list"
            )
    found.wckeys = frozenset(_words(options.get("wckeys")))
    found.features = _words(options.get("constraints"))
    if "gid" in options:
        found.gids = _groups(str(options["gid"]))
    found.flags = frozenset(word.lower() for word in _words(options.get("flags")))
    for word in _words(options.get("flags")):
        if word.lower() not in FLAGS:
            raise BadSelection(f"sacct: error: str_2_job_flags: Invalid job flag {word}")
    clusters = _words(options.get("clusters"))
    found.empty = bool(clusters) and cluster not in clusters and "all" not in clusters
    return found
