"""Options, variables and directives of sbatch, salloc and srun → JobSpec, with the checks that need no cluster.

Sources are taken in the order #SBATCH, #PBS, #BSUB, variables, command line; the last one wins. What Slurm's own client refuses
is refused here (`Invalid`); what its controller refuses is the core's to decide, except the three grammars that only a front end
knows (array, dependency, gres).
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sbroker.api import Call
from sbroker.errors import Code, Refused
from sbroker.model import Dependency, DepItem, Gres, JobSpec, SignalSpec
from slurm_compat import hostlist
from slurm_compat.checks import check_gpus, check_memory, check_tasks
from slurm_compat.grammar import Invalid, array, dependency, gres, words
from slurm_compat.messages import LEADS
from slurm_compat.setters import SETTERS


def zone(call: Call):
    """(localtime, mktime) of the caller's time zone."""
    name = call.env.get("TZ", "").lstrip(":")
    if not name:
        return time.localtime, time.mktime
    if name.upper() in ("UTC", "UTC0", "GMT", "GMT0"):
        return time.gmtime, calendar.timegm
    try:
        tz = ZoneInfo(name)
    except (ValueError, OSError):  # no such zone: Slurm's libc falls back to UTC, too
        return time.gmtime, calendar.timegm

    def local(seconds: float):
        return datetime.fromtimestamp(seconds, tz).timetuple()

    def make(parts) -> float:
        naive = datetime.fromtimestamp(calendar.timegm((*parts[:6], 0, 0, 0)), ZoneInfo("UTC")).replace(tzinfo=tz)
        return naive.timestamp()

    return local, make


