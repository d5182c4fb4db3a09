"""What time alone does: begin times, deadlines, immediate allocations that did not come, and old jobs leaving the live state."""

from __future__ import annotations

from bisect import bisect_right

from sbroker.core import dependency, finish, money, staging
from sbroker.core.draft import Draft
from sbroker.core.effects import Del, End, Forget
from sbroker.core.state import due
from sbroker.model import INFINITE, Job
from sbroker.states import JobState, PartState, Reason

_LOOK_AGAIN = 60  # seconds between orders to end a run that is over its time limit


def due_jobs(draft: Draft) -> list[int]:
    """Ids of jobs whose time has come."""
    dues = draft.state.dues
    return [key for _, key in dues[: bisect_right(dues, (draft.now, 1 << 62))]]


def tick(draft: Draft) -> None:
    """Do what is due."""
    for key in due_jobs(draft):
        job = draft.job(key)
        if job is None:
            continue
        if job.completing and job.stage_until is not None and job.stage_until <= draft.now:
            staging.expire(draft, job)
            continue
        if job.state.ended:
            if not job.completing:
                purge(draft, job)
        elif job.state is JobState.PENDING:
            _pending(draft, job)
        elif job.state is JobState.RUNNING:
            _running(draft, job)
    _budgets(draft)
    for key in list(draft.state.delayed):
        job = draft.job(key)
        if job is not None and not job.held:  # what a held job waits for is looked at when it is released
            dependency.check(draft, job)


def _budgets(draft: Draft) -> None:
    """End what runs on machines that cost money for an account that has spent its budget and asked for that."""
    for key in money.exhausted(draft):
        job, run = draft.job(key), draft.run(key)
        if job is not None and run is not None and job.state in (JobState.RUNNING, JobState.SUSPENDED):
            finish.order_end(draft, run, "cancel", 0)
            text = "the budget of account %s is used up" % job.account
            finish.conclude(draft, job, JobState.CANCELLED, killed_by=0, reason_text=text)


def _pending(draft: Draft, job: Job) -> None:
    spec, now = job.spec, draft.now
    if spec.deadline is not None and too_late(job, now):
        finish.conclude(draft, job, JobState.DEADLINE, reason=Reason.DEADLINE)
    elif spec.immediate is not None and job.submit_time + max(1, spec.immediate) <= now:
        finish.conclude(draft, job, JobState.CANCELLED)
    elif job.begin is not None and job.begin <= now and not job.held:
        reason = Reason.DEPENDENCY if job.deps_left is not None else Reason.NONE
        if job.dep_failed:
            reason = Reason.DEPENDENCY_NEVER
        if job.reason is Reason.WAITING_FENCE:
            reason = job.reason
        draft.change(job, begin=None, reason=reason, eligible_time=job.begin if job.deps_left is None else None)


def _running(draft: Draft, job: Job) -> None:
    """Its supervisor ends a run at its time limit. One that has not, long after, may have been stopped by the job: its agent is told to
    look after it. What became of the run is known from reports alone, now as ever: they may be on their way."""
    run = draft.run(job.id)
    over = finish.overdue(draft, job, run) if run is not None and run.run == job.run else None
    if over is not None and over > draft.now:
        draft.change(job, look=over)
        return
    if over is not None and run is not None:
        draft.effect(End(job=run.job, run=run.run, node=run.head, why="time_limit"))
    draft.change(job, look=draft.now + _LOOK_AGAIN)


def too_late(job: Job, now: float) -> bool:
    """Whether the job cannot end before its deadline any more."""
    if job.spec.deadline is None:
        return False
    needs = job.spec.time_min if job.spec.time_min is not None else job.time_limit if job.time_limit != INFINITE else 0
    return now + needs >= job.spec.deadline


def purge(draft: Draft, job: Job) -> None:
    """Take an ended job out of the live state; the store keeps it for accounting."""
    draft.del_job(job)
    for (run, node), part in draft.state.parts.get(job.id, {}).items():
        draft.changes.append(Del("part", (job.id, run, node)))
        if part.state is PartState.EMPTY:
            draft.effect(Forget(job=job.id, run=run, node=node))
    for key in sorted(draft.state.runs_of(job.id)):
        draft.changes.append(Del("run", (job.id, key)))
    for number, step in draft.state.steps.get(job.id, {}).items():
        draft.changes.append(Del("step", (job.id, step.run, number)))


def next_due(draft: Draft) -> float | None:
    """When `Tick` is due next, as this decision leaves things."""
    times = []
    for when, key in draft.state.dues:
        if key not in draft.jobs:
            times.append(when)
            break
    for job in draft.jobs.values():
        again = due(job, draft.state.settings) if job is not None else None
        if again is not None:
            times.append(again)
    for key in draft.state.delayed:
        job = draft.job(key)
        later = dependency.after_due(draft, job) if job is not None and not job.held else None
        if later is not None:
            times.append(later)
    if money.strict_accounts(draft):
        times.append(draft.now + money.LOOK)
    return min(times) if times else None
