"""The record as it is now: tables, and indexes derived from them.

`State.apply` is the only mutation of what is decided (`pulse` notes a node's load); everything else reads. `State.memo` remembers what a pass found out about exactly this state,
so that the next pass need not: it is never part of the record, and dropping it changes no decision.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from sbroker.core import usage
from sbroker.core.effects import Del, Put
from sbroker.core.memo import Memo
from sbroker.core.owed import Owed, owes
from sbroker.core.shape import Shape, shape_key
from sbroker.model import INFINITE, Group, Job, Machine, Node, NodeShare, Part, Partition, Run, Step
from sbroker.plan import Market
from sbroker.states import JobState, PartState, Reason

HOLDING = frozenset({PartState.ASKED, PartState.HELD, PartState.ACTIVE, PartState.LEAVING})
OVERDUE = 60  # seconds beyond time limit and KillWait after which a run should have ended by itself
DEFAULTS: dict[str, Any] = {
    "kill_wait": 30,
    "min_job_age": 300,
    "max_array_size": 100_001,
    "first_job_id": 1,
    "lost_after": 300,
    "stage_out_grace": 3600,
    "max_requeue": 5,
    "accounts": {},
    "users": {},
    "qos": {},
}
# fields of a node that change all the time and matter to no pass
_PULSE = frozenset({"last_heard", "load", "free_mem", "agent_time"})


def queued(job: Job) -> bool:
    """Whether the job waits for nothing but its turn."""
    return (
        job.state is JobState.PENDING
        and not job.held
        and job.deps_left is None
        and not job.dep_failed
        and job.begin is None
        and job.priority > 0
        and not job.completing
    )


def due(job: Job, settings: Mapping[str, Any]) -> float | None:
    """When time alone will change something about this job."""
    if job.state.ended and not job.completing:
        return None if job.end_time is None else job.end_time + settings["min_job_age"]
    if job.completing and job.state is not JobState.PENDING:
        return job.stage_until
    if job.state is JobState.RUNNING and job.time_limit != INFINITE and job.start_time is not None:
        if job.look is not None:
            return job.look
        return job.start_time + job.suspended_secs + job.time_limit + settings["kill_wait"] + OVERDUE
    if job.state is not JobState.PENDING:
        return None
    times: list[float | None] = [job.stage_until]
    if job.spec.deadline is not None:
        needs = job.spec.time_min if job.spec.time_min is not None else job.time_limit if job.time_limit != INFINITE else 0
        times.append(job.spec.deadline - needs)
    if not job.held:
        times.append(job.begin)
    if job.spec.immediate is not None:
        times.append(job.submit_time + max(1, job.spec.immediate))
    known = [time for time in times if time is not None]
    return min(known) if known else None


class State:
    """Implements `sbroker.api.View`; see `effects.Put` for the tables."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings: dict[str, Any] = {**DEFAULTS, **(settings or {})}
        self.jobs: dict[int, Job] = {}
        self.all_runs: dict[tuple[int, int], Run] = {}
        self.runs: dict[int, Run] = {}
        self.parts: dict[int, dict[tuple[int, str], Part]] = {}  # job → (run, node) → part
        self.steps: dict[int, dict[int, Step]] = {}
        self.nodes: dict[str, Node] = {}
        self.partitions: dict[str, Partition] = {}
        self.groups: dict[str, Group] = {}
        self.machines: dict[tuple[str, int], Machine] = {}
        self.seen: dict[tuple[str, str], int] = {}
        self.markets: dict[str, Market] = {}  # site → what it sells; known to memory alone
        self.fleet: dict[str, None] = {}  # names of nodes with a machine that was made for them
        self.counters: dict[str, int] = {}
        # derived
        self.users: dict[int, dict[int, None]] = {}
        self.arrays: dict[int, dict[int, None]] = {}
        self.array_live: dict[int, int] = {}  # array id → records that have not ended
        self.array_active: dict[int, int] = {}  # array id → tasks that hold resources
        self.names: dict[tuple[int, str], dict[int, None]] = {}  # (uid, job name) → jobs that have not ended
        self.dependents: dict[int, set[int]] = {}  # job or array id → jobs that wait for it
        self.delayed: dict[int, None] = {}  # jobs with after:…+minutes left
        self.requests: dict[tuple[int, str], int] = {}
        self.use: dict[str, usage.Use] = {}
        self.node_parts: dict[str, dict[tuple[int, int], None]] = {}  # node → (job, run) of parts not EMPTY or FENCED
        self.member: dict[str, tuple[str, ...]] = {}  # node → its partitions
        self.order: dict[str, int] = {}  # node → place among all, node2 before node10
        self.shapes: dict[tuple, Shape] = {}
        self.shape_of: dict[int, Shape] = {}
        self.dues: list[tuple[float, int]] = []
        self.due_of: dict[int, float] = {}
        self.owed = Owed()
        self.version = 0  # counts what may let a waiting job start
        self.memo = Memo()

    @classmethod
    def load(cls, rows: Iterable[Put], settings: Mapping[str, Any] | None = None) -> State:
        """The state that these rows (in any order) describe."""
        state = cls(settings)
        order = {"counter": 0, "seen": 0, "node": 1, "partition": 2, "group": 3, "machine": 3, "job": 4, "run": 5, "part": 6, "step": 7}
        state.apply(sorted(rows, key=lambda row: (order[row.table], row.key if isinstance(row.key, tuple) else (row.key,))))
        return state

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Other settings from now on; `decide(Configure(…))` follows."""
        self.settings = {**DEFAULTS, **settings}
        self.memo.configured = {}  # rules are read from the settings
        for job in self.jobs.values():
            self._set_due(job.id, due(job, self.settings))
        self.version += 1

    # -- the only mutation

    def apply(self, changes: Iterable[Put | Del]) -> None:
        """Make these changes, in order."""
        for change in changes:
            _APPLY[change.table](self, change.key, change.value if isinstance(change, Put) else None)
        offered = self.memo.offered
        if offered is not None:
            self.memo.offered = None
            if offered[0] is changes:
                _, self.memo.at, self.memo.blocked, self.memo.plan, self.memo.estimates = offered
                self.memo.version = self.version

    def _job(self, key: int, new: Job | None) -> None:
        old = self.jobs.get(key)
        if old is None and new is None:
            return
        if new is None:
            del self.jobs[key]
        else:
            self.jobs[key] = new
        if old is None and new is not None:
            self._whose(new, True)
        elif old is not None and new is None:
            self._whose(old, False)
        self._live(old, new)
        if old is not None and new is not None and (old.state is JobState.SUSPENDED) != (new.state is JobState.SUSPENDED):
            self._freeze(new)
        self._depends(key, old, new)
        self._queue(key, old, new)
        when = None if new is None else due(new, self.settings)
        if when != self.due_of.get(key):
            self._set_due(key, when)
        self.owed.put(key, owes(new, self.runs.get(key)))

    def _whose(self, job: Job, there: bool) -> None:
        """The indexes that a job is in from its first record to its last."""
        _member(self.users, job.uid, job.id, there)
        if job.array_id:
            _member(self.arrays, job.array_id, job.id, there)
        if job.request_id and job.array_id in (0, job.id):
            if there:
                self.requests.setdefault((job.uid, job.request_id), job.id)
            elif self.requests.get((job.uid, job.request_id)) == job.id:
                del self.requests[job.uid, job.request_id]

    def _live(self, old: Job | None, new: Job | None) -> None:
        """What is counted of jobs that have not ended, or hold resources."""
        for job, sign in ((old, -1), (new, 1)):
            if job is None:
                continue
            if lives(job):
                _member(self.names, (job.uid, job.spec.name), job.id, sign > 0)
                if job.array_id:
                    _count(self.array_live, job.array_id, sign)
            if job.array_id and active(job):
                _count(self.array_active, job.array_id, sign)

    def _freeze(self, job: Job) -> None:
        for share in job.nodes:
            if share.node in self.use:
                self.use[share.node] = usage.freeze(
                    self.use[share.node], self.nodes.get(share.node), job.id, job.state is JobState.SUSPENDED
                )
        self.version += 1

    def _depends(self, key: int, old: Job | None, new: Job | None) -> None:
        before = old.deps_left if old else None
        after = new.deps_left if new else None
        if before is after:
            return
        for item in before.items if before else ():
            waiting = self.dependents.get(item.job)
            if waiting is not None:
                waiting.discard(key)
                if not waiting:
                    del self.dependents[item.job]
        self.delayed.pop(key, None)
        for item in after.items if after else ():
            self.dependents.setdefault(item.job, set()).add(key)
            if item.delay:
                self.delayed[key] = None

    def _queue(self, key: int, old: Job | None, new: Job | None) -> None:
        """Keep the queues: a job is in the one of its shape while it waits for nothing but its turn."""
        shape = self.shape_of.get(key)
        waiting = new if new is not None and queued(new) else None
        if shape is not None and old is not None:
            if waiting is not None and _same_place(shape, old, waiting):
                self._odd(shape, waiting)
                return
            del shape.entries[bisect_left(shape.entries, (-old.priority, key))]
            shape.odd.discard(key)
            del self.shape_of[key]
            if not shape.entries:
                del self.shapes[shape.key]
            if new is None or new.state is not JobState.RUNNING:
                self.version += 1  # it no longer stands before others
        if waiting is not None:
            at, entry = shape_key(waiting), (-waiting.priority, key)
            shape = self.shapes.get(at)
            if shape is None:
                shape = self.shapes[at] = Shape(at, waiting)
            if old is not None and shape.entries and entry < shape.entries[0]:
                self.version += 1
            insort(shape.entries, entry)
            self.shape_of[key] = shape
            self._odd(shape, waiting)

    @staticmethod
    def _odd(shape: Shape, job: Job) -> None:
        if job.reason is Reason.PRIORITY:
            shape.odd.discard(job.id)
        else:
            shape.odd.add(job.id)

    def _set_due(self, key: int, when: float | None) -> None:
        old = self.due_of.pop(key, None)
        if old is not None:
            del self.dues[bisect_left(self.dues, (old, key))]
        if when is not None:
            insort(self.dues, (when, key))
            self.due_of[key] = when

    def _run(self, key: tuple[int, int], run: Run | None) -> None:
        job, number = key
        if run is None:
            self.all_runs.pop(key, None)
            if job in self.runs and self.runs[job].run == number:
                del self.runs[job]
            return
        self.all_runs[key] = run
        present = self.runs.get(job)
        if present is None or present.run <= number:
            if present is not None and present.run < number:
                self.steps.pop(job, None)
            self.runs[job] = run
            self.owed.put(job, owes(self.jobs.get(job), run))

    def _part(self, key: tuple[int, int, str], part: Part | None) -> None:
        job, run, node = key
        parts = self.parts.setdefault(job, {})
        if part is None:
            parts.pop((run, node), None)
        else:
            parts[run, node] = part
        if not parts:
            del self.parts[job]
        held = self.node_parts.setdefault(node, {})
        if part is not None and part.state in HOLDING:
            if (job, run) not in held:
                held[job, run] = None
                share = share_of(self.jobs.get(job), node)
                if share is not None:
                    record = self.jobs[job]
                    self.use[node] = usage.add(
                        self.use.get(node, usage.EMPTY),
                        self.nodes.get(node),
                        job,
                        share,
                        record.uid,
                        sharing_mode(self, record),
                        record.state is JobState.SUSPENDED,
                    )
        elif (job, run) in held:
            del held[job, run]
            self.use[node] = usage.drop(self.use.get(node, usage.EMPTY), self.nodes.get(node), job)
            self.version += 1

    def _step(self, key: tuple[int, int, int], step: Step | None) -> None:
        job, run, number = key
        present = self.runs.get(job)
        if present is not None and present.run != run and step is not None:
            return
        steps = self.steps.setdefault(job, {})
        if step is None:
            steps.pop(number, None)
        else:
            steps[number] = step
        if not steps:
            del self.steps[job]

    def _node(self, key: str, node: Node | None) -> None:
        old = self.nodes.get(key)
        _member_name(self.fleet, key, node is not None and bool(node.token))
        if node is None:
            self.nodes.pop(key, None)
            self.memo.configured = {}
            self.version += 1
            return
        self.nodes[key] = node
        if old is None:
            self.order = {name: index for index, name in enumerate(sorted(self.nodes, key=natural))}
        if old is None or any(getattr(old, name) != getattr(node, name) for name in Node.__struct_fields__ if name not in _PULSE):
            self.memo.configured = {}
            self.version += 1

    def pulse(self, node: str, load: float, free_mem: int) -> None:
        """What a node's agent says of its load and memory: known here alone, decided upon by nobody, not worth a write."""
        known = self.nodes.get(node)
        if known is not None:
            self.nodes[node] = replace(known, load=load, free_mem=free_mem)

    def sell(self, market: Market) -> None:
        """What a site sells from now on."""
        self.markets[market.site] = market
        self.memo.configured = {}
        self.version += 1

    def _partition(self, key: str, partition: Partition | None) -> None:
        if partition is None:
            self.partitions.pop(key, None)
        else:
            self.partitions[key] = partition
        member: dict[str, list[str]] = {}
        for each in self.partitions.values():
            for node in each.nodes:
                member.setdefault(node, []).append(each.name)
        self.member = {node: tuple(names) for node, names in member.items()}
        self.memo.configured = {}
        self.version += 1

    def _group(self, key: str, group: Group | None) -> None:
        _plain(self.groups, key, group)

    def _machine(self, key: tuple[str, int], machine: Machine | None) -> None:
        _plain(self.machines, key, machine)

    def _seen(self, key: tuple[str, str], seq: int | None) -> None:
        _plain(self.seen, key, seq)

    def _counter(self, key: str, value: int | None) -> None:
        _plain(self.counters, key, value)

    # -- View

    def array(self, array_id: int) -> list[Job]:
        records = [self.jobs[key] for key in self.arrays.get(array_id, ())]
        return sorted(records, key=lambda job: (not job.array_pending, job.array_task or 0))

    def user_jobs(self, uid: int) -> Iterable[Job]:
        return [self.jobs[key] for key in self.users.get(uid, ())]

    def node_jobs(self, node: str) -> Iterable[Job]:
        return [self.jobs[job] for job, _ in self.node_parts.get(node, ()) if job in self.jobs]

    def node_used(self, node: str) -> tuple[int, int, dict[str, int]]:
        use, record = self.use.get(node, usage.EMPTY), self.nodes.get(node)
        threads = record.threads_per_core if record else 1
        gres: dict[str, int] = {}
        for share, _, _ in use.holders.values():
            for name, devices in share.gres.items():
                gres[name] = gres.get(name, 0) + len(devices)
        return use.cores.bit_count() * threads, use.mem, gres

    def runs_of(self, job: int) -> list[int]:
        """Numbers of the runs on record."""
        last = self.runs.get(job)
        return [number for number in range(last.run + 1) if (job, number) in self.all_runs] if last else []

    def estimate(self, job: int) -> float | None:
        found = self.memo.estimates.get(job)
        return None if found is None else found.start

    def planned(self, job: int | None = None) -> frozenset[str]:
        found = self.memo.plan if job is None else filter(None, [self.memo.estimates.get(job)])
        return frozenset(share.node for reservation in found for share in reservation.shares)


