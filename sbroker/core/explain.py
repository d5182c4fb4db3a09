"""Why a job is where it is, in sentences: what `sbroker explain` prints. Pure, and by the same rules as the passes."""

from __future__ import annotations

from sbroker.core import features
from sbroker.core.draft import Draft
from sbroker.core.plan import NowPool, usable
from sbroker.core.queue import barred
from sbroker.core.select import Miss, fits_config, offer, place
from sbroker.core.shape import Shape, Want, shape_key
from sbroker.core.state import State
from sbroker.model import Job, Node, Partition
from sbroker.states import JobState, NodeState, Reason

_TOO_SMALL = {Miss.CPUS: "has too few CPUs", Miss.MEMORY: "has too little memory", Miss.TMP: "has too little disk", Miss.SOCKETS: "has other sockets and cores"}
_WAITS = {
    Reason.PRIORITY: "It waits for its turn: jobs before it in the queue come first.",
    Reason.RESOURCES: "It is next in its queue and waits until enough is free.",
    Reason.HELD_USER: "Its owner holds it: `scontrol release` lets it go.",
    Reason.HELD_ADMIN: "An operator holds it: only an operator can release it.",
    Reason.DEPENDENCY: "It waits for other jobs.",
    Reason.DEPENDENCY_NEVER: "What it waits for can never happen any more: cancel it, or change its dependency with `scontrol update`.",
    Reason.ARRAY_TASK_LIMIT: "As many tasks of its array run as its %limit allows.",
    Reason.BEGIN_TIME: "It may not start before its begin time.",
}


def explain(state: State, job: Job, now: float) -> list[str]:
    """Sentences about a job: what it does, what it waits for, and why each node is or is not for it."""
    if job.state is not JobState.PENDING:
        nodes = ", ".join(share.node for share in job.nodes) or "no node"
        verb = "completes" if job.completing else "ended as" if job.state.ended else "is"
        return ["Job %d %s %s on %s." % (job.id, verb, job.state.value, nodes)]
    draft = Draft(state, now)
    shape = Shape(shape_key(job), job)
    out = ["Job %d is PENDING, reason %s." % (job.id, job.reason.value)]
    if job.reason_text:
        out.append(job.reason_text[:1].upper() + job.reason_text[1:] + ".")
    elif job.reason in _WAITS:
        out.append(_WAITS[job.reason])
    start = state.estimate(job.id)
    if start is not None:
        out.append("By the time limits of what runs, it can start in %d s." % max(0, start - now))
    for name in shape.partitions:
        partition = draft.partition(name)
        out += ["Partition %s is not there any more." % name] if partition is None else _partition(draft, job, shape, partition)
    return out


def _partition(draft: Draft, job: Job, shape: Shape, partition: Partition) -> list[str]:
    barrier = barred(draft, shape, partition)
    if barrier is not None:
        return ["Partition %s can not take it: %s." % (partition.name, barrier.value)]
    want = shape.want(partition)
    pool = NowPool(draft, [], draft.now + shape.seconds())
    shares = place(job.spec, want, partition, pool, job.uid)
    out = ["Partition %s: %s" % (partition.name, "it fits on what is free now: %s." % ", ".join(share.node for share in shares)
                                 if not isinstance(shares, Miss) else "it does not fit on what is free now.")]  # fmt: skip
    for name in partition.nodes:
        node = draft.node(name)
        if node is not None:
            out.append("  %s %s." % (name, _node(draft, job, want, node, pool)))
    return out


def _node(draft: Draft, job: Job, want: Want, node: Node, pool: NowPool) -> str:
    """What one node is for this job; the first thing that stands in the way."""
    if usable(node) is None:
        why = ": " + node.reason if node.reason else ""
        return "is drained" + why if node.drain else "has not been heard yet" if node.state is NodeState.UNKNOWN else "is down" + why
    if node.name in job.spec.exclude:
        return "is excluded by the job"
    if job.spec.constraint and not any(
        way.every is None or features.holds(way.every, node.features) for way in features.alternatives(job.spec.constraint)
    ):
        return "lacks the features %s" % job.spec.constraint
    miss = fits_config(want, node)
    if miss is not None:
        return _TOO_SMALL[miss]
    use = pool.use(node.name)
    if offer(want, node, use, job.uid, False) is None:
        return "has not enough free (CPUs and memory in use: %d, %d MiB)" % draft.state.node_used(node.name)[:2]
    return "has room for its part"
