"""What is free now and later: the pools that selection looks at, and the earliest start of a job that must wait."""

from __future__ import annotations

import msgspec

from sbroker.core import spot, usage
from sbroker.core.draft import Draft
from sbroker.core.select import Miss, place
from sbroker.core.shape import YEAR, Shape
from sbroker.core.usage import Use
from sbroker.model import INFINITE, Job, Node, NodeShare, Partition
from sbroker.states import NodeState

TIMES = 12  # moments to look at, at most, for one start


class Reservation(msgspec.Struct, frozen=True):
    """A blocked job's place in the plan. It is a promise to the job only: nothing is allocated."""

    start: float
    end: float
    shares: tuple[NodeShare, ...]
    uid: int
    mode: str


def usable(node: Node | None) -> Node | None:
    """The node if jobs may start there."""
    if node is None or node.drain or node.releasing or node.silent is not None or (node.cloud and not node.token):
        return None
    return node if node.state is NodeState.IDLE or (node.cloud and node.state is NodeState.UNKNOWN) else None


def lives_until(draft: Draft, node: Node) -> float:
    """When a machine that was made ends itself, whatever runs there."""
    group, facts = draft.group(node.token), draft.state.settings.get("sites") or {}
    longest = (facts.get(node.site) or {}).get("max_lifetime")
    return float("inf") if group is None or longest is None else group.created + float(longest)


def expected_end(job: Job, now: float) -> float:
    """When a job that holds resources will have given them back, as far as its time limit tells."""
    if job.completing or job.start_time is None:
        return now + 1
    seconds = YEAR if job.time_limit == INFINITE else job.time_limit
    return max(now + 1, job.start_time + job.suspended_secs + seconds)


class LaterPool:
    """What is free from `at` to `until`, given what runs now and the plan."""

    def __init__(self, draft: Draft, plan: list[Reservation], at: float, until: float, shape: Shape) -> None:
        self.draft, self.at, self.until = draft, at, until
        self._safe = spot.market(shape.spec, draft.state.settings, shape.requeues) is False  # nothing that may be taken away at any moment
        self.promised: dict[str, list[tuple[int, NodeShare, int, str]]] = {}
        for number, reservation in enumerate(plan):
            if reservation.start < until and reservation.end > at:
                for share in reservation.shares:
                    self.promised.setdefault(share.node, []).append((-1 - number, share, reservation.uid, reservation.mode))
        self._uses: dict[str, Use] = {}

    def node(self, name: str) -> Node | None:
        node = usable(self.draft.node(name))
        if node is None or not node.token:
            return node
        return node if self.until <= lives_until(self.draft, node) and not (self._safe and spot.SPOT in node.features) else None

    def order(self, name: str) -> int:
        return self.draft.state.order.get(name, 0)

    def now_use(self, name: str) -> Use:
        """In use by jobs that will not have ended by then."""
        use, draft = self.draft.use(name), self.draft
        gone = set()
        for key in use.holders:
            job = draft.job(key)
            if job is None or expected_end(job, draft.now) <= self.at:
                gone.add(key)
        return usage.drop_all(use, draft.node(name), gone) if gone else use

    def use(self, name: str) -> Use:
        found = self._uses.get(name)
        if found is None:
            found = self.now_use(name)
            for key, share, uid, mode in self.promised.get(name, ()):
                found = usage.add(found, self.draft.node(name), key, share, uid, mode)
            self._uses[name] = found
        return found


class NowPool(LaterPool):
    """What is free now for a job that ends by `until`."""

    def __init__(self, draft: Draft, plan: list[Reservation], until: float, shape: Shape) -> None:
        super().__init__(draft, plan, draft.now, until, shape)

    def now_use(self, name: str) -> Use:
        return self.draft.use(name)

    def use(self, name: str) -> Use:
        # allocations of this very pass must show, so nothing is remembered
        use = self.draft.use(name)
        for key, share, uid, mode in self.promised.get(name, ()):
            use = usage.add(use, self.draft.node(name), key, share, uid, mode)
        return use


def earliest(draft: Draft, plan: list[Reservation], shape: Shape, partition: Partition) -> Reservation | None:
    """The first moment at which the shape fits, and where; None if no end in sight makes room."""
    now, length = draft.now, shape.seconds()
    ends = {reservation.end for reservation in plan}
    for name in partition.nodes:
        for key in draft.use(name).holders:
            job = draft.job(key)
            if job is not None:
                ends.add(expected_end(job, now))
    times = sorted(end for end in ends if end > now)
    if len(times) > TIMES:
        # evenly spread, the last one kept: a start that is a little later than need be is still a promise
        step = len(times) / TIMES
        times = sorted({times[int(index * step)] for index in range(TIMES)} | {times[-1]})
    want, spec = shape.want(partition), shape.spec
    mode = "node" if want.whole else "user" if want.user_only else ""
    for at in times:
        shares = place(spec, want, partition, LaterPool(draft, plan, at, at + length, shape), shape.uid)
        if not isinstance(shares, Miss):
            return Reservation(at, at + length, shares, shape.uid, mode)
    return None
