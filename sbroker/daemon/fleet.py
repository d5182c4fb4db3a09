"""Carries out what the core decides about machines, and tells it what the providers list.

Calls are made one at a time for each site. A site is listed when something of it is alive: often while machines come or go, now and then
else; and once at each start, for what an earlier broker left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import convert, structs

from sbroker import providers
from sbroker.core import events
from sbroker.core.buy import ALIVE
from sbroker.daemon import catalog
from sbroker.daemon.links import Link
from sbroker.daemon.machinekeys import MachineKeys
from sbroker.daemon.places import is_elastic
from sbroker.errors import AuthRefused, NoCapacity, QuotaExceeded, SbrokerError, StoreError, Unsatisfiable
from sbroker.machines import Ask, Endpoint, Listing, Offer, Order
from sbroker.model import Group, Node
from sbroker.plan import Market
from sbroker.providers.base import Context, ProviderError
from sbroker.states import GroupState, NodeState
from sbroker.transports import local

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon

log = logging.getLogger("sbroker.fleet")

SOON, LATER = 1.0, 15.0  # seconds between listings while machines come or go, and while they only work
SOLD = 60.0  # seconds after which a site is asked again what it sells, while somebody may want to buy
_KINDS: tuple[tuple[type[SbrokerError], str], ...] = (
    (NoCapacity, "no_capacity"), (QuotaExceeded, "quota"), (AuthRefused, "auth"), (Unsatisfiable, "unsatisfiable"),
)  # fmt: skip


class Calls(Protocol):
    """A provider as coroutines: `providers.worker.Worker`, or `Here`."""

    async def offers(self, ask: Ask) -> list[Offer]: ...
    async def create(self, order: Order) -> None: ...
    async def list(self) -> Listing: ...
    async def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None: ...
    async def close(self) -> None: ...


class Here:
    """A provider that reaches nothing outside this process."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    async def offers(self, ask: Ask) -> list[Offer]:
        with _as_provider():
            return list(self._provider.offers(ask))

    async def create(self, order: Order) -> None:
        with _as_provider():
            self._provider.create(order)

    async def list(self) -> Listing:
        with _as_provider():
            return self._provider.list()

    async def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        with _as_provider():
            self._provider.terminate(token, ids)

    async def close(self) -> None:
        self._provider.close()


@contextlib.contextmanager
def _as_provider() -> Iterator[None]:
    """A disk that is full or closed is no answer of the site's."""
    try:
        yield
    except OSError as error:
        raise ProviderError("%s: %s" % (error.filename or "the machine", error.strerror)) from error


