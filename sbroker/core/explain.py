"""`sbroker explain`: why a job waits, where it could run, and why not elsewhere or not yet. Sentences; nothing is decided here."""

from __future__ import annotations

from datetime import datetime

from sbroker import features, hostlist
from sbroker.core import buy, gres, queue, ruling
from sbroker.core.draft import Draft
from sbroker.core.finish import unborn
from sbroker.core.plan import LaterPool, usable
from sbroker.core.select import Miss, fits_config, offer, place
from sbroker.core.shape import Shape, shape_key
from sbroker.core.state import HOLDING, State, natural
from sbroker.core.usage import EMPTY
from sbroker.model import Job, Node, Partition
from sbroker.plan import tell
from sbroker.states import JobState, NodeState, PartState, Reason

_BARRIERS = {
    Reason.PARTITION_DOWN: "it is down",
    Reason.PARTITION_INACTIVE: "it is inactive",
    Reason.PARTITION_TIME_LIMIT: "the job's time limit is over the partition's",
    Reason.PARTITION_CONFIG: "it has fewer CPUs in all than the job asks for",
    Reason.PARTITION_NODE_LIMIT: "it has, or allows, fewer nodes than the job asks for",
}
_SIZES = {
    Miss.CPUS: "too few CPUs",
    Miss.MEMORY: "too little memory",
    Miss.TMP: "too little temporary disk",
    Miss.SOCKETS: "other sockets, cores or threads than asked for",
    Miss.NODES: "too little memory for that many CPUs",
}


def explain(state: State, job: Job, now: float) -> list[str]:
    """Sentences about `job`, the most important first."""
    if job.state.ended:
        return ["Job %d has ended: %s%s." % (job.id, job.state.value, ": " + job.reason_text if job.reason_text else ""), *_silence(state, job), *_files(state, job)]
    if job.state is not JobState.PENDING:
        names = hostlist.fold(share.node for share in job.nodes)
        boots = [node for share in job.nodes if unborn(node := state.nodes.get(share.node)) and node is not None]
        if boots:
            return [_booting(state, job, boots)]
        return ["Job %d runs on %s." % (job.id, names), *_silence(state, job), *_files(state, job)]
    draft, said = Draft(state, now), []
    left = [part for part in state.parts.get(job.id, {}).values() if part.state in HOLDING]
    if left:
        said.append("Its run %d still has to end on %s." % (left[0].run, hostlist.fold(part.node for part in left)))
        said += _silence(state, job)
    if job.held:
        said.append("It is held by %s." % ("its user" if job.held == "user" else "an operator"))
    if job.dep_failed:
        said.append("What it depends on can never be fulfilled.")
    elif job.deps_left is not None:
        words = ["%s%s" % (item.kind, ":%d" % item.job if item.job else "") for item in job.deps_left.items]
        said.append("It waits for %s." % (" or " if job.deps_left.any else ", ").join(words))
    if job.begin is not None:
        said.append("It may not begin before %s." % _when(job.begin))
    if job.reason is Reason.ARRAY_TASK_LIMIT:
        said.append("As many of its tasks run as its array allows.")
    if job.reason_text:
        said.append(job.reason_text[0].upper() + job.reason_text[1:] + ".")
    shape = Shape(shape_key(job), job)
    for name in shape.partitions:
        partition = draft.partition(name)
        said += _partition(draft, shape, partition) if partition is not None else ["There is no partition %s." % name]
    start = state.estimate(job.id)
    if start is not None:
        said.append("It is expected to start at %s." % _when(start))
    return said


def stuck(state: State, job: Job) -> str:
    """A sentence on a job that was ended and is not over because a node does not answer, or its files do not come back; "" if it may soon be."""
    left = [part for part in state.parts.get(job.id, {}).values() if part.state in HOLDING]
    silent = [part.node for part in left if _silent(state, part.node) is not None]
    late = [part.node for part in left if part.node not in silent and part.state is PartState.LEAVING and job.stage_until is not None]
    if not left or len(silent) + len(late) < len(left):
        return ""
    if silent:
        return "Job %d may still be on %s. Its node answers and ends it; or an operator says that nothing works there any more: scontrol update nodename=%s state=down reason=off" % (
            job.id, _since(state, silent), hostlist.fold(silent))
    return "Files of job %d do not come back: %s. What is in the way is mended; or they stay there: scancel %d" % (job.id, job.reason_text, job.id)


def _silent(state: State, name: str) -> float | None:
    node = state.nodes.get(name)
    return None if node is None else node.silent


