"""Files of jobs on nodes that do not share the submit host's: what waits for them before a run starts, and after it has ended.

A part that needs staging is "in" until `Staged` says that the submit directory is on its node; only then may the run start. When nothing
of the run works there any more the part is LEAVING, which still holds the node, until `StagedOut`; what could not be brought back within
`stage_out_grace` of the first failure, or was on a node that is gone, is "lost", and the job ends with the reason StageOutFail.
"""

from __future__ import annotations

from msgspec.structs import replace

from sbroker.core import finish
from sbroker.core.draft import Draft
from sbroker.core.effects import StageIn, StageOut, Start
from sbroker.core.events import Staged, StagedOut
from sbroker.errors import Code, Refused
from sbroker.model import Job, JobSpec, Node, Part, Partition, Run
from sbroker.states import JobState, PartState, Reason, RunState

RUNNING = (JobState.RUNNING, JobState.SUSPENDED)
MOST_TEXT = 500  # characters of a sentence that a job's record keeps


def needed(spec: JobSpec, node: Node) -> bool:
    """Whether the job's directory has to be brought to this node."""
    if isinstance(node.shared_fs, bool):
        return not node.shared_fs
    return not any(below(spec.work_dir, prefix) for prefix in node.shared_fs)


def below(path: str, prefix: str) -> bool:
    """Whether `path` is `prefix` or lies in it."""
    prefix = prefix.rstrip("/")
    return path == prefix or path.startswith(prefix + "/")


def admitted(draft: Draft, spec: JobSpec, partitions: list[Partition]) -> JobSpec:
    """The specification with the nodes named that may not have its files. Refused where no other is left."""
    names = {name for partition in partitions for name in partition.nodes}
    nodes = [node for node in map(draft.node, sorted(names)) if node is not None]
    barred = tuple(node.name for node in nodes if not node.stage and needed(spec, node))
    if not barred:
        return spec
    if len(barred) == len(nodes) or set(spec.nodelist) & set(barred):
        sites = ", ".join(sorted({node.site for node in nodes if node.name in barred}))
        raise Refused(
            Code.POLICY,
            "files of %s may not be brought to nodes of %s, which do not share them (stage: deny): submit from a shared folder, or ask for "
            "other nodes" % (spec.work_dir, sites),
        )
    return replace(spec, barred=barred)


def begin(draft: Draft, run: Run) -> bool:
    """All parts of the run are held: bring the files that are missing. True when nothing is, and the run may start."""
    waiting = [part for part in draft.parts(run.job, run.run) if part.stage == "in"]
    for part in waiting:
        draft.effect(StageIn(job=part.job, run=part.run, node=part.node))
    return not waiting


def staged(draft: Draft, event: Staged) -> None:
    """A node has the job's files, or cannot have them."""
    part, run, job = draft.part(event.job, event.run, event.node), draft.run_of(event.job, event.run), draft.job(event.job)
    if part is None or run is None or job is None or part.stage != "in" or run.state is not RunState.HELD:
        return
    if event.error:
        _not_staged(draft, job, run, part, event)
        return
    draft.put_part(replace(part, stage="ready", at=event.at))
    if job.run == run.run and event.note:
        job = draft.change(job, reason_text=_add(job.reason_text, event.note))
    if not any(each.stage == "in" for each in draft.parts(run.job, run.run)):
        draft.effect(Start(job=run.job, run=run.run, node=run.head))
        if job.configuring and job.run == run.run:
            draft.change(job, configuring=False)


def _not_staged(draft: Draft, job: Job, run: Run, part: Part, event: Staged) -> None:
    """The run will not start. What may be better another time waits, held, for somebody to look at it, as after any launch that failed."""
    if job.run != run.run or job.state not in RUNNING:
        return
    finish.order_end(draft, run, "launch")
    text = "%s: %s" % (part.node, event.error[:MOST_TEXT])
    if finish.may_requeue(job) and not event.final:
        finish.requeue(draft, job, delay=None, hold="user", reason=Reason.LAUNCH_FAILED_HELD, text="launch failed requeued held: " + text)
    else:
        finish.conclude(draft, job, JobState.FAILED, reason=Reason.FAIL_LAUNCH, reason_text=text, exit=finish.LAUNCH_FAILED)
    finish.settle(draft, run.job, run.run)


