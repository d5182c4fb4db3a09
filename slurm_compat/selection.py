"""Which jobs and steps a listing shows: squeue's filters over a view. Pure; a filter that is None lets everything through."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sbroker.api import View
from sbroker.model import Job, Step
from sbroker.states import JobState, Reason
from slurm_compat.jobtext import reason, state

BATCH = -5  # step id of the batch script


class JobFilter(msgspec.Struct):
    jobs: list[tuple[int, int | None]] | None = None  # job id, task id
    steps: list[tuple[int, int | None, int]] | None = None  # job id, task id, step id
    states: frozenset[str] | None = None  # None: those that are not over
    uids: frozenset[int] | None = None
    partitions: frozenset[str] | None = None
    names: frozenset[str] | None = None
    accounts: frozenset[str] | None = None
    qos: frozenset[str] | None = None
    nodes: frozenset[str] | None = None
    licenses: frozenset[str] | None = None
    reservation: str | None = None
    hidden: bool = True


def pick_jobs(view: View, chosen: JobFilter, *, expand: bool = False, per_partition: bool = False) -> list[Job]:
    """Job records to print, newest first but an array's tasks ascending; tasks that -j names, or all with `expand`, stand alone."""
    hidden = frozenset() if chosen.hidden else frozenset(p.name for p in view.partitions.values() if p.hidden)
    rows: list[Job] = []
    parted: list[int] = []
    for job, tasks in _candidates(view, chosen):
        if not _passes(job, chosen) or (hidden and job.partition in hidden):
            continue
        for partition in _partitions(job, chosen, per_partition):
            shown = job if partition is None else within(job, partition)
            if job.array_pending and (tasks is not None or expand):
                rows += [alone(shown, task) for task in job.array_pending if tasks is None or task in tasks]
            else:
                rows.append(shown)
                if job.array_task is not None and tasks is None and not expand and job.state is JobState.PENDING:
                    parted.append(len(rows) - 1)
    return gathered(rows, parted) if parted else rows


def gathered(rows: list[Job], parted: list[int]) -> list[Job]:
    """Waiting tasks that have left their array's record, at the indices `parted`, are shown in it again where name and partition are the
    same: ``12_[3-20]`` with all their reasons. A %limit is not shown then."""
    rests = {_kin(job): index for index, job in enumerate(rows) if job.array_pending}
    members: dict[int, list[int]] = {}
    for index in parted:
        rest = rests.get(_kin(rows[index]))
        if rest is not None:
            members.setdefault(rest, []).append(index)
    gone = set()
    for rest, indices in members.items():
        gone.update(indices)
        others = sorted((rows[index] for index in indices), key=lambda job: -job.id)
        reasons = dict.fromkeys(reason(job) for job in (rows[rest], *others))
        tasks = tuple(sorted([*rows[rest].array_pending, *(job.array_task for job in others if job.array_task is not None)]))
        spec = msgspec.structs.replace(rows[rest].spec, array_limit=None)
        rows[rest] = msgspec.structs.replace(rows[rest], array_pending=tasks, reason=Reason.NONE, reason_text=",".join(reasons), spec=spec)
    return [job for index, job in enumerate(rows) if index not in gone]


def _kin(job: Job) -> tuple[int, str, str]:
    return job.array_id, job.spec.name, job.partition


def within(job: Job, partition: str) -> Job:
    """A waiting job as one of the partitions that it asked for sees it."""
    return msgspec.structs.replace(job, partition=partition, spec=msgspec.structs.replace(job.spec, partitions=(partition,)))


def alone(job: Job, task: int) -> Job:
    """One unstarted task of an array's record, as a job of its own to look at."""
    return msgspec.structs.replace(job, array_task=task, array_pending=())


