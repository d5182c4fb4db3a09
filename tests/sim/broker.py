"""A simulated daemon: it decides, applies, writes, and lets out only what is durable. It may be killed at every effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sbroker.core import effects as fx
from sbroker.core.decide import decide
from sbroker.core.events import Configure, Hello, Reports, Silent, Tick
from sbroker.core.state import State
from sbroker.errors import Refused
from sbroker.model import Report
from sbroker.states import GroupState
from tests.sim import check
from tests.sim.disk import StaleEpoch
from tests.sim.wire import Wire

if TYPE_CHECKING:
    from tests.sim.world import World

OPS: dict[type, str] = {
    fx.Prepare: "prepare",
    fx.Start: "start",
    fx.Revoke: "revoke",
    fx.End: "end",
    fx.Freeze: "freeze",
    fx.Adjust: "adjust",
    fx.Forget: "forget",
    fx.Signal: "signal",
}


class Broker:
    def __init__(self, world: World) -> None:
        self.world, self.clock, self.disk = world, world.clock, world.disk
        self.alive = True
        self.epoch = self.disk.take()
        self.state = State.load(self.disk.load(), world.settings)
        self.wires: dict[str, Wire] = {}
        self.heard: dict[str, float] = {}
        self._wake: float | None = None
        self._pings = 0
        self._calling: set[str] = set()  # nodes of clouds that are called, again and again until their machine is gone
        self.decide(Configure(nodes=world.config_nodes, partitions=world.config_partitions))
        for cloud in world.clouds.values():
            self.sells(cloud)
            cloud.listed(self)
        for group in self.state.groups.values():
            if group.site in world.clouds and not group.answered and group.state in (GroupState.WANTED, GroupState.ASKED):
                world.clouds[group.site].create(self, group)
        for name in world.nodes:
            self.heard[name] = self.clock.now
            self.clock.soon(lambda name=name: self.connect(name), 0.1)
        self.clock.later(1.0, self._beat)

    # --- decisions

    def decide(self, event: Any, durable: Callable[[Any], None] | None = None) -> None:
        """Decide, apply, write; carry out what it orders and call `durable(answer)` when it is on disk. Refused is raised."""
        if not self.alive:
            return
        decision = decide(self.state, event, self.clock.now)
        check.decision(self.world, self.state, event, decision)
        self.state.apply(decision.changes)
        check.state(self.world, self.state)
        if self.world.maybe_crash_broker(self):
            return

        def done() -> None:
            for effect in decision.effects:
                if self.world.maybe_crash_broker(self) or not self.alive:
                    return
                self.carry_out(effect)
            if durable is not None and self.alive:
                durable(decision.answer)

        try:
            self.disk.write(self.epoch, decision.changes, done)
        except StaleEpoch:
            self.stop()

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, fx.Wake):
            if self._wake is None or effect.at < self._wake or self._wake < self.clock.now:
                self._wake = effect.at
                self.clock.at(effect.at, self._tick)
            return
        if isinstance(effect, fx.Mail):
            return
        if isinstance(effect, fx.CreateGroup):
            self.clock.at(effect.at, lambda: self._create(effect.token))
            return
        if isinstance(effect, fx.Terminate):
            self.world.clouds[effect.site].terminate(self, effect)
            return
        check.leaves(self.world, effect)
        wire = self.wires.get(effect.node)
        if wire is None:
            return
        if isinstance(effect, (fx.StageIn, fx.StageOut)):
            self.world.files.carry_out(self, wire, effect)
            return
        header: dict[str, Any] = {"op": OPS[type(effect)], "job": effect.job, "run": effect.run}
        if isinstance(effect, fx.Prepare):
            job = self.state.jobs.get(effect.job)
            if job is None or job.run != effect.run or not job.nodes:
                return
            seconds, code, *rest = (job.spec.comment or "1 0").split()
            header["info"] = {
                "head": job.nodes[0].node,
                "nodes": [share.node for share in job.nodes],
                "seconds": float(seconds),
                "code": int(code),
                "what": rest[0] if rest else "",
                "time_limit": job.time_limit,
                "lease": (self.state.runs[effect.job].lease or 0),
                "kill_wait": 1,
            }
        if isinstance(effect, fx.Start):
            self.world.maybe_freeze(effect.node)
        if isinstance(effect, fx.End):
            header["why"] = effect.why
        wire.send("agent", header)
        if self.clock.chance(0.02):  # orders may be repeated
            wire.send("agent", header)

    def _tick(self) -> None:
        self._wake = None
        self.decide(Tick())

    # --- connections

    def connect(self, name: str) -> None:
        node = self.world.nodes.get(name)
        if node is None:  # its machine is gone, and will not be called again
            self._calling.discard(name)
            return
        if not self.alive or (name in self.wires and self.wires[name].open):
            return
        if node.agent is None or self.world.unreachable(name):
            self.clock.soon(lambda: self.connect(name), 2.0)
            return
        agent = node.agent
        wire = Wire(self.clock, self.receive, agent.receive)
        wire.on_close += [lambda: self._closed(name, wire)]
        self.wires[name] = wire
        self.world.wires.append((name, wire))
        wire.send("agent", {"op": "hello", "store": "store", "epoch": self.epoch})

    def _closed(self, name: str, wire: Wire) -> None:
        if self.alive and self.wires.get(name) is wire:
            del self.wires[name]
            self.heard[name] = self.clock.now
            self.decide(Silent(node=name))
            self.clock.soon(lambda: self.connect(name), 1.0)

    def _beat(self) -> None:
        if not self.alive:
            return
        if self.world.lease:
            self._pings += 1
            for wire in self.wires.values():
                wire.send("agent", {"op": "ping", "n": self._pings})
        for cloud in self.world.clouds.values():
            cloud.listed(self)
            if self.clock.chance(0.1):
                self.sells(cloud)
        for name in list(self.world.nodes):
            silent = 0.0 if name in self.wires else self.clock.now - self.heard.setdefault(name, self.clock.now)
            if silent >= self.world.settings["lost_after"]:
                self.decide(Silent(node=name, seconds=silent))
        self.clock.later(1.0, self._beat)

    def _create(self, token: str) -> None:
        group = self.state.groups.get(token)
        if self.alive and group is not None and group.state in (GroupState.WANTED, GroupState.ASKED):
            self.world.clouds[group.site].create(self, group)

    def sells(self, cloud: Any) -> None:
        self.state.sell(cloud.market())
        self.decide(Tick())

    def reach(self, name: str) -> None:
        if name not in self.wires and name not in self._calling:
            self._calling.add(name)
            self.heard[name] = self.clock.now
            self.connect(name)

    def _vouch(self, wire: Wire, number: int) -> None:
        """As sbroker.daemon.links does it."""
        if not self.world.lease:
            return
        try:
            self.disk.write(self.epoch, [], lambda: wire.send("agent", {"op": "attend", "n": number}) if self.alive else None)
        except StaleEpoch:
            self.stop()

    def receive(self, wire: Wire, header: dict[str, Any]) -> None:
        if not self.alive:
            return
        name = next((name for name, known in self.wires.items() if known is wire), None)
        if name is None:
            return
        op = header["op"]
        if op == "refused":
            check.refused_epoch(self.world, self.epoch)
            self.stop()
        elif op == "hello":
            live = tuple((job, run, kind) for job, run, kind in header["live"])
            self.world.incarnations[name] = header["incarnation"]
            self.decide(Hello(node=name, incarnation=header["incarnation"], boot_id=header["boot_id"], live=live))
            self._vouch(wire, 0)
        elif op == "pong":
            self._vouch(wire, header["n"])
        elif op == "report":
            report = Report(
                node=name,
                incarnation=self.world.incarnations[name],
                **{key: header[key] for key in ("seq", "kind", "job", "run", "time", "data")},
            )
            self.decide(Reports(reports=(report,)), lambda _: wire.send("agent", {"op": "ack", "seq": report.seq}))

    # --- requests

    def ask(self, event: Any, reply: Callable[[Any], None] | None = None) -> None:
        """A client's request; refusals are an answer too."""
        try:
            self.decide(event, reply)
        except Refused as refusal:
            if reply is not None:
                reply(refusal)

    # --- ends

    def crash(self) -> None:
        """SIGKILL: what is not durable is gone, connections break."""
        self.stop()
        self.clock.soon(self.world.start_broker, 3.0)

    def stop(self) -> None:
        if self.alive:
            self.alive = False
            for wire in self.wires.values():
                wire.cut()
