"""What the nodes say, and what their silence means."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sbroker.core import dependency, finish, fleet, gone, staging
from sbroker.core.draft import Draft
from sbroker.core.effects import Adjust, End, Forget, Freeze, Lose, Prepare, Revoke, Start
from sbroker.core.events import Fence, Hello, Reports, Silent
from sbroker.core.gone import RUNNING
from sbroker.core.state import HOLDING
from sbroker.model import Exit, Gres, Job, Node, Part, Report, Run, Step
from sbroker.states import JobState, NodeState, PartState, Reason, RunState

MOST_FAILED_LAUNCHES = 3  # one after the other
MOST_REASON = 200  # characters
NO_ANSWER = "Not responding"
_REBOOTED = "Node unexpectedly rebooted"
LEASE_MARGIN = 60  # seconds
UNANSWERED = 10  # seconds of silence that say something of a node; less is an agent that was replaced, or a line that was cut for a moment


def hello(draft: Draft, event: Hello) -> None:
    """An agent is there: its node may be used, and gets every order that it may have missed."""
    node = draft.node(event.node)
    if node is None or (node.cloud and not node.token):
        for job, run, kind in event.live:
            _stray(draft, event.node, job, run, kind)
        return
    if node.incarnation and node.incarnation != event.incarnation:
        for job, run in list(draft.state.node_parts.get(node.name, ())):
            part = draft.part(job, run, node.name)
            if part is not None and part.state in HOLDING and _surely_gone(part, event):
                gone.gone(draft, part, PartState.FENCED)
    back = node.state is NodeState.UNKNOWN or (node.state is NodeState.DOWN and (node.fault or node.reason in (NO_ANSWER, _REBOOTED)))
    fields: dict[str, Any] = {
        "incarnation": event.incarnation,
        "last_heard": draft.now,
        "agent_time": draft.now,
        "silent": None,
        **_inventory(node, event.inventory),
    }
    if back:
        fields.update(state=NodeState.IDLE)
        if (node.fault or node.reason == NO_ANSWER) and not node.drain:
            fields.update(reason="", reason_uid=0, reason_time=None)
    fields["fault"] = False
    if node.token and not draft.held(node.name):
        fields["idle_since"] = draft.now
    draft.put_node(replace(node, **fields))
    live = {(job, run): kind for job, run, kind in event.live}
    for job, run in list(draft.state.node_parts.get(node.name, ())):
        part = draft.part(job, run, node.name)
        if part is not None and part.state in HOLDING:
            live.pop((job, run), None)
            resend(draft, part)
    for (job, run), kind in live.items():
        _stray(draft, node.name, job, run, kind)


def _surely_gone(part: Part, event: Hello) -> bool:
    """The machine was started anew and the agent's folder is another one. (With the folder still there the agent tells itself how each of
    its runs stands, better than a reboot can.)"""
    folder = event.incarnation.removesuffix(event.boot_id)
    return bool(part.incarnation) and not part.incarnation.endswith(event.boot_id) and not part.incarnation.startswith(folder)


def _inventory(node: Node, told: dict[str, Any]) -> dict[str, Any]:
    """What the machine says of itself. The configured size stands; a node that has none (`measured`) takes the machine's."""
    fields = {key: told[key] for key in ("hostname", "arch", "os", "version", "boot_time", "load", "free_mem") if told.get(key) is not None}
    if node.measured:
        for key in ("cpus", "sockets", "cores_per_socket", "threads_per_core", "memory", "tmp"):
            if told.get(key):
                fields[key] = int(told[key])
        if told.get("gres") and not node.gres:
            fields["gres"] = tuple(Gres(name=name, type=kind, count=int(number)) for name, kind, number in _gres(told["gres"]))
    return fields


def _gres(told: Any) -> list[tuple[str, str | None, int]]:
    """(name, type, count) of what the machine says; agents of the release before have no types."""
    return [(name, None, number) for name, number in sorted(told.items())] if isinstance(told, dict) else told