class Asked:
    """What was asked so far: the setters fill it, `spec` makes the JobSpec."""

    def __init__(self, call: Call, now: float, known_gres: Iterable[str] = ("gpu",), version: str = "") -> None:
        self.version = version
        self.call, self.command, self.now, self.cwd, self.uid = call, call.name, now, call.cwd, call.uid
        self.zone = zone(call)
        self.known_gres = set(known_gres) | {"gpu"}
        self.fields: dict[str, Any] = {}
        self.other: dict[str, Any] = {}
        self.extra: dict[str, str] = {}
        self.gres: dict[str, str | None] = {}
        self.dependency: str | None = None
        self.array: str | None = None
        self.signal: tuple[int, int, bool, bool] | None = None
        self.propagate: str | None = None
        self.chdir: str | None = None
        self.said: list[tuple[str, str]] = []  # (kind, line) to print, whatever comes
        self.shown: dict[str, str] = {}  # option → what -v shows
        self.source: dict[str, str] = {}  # option → script | env | cli

    def take(self, options: Iterable[tuple[str, str | None]], source: str) -> None:
        """Apply options, each (canonical name, value or None). Raises Invalid."""
        for name, value in options:
            setter = SETTERS.get(name)
            if setter is None:  # srun's own, parsed again by the step
                self.other[name] = True if value is None else value
                continue
            self.shown[name] = setter(self, value)
            self.source[name] = source

    def say(self, kind: str, line: str) -> None:
        self.said.append((kind, line))

    def spell_time(self, seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", self.zone[0](seconds))

    def gres_help(self) -> str:
        return "Valid gres options are:\n" + "".join("%s[[:type]:count]\n" % name for name in sorted(self.known_gres))

    @property
    def verbose(self) -> int:
        return self.other.get("verbose", 0)

    def listing(self) -> list[str]:
        """The lines of -v: options that were given, by name."""
        shown = dict(self.shown)
        if self.chdir is not None:
            shown["chdir"] = self.chdir
        if self.command == "sbatch":
            for name in ("error", "input", "output"):
                if name in shown:
                    shown[name] = self.path(shown[name])
        if self.fields.get("nodes_min") is not None and "nodes" in shown:
            low, high = self.fields["nodes_min"], self.fields["nodes_max"]
            shown["nodes"] = str(low) if low == high else "%d-%d" % (low, high)
        rows = ["%-20s: %s" % (name, shown[name]) for name in sorted(shown)]
        return ["defined options", "-------------------- --------------------", *rows, "-------------------- --------------------",
                "end of defined options"]

    @property
    def work_dir(self) -> str:
        return self.chdir if self.chdir is not None else self.cwd

    def path(self, name: str) -> str:
        return name if name.startswith("/") else self.work_dir.rstrip("/") + "/" + name

    def check(self) -> None:
        """What the client checks once all is known; after the script was read. Raises Invalid."""
        if self.other.get("quiet") and self.verbose:
            raise Invalid("don't specify both --verbose (-v) and --quiet (-Q)", 1)
        if "x11" in self.other:
            raise Invalid(LEADS[self.command] + "X11 forwarding not available", 1)
        self._hosts()
        check_memory(self)
        check_tasks(self)
        if self.propagate is not None:
            self.fields["limits"] = self._limits(words.propagate(self.propagate))

    def _limits(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        return {name: self.call.limits[name] for name in names if name in self.call.limits}

    def _hosts(self) -> None:
        for option, field in (("nodelist", "nodelist"), ("exclude", "exclude")):
            text = self.other.get(option)
            if text is None:
                continue
            try:
                self.fields[field] = tuple(dict.fromkeys(hostlist.expand(text)))
            except hostlist.HostlistError as error:
                raise Refused(Code.INVALID_NODE_NAME, text) from error
        self.fields.setdefault("nodelist", ())

    def _gres_fields(self) -> dict[str, tuple[Gres, ...]]:
        found: dict[str, list] = {}
        for field, text in self.gres.items():
            try:
                found[field] = gres.parse_gres(text or "", self.known_gres) if field == "gres" else gres.parse_gpus(text or "")
            except gres.BadTres as error:
                raise Refused(Code.POLICY, gres.BAD_TRES) from error
        check_gpus(self, found)
        return {field: tuple(Gres(name=name, type=kind, count=count) for name, kind, count in items) for field, items in found.items()}

    def spec(self, **known: Any) -> JobSpec:
        """The JobSpec. `known`: fields that the command sets (name, kind, command, …). Raises Invalid or Refused."""
        made = {key: value for key, value in self.fields.items() if value is not None}
        made.update(self._gres_fields())
        made.update({key: self.fields[key] for key in ("ntasks", "nodes_min", "nodes_max") if self.fields.get(key) is not None})
        made.update(self._where_and_when())
        for key in ("stdin", "stdout", "stderr"):
            if key in made and self.command == "sbatch":
                made[key] = self.path(made[key])
        made.setdefault("umask", _umask(self.call))
        made.setdefault("limits", self._limits(words.RLIMITS))
        if self.extra:
            made["extra"] = dict(self.extra)
        made.update(known)
        elsewhere = self.call.cwd if self.call.cwd != self.work_dir else ""
        return JobSpec(work_dir=self.work_dir, submit_dir=elsewhere, submit_host=self.call.host, submit_line=submit_line(self.call), sid=self.call.sid, **made)

    def _where_and_when(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if "partition" in self.other:
            made["partitions"] = tuple(self.other["partition"].split(","))
        if self.signal:
            signum, before, batch, reservation = self.signal
            made["signal"] = SignalSpec(signum=signum, before=before, batch=batch, reservation=reservation)
        if self.array:
            try:
                tasks, limit = array.parse(self.array)
            except array.BadArray as error:
                raise Refused(Code.INVALID_ARRAY, self.array) from error
            if tasks:
                made.update(array=array.spelled(self.array) or "0", array_tasks=tasks, array_limit=limit)
        if self.dependency:
            try:
                items, either = dependency.parse(self.dependency)
            except dependency.BadDependency as error:
                if not error.supported:
                    raise Refused(Code.POLICY, "Requested operation not supported on this system") from error
                raise Refused(Code.INVALID_DEPENDENCY, self.dependency) from error
            if items:
                made["dependency"] = Dependency(
                    items=tuple(DepItem(kind=kind, job=job, task=task, delay=delay) for kind, job, task, delay in items), any=either)
        return made


def _umask(call: Call) -> int:
    """SLURM_UMASK, or that of the caller."""
    text = call.env.get("SLURM_UMASK", "")
    return int(text, 8) & 0o777 if re.match("[0-7]+$", text) else call.umask


def submit_line(call: Call) -> str:
    """The command line as accounting shows it."""
    return " ".join((call.name, *call.argv))
