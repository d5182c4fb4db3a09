"""Jobs that hand data to each other, placed as a whole: what the machines cost and what moving the data between them costs, least in sum.

Each edge is charged at the marginal steps of its own GB beside what left the source's cloud this month. Chains and trees are exact by
dynamic programming; of another graph some stages are cut out so that trees remain, and all that these may be is tried (exact while that is
not too much, else improved step by step from a relaxation, whose cost is the bound below that is told).

What moving costs depends on a place's region only by its class (cloud, continent, agreements), but for places of one region. So the best
predecessor of each of hundreds of places is found by looking at a few classes, not at all pairs.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

from sbroker.catalog.egress import Peering, Place, rates
from sbroker.model import Value
from sbroker.plan import freight
from sbroker.plan.values import Placement

TRIED = 4000  # assignments of the stages that are cut out, tried at most for an exact answer


class Edge(Value, frozen=True, kw_only=True):
    """Stage `target` reads what `source` made. Both are numbers of stages."""

    source: int
    target: int
    gigabytes: float = 0.0


class Plan(Value, frozen=True, kw_only=True):
    """A place for each stage."""

    placements: tuple[Placement, ...]
    cost: float  # USD: machines and all data
    moving: float  # USD of that for the edges
    bound: float  # no plan costs less
    exact: bool


class _Spot(NamedTuple):
    """One candidate of a stage."""

    money: float
    place: Place
    kind: int  # class
    number: int  # among the stage's candidates


def place(stages: Sequence[Sequence[Placement]], edges: Iterable[Edge], *, peering: tuple[Peering, ...] = (), moved: Mapping[str, float] | None = None) -> Plan | None:
    """`stages`: for each what could be had (`rank.cheapest`). None if a stage has nothing, or data cannot get to any place of one."""
    edges = tuple(edge for edge in edges if edge.gigabytes > 0)
    if not stages or any(not stage for stage in stages):
        return None
    return _Whole(stages, edges, peering, dict(moved or {})).solve()


def spent(placement: Placement) -> float:
    """USD that a stage counts with: of one without a time limit, an hour."""
    return placement.rate + placement.egress if placement.cost is None else placement.cost


class _Tariff:
    """What one edge's data costs from class to class, and between places of one region."""

    def __init__(self, whole: _Whole, gigabytes: float) -> None:
        self.whole, self.gigabytes = whole, gigabytes
        self._between: dict[tuple[int, int], float] = {}

    def cost(self, source: Place, target: Place) -> float:
        found = freight.move(self.whole.peering, source, target, self.gigabytes, self.whole.moved.get(source.cloud, 0.0))
        return inf if found is None else found

    def between(self, source: int, target: int) -> float:
        """For places of different regions."""
        key = (source, target)
        known = self._between.get(key)
        if known is None:
            regions, others = self.whole.regions[source], self.whole.regions[target]
            pair = next(((a, b) for a in regions[:2] for b in others[:2] if a != b), None)
            known = self._between[key] = inf if pair is None else self.cost(Place(*pair[0]), Place(*pair[1]))
        return known


