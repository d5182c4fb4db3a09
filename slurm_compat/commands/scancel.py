"""scancel: ends or signals jobs, array tasks and steps, by id or by what they have in common.

Two ways, as in Slurm: plain ids go to the broker as they are, and what it does not know is no failure; with any filter, signal or
confirmation the jobs that are not over are gone through here, and an id that is not among them is one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from sbroker.api import Api, Call, Client, Target, View
from sbroker.errors import Code, Refused
from sbroker.model import Job
from sbroker.states import JobState
from slurm_compat import jobtext
from slurm_compat.commands.common import Stop, own_cluster, refuse, say, start, user_id
from slurm_compat.getopt import Raw
from slurm_compat.grammar import signals
from slurm_compat.hostlist import HostlistError, expand

USAGE = """\
Usage: scancel [-A account] [--batch] [--full] [--interactive] [-n job_name]
               [-p partition] [-Q] [-q qos] [-R reservation] [-s signal | integer]
               [-t PENDING | RUNNING | SUSPENDED] [--usage] [-u user_name]
               [--hurry] [-V] [-v] [-w hosts...] [--wckey=wckey]
               [job_id[_array_id][.step_id]]
"""
STATES = {"PENDING": "PENDING", "PD": "PENDING", "RUNNING": "RUNNING", "R": "RUNNING", "SUSPENDED": "SUSPENDED", "S": "SUSPENDED"}
SAID = {
    Code.INVALID_JOB_ID: ("Invalid job id specified", 225),
    Code.ACCESS_DENIED: ("Access/permission denied", 210),
    Code.ALREADY_DONE: ("Job/step already completing or completed", 229),
    Code.JOB_FINISHED: ("Job/step already completing or completed", 229),
    Code.JOB_PENDING: ("Job is pending execution", 230),
    Code.NOT_RUNNING: ("Job is not running", 229),
}
"""Refusal → scancel's words and exit code."""
_QUIET = frozenset({Code.INVALID_JOB_ID, Code.ALREADY_DONE, Code.JOB_FINISHED})  # no failure for plain ids, told with -v
TRIES = 10  # how often it signals a job that has not started
_ID = re.compile(r" *(?P<job>[0-9]+)(?:\+[0-9]*)?(?:_(?P<task>[0-9]*|\[[0-9,:-]*\]))?(?:\.(?P<step>[0-9]+))?$")
_FLAGS = ("batch", "full", "interactive", "verbose")  # "true" or "false" in their variables
_FILTERS = (  # option, what Slurm calls it where nothing matches
    ("account", "account"), ("name", "job_name"), ("nodelist", "nodelist"), ("partition", "partition"), ("qos", "qos"),
    ("reservation", "reservation"), ("state", "state"), ("user", "user_name"), ("wckey", "wckey"),
)  # fmt: skip


class Named(msgspec.Struct, frozen=True):
    """A job, task or step as it was typed."""

    text: str
    job: int
    tasks: tuple[int, ...] | None = None
    step: int | None = None

    def target(self) -> Target:
        return Target(job=self.job, tasks=self.tasks, step=self.step)


class Request(msgspec.Struct, kw_only=True):
    """A parsed command line. `signal` None: end them. `filters`: what stands in the complaint that nothing matches."""

    ids: tuple[Named, ...] = ()
    filters: dict[str, str] = {}
    uid: int | None = None
    nodes: frozenset[str] | None = None
    signal: int | None = None
    batch: bool = False
    full: bool = False
    ask: bool = False
    verbose: bool = False
    early: str = ""

    @property
    def plain(self) -> bool:
        """Ids go to the broker as they are."""
        return not (self.filters or self.signal is not None or self.ask or any(one.step is not None for one in self.ids))


