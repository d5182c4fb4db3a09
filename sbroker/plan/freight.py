"""What it costs to bring a job's data to a place: true marginal steps, several sources of one cloud one after the other."""

from __future__ import annotations

from functools import lru_cache

from sbroker.catalog.egress import Peering, Place, Rates, rates
from sbroker.plan.values import Question, Source


@lru_cache(maxsize=64)
def agreed(peering: tuple[Peering, ...]) -> Rates:
    return rates().agreed(peering) if peering else rates()


@lru_cache(maxsize=8192)
def _steps(peering: tuple[Peering, ...], source: Place, target: Place) -> tuple:
    return agreed(peering).steps(source, target)


def move(peering: tuple[Peering, ...], source: Place, target: Place, gigabytes: float, already: float = 0.0) -> float | None:
    """USD for bringing that much from source to target, None where nobody knows."""
    steps = _steps(peering, source, target)
    if len(steps) == 1:
        return gigabytes * steps[0][1]
    return agreed(peering).cost(source, target, gigabytes, already)


def where(source: Source) -> Place:
    return Place(source.cloud, source.region, source.zone)


def bill(question: Question, target: Place) -> tuple[float | None, str]:
    """USD for all sources of the job; None and the source of which nobody knows what moving it costs."""
    total, left = 0.0, dict(question.moved)
    for source in question.sources:
        if source.gigabytes <= 0:
            continue
        cost = move(question.peering, where(source), target, source.gigabytes, left.get(source.cloud, 0.0))
        if cost is None:
            return None, source.name
        total += cost
        if source.cloud != target.cloud:
            left[source.cloud] = left.get(source.cloud, 0.0) + source.gigabytes
    return total, ""