def _stray(draft: Draft, node: str, job: int, run: int, kind: str) -> None:
    """Something lives there that the record has no place for: fenced long ago, or of a node that is not ours any more."""
    draft.effect(Revoke(job=job, run=run, node=node) if kind == "HELD" else End(job=job, run=run, node=node, why="node_fail"))


def resend(draft: Draft, part: Part) -> None:
    """The order that this part waits for; all orders may be repeated."""
    run, job = draft.run_of(part.job, part.run), draft.job(part.job)
    if run is None or job is None:
        return
    staging.again(draft, part)
    if part.state is PartState.LEAVING:
        return
    if run.state is RunState.PREPARING:
        if part.state is PartState.ASKED:
            draft.effect(Prepare(job=part.job, run=part.run, node=part.node))
    elif run.state is RunState.HELD:
        if part.node == run.head and not any(each.stage == "in" for each in draft.parts(part.job, part.run)):
            draft.effect(Start(job=part.job, run=part.run, node=part.node))
    elif run.state is RunState.STARTED:
        if job.state is JobState.SUSPENDED:
            draft.effect(Freeze(job=part.job, run=part.run, node=part.node, suspend=True))
        if part.node == run.head:
            draft.effect(Adjust(job=part.job, run=part.run, node=part.node, time_limit=job.time_limit))
            for each in draft.parts(run.job, run.run):
                if finish.survives(draft, job, each.node) and (each.state not in HOLDING or _taken(draft, each.node)):
                    draft.effect(Lose(job=run.job, run=run.run, node=run.head, lost=each.node))
        elif finish.survives(draft, job, part.node) and _taken(draft, part.node):
            draft.effect(End(job=part.job, run=part.run, node=part.node, why="node_fail"))
    else:
        finish.tell_end(draft, run, part, job.killed_by)


def _taken(draft: Draft, name: str) -> bool:
    """Whether an operator has the node down, which need not be silent for that."""
    node = draft.node(name)
    return node is not None and node.state is NodeState.DOWN and not node.fault and node.reason != NO_ANSWER


def silent(draft: Draft, event: Silent) -> None:
    """Silence proves nothing: the node is not used, its jobs are given up, and what it had stays taken until it is fenced."""
    node = draft.node(event.node)
    if node is None or finish.unborn(node):  # a machine that boots: the fleet knows how long it may
        return
    if event.fault and not draft.state.node_parts.get(node.name) and (node.state is not NodeState.DOWN or node.fault or node.reason == NO_ANSWER):
        if node.state is not NodeState.DOWN or node.reason != event.fault:
            given = {} if node.drain and node.reason and not node.fault else {"reason": event.fault, "reason_time": draft.now, "reason_uid": 0}
            draft.put_node(replace(node, state=NodeState.DOWN, fault=True, **given))
        return
    if event.seconds >= UNANSWERED and node.silent is None and node.incarnation:
        node = draft.put_node(replace(node, silent=draft.now - event.seconds))
    if event.seconds < float(draft.state.settings["lost_after"]):
        return
    if node.state is not NodeState.DOWN:
        fields: dict[str, Any] = {} if node.drain and node.reason else {"reason": NO_ANSWER, "reason_time": draft.now, "reason_uid": 0}
        node = draft.put_node(replace(node, state=NodeState.DOWN, **fields))
    give_up(draft, node.name, fence=True)
    for job, number in list(draft.state.node_parts.get(node.name, ())):
        run, part = draft.run_of(job, number), draft.part(job, number, node.name)
        if run is None or not run.lease or part is None or event.seconds < lease_over(run.lease):
            continue
        if part.state in HOLDING and part.state is not PartState.LEAVING:  # nothing of it works; files that wait there are not the lease's
            gone.gone(draft, part, PartState.FENCED)


def lease_over(lease: int) -> float:
    """Seconds of silence after which nothing of a run with this lease is left on a node: its own clock counts from what we heard of it last,
    and may differ from ours."""
    return lease + max(LEASE_MARGIN, lease / 100)


