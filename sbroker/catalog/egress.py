"""What it costs to move data out of a place: list prices by zone, region, continent and internet, in steps by what left this month.

    rates().cost(Place("aws", "us-east-1"), Place("gcp", "europe-west4"), gigabytes=500, already=9_900)

A place without a cloud is a machine of one's own: nothing is paid for what leaves it. What is free at the target is free; it is the
source that charges. Facts and their date lie in egress.json; a site's own agreements (`peering`) make a pair of places cheaper.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable
from importlib import resources
from typing import NamedTuple

import msgspec

from sbroker.model import Value

Steps = tuple[tuple[float | None, float], ...]  # up to so many GB a month (None: without end), USD a GB


class Place(NamedTuple):
    """Where data lies. Empty: unknown, or no part of it."""

    cloud: str = ""
    region: str = ""
    zone: str = ""


class Charges(Value, frozen=True, kw_only=True):
    """What one cloud takes for a GB, in USD."""

    zone: float = 0.0  # to another zone of the region
    region: dict[str, float] = {}  # "na-eu", "na-*", "*-sa", "*": from continent to continent, inside the cloud
    internet: dict[str, Steps] = {}  # continent of the source, or "*"


class Peering(Value, frozen=True, kw_only=True):
    """An agreement: between these clouds (and regions, patterns) a GB costs so much."""

    source: str
    target: str
    price: float = 0.0
    source_regions: tuple[str, ...] = ("*",)
    target_regions: tuple[str, ...] = ("*",)

    def covers(self, source: Place, target: Place) -> bool:
        """Whether it is about this pair; `source` and `target` are patterns of clouds, too."""
        return (
            fnmatch.fnmatch(source.cloud, self.source)
            and fnmatch.fnmatch(target.cloud, self.target)
            and any(fnmatch.fnmatch(source.region, pattern) for pattern in self.source_regions)
            and any(fnmatch.fnmatch(target.region, pattern) for pattern in self.target_regions)
        )


class Rates(Value, frozen=True, kw_only=True):
    """All charges that are known."""

    as_of: str = ""
    note: str = ""
    continents: dict[str, dict[str, str]] = {}  # cloud or "*" → beginning (or any part) of a region's name → continent
    clouds: dict[str, Charges] = {}
    peering: tuple[Peering, ...] = ()

    def agreed(self, peering: Iterable[Peering]) -> Rates:
        """These rates with agreements of a site; they come before those that ship."""
        return msgspec.structs.replace(self, peering=(*peering, *self.peering))

    def continent(self, place: Place) -> str:
        """na, eu, as, oc, sa, af, me; "" where the region does not say."""
        for cloud in (place.cloud, "*"):
            for part, name in self.continents.get(cloud, {}).items():
                if place.region.startswith(part):
                    return name
        # azure's regions begin with a direction: westus2, northeurope
        return next((name for part, name in self.continents.get(place.cloud, {}).items() if part in place.region), "")

    def steps(self, source: Place, target: Place) -> Steps:
        """What each GB costs, by how many left this month. () where the cloud's charges are not known."""
        if not source.cloud or source == target:
            return ((None, 0.0),)
        for each in self.peering:
            if each.covers(source, target):
                return ((None, each.price),)
        charges = self.clouds.get(source.cloud)
        if charges is None:
            return ()
        if source.cloud != target.cloud:
            return charges.internet.get(self.continent(source)) or charges.internet.get("*", ())
        if source.region == target.region:
            same = not (source.zone and target.zone) or source.zone == target.zone
            return ((None, 0.0 if same else charges.zone),)
        return ((None, self._between(charges, self.continent(source), self.continent(target))),)

    def _between(self, charges: Charges, source: str, target: str) -> float:
        for key in ("%s-%s" % (source, target), "%s-*" % source, "*-%s" % target, "*"):
            if key in charges.region:
                return charges.region[key]
        return 0.0

    def cost(self, source: Place, target: Place, gigabytes: float, already: float = 0.0) -> float | None:
        """USD for `gigabytes` more when `already` GB left the source this month. None where nobody knows: never taken for free."""
        steps = self.steps(source, target)
        if not steps:
            return None
        total, at, end = 0.0, already, already + gigabytes
        for limit, price in steps:
            upto = end if limit is None else min(end, limit)
            if upto > at:
                total += (upto - at) * price
                at = upto
        return total


@functools.cache
def rates() -> Rates:
    """The charges that ship."""
    return msgspec.json.decode(resources.files("sbroker.catalog").joinpath("egress.json").read_bytes(), type=Rates)
