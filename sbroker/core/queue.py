"""The pass: who starts now. Best priority first; each shape is tried until it does not fit, then not again in this pass.

The best blocked jobs get a place in the plan (nodes, from when to when); a job behind them starts only where it does not stand in
the plan's way. What a pass found is kept in `State.memo`, so that a submission behind known blocked shapes costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice

from sbroker import hostlist
from sbroker.core import arrays, buy, money
from sbroker.core.draft import Draft
from sbroker.core.launch import launch
from sbroker.core.plan import NowPool, Reservation, earliest, usable
from sbroker.core.select import Miss, place
from sbroker.core.shape import Shape, shape_key
from sbroker.core.state import natural
from sbroker.model import INFINITE, Job, Node, NodeShare, Partition
from sbroker.states import Reason

PLANNED = 10  # blocked shapes with a place in the plan; the others behind them may be overtaken
FOLLOWERS = 3  # of one shape that are planned behind its first, where the plan has room
FRESH = 30.0  # seconds after which a pass is made again though nothing was heard: jobs may outlive their limits

WAITS = (Reason.RESOURCES, Reason.PRIORITY)


class _Lane:
    """The queue of one shape as this decision sees it."""

    def __init__(self, shape: Shape, draft: Draft, extra: list[tuple[int, int]]) -> None:
        self.shape, self.draft, self.extra, self.at = shape, draft, sorted(extra), 0

    def head(self) -> tuple[int, int] | None:
        entries, changed = self.shape.entries, self.draft.jobs
        while self.at < len(entries) and entries[self.at][1] in changed:
            self.at += 1
        base = entries[self.at] if self.at < len(entries) else None
        if self.extra and (base is None or self.extra[0] < base):
            return self.extra[0]
        return base

    def pop(self, entry: tuple[int, int]) -> None:
        if self.extra and self.extra[0] == entry:
            self.extra.pop(0)
        else:
            self.at += 1

    def rest(self) -> Iterator[int]:
        """Ids of all jobs still in the lane."""
        for _, key in self.extra:
            yield key
        for index in range(self.at, len(self.shape.entries)):
            key = self.shape.entries[index][1]
            if key not in self.draft.jobs:
                yield key

    def odd(self) -> list[int]:
        """Ids of jobs still in the lane whose reason may not be "Priority"."""
        return [key for _, key in self.extra] + [key for key in self.shape.odd if key not in self.draft.jobs]


class _Pass:
    """What is known in the course of a pass."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.blocked: dict[tuple, Reason] = {}
        self.plan: list[Reservation] = []
        self.estimates: dict[int, Reservation] = {}
        self.orders = buy.Orders(draft)
        self.texts: dict[tuple, str] = {}  # shape → our own sentence about why it waits
        self.fronts: set[str] = set()  # partitions in which a job already waits for resources

    def offer(self) -> None:
        draft = self.draft
        if draft.quiet:
            draft.state.memo.version = -1  # not all was told
            return
        draft.state.memo.offered = (draft.changes, draft.now, self.blocked, self.plan, self.estimates)


def schedule(draft: Draft) -> None:
    """A full pass."""
    state = draft.state
    extra: dict[tuple, list[tuple[int, int]]] = {}
    shapes: dict[tuple, Shape] = {}
    for job in draft.waiting():
        key = shape_key(job)
        extra.setdefault(key, []).append((-job.priority, job.id))
        shapes.setdefault(key, state.shapes.get(key) or Shape(key, job))
    for key, shape in state.shapes.items():
        shapes.setdefault(key, shape)
    heap = []
    for number, (key, shape) in enumerate(shapes.items()):
        lane = _Lane(shape, draft, extra.get(key, []))
        head = lane.head()
        if head is not None:
            heap.append((-_tier(draft, shape), head, number, lane))
    heapify(heap)
    found = _Pass(draft)
    blocked: list[_Lane] = []
    while heap:
        tier, entry, number, lane = heappop(heap)
        waiting = draft.job(entry[1])
        if waiting is None:
            raise AssertionError("job %d waits but is not there" % entry[1])
        reason = start(found, waiting, lane.shape)
        if reason is None or reason is Reason.ARRAY_TASK_LIMIT:
            lane.pop(entry)
            head = lane.head()
            if head is not None:
                heappush(heap, (tier, head, number, lane))
            continue
        _tell(draft, lane, entry[1], reason, found.texts)
        if reason in WAITS:
            blocked.append(lane)
    if draft.now - state.memo.wide >= 1.0:
        state.memo.wide = draft.now
        _plan_more(found, blocked)
    else:
        found.estimates = {**state.memo.estimates, **found.estimates}
    found.offer()


