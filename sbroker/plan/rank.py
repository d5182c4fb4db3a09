"""From a question to ranked placements."""

from __future__ import annotations

from collections.abc import Iterable

from sbroker.machines import Ask, Offer
from sbroker.plan.values import Answer, Dropped, Market, Placement, Question

MOST = 10  # placements in an answer


def rank(markets: Iterable[Market], question: Question) -> Answer:
    """What could be had for the question in these markets, best first."""
    found: list[Placement] = []
    dropped: list[Dropped] = []
    for market in markets:
        if market.error and not market.offers:
            dropped.append(Dropped(site=market.site, place="", why=market.error))
        for offer in market.offers:
            why = lacks(offer, question.ask) or avoided(market.site, offer, question)
            count = None if why else question.fit(offer)
            if count is None:
                dropped.append(Dropped(site=market.site, place=offer.name, why=why or "no number of its machines fits the job"))
                continue
            room = question.room.get(market.site)
            if room is not None and count > room:
                dropped.append(Dropped(site=market.site, place=offer.name, why="the site may have %d more machines, %d are needed" % (room, count)))
                continue
            if offer.available is not None and offer.available < count:
                dropped.append(Dropped(site=market.site, place=offer.name, why="it has %d now, %d are needed" % (offer.available, count)))
                continue
            found.append(placement(market.site, offer, count, question))
    key = (lambda each: (each.start, each.rate)) if question.policy.kind == "soonest" else (lambda each: (each.rate, each.start))
    return Answer(placements=tuple(sorted(found, key=key)[:MOST]), dropped=tuple(dropped))


def placement(site: str, offer: Offer, count: int, question: Question) -> Placement:
    rate = offer.price * count
    cost = None if question.seconds is None else rate * (question.seconds + offer.boot_seconds) / 3600
    return Placement(site=site, offer=offer, count=count, rate=rate, cost=cost, egress=0.0, start=float(offer.boot_seconds))


def avoided(site: str, offer: Offer, question: Question) -> str:
    """Why this place is not tried now, "" if it may be."""
    return question.avoid.get((site, offer.zone or offer.region, offer.type or offer.name, offer.spot), "")


def lacks(offer: Offer, ask: Ask) -> str:
    """What of the question one machine has not, "" if it has all."""
    if offer.cpus < ask.cpus:
        return "it has %d CPUs, %d are needed" % (offer.cpus, ask.cpus)
    if offer.memory < ask.memory:
        return "it has %d MiB of memory, %d are needed" % (offer.memory, ask.memory)
    if offer.tmp < ask.tmp:
        return "it has %d MiB of temporary disk, %d are needed" % (offer.tmp, ask.tmp)
    if ask.arch and offer.arch and offer.arch != ask.arch:
        return "it is %s, not %s" % (offer.arch, ask.arch)
    if ask.spot is not None and offer.spot is not ask.spot:
        return "it is sold on the spot market" if offer.spot else "it is not sold on the spot market"
    for wanted in ask.gres:
        if sum(one.count for one in offer.gres if one.name == wanted.name and wanted.type in (None, one.type)) < wanted.count:
            return "it has not %d %s" % (wanted.count, ":".join(filter(None, (wanted.name, wanted.type))))
    return ""
