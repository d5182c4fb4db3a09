"""What must hold, looked at in every decision, every order that leaves, and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sbroker.core import effects as fx
from sbroker.core import usage
from sbroker.core.effects import Decision, Put
from sbroker.core.events import Reports
from sbroker.core.state import HOLDING, State, active, lives, queued
from sbroker.states import JobState, PartState, Reason, RunState

if TYPE_CHECKING:
    from tests.sim.world import World

WORKING = HOLDING - {PartState.LEAVING}

class Broken(AssertionError):
    """An invariant does not hold."""


def require(holds: bool, text: str, *values: Any) -> None:
    if not holds:
        raise Broken("%s %s" % (text, " ".join(map(repr, values))))


def decision(world: World, state: State, event: Any, decided: Decision) -> None:
    """Before it is applied."""
    for change in decided.changes:
        if isinstance(change, Put) and change.table == "run" and change.key not in state.all_runs:
            new_run(world, state, change.value, decided)
    if isinstance(event, Reports):
        for report in event.reports:
            seen = state.seen.get((report.node, report.incarnation), 0)
            if report.seq <= seen and len(event.reports) == 1:
                require(not decided.changes, "(4) a report took effect twice", report)


def new_run(world: World, state: State, run: Any, decided: Decision) -> None:
    """Invariant 1, by the record and by what is really there."""
    parts = dict(state.parts.get(run.job, {}).items())
    for change in decided.changes:
        if isinstance(change, Put) and change.table == "part" and change.value.job == run.job:
            parts[change.key[1], change.key[2]] = change.value
    for (number, node), part in parts.items():
        world.fenced += part.state is PartState.FENCED
        if number < run.run:
            require(part.state not in HOLDING, "(1) a run was created while one before holds", run, part)
            require(not world.busy((run.job, number), node), "(1) a run was created while one before works", run, part)


def leaves(world: World, effect: Any) -> None:
    """Invariant 3: an order leaves only when what it rests on is durable."""
    row = world.disk.row
    key = (effect.job, effect.run)
    run = row("run", key)
    if isinstance(effect, fx.Prepare):
        require(row("part", (*key, effect.node)) is not None, "(3) prepare of a part that is not on disk", effect)
    elif isinstance(effect, fx.Start):
        require(run is not None and run.state is not RunState.PREPARING, "(3) start before held is on disk", effect, run)
    elif isinstance(effect, fx.Forget):
        part = row("part", (*key, effect.node))
        require(part is None or part.state not in WORKING, "(3) forget before the end is on disk", effect, part)


def refused_epoch(world: World, epoch: int) -> None:
    require(epoch < world.disk.epoch or True, "(7) the newest broker was refused", epoch)


def state(world: World, current: State) -> None:
    """Nothing is given twice, and the queue holds who waits."""
    for name, use in current.use.items():
        node = current.nodes.get(name)
        if node is None:
            continue
        require(not node.one_user or len({uid for _, uid, _ in use.holders.values()}) <= 1, "two submitters on a node of one", name, use.holders)
        cores = shared = memory = 0
        for job, (share, _, _) in use.holders.items():
            record = current.jobs[job]
            if job in world.suspended or record.array_id in world.suspended:
                shared |= 0 if job in use.frozen else usage.cores_of(share.cpu_ids, node.threads_per_core)
            else:
                bits = usage.cores_of(share.cpu_ids, node.threads_per_core)
                require(not cores & bits, "a core was given twice", name, use)
                cores |= bits
            memory += share.mem
        cores |= shared
        require(cores == use.cores and memory == use.mem, "usage is off", name, use)
        require(memory <= node.memory and cores < 1 << node.cpus, "more was given than there is", name, use)
    for job in current.jobs.values():
        require((job.id in current.shape_of) == queued(job), "the queue is off", job)
        if not active(job):
            files(world, current, job)


def files(world: World, current: State, job: Any) -> None:
    """A job that is over, or may run again, has its files back from wherever it ran, or its record says that they are lost."""
    for (number, node), part in current.parts.get(job.id, {}).items():
        key = (job.id, number)
        if number == job.run and node in world.files.apart and (key, node) in world.execs and part.state is not PartState.FENCED:
            require(part.stage == "lost" or (key, node) in world.files.back, "over, and its files are not back", job, part)


def same(left: State, right: State) -> None:
    """A state that grew and the same rows loaded afresh have the same indexes."""
    for name in (
        "jobs",
        "all_runs",
        "parts",
        "nodes",
        "partitions",
        "seen",
        "counters",
        "array_live",
        "array_active",
        "due_of",
        "requests",
    ):
        require(getattr(left, name) == getattr(right, name), "after a load differs:", name, getattr(left, name), getattr(right, name))
    for name in ("users", "arrays", "names", "dependents", "delayed"):
        ours, theirs = ({key: set(value or ()) for key, value in getattr(each, name).items()} for each in (left, right))
        require(ours == theirs, "after a load differs:", name, ours, theirs)
    require(
        {k: (v.entries, v.odd) for k, v in left.shapes.items()} == {k: (v.entries, v.odd) for k, v in right.shapes.items()}, "queues differ"
    )
    for name in left.nodes:
        ours_use, theirs_use = left.use.get(name, usage.EMPTY), right.use.get(name, usage.EMPTY)
        require(ours_use == theirs_use, "usage differs", ours_use, theirs_use)
    require(left.dues == right.dues, "due times differ")


def end(world: World) -> None:
    """When all is quiet: no job is lost, none ran twice, nothing is left."""
    broker = world.broker
    require(broker is not None and broker.alive, "no broker at the end")
    current = broker.state
    same(current, State.load(world.disk.load(), world.settings))
    for request, job_id in world.accepted.items():
        job = current.jobs.get(job_id) or world.disk.ended.get(job_id)
        require(job is not None, "an accepted job is lost", request, job_id)
    for job in [*current.jobs.values(), *world.disk.ended.values()]:
        if job.request_id:
            require(world.accepted.get(job.request_id) == job.id, "a request made more than one job", job)
        require(not lives(job) or waits_for_ever(current, job), "a job did not come to its end", job, current.runs.get(job.id))
        outcome(world, job)
    for name, node in world.nodes.items():
        require(current.use.get(name, usage.EMPTY) == usage.EMPTY, "something is still taken", name)
        require(not node.supervisors, "a supervisor is left", name, node.supervisors)
        require(not node.runs, "a run's directory is left", name, {key: value.state for key, value in node.runs.items()})
    require(not any(active(job) for job in current.jobs.values()), "something is active")
    for cloud in world.clouds.values():
        require(not cloud.left(), "machines are left", cloud.name, cloud.left(), [group for group in current.groups.values() if group.site == cloud.name])
    if world.clouds:
        require(not [node for node in current.nodes.values() if node.token], "a node without a machine has one on record", current.fleet)


def waits_for_ever(current: State, job: Any) -> bool:
    """Its dependency can never be met, or it waits for one of which that is true."""
    if job.dep_failed or (job.held and job.reason is Reason.REQUEUED_HELD and not job.completing):
        return True
    items = job.deps_left.items if job.deps_left is not None and job.state is JobState.PENDING else ()
    targets = [other for item in items for other in (current.array(item.job) or [current.jobs.get(item.job)]) if other is not None]
    if any(item.kind == "singleton" for item in items):
        targets += [current.jobs[key] for key in current.names[job.uid, job.spec.name]]
    return any(lives(other) and other.id < job.id and waits_for_ever(current, other) for other in targets)


def outcome(world: World, job: Any) -> None:
    """The record says what really happened."""
    key = (job.id, job.run)
    if job.state in (JobState.COMPLETED, JobState.FAILED) and job.run >= 0 and job.spec.comment:
        code = int(job.spec.comment.split()[1])
        if job.state is JobState.FAILED and job.reason is Reason.FAIL_LAUNCH:
            require(key in world.files.refused and not any(run == key for run, _ in world.execs), "a launch that failed did not", job)
            return
        if job.state is JobState.FAILED and job.reason is Reason.STAGE_OUT_FAIL:
            require(code == 0 and bool(job.reason_text), "lost files are not said", job)
            return
        require(world.finishes.get(key) == "exit", "ended on record, but not in truth", job, world.finishes.get(key))
        require((job.state is JobState.COMPLETED) == (code == 0) and job.exit.code == code, "the wrong end", job)
    if job.state is JobState.CANCELLED:
        require(job.id in world.cancelled or job.array_id in world.cancelled or job.dep_failed, "cancelled by nobody", job)