def pick_steps(view: View, chosen: JobFilter) -> list[tuple[Job, Step]]:
    """Steps that run now, with their jobs."""
    wanted = None if chosen.steps is None else {(j, t, s) for j, t, s in chosen.steps}
    rows: list[tuple[Job, Step]] = []
    for job, _ in _candidates(view, JobFilter(jobs=chosen.jobs)):
        if job.state not in (JobState.RUNNING, JobState.SUSPENDED) and not job.completing:
            continue
        if chosen.uids is not None and job.uid not in chosen.uids:
            continue
        if chosen.partitions is not None and job.partition not in chosen.partitions:
            continue
        for step in running_steps(view, job):
            if step.end_time is not None or (chosen.nodes is not None and chosen.nodes.isdisjoint(step.nodes)):
                continue
            if wanted is None or (job.id, None, step.step) in wanted or (job.array_id, job.array_task, step.step) in wanted:
                rows.append((job, step))
    return rows


def running_steps(view: View, job: Job) -> list[Step]:
    """Steps on record, and the batch script's own, which runs as long as the job does but is nobody's report."""
    known = view.steps.get(job.id, {})
    found = list(known.values())
    if job.spec.kind == "batch" and job.nodes and BATCH not in known and not job.completing and not job.configuring:
        host = job.nodes[0].node
        found.append(Step(job=job.id, run=job.run, step=BATCH, name="batch", nodes=(host,), start_time=job.start_time or 0))
    return found


def _candidates(view: View, chosen: JobFilter) -> Iterable[tuple[Job, frozenset[int] | None]]:
    """Jobs by the cheapest way to find them, each with the tasks of its unstarted rest that are asked for (None: the record as it is)."""
    if chosen.jobs is not None:
        return _by_id(view, chosen.jobs)
    if chosen.uids is not None:
        found = [job for uid in sorted(chosen.uids) for job in view.user_jobs(uid)]
    else:
        found = list(view.jobs.values())
    found.sort(key=lambda job: (-(job.array_id or job.id), job.id))
    return [(job, None) for job in found]


def _by_id(view: View, ids: list[tuple[int, int | None]]) -> Iterable[tuple[Job, frozenset[int] | None]]:
    whole = {job for job, task in ids if task is None}
    tasks: dict[int, set[int]] = {}
    for number, task in ids:
        if task is not None and number not in whole:
            tasks.setdefault(number, set()).add(task)
    found: dict[int, tuple[Job, frozenset[int] | None]] = {}
    for number in whole:
        for record in view.array(number) or filter(None, [view.jobs.get(number)]):
            found[record.id] = (record, None)
    for number, wanted in tasks.items():
        for record in view.array(number):
            if record.array_task in wanted:
                found[record.id] = (record, None)
            elif wanted.intersection(record.array_pending) and record.id not in found:
                found[record.id] = (record, frozenset(wanted))
    reverse = len(whole) == 1 and not tasks  # a single id is answered in the order in which its records were made
    return sorted(found.values(), key=lambda pair: -pair[0].id if reverse else pair[0].id)


def _passes(job: Job, chosen: JobFilter) -> bool:
    if chosen.states is None:
        if job.state.ended and not job.completing:
            return False
    elif state(job) not in chosen.states:
        return False
    if chosen.uids is not None and job.uid not in chosen.uids:
        return False
    if chosen.names is not None and job.spec.name not in chosen.names:
        return False
    if chosen.accounts is not None and (job.account or "") not in chosen.accounts:
        return False
    if chosen.qos is not None and (job.qos or "") not in chosen.qos:
        return False
    if chosen.reservation is not None and job.spec.reservation != chosen.reservation:
        return False
    if chosen.licenses is not None and chosen.licenses.isdisjoint(part.partition(":")[0] for part in (job.spec.licenses or "").split(",")):
        return False
    return chosen.nodes is None or any(share.node in chosen.nodes for share in job.nodes)


def _partitions(job: Job, chosen: JobFilter, each: bool) -> list[str | None]:
    """The partitions under which a job is shown; None: as it is."""
    asked = job.spec.partitions
    wanted = chosen.partitions
    if len(asked) > 1 and job.state is JobState.PENDING:
        if each:
            return [name for name in asked if wanted is None or name in wanted]
        return [None] if wanted is None or not wanted.isdisjoint(asked) else []
    return [None] if wanted is None or job.partition in wanted else []