def parse(
    raw: Raw, uid: int, cluster: str, env: Mapping[str, str] | None = None, uid_of: Callable[[str], int | None] = user_id
) -> Request:
    """The request of a command line whose options are well-formed. Stop on what Slurm refuses."""
    o = dict(raw.options)
    complaints = _flags(o, raw.sources, env or {})
    refuse("scancel", o)
    if "clusters" in o:
        own_cluster("scancel", o["clusters"], cluster)
    signum = None
    if "signal" in o:
        signum = signals.number(o["signal"])
        if signum is None:
            raise Stop(f"Unknown job signal: {o['signal']}\n")
    if "state" in o:
        o["state"] = _state(o["state"], raw.sources.get("state") == "env")
    who = _user(raw, o, uid, uid_of)
    filters = {label: o[name] for name, label in _FILTERS if name in o}
    ids = tuple(one for word in raw.rest for item in _items(word) for one in _named(item))
    if not ids and not filters:
        raise Stop("scancel: error: No job identification provided\n")
    return Request(
        ids=ids,
        filters=filters,
        uid=who,
        nodes=_nodes(o["nodelist"]) if "nodelist" in o else None,
        signal=signum,
        batch="batch" in o and "full" not in o,
        full="full" in o,
        ask="interactive" in o,
        verbose=bool(o.get("verbose")) and "quiet" not in o,
        early=complaints,
    )


def _flags(o: dict[str, object], sources: Mapping[str, str], env: Mapping[str, str]) -> str:
    """Settle in `o` the flags that variables set; what scancel says of values that are neither true nor false."""
    said = ""
    for name in _FLAGS:
        value = env.get(f"SCANCEL_{name.upper()}")
        if value is None or sources.get(name) == "cli":
            continue
        o.pop(name, None)
        if value[:1].lower() == "t":
            o[name] = True
        elif value[:1].lower() != "f":
            said += f"scancel: error: Unrecognized SCANCEL_{name.upper()} value: {value}\n"
    return said


def _state(word: str, from_env: bool) -> str:
    state = STATES.get(word.upper())
    if state is None:
        first = f"Unrecognized SCANCEL_STATE value: {word}" if from_env else f"Invalid job state specified: {word}"
        raise Stop(f"{first}\nValid job states are PENDING, RUNNING, and SUSPENDED\n")
    return state


def _user(raw: Raw, o: dict, uid: int, uid_of: Callable[[str], int | None]) -> int | None:
    """The uid to act on; o["user"] becomes what a complaint calls it. The last of --me and --user counts."""
    for name, _ in reversed(raw.pairs):
        if name == "user":
            break
        if name == "me":
            o["user"] = str(uid)
            return uid
    if "user" not in o:
        return None
    found = uid_of(o["user"])
    if found is None:
        raise Stop(f"scancel: error: Invalid user name: {o['user']}\n")
    return found


def _nodes(text: str) -> frozenset[str]:
    try:
        return frozenset(expand(text))
    except HostlistError:
        return frozenset()  # Slurm goes on with no host at all: nothing matches


def _items(word: str) -> list[str]:
    """A word's ids: commas outside of brackets part them; an empty word is an id that is none."""
    return [item for item in re.split(r",(?![^\[]*\])", word) if item] or [word]


def _named(text: str) -> Iterable[Named]:
    found = _ID.match(text)
    if not found or int(found["job"]) == 0:
        raise Stop(f"scancel: error: Invalid job id {text}\n")
    tasks: tuple[int, ...] | None = None
    if found["task"]:
        try:
            tasks = tuple(sorted({int(n) for n in expand(found["task"])}))
        except (HostlistError, ValueError) as bad:
            detail = getattr(bad, "detail", "")
            first = f"scancel: error: _parse_single_range: {detail}\n" if detail else ""
            raise Stop(f"{first}scancel: error: Invalid job id {text}\n") from bad
    yield Named(text, int(found["job"]), tasks, int(found["step"]) if found["step"] is not None else None)


def over(job: Job) -> bool:
    return job.state.ended or job.completing


def matches(job: Job, request: Request) -> bool:
    """Whether a job passes every filter. Pure."""
    f = request.filters
    return (
        (request.uid is None or job.uid == request.uid)
        and f.get("account", job.account or "") == (job.account or "")
        and f.get("job_name", job.spec.name) == job.spec.name
        and f.get("partition", jobtext.partition(job)) == jobtext.partition(job)
        and f.get("qos", job.qos or "") == (job.qos or "")
        and f.get("reservation", job.spec.reservation or "") == (job.spec.reservation or "")
        and f.get("state", job.state.value) == job.state.value
        and f.get("wckey", job.spec.wckey or "") == (job.spec.wckey or "")
        and (request.nodes is None or any(share.node in request.nodes for share in job.nodes))
    )


