"""Catalogues that a broker keeps: STATE/catalog/NAME.json, by site (what its provider said last) or by cloud (what was imported); and the
snapshot that ships, so that planning works before anybody was asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from sbroker.catalog.offers import Row, sold
from sbroker.errors import SbrokerError
from sbroker.machines import Offer
from sbroker.model import Value


class Kept(Value, frozen=True, kw_only=True):
    """Offers, when they were true (seconds since the epoch; 0 for the snapshot) and who said so."""

    at: float = 0.0
    source: str = ""
    offers: tuple[Offer, ...] = ()


class _Type(Value, frozen=True, kw_only=True):
    type: str
    cpus: int
    memory: float
    price: float
    accelerator: str = ""
    count: int = 0
    arch: str = "x86_64"


class _Cloud(Value, frozen=True, kw_only=True):
    regions: tuple[str, ...]
    types: tuple[_Type, ...]


class _Snapshot(Value, frozen=True, kw_only=True):
    as_of: str
    clouds: dict[str, _Cloud]


def snapshot() -> dict[str, Kept]:
    """Cloud → the facts that ship."""
    data = resources.files("sbroker.catalog").joinpath("snapshot.json").read_bytes()
    found = msgspec.json.decode(data, type=_Snapshot)
    return {
        name: Kept(
            source="public list prices, %s" % found.as_of,
            offers=tuple(sold(Row(cloud=name, region=region, **msgspec.to_builtins(each)) for each in cloud.types for region in cloud.regions)),
        )
        for name, cloud in found.clouds.items()
    }


def file(state: str, name: str) -> Path:
    return Path(state) / "catalog" / (name + ".json")


def read(state: str, name: str) -> Kept | None:
    """What is kept under a name, None if nothing is. SbrokerError if it cannot be read."""
    path = file(state, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SbrokerError("the catalogue %s cannot be read (%s): `sbroker catalog refresh` or `import` makes another" % (path, error)) from error


def save(state: str, name: str, kept: Kept) -> None:
    """Keep it, in place of what was kept. OSError."""
    path = file(state, name)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new%d" % os.getpid())
    fresh.write_bytes(msgspec.json.encode(kept))
    fresh.replace(path)


def every(state: str) -> dict[str, Kept]:
    """All catalogues by name; clouds of which nothing is kept from the snapshot."""
    found = {}
    for path in sorted(Path(state, "catalog").glob("*.json")):
        kept = read(state, path.stem)
        if kept is not None:
            found[path.stem] = kept
    clouds = {offer.cloud for kept in found.values() for offer in kept.offers}
    return {**found, **{name: kept for name, kept in snapshot().items() if name not in clouds}}


def for_site(state: str, site: str, settings: Any) -> Kept:
    """What is known of a site's machines without asking its cloud: kept of the site, imported for its cloud, or what ships; in its regions and
    zones, and in the markets that it may use."""
    cloud = str(settings.provider).partition("-")[0]
    kept = read(state, site) or read(state, cloud) or snapshot().get(cloud) or Kept()
    regions, zones, spot = (getattr(settings, key, None) for key in ("regions", "zones", "spot"))
    return msgspec.structs.replace(kept, offers=tuple(_within(kept.offers, regions, zones, spot)))


def _within(offers: Iterable[Offer], regions: Any, zones: Any, spot: Any) -> Iterable[Offer]:
    for offer in offers:
        if regions and offer.region not in regions or zones and offer.zone and offer.zone not in zones:
            continue
        if spot == "only" and not offer.spot or spot == "never" and offer.spot:
            continue
        yield offer