class Site:
    """One site whose machines are made on demand."""

    def __init__(self, fleet: Fleet, name: str, settings: Any) -> None:
        self.fleet, self.name, self.settings = fleet, name, settings
        daemon = fleet.daemon
        folder = os.path.dirname(os.path.abspath(daemon.config.file or daemon.paths.config))
        context = Context(site=name, spool=daemon.paths.spool, folder=folder, store_id=daemon.broker.store.store_id, clock=daemon.clock)
        kind = providers.find(settings.provider)
        if kind is None:
            raise KeyError(settings.provider)
        self.calls: Calls
        if kind.remote:
            from sbroker.providers.worker import Worker

            self.calls = Worker(settings, context, os.environ)
        else:
            self.calls = Here(providers.make(settings, context))
        self.known = asyncio.Event()  # it has said once what it sells, or cannot
        self.error = ""
        self.foreign: tuple[str, ...] = ()  # ids of machines of another store, which are never touched
        self._look = asyncio.Event()
        self._sold_at = -SOLD
        self._orders: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, set[str] | None] = {}  # token → ids to terminate; None: all
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def look(self) -> None:
        """List it now."""
        self._look.set()

    async def close(self) -> None:
        for task in (self._task, *self._orders.values()):
            task.cancel()
        await self.calls.close()

    async def refresh(self) -> Market | None:
        """Ask it now what it sells, and return what it said."""
        self._sold_at = -SOLD
        self.known.clear()
        self.look()
        await self.known.wait()
        return self.fleet.daemon.broker.state.markets.get(self.name)

    # -- orders

    def create(self, token: str, at: float) -> None:
        if token not in self._orders or self._orders[token].done():
            self._orders[token] = asyncio.get_running_loop().create_task(self._create(token, at))

    async def _create(self, token: str, at: float) -> None:
        daemon = self.fleet.daemon
        await asyncio.sleep(max(0.0, at - daemon.clock.now()))
        group = daemon.broker.state.groups.get(token)
        if group is None or group.state not in (GroupState.WANTED, GroupState.ASKED):
            return
        kind, error = "", ""
        try:
            await self.calls.create(await self.fleet.order(group, self.settings))
        except SbrokerError as failure:
            kind = next((word for found, word in _KINDS if isinstance(failure, found)), "unknown")
            error = str(failure)
            log.warning("site %s: group %s of %d %s: %s", self.name, token, group.count, group.offer.get("name"), error)
            self._sold_at = -SOLD  # what it said of its capacity is not true any more
        self._orders.pop(token, None)
        self.fleet.tell(events.Created(token=token, kind=kind, error=error))  # type: ignore[arg-type]
        self.look()

    def terminate(self, token: str, ids: tuple[str, ...]) -> None:
        """One call for all that a moment orders of a group; no ids: the whole of it."""
        if not self._ending:
            self.fleet.daemon.keep(asyncio.get_running_loop().create_task(self._terminate()))
        known = self._ending.get(token, set())
        self._ending[token] = None if known is None or not ids else known | set(ids)

    async def _terminate(self) -> None:
        await asyncio.sleep(0)
        ending, self._ending = self._ending, {}
        for token, ids in ending.items():
            await self._end(token, None if ids is None else tuple(sorted(ids)))

    async def _end(self, token: str, ids: tuple[str, ...] | None) -> None:
        try:
            await self.calls.terminate(token, ids)
        except SbrokerError as error:
            log.warning("site %s: machines of %s are not terminated yet: %s", self.name, token, error)
        self.look()

    # -- what there is

    async def _watch(self) -> None:
        while True:
            await self._sells()
            await self._list()
            self._look.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._look.wait(), self._pause())

    def _pause(self) -> float | None:
        """Seconds until the next look; None while nothing is there and nobody waits."""
        state = self.fleet.daemon.broker.state
        groups = [group for group in state.groups.values() if group.site == self.name and group.state in ALIVE]
        if self.error:
            return SOON * 5
        if not groups:
            return SOLD if state.shapes else None
        moving = any(group.state is not GroupState.FULL for group in groups)
        nodes = (state.nodes[name] for name in state.fleet)
        moving = moving or any(node.site == self.name and (node.releasing or node.state is NodeState.UNKNOWN) for node in nodes)
        return SOON if moving else LATER

    async def _sells(self) -> None:
        daemon = self.fleet.daemon
        if daemon.clock.boottime() - self._sold_at < SOLD:
            return
        try:
            offers, error = tuple(await self.calls.offers(Ask())), ""
            await catalog.keep(daemon.paths.state, self.name, offers, daemon.clock.now())
        except SbrokerError as failure:
            offers, error = (), str(failure)
            log.warning("site %s does not say what it sells: %s", self.name, error)
            if not isinstance(failure, AuthRefused):  # who is not let in cannot buy what was sold yesterday
                offers = (await catalog.load(daemon.paths.state, self.name, self.settings)).offers
        self._sold_at = daemon.clock.boottime()
        known = daemon.broker.state.markets.get(self.name)
        if not error or known is None:
            if known is None or known.offers != offers or known.error != error:
                market = Market(self.name, offers, at=daemon.clock.now(), error=error)
                if offers:  # of hundred thousands this takes a second, in which the broker has other things to do
                    await asyncio.get_running_loop().run_in_executor(None, market.prepare)
                self.fleet.sell(market)
        self.known.set()

    async def _list(self) -> None:
        daemon = self.fleet.daemon
        asked = daemon.clock.now()
        try:
            listing = await self.calls.list()
        except SbrokerError as error:
            if str(error) != self.error:
                log.warning("site %s is not listed: %s", self.name, error)
            self.error = str(error)
            return
        self.error = ""
        self.foreign = tuple(entry.id for entry in listing.machines if not entry.ours and entry.state != "gone")
        self.fleet.tell(events.Listed(site=self.name, listing=listing, asked=asked))
        self.fleet.reach(self.name, listing)


