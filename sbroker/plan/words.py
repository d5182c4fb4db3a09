"""What the plan says to people: the offer chosen, the runner-up, and a sentence for places dropped, those with one reason together."""

from __future__ import annotations

from sbroker.plan.values import Answer, Placement

NAMED = 4  # places of one reason that are named


def tell(answer: Answer, most: int = 12) -> list[str]:
    """Sentences: what is chosen, what comes next, and why not elsewhere (at most so many reasons)."""
    said = []
    if answer.best is not None:
        said.append("Chosen: %s; %s." % (spell(answer.best), answer.best.why))
        second = runner_up(answer)
        if second is not None:
            said.append("Runner-up: %s; %s." % (spell(second), second.why))
    else:
        said.append("No machine can be had for it.")
    reasons = gathered(answer)
    said += reasons[:most]
    if len(reasons) > most:
        said.append("%d more reasons are left out." % (len(reasons) - most))
    return said


def runner_up(answer: Answer) -> Placement | None:
    """The best placement that is another machine or another region than the first; else the second."""
    if len(answer.placements) < 2:
        return None
    first = answer.placements[0]

    def kind(each: Placement) -> tuple:
        return (each.site, each.offer.region, each.offer.type or each.offer.name, each.offer.spot)

    return next((each for each in answer.placements[1:] if kind(each) != kind(first)), answer.placements[1])


def spell(placement: Placement) -> str:
    """2 g5.xlarge on the spot market in us-east-1a of aws, 0.84 USD an hour, 1.72 USD in all (0.40 of it for moving data), there in 90 s."""
    offer = placement.offer
    place = offer.zone or offer.region
    words = "%d × %s" % (placement.count, offer.type or offer.name) if placement.count > 1 else offer.type or offer.name
    words += " on the spot market" if offer.spot else ""
    words += " in %s of %s" % (place, placement.site) if place else " of %s" % placement.site
    words += ", %s" % (money(placement.rate) + " an hour" if placement.rate else "which costs nothing")
    if placement.cost:
        words += ", %s in all" % money(placement.cost)
        words += " (%s of it for moving data)" % money(placement.egress) if placement.egress else ""
    elif placement.egress:
        words += ", %s for moving data" % money(placement.egress)
    return words + (", there in %d s" % placement.start if placement.start else "")


def money(dollars: float) -> str:
    return "%.2f USD" % dollars if dollars >= 0.01 or not dollars else "%.4f USD" % dollars


def gathered(answer: Answer) -> list[str]:
    """A sentence for each reason at each site, with the places that it is about."""
    places: dict[tuple[str, str], list[str]] = {}
    for each in answer.dropped:
        places.setdefault((each.site, each.why), []).append(each.place)
    said = []
    for (site, why), names in places.items():
        names = [name for name in names if name]
        shown = ", ".join(names[:NAMED]) + (" and %d more" % (len(names) - NAMED) if len(names) > NAMED else "")
        where = "%s, %s: " % (site, shown) if site and shown else "%s: " % site if site else ""
        said.append((where or "") + (why if where else why[:1].upper() + why[1:]) + ("" if why.endswith((".", "?")) else "."))
    return said