def give_up(draft: Draft, node: str, *, fence: bool) -> None:
    """End what runs on a node that is not to be used any more."""
    for number, run in list(draft.state.node_parts.get(node, ())):
        job, part = draft.job(number), draft.part(number, run, node)
        if job is None or job.run != run:
            continue
        if part is not None and fence:
            staging.silent(draft, part)
        if job.state in RUNNING:
            finish.fail_node(draft, job, node, fence=fence)
            if not fence and finish.survives(draft, job, node):
                draft.effect(End(job=number, run=run, node=node, why="node_fail"))
        elif fence and job.state is JobState.PENDING and job.completing and not job.held:
            draft.change(job, reason=Reason.WAITING_FENCE, reason_text="waiting until %s is fenced" % node)


def fence(draft: Draft, event: Fence) -> None:
    gone.fence(draft, event.node)


def reports(draft: Draft, event: Reports) -> None:
    """Apply each report once, in order."""
    seqs: dict[tuple[str, str], int] = {}
    for report in event.reports:
        key = (report.node, report.incarnation)
        last = seqs.get(key, draft.seen(*key))
        if last is None or report.seq > last:
            seqs[key] = report.seq
            _HANDLERS[report.kind](draft, report)
        elif report.kind == "empty":
            # the order may have been lost with the connection
            draft.effect(Forget(job=report.job, run=report.run, node=report.node))
    for (node, incarnation), seq in seqs.items():
        draft.put_seen(node, incarnation, seq)
        forget_old_incarnations(draft, node, incarnation)


def forget_old_incarnations(draft: Draft, name: str, present: str) -> None:
    """Nothing of an earlier incarnation can be reported once the present one has spoken."""
    node = draft.node(name)
    if node is not None and node.incarnation == present and draft.state.seen.get((name, present)) is None:
        for other, incarnation in list(draft.state.seen):
            if other == name and incarnation != present:
                draft.del_seen(other, incarnation)


def _known(draft: Draft, report: Report) -> tuple[Job, Run, Part] | None:
    job, run = draft.job(report.job), draft.run_of(report.job, report.run)
    part = draft.part(report.job, report.run, report.node)
    return None if job is None or run is None or part is None else (job, run, part)


def _of_head(draft: Draft, report: Report) -> tuple[Job, Run, Part] | None:
    """The same of a report that only the run's head can make: how the run goes is for no other node to say."""
    known = _known(draft, report)
    return known if known is not None and known[1].head == report.node else None


def _when(draft: Draft, report: Report, earliest: float | None) -> float:
    """A node's clock may be off: never before what came before, never after now."""
    return max(min(report.time, draft.now), earliest or 0.0)


def _held(draft: Draft, report: Report) -> None:
    known = _known(draft, report)
    if known is None or known[2].state not in HOLDING:
        draft.effect(Revoke(job=report.job, run=report.run, node=report.node))
        return
    job, run, part = known
    if part.state is PartState.ASKED:
        part = draft.move_part(part, PartState.HELD, incarnation=report.incarnation)
    elif part.incarnation != report.incarnation:
        part = draft.put_part(replace(part, incarnation=report.incarnation))
    if run.state is not RunState.PREPARING:
        if run.state not in (RunState.HELD, RunState.STARTED):
            finish.tell_end(draft, run, part, job.killed_by)
        return
    if all(each.state is PartState.HELD for each in draft.parts(run.job, run.run)):
        run = draft.move_run(run, RunState.HELD)
        if staging.begin(draft, run):
            draft.effect(Start(job=run.job, run=run.run, node=run.head))
            if job.configuring:
                draft.change(job, configuring=False)


def _refused(draft: Draft, report: Report) -> None:
    known = _known(draft, report)
    finish.forget(draft, report.job, report.run, report.node)
    if known is None or known[2].state not in HOLDING or known[2].state is PartState.LEAVING:
        return
    job, run, part = known
    draft.move_part(part, PartState.EMPTY)
    error, nodes = str(report.data.get("error") or "refused"), report.data.get("fault") == "node"
    if nodes:
        _failed_launch(draft, part.node, error)
    if job.run == run.run and job.state in RUNNING and nodes and finish.may_requeue(job):
        # nothing of it has run, and it is none of the job's doing: somewhere else, or here once more, until the node is drained for it
        finish.order_end(draft, run, "launch")
        finish.requeue(draft, job, delay=None, text="the launch failed on %s: %s" % (part.node, error))
    elif job.run == run.run and job.state in RUNNING:
        finish.order_end(draft, run, "launch")
        text = ("%s: %s" % (part.node, error))[: staging.MOST_TEXT]
        if finish.may_requeue(job):
            held = "launch failed requeued held: " + text
            finish.requeue(draft, job, delay=None, hold="admin", reason=Reason.LAUNCH_FAILED_HELD, text=held)
        else:
            finish.conclude(draft, job, JobState.FAILED, reason=Reason.FAIL_LAUNCH, reason_text=text, exit=Exit(code=1))
    finish.settle(draft, run.job, run.run)