class Fleet:
    """All sites whose machines are made on demand."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.sites: dict[str, Site] = {}
        self._made: dict[str, str] = {}  # node → site, of the links that are the fleet's

    @functools.cached_property
    def keys(self) -> MachineKeys:
        return MachineKeys(self.daemon.paths.state, self.daemon.broker.store.store_id)

    def missing(self, config: Any) -> str:
        """Why this configuration cannot be taken: it has not the site of machines that are there, or has it in another way. "" if it can."""
        state = self.daemon.broker.state
        alive = {group.site for group in state.groups.values() if group.state in ALIVE}
        for site in sorted(alive):
            settings = config.sites.get(site)
            if settings is None or not is_elastic(settings):
                number = sum(node.site == site for node in (state.nodes[name] for name in state.fleet))
                return (
                    "%d machines of the site %s are there, or on order, and nobody could end them without it: leave it in, with max_nodes: 0 if nothing more "
                    "is to be bought there, until `sbroker machines` shows none" % (number, site)
                )
            known = self.sites.get(site)
            if known is not None and known.settings.provider != settings.provider:
                return "the site %s has machines of the provider %s: leave it until `sbroker machines` shows none" % (site, known.settings.provider)
        return ""

    async def configure(self) -> None:
        """Take the configured sites; those that are new are asked what they sell and have."""
        config = self.daemon.config
        wanted = {name: settings for name, settings in config.sites.items() if is_elastic(settings)}
        for name, site in list(self.sites.items()):
            if wanted.get(name) != site.settings:
                await self.sites.pop(name).close()
        for name, settings in wanted.items():
            if name not in self.sites:
                self.sites[name] = Site(self, name, settings)
        self.resume()

    async def ready(self, patience: float) -> None:
        """Wait a little until each site has said once what it sells."""
        tasks = [asyncio.ensure_future(site.known.wait()) for site in self.sites.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
            for task in tasks:
                task.cancel()

    def resume(self) -> None:
        """Orders that an earlier broker, or memory before it was lost, may not have carried out."""
        for site in self.sites.values():
            known = self.daemon.broker.state.markets.get(site.name)
            if known is None and site.known.is_set():
                site._sold_at = -SOLD
            site.look()
        for group in self.daemon.broker.state.groups.values():
            if group.site in self.sites and not group.answered and group.state in (GroupState.WANTED, GroupState.ASKED):
                self.sites[group.site].create(group.token, 0.0)

    def create(self, token: str, at: float) -> None:
        group = self.daemon.broker.state.groups.get(token)
        if group is not None and group.site in self.sites:
            self.sites[group.site].create(token, at)

    def terminate(self, site: str, token: str, ids: tuple[str, ...]) -> None:
        if site in self.sites:
            self.sites[site].terminate(token, ids)

    def lost(self, node: str) -> None:
        """A node is not heard any more: is its machine still there?"""
        if node in self._made and self._made[node] in self.sites:
            self.sites[self._made[node]].look()

    def tell(self, event: Any) -> None:
        try:
            self.daemon.broker.apply(event)
        except StoreError as error:
            log.warning("%s is not on record: %s", type(event).__name__, error)  # the next listing says it again

    def sell(self, market: Market) -> None:
        self.daemon.broker.state.sell(market)
        self.tell(events.Tick())

    async def order(self, group: Group, settings: Any) -> Order:
        """What the provider is told, the same for each call with the token."""
        lifetime = getattr(settings, "max_lifetime", None)
        return Order(
            token=group.token,
            offer=convert(group.offer, Offer),
            count=group.count,
            min=group.min,
            image=getattr(settings, "image", None),
            boot=self.keys.boot(group.token, settings) if self._boots(settings) else "",
            expiry=None if lifetime is None else group.created + int(lifetime),
        )

    @staticmethod
    def _boots(settings: Any) -> bool:
        kind = providers.find(settings.provider)
        return kind is not None and kind.boots

    def reach(self, site: str, listing: Listing) -> None:
        """A link to each machine that runs and belongs to a node; none to those that are gone."""
        daemon, here = self.daemon, {}
        for entry in listing.machines:
            group = daemon.broker.state.groups.get(entry.token)
            if group is None or entry.endpoint is None or entry.state not in ("running", "stopping") or entry.index >= len(group.nodes):
                continue
            node = daemon.broker.state.nodes.get(group.nodes[entry.index])
            if node is not None and node.token == entry.token:
                here[node.name] = self.endpoint(node, entry.endpoint)
        for name, endpoint in here.items():
            link = daemon.links.get(name)
            self._made[name] = site
            if link is None:
                daemon.links[name] = Link(daemon, name, endpoint, daemon.front_end.node_module())
            elif link.endpoint != endpoint:
                link.look_again(endpoint)
        for name, link in list(daemon.links.items()):
            if name not in here and name in self._made and self._made[name] == site:
                daemon.links.pop(name).close()
                del self._made[name]
                if link.endpoint.transport == "local":
                    local.end(link.endpoint)
        self.keys.forget(lambda token: getattr(daemon.broker.state.groups.get(token), "state", None) in (None, GroupState.GONE, GroupState.REFUSED))

    def endpoint(self, node: Node, endpoint: Endpoint) -> Endpoint:
        """How the node's agent is reached: what the provider says, and what only we know."""
        ports = getattr(self.sites[node.site].settings, "ports", None)
        default = "" if endpoint.transport == "local" else "0"
        if endpoint.transport == "local":
            endpoint = structs.replace(endpoint, hostname=node.name)
        elif self._boots(self.sites[node.site].settings):
            endpoint = structs.replace(endpoint, data={**endpoint.data, **self.keys.login(node.token)})
        return structs.replace(endpoint, node=node.name, ports=default if ports is None else str(ports))

    async def machines(self) -> dict[str, Any]:
        """As `Api.machines` says."""
        found: dict[str, Any] = {}
        for name, site in self.sites.items():
            try:
                listing = await site.calls.list()
            except SbrokerError as error:
                found[name] = {"machines": [], "error": str(error)}
                continue
            found[name] = {"machines": [self._machine(entry) for entry in listing.machines if entry.state != "gone"], "error": ""}
        return found

    def _machine(self, entry: Any) -> dict[str, Any]:
        group = self.daemon.broker.state.groups.get(entry.token)
        alive = group is not None and group.state in ALIVE
        return {
            "id": entry.id, "token": entry.token, "index": entry.index, "state": entry.state, "price": entry.price, "created": entry.created,
            "node": group.nodes[entry.index] if group is not None and alive and entry.index < len(group.nodes) else "",
            "owner": "foreign" if not entry.ours else "us" if alive else "stray",
        }  # fmt: skip

    async def reap(self, who: events.Who) -> int:
        found = [each for site in (await self.machines()).values() for each in site["machines"] if each["owner"] == "stray"]
        if found:
            await self.daemon.broker.do(events.Reap(tokens=tuple(each["token"] for each in found), who=who))
            for site in self.sites.values():
                site.look()
        return len(found)

    async def close(self) -> None:
        for site in self.sites.values():
            await site.close()