def candidates(view: View, request: Request) -> list[Job]:
    """The jobs that are not over and pass the filters, oldest first."""
    jobs = view.jobs.values() if request.uid is None else view.user_jobs(request.uid)
    return sorted((job for job in jobs if not over(job) and matches(job, request)), key=lambda job: job.id)


class Act:
    """One scancel at work: what it has said, and the exit code so far."""

    def __init__(self, request: Request, call: Call, client: Client, api: Api) -> None:
        self.request, self.call, self.client, self.api = request, call, client, api
        self.code = 0
        self._typed = client.lines()
        self.how: Mapping[str, object] = {"signal": request.signal, "batch": request.batch, "full": request.full}
        if request.signal is None and request.batch:
            self.how = {"signal": signals.NUMBERS["KILL"], "batch": True, "full": False}
        elif request.signal == signals.NUMBERS["KILL"] and not request.batch:
            self.how = {"signal": None, "batch": False, "full": False}  # KILL ends the job, as no signal does

    async def pause(self, seconds: float) -> None:
        """Wait, unless the user goes away."""
        gone = asyncio.ensure_future(self.client.gone())
        try:
            done, _ = await asyncio.wait({gone}, timeout=seconds)
        finally:
            gone.cancel()
        if done:
            raise ConnectionError("the user is gone")

    async def err(self, text: str) -> None:
        await self.client.out(f"scancel: {text}\n", 2)

    async def tell(self, text: str, *, step: bool = False) -> None:
        """What -v says before it acts."""
        if not self.request.verbose:
            return
        what = "step" if step else "batch job" if self.request.batch else "full job" if self.request.full else "job"
        if self.request.signal is None:
            await self.err(f"Terminating {what} {text}")
        else:
            await self.err(f"Signal {self.request.signal} to {what} {text}")

    async def plain(self) -> int:
        """Ids as they came."""
        for one in self.request.ids:
            await self.tell(one.text)
            try:
                await self.api.cancel(one.target(), **self.how)  # type: ignore[arg-type]
            except Refused as refused:
                words_, code = SAID.get(refused.code, (refused.detail, 1))
                if refused.code not in _QUIET:
                    self.code = code
                elif not self.request.verbose:
                    continue
                await self.err(f"error: Kill job error on job id {one.text}: {words_}")
        return self.code

    async def chosen(self) -> int:
        """Through the jobs that are not over."""
        found = candidates(self.api.view, self.request)
        if not self.request.ids:
            if not found:
                await self._none()
            elif not self.request.ask:
                return await self._all(found)
            for job in found:
                await self._one(job, jobtext.job_id(job), record(job))
            return self.code
        acted = False
        for one in self.request.ids:
            hits = [job for job in found if one.job in (job.id, job.array_id) and _hit(job, one)]
            if not hits:
                what = "job step" if one.step is not None else "job"
                await self.err(f"error: Kill job error on {what} id {one.text}: {SAID[Code.INVALID_JOB_ID][0]}")
                self.code = 1
            for job in hits:
                acted = True
                await self._named(job, one)
        if not acted and self.request.filters:
            await self._none()
        return self.code

    async def _named(self, job: Job, one: Named) -> None:
        if one.step is not None:
            await self._step(job, one.step)
        elif one.tasks is not None and job.array_pending:
            tasks = tuple(task for task in job.array_pending if task in set(one.tasks))
            await self._one(job, one.text, Target(job=job.array_id, tasks=tasks))
        else:
            await self._one(job, jobtext.job_id(job), record(job))

    async def _none(self) -> None:
        if self.request.verbose:
            listed = "".join(f"{label}={value} " for label, value in self.request.filters.items())
            await self.err(f"error: No active jobs match ALL job filters, including: {listed}")

    async def _all(self, jobs: list[Job]) -> int:
        """Many whole jobs in one change; those of others are refused one by one."""
        mine = [job for job in jobs if self.call.operator or job.uid == self.call.uid]
        ids = {job.id for job in mine}
        if self.request.signal is not None and self.how["signal"] is not None:  # a signal reaches what runs
            mine = [job for job in mine if job.state is not JobState.PENDING]
        for job in jobs:
            await self.tell(jobtext.job_id(job))
            if job.id not in ids:
                words_, self.code = SAID[Code.ACCESS_DENIED]
                await self.err(f"error: Kill job error on job id {jobtext.job_id(job)}: {words_}")
        whole = {job.id for job in mine if job.id != job.array_id or all(one.id in ids or over(one) for one in self.api.view.array(job.id))}
        if whole:
            await self.api.cancel_many([job.id for job in mine if job.id in whole], **self.how)  # type: ignore[arg-type]
        for job in mine:
            if job.id not in whole:
                await self._send(record(job), f"job id {jobtext.job_id(job)}")
        return self.code

    async def _one(self, job: Job, text: str, target: Target) -> None:
        if self.request.ask and not await self._agreed(f"job_id={text}", job.spec.name, jobtext.partition(job)):
            return
        await self.tell(text)
        await self._send(target, f"job id {text}")

    async def _step(self, job: Job, step: int) -> None:
        if job.state is JobState.PENDING:
            return  # it has no steps; Slurm says nothing
        known = self.api.view.steps.get(job.id, {}).get(step)
        if self.request.ask and not await self._agreed(f"step_id={job.id}.{step}", known.name if known else job.spec.name, job.partition):
            return
        for _ in range(1 if known or job.array_id else 2):  # Slurm asks twice for a step that is not there
            await self.tell(f"{job.id}.{step}", step=True)
            await self._send(Target(job=job.id, step=step), f"job step id {job.id}")

    async def _send(self, target: Target, what: str) -> None:
        try:
            for tries in range(TRIES):
                try:
                    await self.api.cancel(target, **self.how)  # type: ignore[arg-type]
                    return
                except Refused as refused:
                    if refused.code is not Code.JOB_PENDING or tries == TRIES - 1:
                        raise
                if self.request.verbose:
                    await self.err("Job is in transitional state, retrying")
                await self.pause(5 + tries)
        except Refused as refused:
            if refused.code in (Code.ALREADY_DONE, Code.JOB_FINISHED) and not self.request.verbose:
                return
            words_, self.code = SAID.get(refused.code, (refused.detail, 1))
            await self.err(f"error: Kill job error on {what}: {words_}")

    async def _agreed(self, what: str, name: str, partition: str) -> bool:
        """Ask until the answer begins with y or n; the end of input is a no."""
        while True:
            await self.client.out(f"Cancel {what} name={name} partition={partition} [y/n]? ")
            answer = await anext(self._typed, None)
            if answer is None:
                return False
            if answer[:1].lower() in (b"y", b"n"):
                return answer[:1].lower() == b"y"


def record(job: Job) -> Target:
    """This record and no other: an array's id means all of its tasks."""
    if job.array_task is not None:
        return Target(job=job.array_id, tasks=(job.array_task,))
    return Target(job=job.array_id, tasks=job.array_pending) if job.array_pending else Target(job=job.id)


def _hit(job: Job, one: Named) -> bool:
    if one.tasks is None:
        return True
    return job.array_id == one.job and (job.array_task in one.tasks or not set(one.tasks).isdisjoint(job.array_pending))


async def run(call: Call, client: Client, api: Api) -> int:
    """One scancel call; the exit code."""
    raw = await start(call, client, api, USAGE)
    if isinstance(raw, int):
        return raw
    try:
        request = parse(raw, call.uid, getattr(api.config, "cluster", ""), call.env)
    except Stop as stop:
        await say(client, stop.out, stop.err)
        return stop.code
    if request.early:
        await client.out(request.early, 2)
    act = Act(request, call, client, api)
    return await (act.plain() if request.plain else act.chosen())