def _failed_launch(draft: Draft, name: str, error: str) -> None:
    """A node that fails launch after launch would eat one job after the other: it is drained, as Slurm drains one whose prolog fails."""
    node = draft.node(name)
    if node is None:
        return
    node = replace(node, failed_launches=node.failed_launches + 1)
    if node.failed_launches >= MOST_FAILED_LAUNCHES and not node.drain:
        text = "%d launches failed: %s" % (node.failed_launches, error)
        node = replace(node, drain=True, reason=text[:MOST_REASON], reason_time=draft.now, reason_uid=0)
    draft.put_node(node)


def _started(draft: Draft, report: Report) -> None:
    known = _known(draft, report)
    if known is None or known[2].state not in HOLDING:
        draft.effect(End(job=report.job, run=report.run, node=report.node, why="node_fail"))
        return
    job, run, _ = known
    if run.head != report.node:
        return
    at = _when(draft, report, run.created)
    if run.state is RunState.HELD:
        run = draft.move_run(run, RunState.STARTED, started=at)
        dependency.started(draft, job)
        for share in job.nodes:
            node = draft.node(share.node)
            if node is not None and node.failed_launches:
                draft.put_node(replace(node, failed_launches=0))
    elif run.state is RunState.ENDING:
        run = draft.put_run(replace(run, started=at))
    for part in draft.parts(run.job, run.run):
        if part.state is PartState.HELD:
            draft.move_part(part, PartState.ACTIVE)


def _step_start(draft: Draft, report: Report) -> None:
    known = _of_head(draft, report)
    if known is None:
        return
    run, data = known[1], report.data
    draft.put_step(
        Step(
            job=report.job,
            run=report.run,
            step=int(data["step"]),
            name=data.get("name") or "",
            nodes=tuple(data.get("nodes") or ()),
            ntasks=int(data.get("ntasks") or 1),
            cpus=int(data.get("cpus") or 0),
            mem=int(data.get("mem") or 0),
            gres={
                key: int(value) if not isinstance(value, (list, tuple)) else len(value) for key, value in (data.get("gres") or {}).items()
            },
            start_time=_when(draft, report, run.created),
            submit_line=data.get("submit_line") or "",
            srun_host=data.get("srun_host") or "",
            srun_pid=int(data.get("srun_pid") or 0),
        )
    )


def _step_end(draft: Draft, report: Report) -> None:
    number, data = int(report.data["step"]), report.data
    step = draft.step(report.job, report.run, number)
    if step is None or _of_head(draft, report) is None:
        return
    code, signal = int(data.get("code") or 0), int(data.get("signal") or 0)
    word = data.get("state") or ("FAILED" if code or signal else "COMPLETED")
    draft.put_step(
        replace(
            step,
            state=JobState(word),
            end_time=_when(draft, report, step.start_time),
            exit=Exit(code=code, signal=signal),
            usage={key: int(value) for key, value in (data.get("usage") or {}).items()},
        )
    )


def _ending(draft: Draft, report: Report) -> None:
    known = _of_head(draft, report)
    if known is None:
        return
    job, run, _ = known
    why = str(report.data.get("why") or "exit")
    if run.state is RunState.STARTED:
        draft.move_run(run, RunState.ENDING, why=why)
    if job.run == run.run and job.state in RUNNING and why == "time_limit":
        finish.conclude(draft, job, JobState.TIMEOUT, reason=Reason.TIME_LIMIT, end_time=_when(draft, report, job.start_time))


