"""Simulated clouds: the fake provider on the simulated clock, behind calls that fail before and after the effect, late, twice, or not at all;
and the machines' processes, which live and die with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import convert

from sbroker.core import effects as fx
from sbroker.core.buy import ALIVE
from sbroker.core.events import Created, Listed
from sbroker.errors import NoCapacity, QuotaExceeded, SbrokerError
from sbroker.machines import Ask, Offer, Order
from sbroker.model import Group
from sbroker.plan import Market
from sbroker.providers import base, fake
from tests.sim import check
from tests.sim.node import SimNode

if TYPE_CHECKING:
    from tests.sim.broker import Broker
    from tests.sim.world import World

CALLS = {NoCapacity: "no_capacity", QuotaExceeded: "quota"}


class ProviderClock:
    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        return self._world.clock.now

    boottime = now


class Cloud:
    """One site."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.clock = world, name, world.clock
        rng = world.clock.rng
        shapes = (
            fake.Shape(name="small", cpus=2, memory=fake.Size(2000), price=0.1 + rng.random(), capacity=rng.choice([None, 1, 3])),
            fake.Shape(name="big", cpus=6, memory=fake.Size(6000), price=1.0 + rng.random(), capacity=rng.choice([None, 2])),
        )
        script = []
        if world.trouble:
            script = [fake.Happening(at=fake.Seconds(rng.randrange(5, 50)), preempt=rng.choice(["small", "big"])) for _ in range(rng.randrange(3))]
            script += [fake.Happening(at=fake.Seconds(rng.randrange(1, 40)), capacity={"small": rng.randrange(2)})]
        self.settings = fake.FakeSettings(
            provider="fake", shapes=shapes, max_nodes=rng.choice([2, 4, 8]), queue=fake.Seconds(rng.randrange(3)), boot=fake.Seconds(rng.randrange(8)),
            list_lag=fake.Seconds(rng.choice([0, 0, 4])), script=tuple(script),
        )  # fmt: skip
        fake._clouds.pop(name, None)
        self.provider = fake.Provider(self.settings, base.Context(site=name, store_id="store", clock=ProviderClock(world)))
        self.machines: dict[str, SimNode] = {}  # id → what runs on it
        self.created: set[str] = set()  # tokens that were made there
        self._live()

    def facts(self) -> dict[str, Any]:
        return {"max_nodes": self.settings.max_nodes, "list_lag": float(self.settings.list_lag), "boot_timeout": 60, "node": {"shared_fs": True}}

    def market(self) -> Market:
        return Market(self.name, tuple(self.provider.offers(Ask())), at=self.clock.now)

    # -- calls of a broker

    def create(self, broker: Broker, group: Group) -> None:
        order = Order(token=group.token, offer=convert(group.offer, Offer), count=group.count, min=group.min)
        self._call(broker, lambda: self.provider.create(order), lambda kind, error: Created(token=group.token, kind=kind, error=error))  # type: ignore[arg-type]

    def terminate(self, broker: Broker, effect: fx.Terminate) -> None:
        self._call(broker, lambda: self.provider.terminate(effect.token, effect.ids or None), None)

    def _call(self, broker: Broker, does: Any, event: Any) -> None:
        """Once, late, or never; and an answer, or none."""
        trouble, clock = not self.world.calm, self.clock

        def done() -> None:
            kind, error = "", ""
            if trouble and clock.chance(0.1):  # nothing reaches the cloud
                kind, error = "unknown", "the connection broke"
            else:
                try:
                    does()
                except SbrokerError as failure:
                    kind, error = CALLS.get(type(failure), "unknown"), str(failure)
                if trouble and clock.chance(0.15):  # it did, and nobody heard
                    kind, error = "unknown", "no answer within a second"
                if trouble and clock.chance(0.1):
                    clock.later(clock.rng.random() * 20, lambda: _quietly(does))  # once more, much later
            if event is not None and broker.alive:
                broker.decide(event(kind, error))
                broker.sells(self)

        clock.soon(done, 3.0 if clock.chance(0.1) else 0.5)

    def listed(self, broker: Broker) -> None:
        """Ask what there is; answers come late now and then, or not at all."""
        if not self.world.calm and self.clock.chance(0.1):
            return
        asked, listing = self.clock.now, self.provider.list()
        slow = 6.0 if not self.world.calm and self.clock.chance(0.1) else 0.3

        def answer() -> None:
            if broker.alive:
                broker.decide(Listed(site=self.name, listing=listing, asked=asked), lambda _: self.reach(broker, listing))

        self.clock.soon(answer, slow)

    def reach(self, broker: Broker, listing: base.Listing) -> None:
        """As sbroker.daemon.fleet does it: a connection to each machine that runs and is some node's."""
        for entry in listing.machines:
            group = broker.state.groups.get(entry.token)
            if group is None or entry.endpoint is None or entry.index >= len(group.nodes):
                continue
            node = broker.state.nodes.get(group.nodes[entry.index])
            if node is not None and node.token == entry.token and self._runs(entry.id):
                if entry.id not in self.machines:
                    made = self.machines[entry.id] = SimNode(self.world, self.clock, node.name, entry.id)
                    old, self.world.nodes[node.name] = self.world.nodes.get(node.name), made
                    check.require(old is None or old.dead, "two machines are one node", node.name)
                broker.reach(node.name)

    # -- machines

    def _runs(self, machine: str) -> bool:
        return any(each.id == machine and each.ended is None for group in self.provider._load().groups.values() for each in group)

    def _live(self) -> None:
        """What runs on a machine that has ended is dead."""
        for key, node in list(self.machines.items()):
            if not node.dead and not self._runs(key):
                node.die()
                if self.world.nodes.get(node.name) is node:
                    del self.world.nodes[node.name]
        self.clock.later(0.25, self._live)

    def left(self) -> list[str]:
        cloud = self.provider._load()
        return [each.id for group in cloud.groups.values() for each in group if each.ended is None]


def _quietly(does: Any) -> None:
    try:
        does()
    except SbrokerError:
        pass


def idle(broker: Broker) -> bool:
    """No group is on its way."""
    return not any(group.state in ALIVE for group in broker.state.groups.values())


