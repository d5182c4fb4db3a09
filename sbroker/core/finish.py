"""How runs and jobs end: ordered ends, final states, requeues, and what follows when the last part is gone."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sbroker.core import dependency, money
from sbroker.core.draft import Draft
from sbroker.core.effects import End, Forget, Lose, Mail, Revoke
from sbroker.core.state import HOLDING, OVERDUE
from sbroker.model import INFINITE, Exit, Job, Node, Part, Run
from sbroker.states import JobState, PartState, Reason, RunState

REQUEUE_DELAY = 121  # seconds: Slurm lets the old run's credential expire first
LAUNCH_FAILED = Exit(code=1)
OVER = frozenset({RunState.ENDED, RunState.REVOKED, RunState.LOST})


def held_parts(draft: Draft, job: int, run: int) -> list[Part]:
    return [part for part in draft.parts(job, run) if part.state in HOLDING]


def order_end(draft: Draft, run: Run, why: str, uid: int | None = None) -> Run:
    """Have the run ended wherever it is. A run that was never told to start is revoked."""
    if run.state is RunState.PREPARING:
        run = draft.move_run(run, RunState.REVOKED, why=why, ended=draft.now)
    elif run.state in (RunState.HELD, RunState.STARTED):
        run = draft.move_run(run, RunState.ENDING, why=why)
    for part in held_parts(draft, run.job, run.run):
        if unborn(draft.node(part.node)):
            draft.move_part(part, PartState.FENCED)
        else:
            tell_end(draft, run, part, uid)
    return run


def unborn(node: Node | None) -> bool:
    """A cloud node whose agent has never spoken: no order can have reached it."""
    return node is not None and node.cloud and bool(node.token) and not node.incarnation


def tell_end(draft: Draft, run: Run, part: Part, uid: int | None = None) -> None:
    """The order that this part needs now that its run is to end; repeatable."""
    if part.state is PartState.LEAVING:
        return  # nothing of it runs there any more
    if run.state is RunState.REVOKED:
        draft.effect(Revoke(job=run.job, run=run.run, node=part.node))
    else:
        draft.effect(End(job=run.job, run=run.run, node=part.node, why=run.why or "exit", uid=uid))


def may_requeue(job: Job) -> bool:
    return job.spec.kind == "batch" and job.spec.requeue is not False


def conclude(draft: Draft, job: Job, state: JobState, **fields: Any) -> Job:
    """Give a job its final state; it completes while parts of its run are left."""
    completing = job.run >= 0 and bool(held_parts(draft, job.id, job.run))
    times: dict[str, Any] = {"end_time": draft.now}
    if job.start_time is None:
        times["start_time"] = draft.now
    if job.state is JobState.SUSPENDED and job.suspend_time is not None:
        times["suspended_secs"] = job.suspended_secs + max(0, int(draft.now - job.suspend_time))
        times["suspend_time"] = None
    job = draft.change(job, **{**times, **fields, "state": state, "completing": completing, "configuring": False, "requeue_as": ""})
    if not completing:
        over(draft, job)
    return job


def over(draft: Draft, job: Job) -> None:
    """The job has ended and nothing of it is left: tell those that wait for it."""
    failed = job.state is not JobState.COMPLETED
    kinds = set(job.spec.mail_type)
    if "ALL" in kinds or "END" in kinds or (failed and "FAIL" in kinds):
        draft.effect(Mail(job=job.id, what="END" if not failed or "END" in kinds else "FAIL"))
    dependency.ended(draft, job)


def requeue(draft: Draft, job: Job, *, delay: float | None, hold: str = "", reason: Reason | None = None, text: str = "") -> Job:
    """Back to the queue (or held); it may start again when nothing of the present run is left."""
    run = draft.run(job.id) if job.run >= 0 else None
    started = run is not None and run.run == job.run and run.started is not None
    left = job.run >= 0 and bool(held_parts(draft, job.id, job.run))
    if job.held and not hold:
        hold, reason = job.held, Reason.HELD_USER if job.held == "user" else Reason.HELD_ADMIN
    begin = None if delay is None else draft.now + delay
    if reason is None:
        reason = Reason.BEGIN_TIME if begin is not None else Reason.NONE
    job = draft.change(
        job,
        state=JobState.PENDING,
        completing=left,
        configuring=False,
        restarts=job.restarts + started,
        submit_time=draft.now,
        begin=begin,
        eligible_time=None if hold else begin if begin is not None else draft.now,
        start_time=None,
        end_time=None,
        suspend_time=None,
        suspended_secs=0,
        exit=Exit(),
        derived_exit=Exit(),
        killed_by=None,
        held=hold,
        priority=0 if hold else job.priority or draft.next_priority(),
        reason=reason,
        reason_text=text,
        requeue_as="",
        nodes=job.nodes if left else (),
    )
    if "REQUEUE" in job.spec.mail_type or "ALL" in job.spec.mail_type:
        draft.effect(Mail(job=job.id, what="REQUEUE"))
    return job


def survives(draft: Draft, job: Job, node: str) -> bool:
    """Whether the job goes on without this node: it asked to (--no-kill), and its head is another one. What the loss means for its steps is the head's to say."""
    run = draft.run(job.id)
    return job.spec.no_kill and run is not None and run.run == job.run and run.state is RunState.STARTED and run.head != node