def _plan_more(found: _Pass, blocked: list[_Lane]) -> None:
    """Room that the plan has left goes to the next few of each lane, so that they have an expected start too."""
    for lane in blocked:
        for key in islice(lane.rest(), 1, 1 + FOLLOWERS):
            job = found.draft.job(key)
            if len(found.plan) < PLANNED and job is not None:
                _plan(found, job, lane.shape)


def _tier(draft: Draft, shape: Shape) -> int:
    tiers = [partition.priority_tier for partition in map(draft.partition, shape.partitions) if partition is not None]
    return max(tiers, default=0)


def _tell(draft: Draft, lane: _Lane, head: int, reason: Reason, texts: dict[tuple, str]) -> None:
    """Give the jobs of a blocked lane their reasons, touching those only that have another."""
    others = Reason.PRIORITY if reason in WAITS or reason is Reason.PLAN else reason
    keys = lane.odd() if others is Reason.PRIORITY else list(lane.rest())
    if head not in keys:
        keys.append(head)
    for key in keys:
        job = draft.job(key)
        right = reason if key == head else others
        if key in draft.quiet:
            continue
        text = words(draft, job, texts.get(lane.shape.key, "") if right is reason else "", right) if job is not None else ""
        if job is not None and (job.reason is not right or job.reason_text != text):
            draft.change(job, reason=right, reason_text=text, last_eval=draft.now)


def words(draft: Draft, job: Job, text: str, reason: Reason) -> str:
    """The sentence beside a job's reason, where Slurm's word is not enough; `text` is what was found of its shape."""
    if reason is Reason.REQ_NODE_NOT_AVAIL:
        return unavailable(draft, job)
    return text if reason in (*WAITS, Reason.PLAN) else ""


def unavailable(draft: Draft, job: Job) -> str:
    """Slurm's whole word for a job that asks for nodes which cannot be had."""
    away = sorted((name for name in job.spec.nodelist if usable(draft.node(name)) is None), key=natural)
    return "ReqNodeNotAvail, UnavailableNodes:%s" % hostlist.fold(away)


def submitted(draft: Draft, job: Job) -> None:
    """Try one new job that stands behind all others."""
    state, memo = draft.state, draft.state.memo
    tiers = {partition.priority_tier for partition in draft.partitions()}
    known = memo.version == state.version and not draft.freed and draft.now - memo.at < FRESH
    last = draft.counter("priority", 0) + 1  # what this submission got, if nothing was added to it
    if not known or len(tiers) > 1 or job.priority > last:
        schedule(draft)
        return
    key = shape_key(job)
    reason = memo.blocked.get(key)
    if reason is not None:
        _remark(draft, job, Reason.PRIORITY if reason in WAITS else reason)
        state.memo.offered = (draft.changes, memo.at, memo.blocked, memo.plan, memo.estimates)
        return
    found = _Pass(draft)
    found.blocked, found.plan, found.estimates = dict(memo.blocked), list(memo.plan), memo.estimates
    found.fronts = {name for other, why in memo.blocked.items() if why in WAITS for name in other[0]}
    reason = start(found, job, state.shapes.get(key) or Shape(key, job))
    if reason is not None and reason is not Reason.ARRAY_TASK_LIMIT:
        _remark(draft, draft.job(job.id) or job, reason, found.texts.get(key, ""))
    state.memo.offered = (draft.changes, memo.at, found.blocked, found.plan, found.estimates)


def _remark(draft: Draft, job: Job, reason: Reason, text: str = "") -> None:
    draft.change(job, reason=reason, reason_text=words(draft, job, text, reason), last_eval=draft.now)


def start(found: _Pass, job: Job, shape: Shape) -> Reason | None:
    """Start the job, an array as far as it goes; the reason if it (or its rest) must wait."""
    draft = found.draft
    reason = found.blocked.get(shape.key)
    if reason is not None:
        return reason
    while True:
        limit = job.spec.array_limit
        if job.array_id and limit and draft.array_active(job.array_id) >= limit:
            if job.id not in draft.quiet:
                draft.change(job, reason=Reason.ARRAY_TASK_LIMIT, reason_text="", last_eval=draft.now)
            return Reason.ARRAY_TASK_LIMIT
        found.orders.egress = 0.0
        where = find(found, shape)
        if isinstance(where, Reason):
            found.blocked[shape.key] = where
            if where in WAITS:
                found.fronts.update(shape.partitions)
                if len(found.plan) < PLANNED:
                    _plan(found, job, shape)
            return where
        partition, shares = where
        if not job.array_pending:
            launch(draft, job, partition.name, shares, egress=found.orders.egress)
            return None
        rest = arrays.split(draft, job, job.array_pending[0])
        launch(draft, rest.task, partition.name, shares, egress=found.orders.egress)
        if rest.left is None:
            return None
        job = rest.left