def leave(draft: Draft, part: Part) -> Part:
    """Nothing of the run works there any more: the part is LEAVING if the job may have left files there, else EMPTY."""
    run = draft.run_of(part.job, part.run)
    never = run is None or run.state in (RunState.PREPARING, RunState.REVOKED)
    if never or part.stage != "ready" or any(each.stage == "in" for each in draft.parts(part.job, part.run)):
        return draft.move_part(part, PartState.EMPTY)
    draft.effect(StageOut(job=part.job, run=part.run, node=part.node))
    return draft.move_part(part, PartState.LEAVING)


def staged_out(draft: Draft, event: StagedOut) -> None:
    """A node's changes are back, or there is a reason why not yet."""
    part, job = draft.part(event.job, event.run, event.node), draft.job(event.job)
    if part is None or job is None or part.state is not PartState.LEAVING:
        return
    if event.error and not event.final:
        delay(draft, job, part, event.error)
        return
    if event.error:
        give_up(draft, job, part, event.error)
        return
    if job.run == part.run and event.note:
        job = draft.change(job, reason_text=_add(job.reason_text, event.note))
    draft.move_part(part, PartState.EMPTY)
    finish.settle(draft, part.job, part.run)


def give_up(draft: Draft, job: Job, part: Part, text: str) -> None:
    """The files of this part do not come back."""
    if job.run == part.run:
        draft.change(job, reason_text=("%s: %s" % (part.node, text))[:MOST_TEXT])
    draft.move_part(part, PartState.EMPTY, stage="lost")
    finish.settle(draft, part.job, part.run)


def abort(draft: Draft, job: Job) -> bool:
    """The job's owner does not want to wait for its files. False if it waits for none."""
    leaving = [part for part in draft.parts(job.id, job.run) if part.state is PartState.LEAVING]
    for part in leaving:
        give_up(draft, draft.job(job.id) or job, part, "cancelled while the files were brought back: what was not is still there")
    return bool(leaving)


def _add(text: str, note: str) -> str:
    return (text + "; " + note if text and note not in text else text or note)[:MOST_TEXT]


def delay(draft: Draft, job: Job, part: Part, error: str) -> None:
    """The files do not come back for now: the node is kept for the grace, and the job says why."""
    if job.run != part.run:
        return
    node = draft.node(part.node)
    grace = node.stage_out_grace if node is not None and node.stage_out_grace is not None else int(draft.state.settings["stage_out_grace"])
    until = job.stage_until if job.stage_until is not None else draft.now + grace
    draft.change(job, stage_until=until, reason_text=("%s: %s" % (part.node, error))[:MOST_TEXT])


def again(draft: Draft, part: Part) -> None:
    """The node is heard (again): what waits there for its files, or for them to be fetched."""
    run, job = draft.run_of(part.job, part.run), draft.job(part.job)
    if part.state is PartState.LEAVING:
        draft.effect(StageOut(job=part.job, run=part.run, node=part.node))
        if job is not None and job.run == part.run and job.stage_until is not None and job.reason_text == "%s: %s" % (part.node, SILENT):
            draft.change(job, stage_until=None, reason_text="")
    elif run is not None and run.state is RunState.HELD and part.stage == "in":
        draft.effect(StageIn(job=part.job, run=part.run, node=part.node))


SILENT = "not responding, and the job's files are there"


def silent(draft: Draft, part: Part) -> None:
    """The node cannot be asked for the files."""
    job = draft.job(part.job)
    if job is not None and part.state is PartState.LEAVING and job.stage_until is None:
        delay(draft, job, part, SILENT)


def gone(draft: Draft, part: Part) -> Part:
    """The node's machine is gone, and with it what the job left there: FENCED."""
    if part.state is PartState.LEAVING:
        job = draft.job(part.job)
        if job is not None and job.run == part.run:
            draft.change(job, reason_text="%s is gone, and with it files of the job" % part.node)
        part = draft.put_part(replace(part, stage="lost"))
    return draft.move_part(part, PartState.FENCED)


def expire(draft: Draft, job: Job) -> None:
    """The grace is over: the nodes are given up with what is there."""
    draft.change(job, stage_until=None)  # another node's run may still have to end
    for part in draft.parts(job.id, job.run):
        if part.state is PartState.LEAVING:
            draft.move_part(part, PartState.EMPTY, stage="lost")
    finish.settle(draft, job.id, job.run)


def lost(draft: Draft, job: Job) -> bool:
    """Whether files of the job's present run did not come back."""
    return any(part.stage == "lost" for part in draft.parts(job.id, job.run))
