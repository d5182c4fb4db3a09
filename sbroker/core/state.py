"""The record as it is now: tables, and indexes derived from them.

`State.apply` is the only mutation; everything else reads. `State.memo` remembers what a pass found out about exactly this state,
so that the next pass need not: it is never part of the record, and dropping it changes no decision.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sbroker.core import usage
from sbroker.core.effects import Del, Put
from sbroker.core.shape import Shape, shape_key
from sbroker.model import INFINITE, Group, Job, Machine, Node, NodeShare, Part, Partition, Run, Step
from sbroker.states import JobState, PartState, Reason

HOLDING = frozenset({PartState.ASKED, PartState.HELD, PartState.ACTIVE})
DEFAULTS: dict[str, Any] = {
    "kill_wait": 30, "min_job_age": 300, "max_array_size": 1001, "first_job_id": 1, "lost_after": 300, "accounts": {}, "users": {}, "qos": {},
}
# fields of a node that change all the time and matter to no pass
_PULSE = frozenset({"last_heard", "load", "free_mem", "agent_time"})


def queued(job: Job) -> bool:
    """Whether the job waits for nothing but its turn."""
    return (
        job.state is JobState.PENDING and not job.held and job.deps_left is None and not job.dep_failed and job.begin is None
        and job.priority > 0 and not job.completing
    )


def due(job: Job, min_job_age: float) -> float | None:
    """When time alone will change something about this job."""
    if job.state.ended:
        return None if job.completing or job.end_time is None else job.end_time + min_job_age
    if job.state is not JobState.PENDING:
        return None
    times: list[float | None] = []
    if job.spec.deadline is not None:
        needs = job.spec.time_min if job.spec.time_min is not None else job.time_limit if job.time_limit != INFINITE else 0
        times.append(job.spec.deadline - needs)
    if not job.held:
        times.append(job.begin)
    if job.spec.immediate is not None:
        times.append(job.submit_time + max(1, job.spec.immediate))
    known = [time for time in times if time is not None]
    return min(known) if known else None


class Memo:
    """What the last full pass found: valid while `State.version` is `version`."""

    __slots__ = ("at", "blocked", "estimates", "offered", "plan", "version")

    def __init__(self) -> None:
        self.version = -1
        self.at = 0.0
        self.blocked: dict[tuple, Any] = {}
        self.plan: list[Any] = []
        self.estimates: dict[int, Any] = {}  # job id → its reservation in the plan
        self.offered: tuple | None = None


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
        for job in self.jobs.values():
            self._set_due(job.id, due(job, self.settings["min_job_age"]))
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
        if old is None or new is None:
            self._whose(old or new, new is not None)  # type: ignore[arg-type]
        self._live(key, old, new)
        if old is not None and new is not None and (old.state is JobState.SUSPENDED) != (new.state is JobState.SUSPENDED):
            self._freeze(new)
        self._depends(key, old, new)
        self._queue(key, old, new)
        when = None if new is None else due(new, self.settings["min_job_age"])
        if when != self.due_of.get(key):
            self._set_due(key, when)

    def _whose(self, job: Job, there: bool) -> None:
        indexes: list[tuple[dict, Any]] = [(self.users, job.uid)]
        if job.array_id:
            indexes.append((self.arrays, job.array_id))
        for index, key in indexes:
            if there:
                index.setdefault(key, {})[job.id] = None
            elif job.id in index.get(key, ()):
                del index[key][job.id]
                if not index[key]:
                    del index[key]
        if job.request_id and job.array_id in (0, job.id):
            if there:
                self.requests.setdefault((job.uid, job.request_id), job.id)
            elif self.requests.get((job.uid, job.request_id)) == job.id:
                del self.requests[job.uid, job.request_id]

    def _live(self, key: int, old: Job | None, new: Job | None) -> None:
        was, is_ = old is not None and lives(old), new is not None and lives(new)
        if was and (not is_ or old.spec.name != new.spec.name):  # type: ignore[union-attr]
            names = self.names[old.uid, old.spec.name]  # type: ignore[union-attr]
            del names[key]
            if not names:
                del self.names[old.uid, old.spec.name]  # type: ignore[union-attr]
        if is_:
            self.names.setdefault((new.uid, new.spec.name), {})[key] = None  # type: ignore[union-attr]
        for job, sign in ((old, -1), (new, 1)):
            if job is not None and job.array_id:
                if lives(job):
                    _count(self.array_live, job.array_id, sign)
                if active(job):
                    _count(self.array_active, job.array_id, sign)

    def _freeze(self, job: Job) -> None:
        for share in job.nodes:
            if share.node in self.use:
                self.use[share.node] = usage.freeze(self.use[share.node], self.nodes.get(share.node), job.id, job.state is JobState.SUSPENDED)
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
        shape = self.shape_of.get(key)
        wait = new is not None and queued(new)
        if shape is None and not wait:
            return
        entry = (-new.priority, key) if wait else None  # type: ignore[union-attr]
        if shape is not None:
            same = wait and old is not None and old.priority == new.priority and (  # type: ignore[union-attr]
                old.spec is new.spec and old.time_limit == new.time_limit and old.partition == new.partition or shape_key(new) == shape.key  # type: ignore[union-attr, arg-type]
            )
            if same:
                self._odd(shape, new)  # type: ignore[arg-type]
                return
            del shape.entries[bisect_left(shape.entries, (-old.priority, key))]  # type: ignore[union-attr]
            shape.odd.discard(key)
            del self.shape_of[key]
            if not shape.entries:
                del self.shapes[shape.key]
            if new is None or new.state is not JobState.RUNNING:
                self.version += 1  # it no longer stands before others
        if wait:
            at = shape_key(new)  # type: ignore[arg-type]
            shape = self.shapes.get(at)
            if shape is None:
                shape = self.shapes[at] = Shape(at, new)  # type: ignore[arg-type]
            if old is not None and shape.entries and entry < shape.entries[0]:  # type: ignore[operator]
                self.version += 1
            insort(shape.entries, entry)  # type: ignore[type-var, arg-type]
            self.shape_of[key] = shape
            self._odd(shape, new)  # type: ignore[arg-type]

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
                        self.use.get(node, usage.EMPTY), self.nodes.get(node), job, share, record.uid, sharing_mode(self, record),
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
        if node is None:
            self.nodes.pop(key, None)
            self.version += 1
            return
        self.nodes[key] = node
        if old is None:
            self.order = {name: index for index, name in enumerate(sorted(self.nodes, key=natural))}
        if old is None or any(getattr(old, name) != getattr(node, name) for name in Node.__struct_fields__ if name not in _PULSE):
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
        self.version += 1

    def _plain(table: str) -> Any:  # type: ignore[misc]
        def put(self: State, key: Any, value: Any) -> None:
            rows = getattr(self, table)
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value

        return put

    _groups, _machines, _seen, _counters = _plain("groups"), _plain("machines"), _plain("seen"), _plain("counters")

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


def _count(counts: dict[int, int], key: int, by: int) -> None:
    left = counts.get(key, 0) + by
    if left:
        counts[key] = left
    else:
        del counts[key]


_APPLY = {
    "job": State._job, "run": State._run, "part": State._part, "step": State._step, "node": State._node, "partition": State._partition,
    "group": State._groups, "machine": State._machines, "seen": State._seen, "counter": State._counters,
}
