"""Where a region lies: its country (ISO 3166, small letters) and the groups of countries that this one is in. Facts lie in places.json."""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from sbroker.machines import Offer
from sbroker.model import Value

ARCHITECTURES = {"arm64": "aarch64", "aarch64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64", "ppc64le": "ppc64le"}  # as people write them


class _Facts(Value, frozen=True, kw_only=True):
    regions: dict[str, dict[str, str]]  # cloud or "*" → beginning of a region's name → country
    groups: dict[str, tuple[str, ...]]


@functools.cache
def _facts() -> _Facts:
    return msgspec.json.decode(resources.files("sbroker.catalog").joinpath("places.json").read_bytes(), type=_Facts)


@functools.cache
def country(cloud: str, region: str) -> str:
    """"" where it is not known."""
    for known in (cloud, "*"):
        table = _facts().regions.get(known, {})
        for start in sorted(table, key=len, reverse=True):
            if region.startswith(start):
                return table[start]
    return ""


@functools.cache
def groups() -> dict[str, tuple[str, ...]]:
    """Name of a group → its countries."""
    return _facts().groups


@functools.cache
def countries() -> frozenset[str]:
    """All that are known."""
    return frozenset(code for members in groups().values() for code in members)


@functools.cache
def words(cloud: str, region: str) -> tuple[str, ...]:
    """The country of a region and the groups that it is in; () where nobody knows."""
    here = country(cloud, region)
    return (here, *(name for name, members in groups().items() if here in members)) if here else ()


def features(offer: Offer) -> tuple[str, ...]:
    """What --constraint may name of a machine of this offer: cloud, region, zone, country, groups of countries, market, type, architecture, and
    the features that its site gives it."""
    market = "spot" if offer.spot else "ondemand"
    said = (offer.cloud, offer.region, offer.zone, *words(offer.cloud, offer.region), market, offer.type, offer.arch, *offer.features)
    return tuple(dict.fromkeys(word for word in said if word))
