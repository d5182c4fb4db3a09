"""`scontrol update` of jobs, nodes and partitions, and the configuration as read."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sbroker.core import admit, change, dependency, finish, ruling, watch
from sbroker.core.draft import Draft
from sbroker.core.effects import Adjust
from sbroker.core.events import Configure, CreatePartition, DeletePartition, Fence, UpdateJob, UpdateNode, UpdatePartition, Who
from sbroker.errors import Code, Refused
from sbroker.model import INFINITE, Job, JobSpec, Node, Partition
from sbroker.states import JobState, NodeState, Reason

# fields of JobSpec that may change while the job runs; the others need a pending job
_ANY_TIME = frozenset(
    [
        "name",
        "comment",
        "admin_comment",
        "time_limit",
        "nice",
        "priority",
        "deadline",
        "mail_type",
        "mail_user",
        "wckey",
        "extra",
        "array_limit",
        "requeue",
        "account",
        "qos",
        "signal",
    ]
)


def update_job(draft: Draft, event: UpdateJob) -> None:
    """Change fields of JobSpec, checked as a submission is."""
    unknown = set(event.changes) - set(JobSpec.__struct_fields__)
    if unknown:
        raise Refused(Code.INVALID_UPDATE, ", ".join(sorted(unknown)))
    jobs = change.records(draft, event.target)
    alive = [job for job in jobs if not job.state.ended]
    for job in alive or jobs:
        change.permit(job, event.who)
        if job.state.ended and set(event.changes) - {"comment", "admin_comment", "extra"}:
            raise Refused(Code.JOB_FINISHED, job=job.id)
        if job.state is not JobState.PENDING and set(event.changes) - _ANY_TIME:
            raise Refused(Code.NOT_PENDING, job=job.id)
        if job.held and "priority" in event.changes:
            raise Refused(Code.JOB_HELD, job=job.id)
        _allow(job, event.who, event.changes)
        for each in change.whole_or_tasks(draft, event.target, job) if job.state is JobState.PENDING else [job]:
            _update(draft, each, event)


def _allow(job: Job, who: Who, changes: dict[str, Any]) -> None:
    """Users may ask for less, or later; not for more time once it runs, nor for a better priority."""
    if who.operator:
        return
    limit = changes.get("time_limit")
    if (
        limit is not None
        and job.state is not JobState.PENDING
        and (limit == INFINITE or (job.time_limit != INFINITE and limit > job.time_limit))
    ):
        raise Refused(Code.ACCESS_DENIED, job=job.id)
    if ("priority" in changes and (changes["priority"] or 0) > job.priority) or "admin_comment" in changes:
        raise Refused(Code.ACCESS_DENIED, job=job.id)
    if (changes.get("nice") or 0) < 0 or {"deadline", "oversubscribe"} & set(changes):
        raise Refused(Code.ACCESS_DENIED, job=job.id)


def _update(draft: Draft, job: Job, event: UpdateJob) -> None:
    changes = dict(event.changes)
    spec = replace(job.spec, **changes)
    fields: dict[str, Any] = {"spec": spec}
    if job.state is JobState.PENDING:
        partitions = admit.resolve_partitions(draft, spec, event.who)
        admit.check_spec(draft, replace(spec, nice=max(0, spec.nice)), partitions, event.who)
        if "partitions" in changes:
            fields["partition"] = partitions[0].name
    if "time_limit" in changes:
        fields["time_limit"] = changes["time_limit"] if changes["time_limit"] is not None else INFINITE
        fields["look"] = None
    if "account" in changes or "qos" in changes:
        owner = Who(uid=job.uid, user=job.user, gid=job.gid, group=job.group)
        fields["account"], fields["qos"] = admit.account_qos(draft, spec, owner)
    if "priority" in changes and changes["priority"] is not None:
        fields["priority"] = changes["priority"] if not job.held else 0
        if changes["priority"] == 0:
            fields.update(held="admin" if event.who.operator and event.who.uid != job.uid else "user")
            fields["reason"] = Reason.HELD_ADMIN if fields["held"] == "admin" else Reason.HELD_USER
    elif "nice" in changes and job.priority:
        fields["priority"] = max(1, job.priority + job.spec.nice - (changes["nice"] or 0))
    if "begin" in changes:
        begin = changes["begin"] if changes["begin"] is not None and changes["begin"] > draft.now else None
        fields["begin"] = begin
        if not job.held and job.deps_left is None:
            fields.update(
                eligible_time=begin if begin is not None else draft.now, reason=Reason.BEGIN_TIME if begin is not None else Reason.NONE
            )
    if "dependency" in changes:
        dependency.refuse_loops(draft, job, changes["dependency"])
        fields.update(deps_left=changes["dependency"], dep_failed=False)
        if not job.held:
            fields.update(reason=Reason.DEPENDENCY if changes["dependency"] is not None else Reason.NONE)
    job = draft.change(job, **fields)
    if "array_limit" in changes and job.array_id:
        for other in draft.array(job.array_id):
            if other.id != job.id:
                draft.change(other, spec=replace(other.spec, array_limit=changes["array_limit"]))
        if job.reason is Reason.ARRAY_TASK_LIMIT:
            draft.quiet.add(job.id)
            job = draft.change(job, reason=Reason.NONE)
        draft.freed = True
    if job.state is JobState.PENDING and not job.held and job.deps_left is not None:
        dependency.admit(draft, job)
    if job.state in change.RUNNING and "time_limit" in changes:
        for part in finish.held_parts(draft, job.id, job.run):
            draft.effect(Adjust(job=job.id, run=job.run, node=part.node, time_limit=job.time_limit))


def update_node(draft: Draft, event: UpdateNode) -> None:
    node = draft.node(event.node)
    if node is None:
        raise Refused(Code.INVALID_NODE_NAME, event.node)
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED, event.node)
    unknown = set(event.fields) - set(Node.__struct_fields__)
    if unknown:
        raise Refused(Code.INVALID_UPDATE, ", ".join(sorted(unknown)))
    fields: dict[str, Any] = dict(event.fields)
    if event.reason is not None:
        fields.update(reason=event.reason, reason_uid=event.who.uid, reason_time=draft.now)
    state = event.state
    if state in ("drain", "fail"):
        fields["drain"] = True
    elif state == "resume" and not node.drain and node.state is NodeState.IDLE:
        raise Refused(Code.INVALID_NODE_STATE, event.node)
    elif state in ("resume", "undrain", "idle"):
        fields.update(drain=False, failed_launches=0)
        if node.state is NodeState.DOWN and state != "undrain":
            fields["state"] = NodeState.IDLE if node.reason != watch.NO_ANSWER and not node.fault else NodeState.DOWN
        if fields.get("state", node.state) is not NodeState.DOWN:
            fields.update(reason="", reason_uid=0, reason_time=None)
    elif state == "down":
        fields.update(state=NodeState.DOWN, fault=False)
    elif state is not None:
        raise Refused(Code.INVALID_UPDATE, state)
    draft.put_node(replace(node, **fields))
    if state == "down":
        watch.give_up(draft, node.name, fence=False)
        if node.silent is not None or (node.state is NodeState.DOWN and node.reason == watch.NO_ANSWER):
            # nobody can ask it: that it is down is the operator's word
            watch.fence(draft, Fence(node=node.name, proof="operator"))


def update_partition(draft: Draft, event: UpdatePartition) -> None:
    partition = draft.partition(event.name)
    if partition is None:
        raise Refused(Code.INVALID_PARTITION, event.name)
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED, event.name)
    _put_partition(draft, partition, event.fields)


def create_partition(draft: Draft, event: CreatePartition) -> None:
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED, event.name)
    if draft.partition(event.name) is not None:
        raise Refused(Code.POLICY, "Partition %s exists" % event.name)
    _put_partition(draft, Partition(name=event.name), event.fields)


def delete_partition(draft: Draft, event: DeletePartition) -> None:
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED, event.name)
    if draft.partition(event.name) is None:
        raise Refused(Code.INVALID_PARTITION, event.name)
    if any(job.partition == event.name and (not job.state.ended or job.completing) for job in draft.state.jobs.values()):
        raise Refused(Code.POLICY, "Partition is in use")
    draft.del_partition(event.name)


def _put_partition(draft: Draft, partition: Partition, fields: dict[str, Any]) -> None:
    """`partition` with these fields; a new default takes the place of the old one."""
    unknown = set(fields) - set(Partition.__struct_fields__)
    if unknown:
        raise Refused(Code.INVALID_UPDATE, ", ".join(sorted(unknown)))
    for name in fields.get("nodes", ()):
        if draft.node(name) is None:
            raise Refused(Code.INVALID_NODE_NAME, name)
    if fields.get("default"):
        for other in draft.partitions():
            if other.default and other.name != partition.name:
                draft.put_partition(replace(other, default=False))
    draft.put_partition(replace(partition, **fields))


# what the configuration does not say of a node
_LEARNT = (
    "state",
    "drain",
    "reason",
    "reason_uid",
    "reason_time",
    "hostname",
    "incarnation",
    "boot_time",
    "fault",
    "agent_time",
    "last_heard",
    "silent",
    "load",
    "free_mem",
    "os",
    "version",
)


def configure(draft: Draft, event: Configure) -> None:
    """Nodes and partitions as configured: new ones come, what is not listed any more goes when nothing runs there."""
    listed = set()
    for node in event.nodes:
        listed.add(node.name)
        old = draft.node(node.name)
        if old is not None and old.token:
            node = replace(old, listed=True, weight=node.weight)  # as big as its machine, until that is gone
        elif old is not None:
            kept = {name: getattr(old, name) for name in _LEARNT}
            if node.measured and old.incarnation:
                for name in ("cpus", "sockets", "cores_per_socket", "threads_per_core", "memory", "tmp"):
                    kept[name] = getattr(old, name)
                if not node.gres:
                    kept["gres"] = old.gres
            kept["address"], kept["arch"] = node.address or old.address, node.arch or old.arch
            node = replace(node, **kept)
        draft.put_node(node)
    for name, old in list(draft.state.nodes.items()):
        if name not in listed:
            if old.token:
                draft.put_node(replace(old, listed=False))
            elif draft.state.node_parts.get(name):
                draft.put_node(replace(old, drain=True, reason="not configured any more"))
            else:
                draft.del_node(name)
    names = {partition.name for partition in event.partitions}
    made: dict[str, list[str]] = {}
    for name in draft.state.fleet:
        if name not in listed:
            made.setdefault(draft.state.nodes[name].site, []).append(name)
    for partition in event.partitions:
        more = tuple(name for site in partition.sites for name in made.get(site, ()))
        draft.put_partition(replace(partition, nodes=partition.nodes + more))
    for name in list(draft.state.partitions):
        if name not in names:
            draft.del_partition(name)
    ruling.again(draft)
    draft.freed = True
