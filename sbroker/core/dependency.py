"""--dependency: what a job waits for. Conditions that are met leave `Job.deps_left`; one that never can be sets `dep_failed`.

A job that is not known (any more) counts as met, as in Slurm. An item that names an array means all its tasks; aftercorr means the
task of the same index.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from sbroker.core import arrays
from sbroker.core.draft import Draft
from sbroker.core.effects import Mail
from sbroker.core.state import lives
from sbroker.errors import Code, Refused
from sbroker.model import Dependency, DepItem, Job
from sbroker.states import JobState, Reason


class Met(Enum):
    YES = 1
    NO = 0
    NEVER = -1


def evaluate(draft: Draft, job: Job, dependency: Dependency) -> tuple[Dependency | None, bool]:
    """(what is left, whether it can never be met)."""
    left, never = [], False
    for item in dependency.items:
        met = meets(draft, job, item)
        if met is Met.YES:
            if dependency.any:
                return None, False
            continue
        left.append((item, met))
    if not left:
        return None, False
    if dependency.any:
        never = all(met is Met.NEVER for _, met in left)
    else:
        never = any(met is Met.NEVER for _, met in left)
    return Dependency(items=tuple(item for item, _ in left), any=dependency.any), never


def meets(draft: Draft, job: Job, item: DepItem) -> Met:
    """Whether one condition of `job` is met."""
    if item.kind == "singleton":
        return Met.NO if _same_name_before(draft, job) else Met.YES
    if item.kind in ("afterburstbuffer", "expand"):
        return Met.YES
    targets = _targets(draft, job, item)
    if targets is None:
        return Met.YES
    if item.kind == "after":
        return _after(draft, targets, item.delay)
    alive = any(lives(target) for target in targets)
    if item.kind == "afterany":
        return Met.NO if alive else Met.YES
    good = [target.state is JobState.COMPLETED for target in targets if not lives(target)]
    if item.kind in ("afterok", "aftercorr"):
        return Met.NEVER if not all(good) else Met.NO if alive else Met.YES
    if any(not each for each in good) and not alive:
        return Met.YES
    return Met.NO if alive else Met.NEVER


def _targets(draft: Draft, job: Job, item: DepItem) -> list[Job] | None:
    """The records that the item is about; None if there are none (any more)."""
    task = item.task
    if item.kind == "aftercorr" and task is None and job.array_task is not None:
        head = draft.job(item.job)
        if head is None or head.array_id:
            task = job.array_task
    if task is not None:
        for record in draft.array(item.job):
            if record.array_task == task or task in record.array_pending:
                return [record]
        return None
    found = draft.job(item.job)
    if (found is not None and not found.array_id) or (found is not None and found.array_id != found.id):
        return [found]
    live = draft.array_live(item.job)
    if live and item.kind == "afterany":
        # no need to look at every task of a big array each time one of them ends
        return [record for record in draft.array(item.job) if lives(record)][:1]
    return list(draft.array(item.job)) or None


def _after(draft: Draft, targets: list[Job], delay: int) -> Met:
    """Begun (or cancelled) at least `delay` seconds ago, all of them."""
    for target in targets:
        if target.state is JobState.PENDING:
            return Met.NO
        begun = target.start_time if target.start_time is not None else target.end_time
        if begun is None or begun + delay > draft.now:
            return Met.NO
    return Met.YES


def after_due(draft: Draft, job: Job) -> float | None:
    """When time alone may meet an after:…+minutes of this job."""
    times = []
    for item in job.deps_left.items if job.deps_left else ():
        if item.kind == "after" and item.delay:
            targets = _targets(draft, job, item) or []
            begun = [target.start_time if target.start_time is not None else target.end_time for target in targets]
            if targets and all(target.state is not JobState.PENDING for target in targets) and all(time is not None for time in begun):
                times.append(max(time for time in begun if time is not None) + item.delay)
    return min(times) if times else None


def _same_name_before(draft: Draft, job: Job) -> bool:
    mine = job.array_id or job.id
    candidates = set(draft.state.names.get((job.uid, job.spec.name), ()))
    candidates.update(
        key for key, other in draft.jobs.items() if other is not None and other.uid == job.uid and other.spec.name == job.spec.name
    )
    for key in candidates:
        other = draft.job(key)
        if other is None or other.id == job.id or not lives(other) or (other.array_id or other.id) == mine:
            continue
        if other.state is not JobState.PENDING or other.completing or (other.array_id or other.id) < mine:
            return True
    return False


def check(draft: Draft, job: Job) -> Job:
    """Look again at what a pending job waits for."""
    if job.deps_left is None or job.state is not JobState.PENDING:
        return job
    left, never = evaluate(draft, job, job.deps_left)
    if left is None:
        reason = job.reason if job.held else Reason.BEGIN_TIME if job.begin is not None else Reason.NONE
        eligible = job.eligible_time if job.held or job.begin is not None else draft.now
        return draft.change(job, deps_left=None, dep_failed=False, reason=reason, eligible_time=eligible)
    fields: dict[str, Any] = {}
    if left != job.deps_left:
        fields["deps_left"] = left
    if never and not job.dep_failed:
        fields["dep_failed"] = True
        if job.spec.kill_on_invalid_dep:
            fields.update(state=JobState.CANCELLED, end_time=draft.now, start_time=draft.now)
        if not job.held:
            fields["reason"] = Reason.DEPENDENCY_NEVER
    elif not never and not job.held and job.reason is not Reason.DEPENDENCY:
        fields["reason"] = Reason.DEPENDENCY
    if not fields:
        return job
    was = job.state
    job = draft.change(job, **fields)
    if job.dep_failed and "INVALID_DEPEND" in job.spec.mail_type:
        draft.effect(Mail(job=job.id, what="INVALID_DEPEND"))
    if job.state is not was:
        ended(draft, job)
    return job


def _again(draft: Draft, keys: set[int]) -> None:
    for key in sorted(keys):
        job = draft.job(key)
        if job is not None and job.deps_left is not None and not job.held:  # a held job is looked at when it is released
            check(draft, job)


def started(draft: Draft, job: Job) -> None:
    """A job began: those that wait with after: may go on."""
    waiting = set()
    for target in {job.id, job.array_id} - {0}:
        waiting |= draft.state.dependents.get(target, set())
    _again(draft, waiting)


def ended(draft: Draft, job: Job) -> None:
    """A job has ended and completed."""
    waiting: set[int] = set()
    for target in {job.id, job.array_id} - {0}:
        waiting |= draft.state.dependents.get(target, set())
    for key in draft.state.dependents.get(0, set()):  # singletons
        other = draft.job(key)
        if other is not None and other.uid == job.uid and other.spec.name == job.spec.name:
            waiting.add(key)
    waiting.discard(job.id)
    _again(draft, waiting)


def by_task(job: Job) -> bool:
    """Whether tasks of this array wait for different things, so that each needs its own record."""
    return bool(job.array_pending) and job.deps_left is not None and any(item.kind == "aftercorr" for item in job.deps_left.items)


def refuse_loops(draft: Draft, job: Job, wanted: Dependency | None) -> None:
    """Refused if the job would wait for itself, at once or by way of others: it would wait for ever."""
    own = {job.id, job.array_id or job.id}
    seen: set[int] = set()
    ahead = [(wanted, Code.INVALID_DEPENDENCY)]
    while ahead:
        waits, code = ahead.pop()
        for item in waits.items if waits is not None else ():
            if item.kind == "singleton" or item.job in seen:
                continue
            if item.job in own:
                raise Refused(code, job=job.id)
            seen.add(item.job)
            target = draft.job(item.job)
            records = draft.array(item.job) if target is None or target.array_id else [target]
            ahead += [(record.deps_left, Code.CIRCULAR_DEPENDENCY) for record in records]


def admit(draft: Draft, job: Job) -> list[Job]:
    """Look for the first time at what a new job waits for; the records it became."""
    records = [job]
    if by_task(job):
        records, _ = arrays.drop(draft, job, set(job.array_pending))
    return [check(draft, record) for record in records]
