"""A submission: checked against what the cluster could ever do, completed with defaults, made a record."""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec.structs import replace

from sbroker import features
from sbroker.api import Placement
from sbroker.core import buy, dependency, finish, gres, purge, queue, ruling, staging
from sbroker.core.draft import Draft
from sbroker.core.events import Submit, Who
from sbroker.core.plan import NowPool, earliest
from sbroker.core.select import Miss, fits_config, place
from sbroker.core.shape import Shape, shape_key
from sbroker.core.state import queued
from sbroker.core.usage import EMPTY, Use
from sbroker.errors import Code, Refused
from sbroker.model import INFINITE, Job, JobSpec, Node, Partition
from sbroker.states import JobState, Reason

SHAPES_KEPT = 10_000  # of which is remembered whether they can ever run

_MISSES = {
    Miss.CPUS: Code.TOO_MANY_CPUS,
    Miss.MEMORY: Code.MEMORY,
    Miss.TMP: Code.TMP_DISK,
    Miss.SOCKETS: Code.SOCKETS,
    Miss.NODES: Code.NODE_CONFIG,
}
_STEP = re.compile(r":(\d+)")  # the first one speaks for the whole array, as with Slurm


class EmptyPool:
    """The configured machines with nothing on them, up or not."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def node(self, name: str) -> Node | None:
        return self.draft.node(name)

    def use(self, name: str) -> Use:
        return EMPTY

    def order(self, name: str) -> int:
        return self.draft.state.order.get(name, 0)


def submit(draft: Draft, event: Submit) -> None:
    """Admit the job of `event`, or raise Refused. The answer is its id, or for --test-only a Placement."""
    who, spec = event.who, event.spec
    if event.request_id and not event.test:
        known = draft.state.requests.get((who.uid, event.request_id))
        if known is not None:
            draft.answer = [known]
            return
    partitions = resolve_partitions(draft, spec, who)
    check_spec(draft, spec, partitions, who)
    spec = ruling.admitted(draft, staging.admitted(draft, spec, partitions), account_qos(draft, spec, who)[0])
    job = make_job(draft, spec, partitions, event)
    dependency.refuse_loops(draft, job, job.deps_left)
    if event.test:
        draft.answer = rehearse(draft, job)
        return
    if job.held == "" and job.deps_left is None and job.begin is None:
        check_feasible(draft, job)
    job = draft.put_job(job)
    draft.answer = [job.id]
    if spec.deadline is not None and purge.too_late(job, draft.now) and not job.held:
        finish.conclude(draft, job, JobState.DEADLINE, reason=Reason.DEADLINE)
        return
    if job.held or (job.begin is not None and job.deps_left is None):
        return
    if job.deps_left is not None:
        waiting = dependency.admit(draft, job)
        if any(queued(each) for each in waiting):
            queue.schedule(draft)
            draft.freed = False
        return
    queue.submitted(draft, job)


def resolve_partitions(draft: Draft, spec: JobSpec, who: Who) -> list[Partition]:
    """The partitions asked for, or the default one, that this user may use."""
    names = spec.partitions or tuple(partition.name for partition in draft.partitions() if partition.default)[:1]
    found: list[Partition] = []
    for name in names:
        partition = draft.partition(name)
        if partition is None:
            raise Refused(Code.INVALID_PARTITION, name)
        found.append(partition)
    if not found:
        raise Refused(Code.INVALID_PARTITION)
    account, _ = account_qos(draft, spec, who)
    allowed = [partition for partition in found if _allowed(partition, account, spec, who)]
    if not allowed:
        first = found[0]
        if first.allow_groups and not who.operator and not (set(who.groups) | {who.group}) & set(first.allow_groups):
            raise Refused(Code.GROUP, first.name)
        if first.allow_accounts and account not in first.allow_accounts:
            raise Refused(Code.INVALID_ACCOUNT, account or "")
        raise Refused(Code.INVALID_QOS, spec.qos or "")
    if all(partition.state in ("DRAIN", "INACTIVE") for partition in allowed):
        raise Refused(Code.PARTITION_UNAVAILABLE, allowed[0].name)
    return allowed


def account_qos(draft: Draft, spec: JobSpec, who: Who) -> tuple[str | None, str]:
    """Account and QOS of the record. Associations are not enforced, as in Slurm without AccountingStorageEnforce: an account that is not
    the user's gives way to the default one, a QOS that nobody knows to none."""
    settings = draft.state.settings
    user: dict[str, Any] = (settings.get("users") or {}).get(who.user) or {}
    accounts = user.get("accounts") or []
    account = spec.account
    if account is None or (accounts and account not in accounts):
        account = user.get("default_account") or (accounts[0] if accounts else None)
    qos = spec.qos or user.get("default_qos") or "normal"
    return account, qos if qos == "normal" or qos in (settings.get("qos") or {}) else ""


