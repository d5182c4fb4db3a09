"""What users and operators do to jobs: cancel, signal, hold, release, requeue, suspend."""

from __future__ import annotations

from msgspec.structs import replace

from sbroker.api import Target
from sbroker.core import admit, arrays, dependency, finish, staging
from sbroker.core.draft import Draft
from sbroker.core.effects import Freeze, Signal
from sbroker.core.events import Cancel, Finish, Hold, Requeue, Suspend, Who
from sbroker.errors import Code, Refused
from sbroker.model import Exit, Job
from sbroker.states import JobState, Reason

RUNNING = (JobState.RUNNING, JobState.SUSPENDED)


def records(draft: Draft, target: Target) -> list[Job]:
    """The records that a target names; Refused if there are none. An array id without tasks names the whole array."""
    job = draft.job(target.job)
    members = list(draft.array(target.job))
    if target.tasks is None:
        if job is not None and (not members or job.array_id != job.id):
            return [job]
        if members:
            return sorted(members, key=lambda each: (not each.array_pending, each.id))
        raise Refused(Code.INVALID_JOB_ID, job=target.job)
    wanted = set(target.tasks)
    found = [each for each in members if each.array_task in wanted or wanted & set(each.array_pending)]
    if not found:
        raise Refused(Code.INVALID_JOB_ID, job=target.job)
    return found


def whole_or_tasks(draft: Draft, target: Target, job: Job) -> list[Job]:
    """The record as far as the target names it: tasks still in the array's rest leave it."""
    if target.tasks is None or not job.array_pending or set(job.array_pending) <= set(target.tasks):
        return [job]
    taken, _ = arrays.drop(draft, job, set(target.tasks) & set(job.array_pending))
    return taken


def permit(job: Job, who: Who, code: Code = Code.ACCESS_DENIED) -> None:
    if not who.operator and who.uid != job.uid:
        raise Refused(code, job=job.id)


# -- cancel and signal


def cancel(draft: Draft, event: Cancel) -> None:
    """End or signal each target. With one target a refusal is raised; with several those that can not be are passed over."""
    single = len(event.targets) == 1
    for target in event.targets:
        try:
            jobs = records(draft, target)
            for job in jobs:
                permit(job, event.who)
        except Refused:
            if single:
                raise
            continue
        if event.signal is not None or target.step is not None:
            _signal(draft, target, jobs, event)
            continue
        alive = [job for job in jobs if not job.state.ended]
        given_up = [job for job in jobs if job.state.ended and job.completing and staging.abort(draft, job)]
        if not alive and not given_up and single:
            raise Refused(Code.ALREADY_DONE, job=target.job)
        for job in alive:
            _cancel(draft, target, job, event)


def done(draft: Draft, event: Finish) -> None:
    """salloc or srun has finished with its allocation: the job ends with that exit code. One that still waits is withdrawn."""
    job = draft.job(event.job)
    if job is None:
        raise Refused(Code.INVALID_JOB_ID, job=event.job)
    permit(job, event.who)
    if job.state.ended:
        return
    if job.state is JobState.PENDING:
        finish.conclude(draft, job, JobState.CANCELLED, killed_by=event.who.uid)
        return
    run = draft.run(job.id)
    if run is not None:
        finish.order_end(draft, run, "exit", event.who.uid)
    state, reason = finish.by_report({"code": event.exit.code, "signal": event.exit.signal})
    finish.conclude(draft, job, state, reason=reason, exit=event.exit)


def _cancel(draft: Draft, target: Target, job: Job, event: Cancel) -> None:
    if job.state is JobState.PENDING:
        for each in _for_cancel(draft, target, job):
            finish.conclude(draft, each, JobState.CANCELLED, killed_by=event.who.uid)
        return
    run = draft.run(job.id)
    if run is None:
        raise AssertionError("job %d runs without a run" % job.id)
    finish.order_end(draft, run, event.why, event.who.uid)
    state = {"preempt": JobState.PREEMPTED, "deadline": JobState.DEADLINE}.get(event.why, JobState.CANCELLED)
    finish.conclude(draft, job, state, killed_by=event.who.uid, exit=Exit(), reason=Reason.NONE)


def _for_cancel(draft: Draft, target: Target, job: Job) -> list[Job]:
    """The record to cancel. Tasks of an array's rest that are cancelled alone just leave it, as in Slurm: no record is made of them."""
    if target.tasks is None or not job.array_pending or set(job.array_pending) <= set(target.tasks):
        return [job]
    gone = set(target.tasks)
    draft.put_job(replace(job, array_pending=tuple(task for task in job.array_pending if task not in gone)))
    return []


def _signal(draft: Draft, target: Target, jobs: list[Job], event: Cancel) -> None:
    if len(jobs) == 1 and jobs[0].state is JobState.PENDING:
        raise Refused(Code.JOB_PENDING, job=target.job)
    reached = False
    for job in jobs:
        run = draft.run(job.id)
        if job.state not in RUNNING or run is None:
            continue
        if target.step is not None and target.step not in {step.step for step in draft.steps(job.id, run.run)}:
            continue
        reached = True
        for part in finish.held_parts(draft, job.id, run.run):
            if event.batch and not event.full and part.node != run.head:
                continue
            draft.effect(
                Signal(
                    job=job.id,
                    run=run.run,
                    node=part.node,
                    signum=event.signal if event.signal is not None else 15,
                    step=target.step,
                    batch=event.batch,
                    full=event.full,
                )
            )
    if not reached and len(event.targets) == 1:
        raise Refused(Code.INVALID_JOB_ID if target.step is not None else Code.ALREADY_DONE, job=target.job)