class _Whole:
    def __init__(self, stages: Sequence[Sequence[Placement]], edges: tuple[Edge, ...], peering: tuple[Peering, ...], moved: dict[str, float]) -> None:
        self.stages, self.edges, self.peering, self.moved = stages, edges, peering, moved
        self.classes: dict[Any, int] = {}
        self.regions: list[list[tuple[str, str]]] = []
        self._kinds: dict[tuple[str, str], int] = {}
        tariffs: dict[float, _Tariff] = {}
        self.tariffs = [tariffs.setdefault(edge.gigabytes, _Tariff(self, edge.gigabytes)) for edge in edges]
        self.spots = [self._spots(stage) for stage in stages]
        self.near: list[list[tuple[int, int, bool]]] = [[] for _ in stages]  # stage → (other stage, edge, whether the data leaves this one)
        for number, edge in enumerate(edges):
            self.near[edge.source].append((edge.target, number, True))
            self.near[edge.target].append((edge.source, number, False))
        for stage in range(len(stages)):
            self.spots[stage] = self._worth(stage)

    def _spots(self, stage: Sequence[Placement]) -> list[_Spot]:
        """The cheapest of each place."""
        best: dict[Place, _Spot] = {}
        for number, each in enumerate(stage):
            where = Place(each.offer.cloud, each.offer.region, each.offer.zone)
            money = spent(each)
            if where not in best or money < best[where].money:
                best[where] = _Spot(money, where, self._kind(where), number)
        return sorted(best.values(), key=lambda spot: spot.money)

    def _kind(self, where: Place) -> int:
        region = (where.cloud, where.region)
        if region not in self._kinds:
            key = _signature(region, self.peering)
            kind = self.classes.setdefault(key, len(self.classes))
            if kind == len(self.regions):
                self.regions.append([])
            self.regions[kind].append(region)
            self._kinds[region] = kind
        return self._kinds[region]

    def _worth(self, stage: int) -> list[_Spot]:
        """Without candidates that the cheapest one beats wherever the neighbours are."""
        spots = self.spots[stage]
        best = spots[0]
        worst = sum(max(self._edge(edge, best, other, leaves) for other in self.spots[near]) for near, edge, leaves in self.near[stage])
        return [spot for spot in spots if spot is best or spot.money < best.money + worst]

    def _edge(self, edge: int, here: _Spot, there: _Spot, leaves: bool) -> float:
        tariff = self.tariffs[edge]
        if here.place[:2] != there.place[:2]:
            return tariff.between(here.kind, there.kind) if leaves else tariff.between(there.kind, here.kind)
        return tariff.cost(here.place, there.place) if leaves else tariff.cost(there.place, here.place)

    # -- solving

    def solve(self) -> Plan | None:
        cut = self._cut()
        if not cut:
            return self._plan(self._trees({}, frozenset()), None)
        free = frozenset(cut)
        relaxed = self._trees({}, free)  # without the edges of what is cut out
        floor = sum(relaxed[stage].money for stage in range(len(self.stages)) if stage not in free) + self._moving(relaxed, free)
        bound = floor + sum(self.spots[stage][0].money for stage in cut)
        if prod(len(self.spots[stage]) for stage in cut) <= TRIED:
            return self._plan(self._exact(cut, floor), None)
        return self._plan(self._improved(cut), bound)

    def _cut(self) -> list[int]:
        """Stages without which no circle is left, those with the most neighbours first."""
        cut: list[int] = []
        while True:
            left = {stage: {near for near, _, _ in self.near[stage] if near not in cut} for stage in range(len(self.stages)) if stage not in cut}
            while leaves := [stage for stage, near in left.items() if len(near) < 2]:
                for stage in leaves:
                    for near in left.pop(stage):
                        left[near].discard(stage)
            if not left:
                return cut
            cut.append(max(left, key=lambda stage: (len(left[stage]), -len(self.spots[stage]))))

    def _exact(self, cut: list[int], floor: float) -> dict[int, _Spot]:
        """All that the stages which are cut out may be, the cheapest first, as long as they could still win."""
        best: dict[int, _Spot] = {}
        least = inf
        if len(cut) == 1:
            lowest = [((spot,), low) for spot, low in zip(self.spots[cut[0]], self._lowest(cut[0], floor))]
        else:
            lowest = [(spots, sum(spot.money for spot in spots) + floor) for spots in product(*(self.spots[stage] for stage in cut))]
        for spots, low in sorted(lowest, key=lambda pair: pair[1]):
            if best and low >= least:
                break
            found = self._trees(dict(zip(cut, spots)), frozenset())
            total = self._total(found)
            if total < least or not best:
                best, least = found, total
        return best

    def _lowest(self, stage: int, floor: float) -> list[float]:
        """For each candidate of a stage what no plan with it costs less than: its neighbours are where they suit it, whatever else they have to do."""
        lows, near = [spot.money for spot in self.spots[stage]], {other for other, _, _ in self.near[stage]}
        for other in near:
            edges = [(edge, not leaves) for each, edge, leaves in self.near[stage] if each == other]
            best, _ = self._message(other, stage, edges, [spot.money for spot in self.spots[other]])
            lows = [low + more for low, more in zip(lows, best)]
        rest = sum(self.spots[other][0].money for other in range(len(self.stages)) if other != stage and other not in near)
        return [max(low + rest, spot.money + floor) for low, spot in zip(lows, self.spots[stage])]

    def _improved(self, cut: list[int]) -> dict[int, _Spot]:
        """From the cheapest of each stage that is cut out: solve the rest, move each of them to its best place, again until nothing gains."""
        fixed = {stage: self.spots[stage][0] for stage in cut}
        best = self._trees(fixed, frozenset())
        least = self._total(best)
        while True:
            found = dict(best)
            for stage in cut:
                near = self.near[stage]
                found[stage] = min(
                    self.spots[stage],
                    key=lambda spot: spot.money + sum(self._edge(edge, spot, found[other], leaves) for other, edge, leaves in near),
                )
            found = self._trees({stage: found[stage] for stage in cut}, frozenset())
            total = self._total(found)
            if not total < least:
                return best
            best, least = found, total

    def _trees(self, fixed: dict[int, _Spot], dropped: frozenset[int]) -> dict[int, _Spot]:
        """The best for all stages but those that are fixed (and with what is dropped as if it had no edges), which must leave trees."""
        money: dict[int, list[float]] = {}
        for stage, spots in enumerate(self.spots):
            if stage in fixed:
                continue
            costs = [spot.money for spot in spots]
            for near, edge, leaves in self.near[stage] if stage not in dropped else ():
                if near in fixed:
                    costs = [cost + self._edge(edge, spot, fixed[near], leaves) for cost, spot in zip(costs, spots)]
            money[stage] = costs
        found, done = dict(fixed), set(fixed)
        for root in range(len(self.stages)):
            if root in done:
                continue
            order, parent = [root], {root: -1}
            for stage in order:
                for near, _, _ in self.near[stage] if stage not in dropped else ():
                    if near not in parent and near not in fixed and near not in dropped:
                        parent[near] = stage
                        order.append(near)
            done.update(order)
            back: dict[int, list[int]] = {}
            for stage in reversed(order[1:]):
                above = parent[stage]
                edges = [(edge, leaves) for near, edge, leaves in self.near[stage] if near == above]
                best, back[stage] = self._message(stage, above, edges, money[stage])
                money[above] = [cost + more for cost, more in zip(money[above], best)]
            at = {root: min(range(len(money[root])), key=money[root].__getitem__)}
            found[root] = self.spots[root][at[root]]
            for stage in order[1:]:
                at[stage] = back[stage][at[parent[stage]]]
                found[stage] = self.spots[stage][at[stage]]
        return found

    def _message(self, stage: int, above: int, edges: list[tuple[int, bool]], costs: list[float]) -> tuple[list[float], list[int]]:
        """For each candidate of the stage above: what the best of this one adds to it, and which that is."""
        spots, best, back = self.spots[stage], [], []
        heads: dict[int, list[tuple[float, int]]] = {}  # class → its best, and the best of another region than that one's
        same: dict[tuple[str, str], list[int]] = {}
        for number in sorted(range(len(spots)), key=costs.__getitem__):
            spot = spots[number]
            head = heads.setdefault(spot.kind, [])
            if not head or len(head) == 1 and spots[head[0][1]].place[:2] != spot.place[:2]:
                head.append((costs[number], number))
            same.setdefault((spot.place.cloud, spot.place.region), []).append(number)
        ordered: dict[int, list[tuple[float, int]]] = {}
        for there in self.spots[above]:
            choices = ordered.get(there.kind)
            if choices is None:
                choices = ordered[there.kind] = []
                for kind, head in heads.items():
                    more = sum(self.tariffs[edge].between(*((kind, there.kind) if leaves else (there.kind, kind))) for edge, leaves in edges)
                    choices += [(cost + more, number) for cost, number in head]
                choices.sort()
            region = there.place[:2]
            least, at = next(((cost, number) for cost, number in choices if spots[number].place[:2] != region), (inf, 0))
            for number in same.get(region, ()):
                cost = costs[number] + sum(self._edge(edge, spots[number], there, leaves) for edge, leaves in edges)
                if cost < least:
                    least, at = cost, number
            best.append(least)
            back.append(at)
        return best, back

    # -- what it comes to

    def _moving(self, found: dict[int, _Spot], dropped: frozenset[int] = frozenset()) -> float:
        return sum(
            self._edge(number, found[edge.source], found[edge.target], True)
            for number, edge in enumerate(self.edges)
            if edge.source not in dropped and edge.target not in dropped
        )

    def _total(self, found: dict[int, _Spot]) -> float:
        return sum(spot.money for spot in found.values()) + self._moving(found)

    def _plan(self, found: dict[int, _Spot], bound: float | None) -> Plan | None:
        total = self._total(found)
        if total == inf:
            return None
        placements = tuple(self.stages[stage][found[stage].number] for stage in range(len(self.stages)))
        return Plan(placements=placements, cost=total, moving=self._moving(found), bound=total if bound is None else min(bound, total), exact=bound is None)


@lru_cache(maxsize=4096)
def _signature(region: tuple[str, str], peering: tuple[Peering, ...]) -> tuple:
    """Equal for regions that no tariff tells apart, but for places of one of them."""
    cloud, name = region
    agreements = freight.agreed(peering).peering
    return (
        cloud,
        rates().continent(Place(cloud, name)),
        tuple(
            (fnmatch.fnmatch(cloud, each.source) and any(fnmatch.fnmatch(name, pattern) for pattern in each.source_regions),
             fnmatch.fnmatch(cloud, each.target) and any(fnmatch.fnmatch(name, pattern) for pattern in each.target_regions))
            for each in agreements
        ),
    )  # fmt: skip