def qos_priority(draft: Draft, qos: str | None) -> int:
    """What a quality of service adds to the priority of its jobs."""
    settings: dict[str, Any] = (draft.state.settings.get("qos") or {}).get(qos or "") or {}
    return int(settings.get("priority") or 0)


def _allowed(partition: Partition, account: str | None, spec: JobSpec, who: Who) -> bool:
    if partition.allow_groups and not who.operator and not (set(who.groups) | {who.group}) & set(partition.allow_groups):
        return False
    if partition.allow_accounts and account not in partition.allow_accounts:
        return False
    return not partition.allow_qos or (spec.qos or "normal") in partition.allow_qos


def check_spec(draft: Draft, spec: JobSpec, partitions: list[Partition], who: Who) -> None:
    """What is wrong whether or not the job could start now."""
    nodes = draft.state.nodes
    for name in (*spec.nodelist, *spec.exclude):
        if name not in nodes:
            raise Refused(Code.INVALID_NODE_NAME, name)
    if spec.nodelist and set(spec.nodelist) <= set(spec.exclude):
        raise Refused(Code.INVALID_NODE_NAME)
    if spec.constraint:
        try:
            wanted = features.names(features.parse(spec.constraint))
        except features.FeatureError:
            raise Refused(Code.INVALID_FEATURE, spec.constraint) from None
        known = known_words(draft)[0]
        if wanted - known:
            raise Refused(Code.INVALID_FEATURE, ", ".join(sorted(wanted - known)))
    names = known_words(draft)[1]
    for item in (*spec.gres, *spec.gpus, *spec.gpus_per_node, *spec.gpus_per_socket, *spec.gpus_per_task):
        if item.name not in names and not any(_unsized(draft, partition) for partition in partitions):
            raise Refused(Code.INVALID_GRES, item.name)
    if spec.licenses:
        raise Refused(Code.INVALID_LICENSES, spec.licenses)
    if spec.reservation:
        raise Refused(Code.INVALID_RESERVATION, spec.reservation)
    if spec.nice < 0 and not who.operator:
        raise Refused(Code.INVALID_NICE)
    if spec.time_min is not None and spec.time_limit is not None and spec.time_limit != INFINITE and spec.time_min > spec.time_limit:
        raise Refused(Code.INVALID_TIME_MIN)
    if spec.nodes_min == 0 and not spec.hold:
        raise Refused(Code.INVALID_NODE_COUNT)
    most = int(draft.state.settings["max_array_size"])
    if spec.array is not None and spec.array_tasks and max(spec.array_tasks) >= most:
        raise Refused(Code.INVALID_ARRAY, "task ids must be less than %d" % most)
    if spec.deadline is not None and spec.begin is not None and spec.begin >= spec.deadline:
        raise Refused(Code.DEADLINE_PASSED)


def known_words(draft: Draft) -> tuple[set[str], set[str]]:
    """All features and all names of generic resources that some node has."""
    memo, nodes = draft.state.memo.configured, draft.state.nodes
    if "words" not in memo:
        sold = [market.words() for market in draft.state.markets.values()]
        memo["words"] = (
            {feature for node in nodes.values() for feature in node.features}.union(*(words for words, _ in sold)),
            gres.known_names(list(nodes.values())).union(*(names for _, names in sold)),
        )
    return memo["words"]


def make_job(draft: Draft, spec: JobSpec, partitions: list[Partition], event: Submit) -> Job:
    """The record, all defaults in it."""
    who = event.who
    account, qos = account_qos(draft, spec, who)
    first = partitions[0]
    limit = spec.time_limit
    if limit is None:
        limit = first.default_time if first.default_time is not None else first.max_time
    tasks = tuple(sorted(set(spec.array_tasks)))
    step = _STEP.search(spec.array or "")
    # only operators set priorities: of a user's --priority=0 the real one takes no notice
    held: Literal["", "user"] = "user" if spec.hold or (spec.priority == 0 and who.operator) else ""
    begin = spec.begin if spec.begin is not None and spec.begin > draft.now else None
    if event.test:
        number, priority = draft.counter("job", int(draft.state.settings["first_job_id"])), 1
    else:
        number = draft.next_job_id()
        if held:
            priority = 0
        elif spec.priority is not None and who.operator:
            priority = spec.priority
        else:
            priority = draft.next_priority() - spec.nice + qos_priority(draft, qos)
    kept = spec
    if spec.partitions and len(spec.partitions) != len(partitions):
        kept = replace(spec, partitions=tuple(partition.name for partition in partitions))
    reason = Reason.NONE
    if held:
        reason = Reason.HELD_USER
    elif spec.dependency is not None:
        reason = Reason.DEPENDENCY
    elif begin is not None:
        reason = Reason.BEGIN_TIME
    waits = bool(held) or spec.dependency is not None
    return Job(
        id=number,
        array_id=number if tasks else 0,
        array_pending=tasks,
        array_size=len(tasks),
        array_range=(tasks[0], tasks[-1], int(step.group(1)) if step else 1) if tasks else (0, 0, 1),
        user=who.user,
        uid=who.uid,
        gid=who.gid,
        group=who.group,
        spec=kept,
        account=account,
        qos=qos,
        partition=first.name,
        held=held,
        reason=reason,
        priority=max(priority, 1) if not held else 0,
        time_limit=limit,
        submit_time=draft.now,
        eligible_time=None if waits else begin if begin is not None else draft.now,
        begin=begin,
        deps_left=spec.dependency,
        request_id="" if event.test else event.request_id,
    )