# -- hold and release


def hold(draft: Draft, event: Hold) -> None:
    jobs = records(draft, event.target)
    for job in jobs:
        permit(job, event.who)
        if job.state.ended and len(jobs) == 1:
            raise Refused(Code.JOB_FINISHED, job=job.id)
        if event.held == "" and job.held == "admin" and not event.who.operator and job.reason is not Reason.REQUEUE_HOLD:
            raise Refused(Code.ACCESS_DENIED, job=job.id)
        if not job.state.ended:  # a running one that is requeued later is then held
            for each in whole_or_tasks(draft, event.target, job):
                _hold(draft, each, event.held, event.who)


def _hold(draft: Draft, job: Job, held: str, who: Who) -> None:
    if not held:
        release(draft, job)
        return
    if job.held == "admin" and not who.operator:
        return  # an operator's hold stays one
    reason = Reason.HELD_USER if held == "user" else Reason.HELD_ADMIN
    draft.change(job, held=held, priority=0, reason=reason, eligible_time=None)


def release(draft: Draft, job: Job) -> Job:
    """Back into the queue, behind those that are there; what it depends on is looked at again."""
    if not job.held:
        if job.begin is not None and job.begin != job.spec.begin and job.state is JobState.PENDING:
            # put off by a requeue: the user need not wait that long
            return draft.change(job, begin=None, eligible_time=draft.now, reason=Reason.NONE)
        return job
    if job.state is not JobState.PENDING:
        return draft.change(job, held="", priority=max(1, draft.next_priority() - job.spec.nice), reason=Reason.NONE)
    begin = job.begin if job.begin is not None and job.begin > draft.now else None
    if job.spec.priority and job.spec.priority > 0 and job.priority:
        priority = job.priority
    else:
        priority = max(1, draft.next_priority() - job.spec.nice + admit.qos_priority(draft, job.qos))
    reason = Reason.DEPENDENCY if job.deps_left is not None else Reason.BEGIN_TIME if begin is not None else Reason.NONE
    eligible = None if job.deps_left is not None else begin if begin is not None else draft.now
    draft.quiet.add(job.id)
    job = draft.change(
        job, held="", priority=priority, reason=reason, reason_text="", begin=begin, eligible_time=eligible, dep_failed=False, requeues=0
    )
    if job.deps_left is None:
        return job
    return dependency.admit(draft, job)[0]


# -- requeue


def requeue(draft: Draft, event: Requeue) -> None:
    """Again from the start; one that has ended comes back too."""
    jobs = records(draft, event.target)
    for job in jobs:
        permit(job, event.who)
        if job.state is JobState.PENDING and not event.hold:
            if len(jobs) == 1:
                raise Refused(Code.JOB_PENDING, job=job.id)
            continue
        if job.spec.kind != "batch":
            raise Refused(Code.BATCH_ONLY, job=job.id)
        if job.spec.requeue is False:
            raise Refused(Code.DISABLED, job=job.id)
        if job.completing and len(jobs) == 1:
            raise Refused(Code.ALREADY_DONE, job=job.id)
        _requeue(draft, job, event)


def _requeue(draft: Draft, job: Job, event: Requeue) -> None:
    if job.state is JobState.PENDING:
        draft.change(job, held="user", priority=0, reason=Reason.REQUEUE_HOLD)
        return
    job = replace(job, requeues=0)
    run = draft.run(job.id)
    if job.state in RUNNING and run is not None:
        finish.order_end(draft, run, "requeue", event.who.uid)
    if event.hold:
        finish.requeue(draft, job, delay=finish.REQUEUE_DELAY, hold="user", reason=Reason.REQUEUE_HOLD)
    else:
        finish.requeue(draft, job, delay=finish.REQUEUE_DELAY)


# -- suspend


def suspend(draft: Draft, event: Suspend) -> None:
    """Operators only, as in Slurm."""
    for job in records(draft, event.target):
        if not event.who.operator:
            raise Refused(Code.ACCESS_DENIED, job=job.id)
        run = draft.run(job.id)
        if job.state is JobState.PENDING:
            raise Refused(Code.JOB_PENDING, job=job.id)
        wanted = JobState.RUNNING if event.suspend else JobState.SUSPENDED
        if job.state.ended or run is None:
            raise Refused(Code.JOB_FINISHED, job=job.id)
        if job.state is not wanted:
            raise Refused(Code.DISABLED, job=job.id)
        if event.suspend:
            draft.change(job, state=JobState.SUSPENDED, suspend_time=draft.now)
        else:
            spent = int(draft.now - (job.suspend_time or draft.now))
            draft.change(job, state=JobState.RUNNING, suspend_time=None, suspended_secs=job.suspended_secs + spent)
        for part in finish.held_parts(draft, job.id, run.run):
            draft.effect(Freeze(job=job.id, run=run.run, node=part.node, suspend=event.suspend))