class _Unpriced:
    """A pool as one sees it who may spend nothing."""

    def __init__(self, pool: NowPool) -> None:
        self._pool = pool
        self.use, self.order = pool.use, pool.order

    def node(self, name: str) -> Node | None:
        node = self._pool.node(name)
        return node if node is not None and not node.price else None


def find(found: _Pass, shape: Shape) -> tuple[Partition, tuple[NodeShare, ...]] | Reason:
    """A place that is free now, or why there is none."""
    away = [name for name in shape.spec.nodelist if usable(found.draft.node(name)) is None]
    if away and not any(name in found.fronts for name in shape.partitions):
        return Reason.REQ_NODE_NOT_AVAIL
    draft, why = found.draft, None
    pool = NowPool(draft, found.plan, draft.now + shape.seconds(), shape)
    waits, free, poor = False, False, ""
    for name in shape.partitions:
        partition = draft.partition(name)
        if partition is None:
            continue
        barrier = barred(draft, shape, partition)
        if barrier is not None:
            why = why or barrier
            continue
        waits = True
        shares = place(shape.spec, shape.want(partition), partition, pool, shape.uid)
        if not isinstance(shares, Miss):
            bar = money.barrier(draft, shape, sum(money.rates(draft, shape.spec, partition, shares).values()), ceiling=partition.max_price)
            if bar:
                poor = found.texts[shape.key] = poor or bar
                shares = place(shape.spec, shape.want(partition), partition, _Unpriced(pool), shape.uid)
        if not isinstance(shares, Miss):
            return partition, shares
        free = free or any(node is not None and not node.price and not node.cloud for node in map(draft.node, partition.nodes))
    for name in shape.partitions if waits else ():
        partition = draft.partition(name)
        if partition is not None and buy.elastic(draft, partition) and barred(draft, shape, partition) is None:
            enough = _soon(found, shape, partition)
            if enough:
                found.texts[shape.key] = enough
                continue
            bought = found.orders.buy(shape, partition)
            if bought is not None:
                return partition, bought
            poor = poor or found.orders.barred
            found.texts[shape.key] = poor or buy.why_not(found.orders.answer(shape, partition))
    if not waits:
        return why or Reason.PARTITION_CONFIG
    if poor and not free:
        return Reason.PLAN
    if any(name in found.fronts for name in shape.partitions):
        return Reason.PRIORITY
    return Reason.RESOURCES


def _soon(found: _Pass, shape: Shape, partition: Partition) -> str:
    """Why nothing is bought yet: nodes that are there are expected to be free within `burst_after`, or before a machine could boot."""
    if not any(usable(found.draft.node(name)) for name in partition.nodes):
        return ""
    best = found.orders.answer(shape, partition).best
    patience = max(float(partition.burst_after), best.start if best is not None else 0.0)
    later = earliest(found.draft, found.plan, shape, partition) if patience else None
    if later is None or later.start - found.draft.now > patience:
        return ""
    nodes = hostlist.fold(share.node for share in later.shares)
    return "%s is expected to be free in %d s: no machine is bought for that" % (nodes, later.start - found.draft.now)


def barred(draft: Draft, shape: Shape, partition: Partition) -> Reason | None:
    """What of this partition keeps the shape from ever starting there, as it is configured now."""
    if partition.state == "DOWN":
        return Reason.PARTITION_DOWN
    if partition.state == "INACTIVE":
        return Reason.PARTITION_INACTIVE
    if partition.max_time != INFINITE and (shape.time_limit == INFINITE or shape.time_limit > partition.max_time):
        return Reason.PARTITION_TIME_LIMIT
    want = shape.want(partition)
    if buy.elastic(draft, partition):
        most = partition.max_nodes
        return Reason.PARTITION_NODE_LIMIT if (most is not None and want.nodes_min > most) or want.nodes_min < partition.min_nodes else None
    nodes = [node for node in map(draft.node, partition.nodes) if node is not None]
    if want.cpus > sum(node.cpus for node in nodes):
        return Reason.PARTITION_CONFIG
    most = len(nodes) if partition.max_nodes is None else min(len(nodes), partition.max_nodes)
    if want.nodes_min > most or want.nodes_min < partition.min_nodes:
        return Reason.PARTITION_NODE_LIMIT
    return None


def _plan(found: _Pass, job: Job, shape: Shape) -> None:
    draft, best = found.draft, None
    for name in shape.partitions:
        partition = draft.partition(name)
        if partition is None or barred(draft, shape, partition) is not None:
            continue
        place_at = earliest(draft, found.plan, shape, partition)
        if place_at is not None and (best is None or place_at.start < best.start):
            best = place_at
    if best is not None:
        found.plan.append(best)
        found.estimates[job.id] = best