def fail_node(draft: Draft, job: Job, node: str, *, fence: bool) -> Job:
    """The job lost a node: again if it may be run again, else NODE_FAIL. `fence`: what is there can not be asked.

    A job that was requeued so `max_requeue` times is held instead: it may be the job itself that breaks its runs."""
    run = draft.run(job.id)
    if run is not None and survives(draft, job, node):
        if not fence:
            draft.effect(Lose(job=job.id, run=run.run, node=run.head, lost=node))
        return job
    if run is not None and run.run == job.run:
        order_end(draft, run, "node_fail")
    if may_requeue(job):
        if job.requeues >= int(draft.state.settings["max_requeue"]):
            text = "its run was lost %d times, last on %s" % (job.requeues + 1, node)
            return requeue(draft, job, delay=None, hold="admin", reason=Reason.REQUEUED_HELD, text=text)
        job = replace(job, requeues=job.requeues + 1)
        text = "waiting until %s is fenced" % node if fence else ""
        began = run is not None and run.run == job.run and run.started is not None
        known = draft.node(node)
        soon = not began or (known is not None and known.cloud)  # another machine knows nothing of the run before
        return requeue(draft, job, delay=None if soon else REQUEUE_DELAY, reason=Reason.WAITING_FENCE if fence else None, text=text)
    return conclude(draft, job, JobState.NODE_FAIL, reason=Reason.NODE_DOWN)


def taken_back(draft: Draft, job: Job, node: str) -> Job:
    """The job's machine was taken back by its owner: again on another one, or held when that has happened `max_requeue` times."""
    if job.requeues >= int(draft.state.settings["max_requeue"]):
        text = "its machines were taken back or lost %d times, the last was %s" % (job.requeues + 1, node)
        return requeue(draft, job, delay=None, hold="admin", reason=Reason.REQUEUED_HELD, text=text)
    return requeue(draft, replace(job, requeues=job.requeues + 1), delay=None, text="%s was taken back" % node)


def overdue(draft: Draft, job: Job, run: Run) -> float | None:
    """When this run should surely have ended by its time limit; None while that can not be told."""
    if run.started is None or job.time_limit == INFINITE or job.state is not JobState.RUNNING:
        return None
    return run.started + job.suspended_secs + job.time_limit + int(draft.state.settings["kill_wait"]) + OVERDUE


def settle(draft: Draft, job_id: int, number: int) -> None:
    """If nothing of this run is left: the run is over, and its job ends or waits anew."""
    if held_parts(draft, job_id, number):
        return
    run, job = draft.run_of(job_id, number), draft.job(job_id)
    if run is None or job is None:
        return
    if run.state not in OVER:
        if run.state in (RunState.PREPARING, RunState.HELD):
            end = RunState.REVOKED
        else:
            fenced = any(part.state is PartState.FENCED and part.node == run.head for part in draft.parts(job_id, number))
            end = RunState.LOST if fenced or run.state is RunState.STARTED else RunState.ENDED
        run = draft.move_run(run, end, ended=draft.now)
        close_steps(draft, run, draft.now)
    if job.run != number:
        return
    money.settle(draft, job, run)
    if job.state in (JobState.RUNNING, JobState.SUSPENDED):
        fail_node(draft, job, run.head, fence=False)
    elif job.state is JobState.PENDING:
        if job.completing:
            fields: dict[str, Any] = {"completing": False, "nodes": (), "stage_until": None}
            if job.reason is Reason.WAITING_FENCE:
                fields.update(reason=Reason.BEGIN_TIME if job.begin is not None else Reason.NONE, reason_text="")
            draft.change(job, **fields)
    elif job.completing:
        fields = {"completing": False, "stage_until": None}
        if any(part.stage == "lost" for part in draft.parts(job_id, number)) and job.state is JobState.COMPLETED:
            fields.update(state=JobState.FAILED, reason=Reason.STAGE_OUT_FAIL, exit=LAUNCH_FAILED)
        over(draft, draft.change(job, **fields))
    job = draft.job(job_id)
    if job is not None and job.state is JobState.PENDING and (job.sites or job.egress):
        draft.change(job, rate=0.0, sites={}, egress=0.0)  # its record of that run keeps them


def forget(draft: Draft, job: int, run: int, node: str) -> None:
    draft.effect(Forget(job=job, run=run, node=node))


_ENDS = {
    "time_limit": (JobState.TIMEOUT, Reason.TIME_LIMIT),
    "oom": (JobState.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
    "launch": (JobState.FAILED, Reason.FAIL_LAUNCH),
    "setup": (JobState.FAILED, Reason.FAIL_LAUNCH),  # the site's own, before the script
    "cancel": (JobState.CANCELLED, Reason.NONE),
    "idle": (JobState.CANCELLED, Reason.NONE),  # interactive, and nobody used it for the partition's idle_timeout
    "deadline": (JobState.DEADLINE, Reason.DEADLINE),
    "preempt": (JobState.PREEMPTED, Reason.NONE),
    "node_fail": (JobState.NODE_FAIL, Reason.NODE_DOWN),
}


def by_report(data: dict[str, Any]) -> tuple[JobState, Reason]:
    """State and reason for how the head said that the run ended."""
    known = _ENDS.get(data.get("why") or "exit")
    if known is not None:
        return known
    if data.get("signal"):
        return JobState.FAILED, Reason.FAIL_LAUNCH
    if data.get("code"):
        return JobState.FAILED, Reason.NON_ZERO_EXIT
    return JobState.COMPLETED, Reason.NONE


def close_steps(draft: Draft, run: Run, at: float) -> None:
    """Steps that nobody will tell the end of any more."""
    for step in draft.steps(run.job, run.run):
        if step.end_time is None:
            draft.put_step(replace(step, state=JobState.CANCELLED, end_time=at))
