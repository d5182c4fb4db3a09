"""What sites sold when they were last asked: kept beside the database, so that the next broker, and one whose cloud cannot be reached, can plan."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sbroker.catalog import kept
from sbroker.catalog.kept import Kept
from sbroker.errors import SbrokerError
from sbroker.machines import Offer

log = logging.getLogger("sbroker.catalog")


async def load(state: str, site: str, settings: Any) -> Kept:
    """What is known of the site's machines without asking it; nothing where nothing is. `state`: folder of the database."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, kept.for_site, state, site, settings)
    except SbrokerError as error:
        log.warning("%s", error)
        return Kept()


async def keep(state: str, site: str, offers: tuple[Offer, ...], at: float) -> None:
    """Keep what the provider of a site said. Only clouds' offers: the machines of others are asked for each time."""
    if not any(offer.cloud for offer in offers):
        return
    try:
        await asyncio.get_running_loop().run_in_executor(None, kept.save, state, site, Kept(at=at, source="the provider of " + site, offers=offers))
    except OSError as error:
        log.warning("the catalogue of site %s is not kept: %s", site, error)
