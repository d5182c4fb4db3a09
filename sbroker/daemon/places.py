"""Where the configured sites say that machines are, and how their agents are started."""

from __future__ import annotations

import os
from typing import Any

from msgspec import structs

from sbroker import providers
from sbroker.api import FrontEnd
from sbroker.clock import Clock
from sbroker.providers.base import Context, Endpoint


def endpoints(config: Any, paths: Any, store_id: str, clock: Clock) -> dict[str, Endpoint]:
    """Node name → how to reach its agent, of every machine that the sites list now."""
    known: dict[str, Endpoint] = {}
    for site, settings in config.sites.items():
        if is_elastic(settings):
            continue
        folder = os.path.dirname(os.path.abspath(config.file or paths.config))
        provider = providers.make(settings, Context(site=site, spool=paths.spool, folder=folder, store_id=store_id, clock=clock))
        for machine in provider.list().machines:
            if machine.endpoint is not None:
                default = "" if machine.endpoint.transport == "local" else "0"  # supervisors on this machine find each other's sockets
                ports = default if settings.ports is None else str(settings.ports)
                known[machine.endpoint.node] = structs.replace(machine.endpoint, ports=ports)
    return known


def is_elastic(settings: Any) -> bool:
    """Whether machines of the site are made on demand."""
    kind = providers.find(settings.provider)
    return kind is not None and not kind.fixed


def site_facts(name: str, settings: Any) -> dict[str, Any]:
    """What the description of a run says of one site: an entry of `sites` (ARCHITECTURE.md). The settings of kinds that know nothing of
    software count as a machine like this one."""
    shared = settings.shared_fs
    return {
        "name": name,
        "twin": bool(getattr(settings, "twin", True)),
        "setup": getattr(settings, "setup", None),
        "modules": list(getattr(settings, "modules", ())),
        "env": {key: str(value) for key, value in getattr(settings, "env", {}).items()},
        "shared_fs": shared if isinstance(shared, bool) else list(shared),
    }


def agent_options(front_end: FrontEnd) -> list[str]:
    """Options of an agent that this very user starts. The front end is named at once, so that it is loaded before the first job."""
    return ["--broker-uid", str(os.getuid()), "--front", front_end.node_module()]