def _ended(draft: Draft, report: Report) -> None:
    known = _of_head(draft, report)
    if known is None:
        return
    job, run, _ = known
    data, at = report.data, _when(draft, report, run.created)
    exit = Exit(code=int(data.get("code") or 0), signal=int(data.get("signal") or 0))
    derived = Exit(**{key: int(value) for key, value in (data.get("derived") or {}).items() if key in ("code", "signal")})
    if run.state is RunState.HELD:
        run = draft.move_run(run, RunState.ENDING, why=str(data.get("why") or "exit"))
    if run.state in (RunState.STARTED, RunState.ENDING):
        why = run.why or (data["why"] if data.get("why") in ("oom", "memory") else "")
        run = draft.move_run(run, RunState.ENDED, ended=at, exit=exit, why=why)
    finish.close_steps(draft, run, at)
    if job.run == run.run:
        if job.state in RUNNING and data.get("why") in ("unattended", "node_fail"):  # the head's own verdict of one of its nodes
            finish.fail_node(draft, job, run.head, fence=False)
        elif job.state in RUNNING and run.why == "preempt" and finish.may_requeue(job):
            # it was sent its --signal because its machine is taken back, and has saved what it has: that is no end of the job
            finish.taken_back(draft, job, run.head)
        elif job.state in RUNNING:
            state, reason = finish.by_report(data)
            text = str(data.get("error") or "") if data.get("why") == "setup" else ""
            finish.conclude(
                draft, job, state, reason=reason, reason_text=text, exit=exit, derived_exit=derived, end_time=max(at, job.start_time or 0)
            )
        elif job.state is not JobState.PENDING:
            # How an allocation ended is what its owner said, not what was killed when it was given back.
            told = job.exit if job.spec.kind == "alloc" and run.why == "exit" else exit
            draft.change(job, exit=told, derived_exit=derived)
    for part in finish.held_parts(draft, run.job, run.run):
        if part.node != run.head:
            finish.tell_end(draft, run, part)


def _empty(draft: Draft, report: Report) -> None:
    finish.forget(draft, report.job, report.run, report.node)
    part = draft.part(report.job, report.run, report.node)
    if part is not None and part.state in HOLDING and part.state is not PartState.LEAVING:
        gone.gone(draft, part, PartState.EMPTY)


def _lost(draft: Draft, report: Report) -> None:
    """A supervisor is gone without an end. What it left is being cleared; `empty` follows."""
    known = _known(draft, report)
    if known is None:
        return
    job, run, part = known
    if part.node == run.head and run.state in (RunState.HELD, RunState.STARTED, RunState.ENDING):
        run = draft.move_run(run, RunState.LOST, why=run.why or "node_fail", ended=draft.now)
        finish.close_steps(draft, run, draft.now)
    if job.run == run.run and job.state in RUNNING:
        at = _when(draft, report, run.created)
        over = finish.overdue(draft, job, run)
        if part.node == run.head and over is not None and over <= at:  # killed because it could not be made to end itself
            finish.conclude(draft, job, JobState.TIMEOUT, reason=Reason.TIME_LIMIT, end_time=at)
        else:
            finish.fail_node(draft, job, part.node, fence=False)


def _suspended(draft: Draft, report: Report) -> None:
    """The order is on record already; the node only confirms it."""


def _notice(draft: Draft, report: Report) -> None:
    """For the log; what says that the cloud takes the machine back ends what runs there. Only the node itself says so (job 0): what a job
    says of its own must not end its neighbours."""
    node = draft.node(report.node) if report.job == 0 else None
    if node is not None and node.token and not node.releasing and "preempted_at" in report.data:
        fleet.preempted(draft, node, str(report.data.get("text") or "preempted"))


_HANDLERS = {
    "held": _held,
    "refused": _refused,
    "started": _started,
    "step_start": _step_start,
    "step_end": _step_end,
    "ending": _ending,
    "ended": _ended,
    "empty": _empty,
    "lost": _lost,
    "suspended": _suspended,
    "resumed": _suspended,
    "notice": _notice,
}
