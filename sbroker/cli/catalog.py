"""`sbroker catalog`: what can be bought where. `list` and `show` look at what the broker keeps; without one at what is kept here, or ships."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sbroker import paths
from sbroker.catalog import imports, kept
from sbroker.catalog.accelerators import UnknownAccelerator, resolve
from sbroker.catalog.kept import Kept
from sbroker.catalog.offers import sold
from sbroker.clock import SystemClock
from sbroker.errors import SbrokerError
from sbroker.machines import Offer
from sbroker.model import Value
from sbroker.plan import Market


class Filter(Value, frozen=True, kw_only=True):
    """What is asked of `list`."""

    words: tuple[str, ...] = ()  # accelerators, or machine types (patterns)
    regions: tuple[str, ...] = ()  # patterns, countries, groups of countries
    clouds: tuple[str, ...] = ()
    count: int = 0  # of accelerators
    cpus: int = 0
    memory: int = 0  # MiB
    spot: bool | None = None
    max_price: float | None = None
    most: int = 20
    as_json: bool = False


def state() -> str:
    """The folder of the broker that commands would ask."""
    shared = not os.environ.get("SBROKER_HOME") and paths.SHARED_CONFIG.exists()
    return (paths.shared() if shared else paths.personal(os.environ)).state


def here() -> dict[str, Kept]:
    """What is kept on this machine, and what ships."""
    return kept.every(state())


def listing(catalogues: dict[str, Kept], asked: Filter) -> str:
    """A table, cheapest first. SbrokerError with the nearest names for a word that means nothing."""
    found: list[Offer] = []
    types = {offer.type for each in catalogues.values() for offer in each.offers}
    models, patterns = _read(asked.words, types)
    for name in catalogues:
        index = Market(name, catalogues[name].offers).index
        mask = index.all & index.cpus(asked.cpus) & index.memory(asked.memory)
        if models:
            wanted = 0
            for model in models:
                wanted |= index.devices("gpu", model, max(1, asked.count))
            mask &= wanted
        elif asked.count:
            mask &= index.devices("gpu", "*", asked.count)
        if patterns:
            mask &= index.type.any(kind for kind in index.type.positions if any(fnmatch.fnmatch(kind, pattern) for pattern in patterns))
        if asked.regions:
            mask &= index.located(asked.regions)
        if asked.clouds:
            mask &= index.cloud.any(asked.clouds)
        if asked.spot is not None:
            mask &= index.spot[asked.spot]
        if asked.max_price is not None:
            mask &= index.below(asked.max_price)
        found += [index.offers[row] for row in index.each(mask)]
    found.sort(key=lambda offer: offer.price)
    if asked.as_json:
        return json.dumps([_plain(offer) for offer in found[: asked.most or None]])
    if not found:
        return "Nothing that is known is sold like that."
    shown = found[: asked.most or None]
    text = _table(shown)
    if len(shown) < len(found):
        text += "\n%d more: --all shows them." % (len(found) - len(shown))
    return text + "\n" + _sources(catalogues)


def show(catalogues: dict[str, Kept], kind: str) -> str:
    """One machine type, wherever it is sold."""
    found = sorted((offer for each in catalogues.values() for offer in each.offers if offer.type == kind), key=lambda offer: offer.price)
    if not found:
        import difflib

        near = difflib.get_close_matches(kind, {offer.type for each in catalogues.values() for offer in each.offers}, 3)
        raise SbrokerError("no machine type is called %s%s" % (kind, "; is it %s?" % " or ".join(near) if near else ""))
    first = found[0]
    devices = ", ".join("%d %s" % (item.count, item.type) for item in first.gres) or "none"
    return "%s: %d CPUs, %.1f GiB, accelerators: %s, %s\n%s\n%s" % (
        kind, first.cpus, first.memory / 1024, devices, first.arch, _table(found), _sources(catalogues))  # fmt: skip


def bring(cloud: str, files: Iterable[str]) -> str:
    """Catalogues in SkyPilot's CSV format, kept for a cloud. SbrokerError."""
    offers: list[Offer] = []
    said = []
    for name in files:
        try:
            made = imports.read(Path(name), cloud)
        except (OSError, EOFError) as error:
            raise SbrokerError("%s cannot be read: %s" % (name, error)) from error
        except imports.NotACatalog as error:
            raise SbrokerError("%s is no catalogue: %s" % (name, error)) from error
        offers += sold(imports.markets(made.rows))
        said += ["%s: %d lines are left out: %s" % (name, number, why) for why, number in made.left_out.most_common(5)]
    if not offers:
        raise SbrokerError("nothing in %s can be bought" % ", ".join(files))
    try:
        kept.save(state(), cloud, Kept(at=SystemClock().now(), source=", ".join(os.path.basename(name) for name in files), offers=tuple(offers)))
    except OSError as error:
        raise SbrokerError("it cannot be kept: %s" % error) from error
    return "\n".join([*said, "%d offers of %s are kept in %s." % (len(offers), cloud, kept.file(state(), cloud))])


def _read(words: tuple[str, ...], types: set[str]) -> tuple[set[str], list[str]]:
    """Models of accelerators, and patterns of machine types."""
    models: set[str] = set()
    patterns = []
    for word in words:
        if fnmatch.filter(types, word):
            patterns.append(word)
            continue
        try:
            models.update(resolve(word))
        except UnknownAccelerator as error:
            raise SbrokerError("no machine type is called %s, and %s" % (word, error)) from error
    return models, patterns


def _plain(offer: Offer) -> dict[str, Any]:
    return {
        "cloud": offer.cloud, "region": offer.region, "zone": offer.zone, "type": offer.type, "cpus": offer.cpus, "memory": offer.memory,
        "gres": ["%s:%s:%d" % (item.name, item.type, item.count) for item in offer.gres], "arch": offer.arch, "spot": offer.spot, "price": offer.price,
    }  # fmt: skip


def _table(offers: list[Offer]) -> str:
    from tabulate import tabulate

    rows = [
        (
            offer.cloud, offer.zone or offer.region, offer.type, offer.cpus, "%.0fG" % (offer.memory / 1024),
            ",".join("%s:%d" % (item.type, item.count) for item in offer.gres) or "-", "spot" if offer.spot else "ondemand", "%.4f" % offer.price,
        )
        for offer in offers
    ]  # fmt: skip
    return tabulate(rows, headers=("cloud", "place", "type", "cpus", "memory", "accelerators", "market", "USD/h"), tablefmt="plain", disable_numparse=True)


def _sources(catalogues: dict[str, Kept]) -> str:
    said = []
    for name, each in sorted(catalogues.items()):
        when = datetime.fromtimestamp(each.at, timezone.utc).strftime(", %Y-%m-%d") if each.at else ""
        said.append("%s: %s%s" % (name, each.source or "its provider", when))
    return "Prices are those of " + "; ".join(said) + "."