def _since(state: State, names: list[str]) -> str:
    return ", ".join("%s, which has not answered since %s" % (name, _when(_silent(state, name) or 0)) for name in names)


def _silence(state: State, job: Job) -> list[str]:
    """Of the nodes that hold something of the job, those that nobody hears."""
    names = {part.node for part in state.parts.get(job.id, {}).values() if part.state in HOLDING and _silent(state, part.node) is not None}
    return ["How it is there is not known: %s has not answered since %s." % (name, _when(_silent(state, name) or 0)) for name in sorted(names, key=natural)]


def _booting(state: State, job: Job, nodes: list[Node]) -> str:
    """What is known of machines that are being made."""
    groups = {node.token: state.groups[node.token] for node in nodes if node.token in state.groups}
    unsure = "; ".join(dict.fromkeys(group.error for group in groups.values() if group.error))
    since = min((group.created for group in groups.values()), default=job.start_time or 0.0)
    said = "Job %d has machines on order, for %.2f USD an hour: %s, since %s." % (
        job.id, sum(node.price for node in nodes), hostlist.fold(sorted((node.name for node in nodes), key=natural)), _when(since))  # fmt: skip
    return said + (" Their site has not answered yet, and is asked again: %s." % unsure if unsure else "")


def _files(state: State, job: Job) -> list[str]:
    """What is on its way between here and the job's nodes."""
    parts = [part for (run, _), part in state.parts.get(job.id, {}).items() if run == job.run]
    there = [part.node for part in parts if part.stage == "in" and part.state in HOLDING and not job.state.ended]
    back = [part.node for part in parts if part.state is PartState.LEAVING]
    said = ["Its files are being brought to %s: it starts when they are there." % hostlist.fold(there)] if there else []
    return said + (["Its files are being brought back from %s: it is not over before." % hostlist.fold(back)] if back else [])


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%dT%H:%M:%S")


def _partition(draft: Draft, shape: Shape, partition: Partition) -> list[str]:
    barrier = queue.barred(draft, shape, partition)
    if barrier is not None:
        return ["Not in partition %s: %s." % (partition.name, _BARRIERS[barrier])]
    causes: dict[str, list[str]] = {}
    for name in partition.nodes:
        node = draft.node(name)
        if node is not None:
            causes.setdefault(_node(draft, shape, partition, node), []).append(name)
    said = []
    fitting = causes.pop("", [])
    if fitting:
        said.append("In partition %s it fits now on %s." % (partition.name, hostlist.fold(sorted(fitting, key=natural))))
        pool = LaterPool(draft, [], draft.now, draft.now, shape)
        if isinstance(place(shape.spec, shape.want(partition), partition, pool, shape.uid), Miss):
            said.append("Those are not enough of them.")
        elif draft.state.memo.plan:
            said.append("Jobs of better priority are planned there.")
    for cause, names in causes.items():
        said.append("%s: %s." % (hostlist.fold(sorted(names, key=natural)), cause))
    return said + (tell(buy.Orders(draft).answer(shape, partition)) if buy.elastic(draft, partition) else [])


def _node(draft: Draft, shape: Shape, partition: Partition, node: Node) -> str:
    """Why not this node, "" if it would do now."""
    spec, want = shape.spec, shape.want(partition)
    if node.name in spec.exclude:
        return "excluded by --exclude"
    if node.name in spec.barred:
        return "does not share %s, and its site does not let files be staged (stage: deny)" % spec.work_dir
    ruled = ruling.lets(spec, partition.name, node)
    if ruled:
        return ruled
    if spec.constraint:
        ways = features.alternatives(spec.constraint)
        if not any(features.holds(way.every, node.features) for way in ways):
            return "has not the features %s" % spec.constraint
    miss = fits_config(want, node)
    if miss is not None:
        return _SIZES[miss]
    if usable(node) is None:
        words = "down" if node.state is NodeState.DOWN else "drained" if node.drain else "not heard of yet"
        if node.silent is not None and words != "drained":
            words = "%snot responding since %s" % ("down, " if words == "down" else "", _when(node.silent))
        return "%s%s" % (words, " (%s)" % node.reason if node.reason else "")
    for wanted in (want.gres, want.gpus, want.task_gpus):
        if wanted and not gres.free_count(node, EMPTY, wanted, want.types):
            return "has no such %s" % wanted[0].name
    if offer(want, node, draft.use(node.name), shape.uid, False) is None:
        return (
            "in use by %s" % ", ".join("job %d" % key for key in sorted(draft.use(node.name).holders))
            if draft.use(node.name).holders
            else "too small"
        )
    return ""
