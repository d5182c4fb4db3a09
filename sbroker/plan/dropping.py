"""Why the places without a placement will not do: of each the first demand that left nothing there. Told by region, or by site where all
of its regions have the same reason."""

from __future__ import annotations

from itertools import islice
from typing import Any

from sbroker.catalog.accelerators import UnknownAccelerator, resolve
from sbroker.catalog.egress import Place
from sbroker.catalog.index import models
from sbroker.plan.market import Market
from sbroker.plan.values import Dropped, Placement

MOST = 2000  # offers of a region that are looked at one by one
_NO_SIZE = "no number of its machines fits the job"


def dropped(search: Any, placements: tuple[Placement, ...]) -> tuple[Dropped, ...]:
    """`search` is rank's."""
    found = unknown(search)
    for market, mask in zip(search.markets, search.masks):
        found += _market(search, market, mask, {each.offer.region for each in placements if each.site == market.site})
    return tuple(found)


def unknown(search: Any) -> list[Dropped]:
    """Accelerators that nobody knows, with the names that look most like them."""
    found = []
    for item in search.question.ask.gres:
        if item.name != "gpu" or item.type is None:
            continue
        try:
            resolve(item.type)
        except UnknownAccelerator as error:
            if not any(set(models(item.name, item.type)) & market.index.models() for market in search.markets):
                found.append(Dropped(site="", place="", why=str(error)))
    return found


def _market(search: Any, market: Market, mask: int, taken: set[str]) -> list[Dropped]:
    site, question = market.site, search.question
    if not market.offers:
        return [Dropped(site=site, place="", why=market.error or "it sells nothing")]
    found = []
    room = question.room.get(site)
    if room is not None and room < search.asked.least:
        return [Dropped(site=site, place="", why="the site may have %d more machines, %d are needed" % (max(room, 0), search.asked.least))]
    index = market.index
    unfit = index.size.any(size for size, count in search.fitted().items() if count is None)
    left = {region: index.region[region] for region in index.region.positions}
    reasons: dict[str, str] = {}
    for region in [region for region, rows in left.items() if rows & mask]:
        rows = left.pop(region)
        if region not in taken:
            why = _failing(search, market, rows & mask & ~unfit) if rows & mask & ~unfit else _NO_SIZE
            if why:
                reasons[region] = why
    for why, met in search.asked.demands(market) if left else ():
        for region, rows in list(left.items()):
            rest = rows & met
            if rest:
                left[region] = rest
            else:
                del left[region]
                reasons[region] = why
    if len(reasons) == len(index.region.positions) and len(set(reasons.values())) == 1:
        found.append(Dropped(site=site, place="", why=next(iter(reasons.values()))))
    else:
        found += [Dropped(site=site, place=region, why=why) for region, why in sorted(reasons.items())]
    for (name, place, kind, spot), why in question.avoid.items():
        if name == site:
            words = " ".join(word for word in (kind, "on the spot market" if spot and kind else "", "in " + place if place and kind else place) if word)
            drop = Dropped(site=site, place=words, why="it is not tried for a while: %s" % why)
            if drop not in found:
                found.append(drop)
    return found


def _failing(search: Any, market: Market, rows: int) -> str:
    """Why nothing of these offers will do, though each machine would; "" if something does."""
    index, first = market.index, ""
    for row in islice(index.each(rows), MOST):
        offer = index.offers[row]
        egress, unpriced = search.bill(Place(offer.cloud, offer.region, offer.zone)) if search.question.sources else (0.0, "")
        count = search.fits(offer)
        if egress is None:
            why = "nobody knows what it costs to bring %s there" % unpriced
        elif count is None:
            why = _NO_SIZE
        else:
            why = search.short(market, offer, count, egress)
        if not why:
            return ""
        first = first or why
    return first