@lru_cache(maxsize=65536)
def natural(name: str) -> tuple:
    """Sorts node2 before node10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def lives(job: Job) -> bool:
    """It has not ended for those that wait for it."""
    return not job.state.ended or job.completing


def active(job: Job) -> bool:
    """It holds resources."""
    return job.completing or job.state in (JobState.RUNNING, JobState.SUSPENDED)


def sharing_mode(state: Any, job: Job) -> str:
    """Who else may be on its nodes: "node" nobody, "user" the same user only, "" anybody."""
    partition = state.partitions.get(job.partition)
    return "node" if partition is not None and partition.oversubscribe == "exclusive" else job.spec.exclusive


def share_of(job: Job | None, node: str) -> NodeShare | None:
    for share in job.nodes if job else ():
        if share.node == node:
            return share
    return None


def _plain(rows: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value


def _same_place(shape: Shape, old: Job, new: Job) -> bool:
    """Whether the job stays where it stands in its queue."""
    if old.priority != new.priority:
        return False
    return (old.spec is new.spec and old.time_limit == new.time_limit and old.partition == new.partition) or shape_key(new) == shape.key


def _member_name(index: dict[str, None], name: str, there: bool) -> None:
    if there:
        index[name] = None
    else:
        index.pop(name, None)


def _member(index: dict[Any, dict[int, None]], key: Any, job: int, there: bool) -> None:
    if there:
        index.setdefault(key, {})[job] = None
        return
    jobs = index.get(key)
    if jobs is not None:
        jobs.pop(job, None)
        if not jobs:
            del index[key]


def _count(counts: dict[int, int], key: int, by: int) -> None:
    left = counts.get(key, 0) + by
    if left:
        counts[key] = left
    else:
        del counts[key]


_APPLY: dict[str, Callable[[State, Any, Any], None]] = {
    "job": State._job,
    "run": State._run,
    "part": State._part,
    "step": State._step,
    "node": State._node,
    "partition": State._partition,
    "group": State._group,
    "machine": State._machine,
    "seen": State._seen,
    "counter": State._counter,
}
