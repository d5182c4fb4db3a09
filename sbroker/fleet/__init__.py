"""The machines of a broker: one provider for each site, and how to reach the agent of each node.

Only fixed sites so far: their machines are there, and nothing is created or ended.
"""

from __future__ import annotations

from sbroker import providers
from sbroker.clock import Clock
from sbroker.config import Config
from sbroker.paths import Paths
from sbroker.providers.base import Context, Endpoint, Provider


class Fleet:
    """Made of a configuration; made anew when that changes."""

    def __init__(self, config: Config, paths: Paths, clock: Clock, store_id: str) -> None:
        self.providers: dict[str, Provider] = {
            site: providers.make(settings, Context(site=site, spool=paths.spool, store_id=store_id, clock=clock))
            for site, settings in config.sites.items()
        }

    def endpoints(self) -> dict[str, Endpoint]:
        """Node name → where its agent is, for the nodes whose machine is there."""
        return {
            entry.endpoint.node: entry.endpoint
            for provider in self.providers.values()
            if provider.fixed
            for entry in provider.list().machines
            if entry.endpoint is not None
        }

    def close(self) -> None:
        for provider in self.providers.values():
            provider.close()
