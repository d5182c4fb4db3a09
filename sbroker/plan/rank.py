"""From a question to ranked placements.

What a machine must have is a mask of each market (`demands`). What is left is cut into lanes, in each of which only the price tells offers
apart, so that a lane's next offer bounds all behind it: the best lane goes on until enough placements are sure. `fit` is asked of few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from sbroker.catalog.egress import Place
from sbroker.catalog.index import Index, size_of
from sbroker.machines import Ask, Offer
from sbroker.plan import freight
from sbroker.plan.demands import Asked
from sbroker.plan.market import Market
from sbroker.plan.values import Answer, Dropped, Placement, Policy, Question

MOST = 10  # placements in an answer
HOUR = 3600.0
PATIENCE = 128  # offers that are looked at before they are looked at by size


class Lane(NamedTuple):
    """Offers of one market that differ in price only, as far as the order goes."""

    market: Market
    first: int  # position of its cheapest
    rows: Iterator[int]
    boot: int
    egress: float
    owned: bool
    least: int  # machines that are needed at least


def rank(markets: Iterable[Market], question: Question, most: int = MOST) -> Answer:
    """What could be had for the question in these markets, best first."""
    search = _Search(markets, question)
    found = list(search.best(most))
    placements = tuple(replace(each, why=_why(number, each, found[0], search)) for number, each in enumerate(found))
    return Answer(placements, lambda: search.dropped(placements), search.considered)


def cheapest(markets: Iterable[Market], question: Question) -> list[Placement]:
    """The best placement of every place (site, cloud, region, zone), in the policy's order."""
    search = _Search(markets, question)
    return search.best_of_places()