def check_feasible(draft: Draft, job: Job) -> None:
    """Refuse what the configured machines could never run; limits of a partition only make a job wait."""
    key, memo = shape_key(job), draft.state.memo.configured
    if key not in memo:
        if len(memo) > SHAPES_KEPT:
            memo.clear()
        memo[key] = _never(draft, Shape(key, job))
    if isinstance(memo[key], str):
        raise Refused(Code.POLICY, memo[key])
    if memo[key] is not None:
        raise Refused(_MISSES[memo[key]])


def _never(draft: Draft, shape: Shape) -> Miss | str | None:
    """What no machine could give to this shape, the plan's sentence where machines are bought; None if it may start some day."""
    pool, miss, sentence = EmptyPool(draft), None, ""
    for name in shape.partitions:
        partition = draft.partition(name)
        if partition is None:
            continue
        if queue.barred(draft, shape, partition) is not None or _unsized(draft, partition):
            return None
        if not isinstance(place(shape.spec, shape.want(partition), partition, pool, shape.uid), Miss):
            return None
        if buy.elastic(draft, partition):
            answer = buy.ever(draft, shape, partition)
            if answer is None:
                return None
            sentence = sentence or answer
            continue
        sentence = sentence or _ruled_out(draft, shape, partition)
        miss = miss or _cause(draft, shape, partition)
    return sentence or miss or Miss.NODES


def _ruled_out(draft: Draft, shape: Shape, partition: Partition) -> str:
    """A sentence where rules leave nothing of a partition to the shape, else ""."""
    reasons = [ruling.lets(shape.spec, partition.name, node) for node in map(draft.node, partition.nodes) if node is not None]
    return "no node of partition %s may run this job: %s" % (partition.name, reasons[0]) if reasons and all(reasons) else ""


def _unsized(draft: Draft, partition: Partition) -> bool:
    """Whether some node of it has not said yet how big it is."""
    return any(node is not None and not node.sized for node in map(draft.node, partition.nodes))


def _cause(draft: Draft, shape: Shape, partition: Partition) -> Miss:
    """Slurm's first sentence names what no machine of the partition has."""
    nodes = [node for node in map(draft.node, partition.nodes) if node is not None]
    causes = {fits_config(shape.want(partition), node) for node in nodes}
    for cause in (Miss.CPUS, Miss.MEMORY, Miss.TMP, Miss.SOCKETS):
        if causes == {cause}:
            return cause
    return Miss.NODES


def rehearse(draft: Draft, job: Job) -> Placement:
    """--test-only: when and where the job would start."""
    shape = Shape(shape_key(job), job)
    state = draft.state
    plan = list(state.memo.plan) if state.memo.version == state.version else []
    best: Placement | None = None
    sentence = ""
    for name in shape.partitions:
        partition = draft.partition(name)
        # Slurm's rehearsal does not ask for the time limit
        if partition is None or queue.barred(draft, shape, partition) not in (None, Reason.PARTITION_TIME_LIMIT):
            continue
        want = shape.want(partition)
        shares = place(shape.spec, want, partition, NowPool(draft, plan, draft.now + shape.seconds(), shape), job.uid)
        start, said = max(draft.now, job.begin or 0), tuple[str, ...]()
        if isinstance(shares, Miss):
            later = earliest(draft, plan, shape, partition)
            sold = buy.rehearse(draft, shape, partition)
            if isinstance(sold, str):
                sentence = sentence or sold
            elif sold is not None and (later is None or draft.now + sold.seconds < later.start):
                shares, start, said = sold.shares, max(start, draft.now + sold.seconds), sold.said
            if isinstance(shares, Miss):
                if later is None:
                    continue
                shares, start = later.shares, max(start, later.start)
        if best is None or start < best.start:
            best = Placement(
                start=start,
                cpus=sum(share.cpus for share in shares),
                nodes=tuple(share.node for share in shares),
                partition=name,
                job=job.id,
                said=said,
            )
    if best is None and sentence:
        raise Refused(Code.POLICY, sentence)
    if best is None:
        raise Refused(Code.NODE_CONFIG)
    return best
