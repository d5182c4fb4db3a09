"""Rows of sacct: a job's run, or one of its steps, with the numbers that its columns share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sbroker.api import Record
from sbroker.model import Exit, Job, Step
from sbroker.states import JobState
from slurm_compat.jobnumbers import Numbers, World, asked, held
from slurm_compat.show.step import BATCH, batch_step, label
from slurm_compat.taskset import bitstr_len, pending_text


class Scope(NamedTuple):
    """What all rows of one call share. `unit`: "" or one of KMGTP; `start`, `end`: the window of -T, or None."""

    world: World
    env: Mapping[str, str]
    now: float
    cluster: str
    unit: str = ""
    convert: bool = True
    start: float | None = None
    end: float | None = None


class Row:
    """One line. `step` None: the job itself."""

    __slots__ = ("have", "job", "record", "scope", "step", "want")

    def __init__(self, scope: Scope, record: Record, step: Step | None = None) -> None:
        self.scope, self.record, self.step, self.job = scope, record, step, record.job
        self.want: Numbers = asked(record.job, scope.world)
        self.have: Numbers | None = held(record.job) if record.job.nodes and self.started else None

    @property
    def started(self) -> bool:
        """Whether it ever had nodes: a job that was cancelled before carries its end as its start."""
        return self.job.start_time is not None and bool(self.job.nodes) and (self.job.state is not JobState.PENDING or self.requeued)

    @property
    def sampled(self) -> bool:
        """Whether its use was measured. Slurm samples once a second: of a step that was shorter it knows the CPU time alone."""
        step = self.step
        if step is None or not step.usage:
            return False
        return step.step == BATCH or (step.end_time or self.scope.now) - step.start_time >= 1

    @property
    def requeued(self) -> bool:
        """A record of an earlier run of a job that was queued again: it did not end, yet has an end time."""
        return not self.job.state.ended and self.job.end_time is not None

    def base_id(self) -> str:
        job = self.job
        if job.array_id and job.array_task is not None:
            return f"{job.array_id}_{job.array_task}"
        if job.array_id and job.array_pending:
            limit = job.spec.array_limit if not job.state.ended else None
            return f"{job.array_id}_[{pending_text(job.array_pending, limit, bitstr_len(self.scope.env))}]"
        return str(job.id)

    def id(self) -> str:
        return self.base_id() if self.step is None else f"{self.base_id()}.{label(self.step.step)}"

    def raw_id(self) -> str:
        return str(self.job.id) if self.step is None else f"{self.job.id}.{label(self.step.step)}"

    def state(self) -> str:
        """COMPLETED, "CANCELLED by 1001", REQUEUED, …"""
        if self.step is not None:
            oom = self.step.step == BATCH and self.record.run is not None and self.record.run.why in ("oom", "memory")
            return "CANCELLED by 0" if oom else self.step.state.value
        if self.requeued:
            why = self.record.run.why if self.record.run is not None else ""
            return "NODE_FAIL" if why == "node_fail" else "REQUEUED"
        if self.job.state is JobState.CANCELLED and self.job.killed_by is not None:
            return f"CANCELLED by {self.job.killed_by}"
        return self.job.state.value

    def exit(self) -> Exit:
        """Of a job that was cancelled or ran out of time, accounting keeps nothing."""
        if self.step is not None:
            return self.step.exit
        if self.job.state in (JobState.CANCELLED, JobState.TIMEOUT):
            return Exit()
        return self.job.exit

    def begin(self) -> float | None:
        """When it started, within the window of -T."""
        start = self.step.start_time if self.step is not None else self.job.start_time if self.started else None
        floor = self.scope.start
        return max(start, floor) if start is not None and floor is not None else start

    def finish(self) -> float | None:
        """When it ended, within the window of -T."""
        end = self.step.end_time if self.step is not None else self.job.end_time
        top = self.scope.end
        if top is not None and self.begin() is not None:
            return top if end is None else min(end, top)
        return end

    def elapsed(self) -> int:
        start, end = self.begin(), self.finish()
        if start is None:
            return 0
        seconds = (self.scope.now if end is None else end) - start
        return max(0, int(end or self.scope.now) - int(start) - (self.job.suspended_secs if seconds else 0))

    def cpus(self) -> int:
        if self.step is not None:
            return self.step.cpus if self.step.step != BATCH or self.step.cpus > 1 else self.batch_cpus()
        return self.have.cpus if self.have is not None else self.want.cpus

    def batch_cpus(self) -> int:
        """The batch step has what its node gives."""
        return self.job.nodes[0].cpus if self.job.nodes else 1

    def mem(self) -> int:
        """MiB."""
        if self.step is not None and self.step.mem:
            return self.step.mem
        if self.step is not None and self.step.step == BATCH:
            return self.job.nodes[0].mem if self.job.nodes else 0
        return 0

    def nodes(self) -> tuple[str, ...]:
        if self.step is not None:
            return self.step.nodes or tuple(share.node for share in self.job.nodes[:1])
        return tuple(share.node for share in self.job.nodes) if self.have is not None else ()

    def cpu_usec(self) -> tuple[int, int]:
        """User and system time in microseconds; a job's is the sum of its steps'."""
        steps: Iterable[Step] = [self.step] if self.step is not None else self.record.steps
        user = system = 0
        for step in steps:
            user += step.usage.get("user_usec", 0)
            system += step.usage.get("system_usec", 0)
        return user, system


def rows(scope: Scope, records: Iterable[Record], *, steps: bool, duplicates: bool) -> list[Row]:
    """Lines in the order of the records. Without `duplicates` only the last record of each job."""
    chosen = list(records)
    if not duplicates:
        last: dict[int, int] = {}
        for at, record in enumerate(chosen):
            last[record.job.id] = at
        chosen = [record for at, record in enumerate(chosen) if last[record.job.id] == at]
    out: list[Row] = []
    for record in in_order(chosen):
        out.append(Row(scope, record))
        if steps:
            out += [Row(scope, record, step) for step in steps_of(record)]
    return out


def steps_of(record: Record) -> list[Step]:
    """The batch script first, then the steps in their order."""
    steps = sorted(record.steps, key=lambda step: step.step)
    script = batch_step(record.job, record.run)
    return steps if script is None or any(step.step == BATCH for step in steps) else [script, *steps]


def in_order(records: list[Record]) -> list[Record]:
    """An array's unstarted rest comes after its tasks."""
    last_task: dict[int, int] = {}
    for at, record in enumerate(records):
        if record.job.array_id and record.job.array_task is not None:
            last_task[record.job.array_id] = at
    places = sorted(
        (last_task.get(record.job.array_id, at), 1, at) if record.job.array_pending else (at, 0, at) for at, record in enumerate(records)
    )
    return [records[at] for _, _, at in places]


def is_batch_job(job: Job) -> bool:
    return job.spec.kind == "batch"