class _Search:
    def __init__(self, markets: Iterable[Market], question: Question) -> None:
        self.question, self.asked = question, Asked(question)
        self.hours = (HOUR if question.seconds is None else question.seconds) / HOUR
        order = {site: number for number, site in enumerate(question.sites)}
        known = [market for market in markets if not order or market.site in order]
        self.markets = sorted(known, key=lambda market: order.get(market.site, 0))
        self.masks = [self.asked.mask(market) if market.offers else 0 for market in self.markets]
        self.considered = sum(mask.bit_count() for mask in self.masks)
        self._fits: dict[Any, int | None] = {}
        self._bills: dict[Place, tuple[float | None, str]] = {}

    # -- the order

    def key(self, rate: float, boot: int, egress: float, owned: bool) -> tuple[float, ...]:
        """Less is better; in a lane it grows with the rate."""
        policy: Policy = self.question.policy
        spent = rate * (self.hours + boot / HOUR) + egress
        if policy.kind == "soonest":
            return (boot, spent)
        if policy.kind == "onprem":
            return (not owned, spent, boot)
        if policy.kind == "weights":
            return (spent + policy.hour_worth * boot / HOUR, spent)
        return (spent, boot)

    def best(self, most: int) -> Iterator[Placement]:
        """The best placements, best first."""
        if self.question.total is not None:
            yield from islice(self.search(True), most)
            return
        for given, made in enumerate(islice(self.search(False), most)):
            if made is None:  # their numbers differ too much for the price of one to say anything
                yield from islice(self.search(True), given, most)
                return
            yield made

    def search(self, by_size: bool) -> Iterator[Any]:
        """All placements, best first. Not by size: None where too many offers had to be looked at."""
        heap: list[tuple] = []
        for number, market in enumerate(self.markets):
            for lane in self.lanes(market, self.masks[number], by_size):
                heap.append((self.bound(lane, lane.first), 0, (number, -1), len(heap), lane))
        heapify(heap)
        count, looked = len(heap), 0
        while heap:
            _, sure, (number, _), _, lane = heappop(heap)
            if sure:
                yield lane
                continue
            looked += 1
            if looked > PATIENCE and not by_size:
                yield None
                return
            row = next(lane.rows, None)
            if row is None:
                continue
            offer = lane.market.index.offers[row]
            machines = self.fits(offer)
            if machines is None and by_size:
                continue  # nor will the others of its size
            if by_size and machines is not None:
                lane = lane._replace(least=machines)
            count += 1
            if machines is not None and not self.short(lane.market, offer, machines, lane.egress):
                made = self.placement(lane.market.site, offer, machines, lane.egress)
                heappush(heap, (self.key(made.rate, lane.boot, lane.egress, lane.owned), 1, (number, row), count, made))
            heappush(heap, (self.bound(lane, row), 0, (number, -1), count, lane))

    def bound(self, lane: Lane, row: int) -> tuple[float, ...]:
        """No placement of the lane from that row on is better."""
        return self.key(lane.market.index.prices[row] * lane.least, lane.boot, lane.egress, lane.owned)

    def lanes(self, market: Market, mask: int, by_size: bool) -> Iterator[Lane]:
        """Cut what is left of a market."""
        if not mask:
            return
        index, total = market.index, self.question.total
        for egress, here in self.carried(market, mask):
            for boot in index.boot.positions:
                soon = here & index.boot[boot] if len(index.boot.positions) > 1 else here
                if not soon:
                    continue
                for owned, mine in self.owned(market, soon):
                    if not by_size:
                        yield Lane(market, index.first(mine), index.each(mine), boot, egress, owned, self.asked.least)
                        continue
                    for size, first in index.sizes(mine, self.question.ask.cpus, self.question.ask.memory):
                        least = max(self.asked.least, _share(total, size)) if total is not None else self.asked.least
                        yield Lane(market, first, _of_size(index, mine, size), boot, egress, owned, least)

    def owned(self, market: Market, mask: int) -> Iterator[tuple[bool, int]]:
        """Machines of one's own, and others, where that makes a difference."""
        if self.question.policy.kind != "onprem":
            yield False, mask
            return
        own = market.index.cloud[""]
        for owned, some in ((True, mask & own), (False, mask & ~own)):
            if some:
                yield owned, some

    def carried(self, market: Market, mask: int) -> Iterator[tuple[float, int]]:
        """By what bringing the data there costs. Places of which nobody knows that are left out: never taken for free."""
        if not any(source.gigabytes > 0 for source in self.question.sources):
            yield 0.0, mask
            return
        same: dict[float, list] = {}
        for place in market.index.place.positions:
            cost, _ = self.bill(Place(*place))
            if cost is not None:
                same.setdefault(cost, []).append(place)
        for cost, keys in same.items():
            here = mask if len(keys) == len(market.index.place.positions) else mask & market.index.place.any(keys)
            if here:
                yield cost, here

    def bill(self, place: Place) -> tuple[float | None, str]:
        known = self._bills.get(place)
        if known is None:
            known = self._bills[place] = freight.bill(self.question, place)
        return known

    # -- one offer

    def fits(self, offer: Offer) -> int | None:
        size = size_of(offer)
        if size not in self._fits:
            self._fits[size] = self.question.fit(offer)
        return self._fits[size]

    def fitted(self) -> dict[Any, int | None]:
        """What is known of sizes so far."""
        return self._fits

    def short(self, market: Market, offer: Offer, count: int, egress: float) -> str:
        """What so many machines of an offer fail in, "" if in nothing."""
        room = self.question.room.get(market.site)
        if room is not None and count > room:
            return "the site may have %d more machines, %d are needed" % (max(room, 0), count)
        if offer.available is not None and offer.available < count and not market.unlimited:
            return "it has %d now, %d are needed" % (offer.available, count)
        rate = offer.price * count
        if self.asked.max_price is not None and rate > self.asked.max_price:
            return "%d of them cost %.2f USD an hour, more than %.2f" % (count, rate, self.asked.max_price)
        if self.asked.max_cost is not None and rate + egress > 0:
            if self.question.seconds is None:
                return "a rule limits what a job may cost, and this one has no time limit: give --time"
            cost = rate * (self.hours + offer.boot_seconds / HOUR) + egress
            if cost > self.asked.max_cost:
                return "the cheapest there would cost %.2f USD in all, more than %.2f" % (cost, self.asked.max_cost)
        return ""

    def placement(self, site: str, offer: Offer, count: int, egress: float) -> Placement:
        rate = offer.price * count
        cost = None if self.question.seconds is None else rate * (self.hours + offer.boot_seconds / HOUR) + egress
        return Placement(site=site, offer=offer, count=count, rate=rate, cost=cost, egress=egress, start=float(offer.boot_seconds))

    # -- places

    def best_of_places(self) -> list[Placement]:
        found: list[tuple[tuple[float, ...], int, Placement]] = []
        for market, mask in zip(self.markets, self.masks):
            for place in market.index.place.positions if mask else ():
                here = mask & market.index.place[place]
                made = self._best_of(market, here, Place(*place)) if here else None
                if made is not None:
                    owned = self.question.policy.kind == "onprem" and not made.offer.cloud
                    found.append((self.key(made.rate, made.offer.boot_seconds, made.egress, owned), len(found), made))
        return [made for _, _, made in sorted(found, key=lambda each: each[:2])]

    def _best_of(self, market: Market, here: int, place: Place) -> Placement | None:
        egress, _ = self.bill(place) if self.question.sources else (0.0, "")
        if egress is None:
            return None
        best, least = None, None
        if len(market.index.boot.positions) == 1:  # then price and number are all that is compared
            offer = market.index.offers[market.index.first(here)]
            if self.fits(offer) == self.asked.least and not self.short(market, offer, self.asked.least, egress):
                return self.placement(market.site, offer, self.asked.least, egress)
        for row in market.index.each(here):
            offer = market.index.offers[row]
            if least is not None and self.key(offer.price * self.asked.least, 0, egress, not offer.cloud) >= least:
                break
            count = self.fits(offer)
            if count is None or self.short(market, offer, count, egress):
                continue
            made = self.placement(market.site, offer, count, egress)
            key = self.key(made.rate, offer.boot_seconds, egress, not offer.cloud)
            if least is None or key < least:
                best, least = made, key
        return best

    # -- what is dropped

    def dropped(self, placements: tuple[Placement, ...]) -> tuple[Dropped, ...]:
        from sbroker.plan.dropping import dropped

        return dropped(self, placements)


def _of_size(index: Index, mask: int, size: Any) -> Iterator[int]:
    """Offers of one size, cheapest first; nothing is done before somebody wants one."""
    yield from index.each(mask & index.size[size])


def _share(total: Ask, size: Any) -> int:
    """Machines of a size that have the total together, at least."""
    least = -(-total.cpus // size[0])
    for item in total.gres:
        have = sum(each.count for each in size[3] if each.name == item.name)
        if have:
            least = max(least, -(-item.count // have))
    return least


def _why(number: int, each: Placement, first: Placement, search: _Search) -> str:
    """A sentence's end: why this rank."""
    kind = search.question.policy.kind
    best = {"soonest": "soonest", "weights": "best in price and time", "onprem": "cheapest of one's own" if not each.offer.cloud else "cheapest"}.get(kind, "cheapest")
    if number == 0:
        return "the %s of %d offers that would do" % (best, search.considered)
    if kind == "soonest" and each.start > first.start:
        return "%d s later" % (each.start - first.start)
    mine, theirs = (each.cost, first.cost) if each.cost is not None and first.cost is not None else (each.rate, first.rate)
    unit = "USD" if each.cost is not None else "USD an hour"
    more = mine - theirs
    if abs(more) < 0.005:
        return "at the same price"
    return "%.2f %s %s" % (abs(more), unit, "more" if more > 0 else "less")
