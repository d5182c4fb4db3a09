"""Catalogues to test with that are not the project's to give away: a folder that SBROKER_TEST_CATALOG names, or `data/catalog` of a `shared`
folder beside the checkout; laid out as CLOUD/*.csv[.gz] in the format of `sbroker.catalog.imports`. Tests that need them are skipped without."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from sbroker.catalog import imports
from sbroker.catalog.offers import sold
from sbroker.machines import Offer

CLOUDS = ("aws", "gcp", "azure", "lambda", "nebius")


def folder() -> Path | None:
    named = os.environ.get("SBROKER_TEST_CATALOG")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "catalog"
    found = Path(named) if named else beside
    return found if all((found / cloud).is_dir() for cloud in CLOUDS) else None


@functools.cache
def catalogues() -> dict[str, list[Offer]] | None:
    """Cloud → offers; None where there is no folder."""
    place = folder()
    if place is None:
        return None
    found: dict[str, list[Offer]] = {}
    for cloud in CLOUDS:
        rows = [row for path in sorted((place / cloud).glob("*.csv*")) for row in imports.markets(imports.read(path, cloud).rows)]
        found[cloud] = list(sold(rows))
    return found
