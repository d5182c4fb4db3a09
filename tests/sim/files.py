"""The submit host's files and their replicas, and the daemon's staging of them: slow, cut with the link, failing now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sbroker.core import effects as fx
from sbroker.core.events import Staged, StagedOut, Who

if TYPE_CHECKING:
    from tests.sim.broker import Broker
    from tests.sim.wire import Wire
    from tests.sim.world import World

Key = tuple[int, int]
ROOT = Who(uid=0, user="root", operator=True)
RETRY = 3.0  # seconds after which a stage-out that failed is tried again


class Files:
    def __init__(self, world: World) -> None:
        self.world = world
        self.apart = {node.name for node in world.config_nodes if node.shared_fs is not True}
        self.there: set[tuple[Key, str]] = set()  # staged in, in truth
        self.back: set[tuple[Key, str]] = set()
        self.refused: set[Key] = set()
        self.broken = {name for name in self.apart if world.trouble and world.clock.chance(0.05)}  # never gives its files back

    def carry_out(self, broker: Broker, wire: Wire, effect: fx.StageIn | fx.StageOut) -> None:
        """As the daemon does: it ends with the link, whose hello orders it again."""
        clock, key = self.world.clock, (effect.job, effect.run)
        fields: dict[str, Any] = {"job": effect.job, "run": effect.run, "node": effect.node}

        def finished() -> None:
            if not broker.alive or not wire.open:
                return
            if isinstance(effect, fx.StageIn):
                job = broker.state.jobs.get(effect.job)
                special = job is None or job.spec.name in ("dying", "stops", "stops-again")  # what becomes of them is told exactly
                if not self.world.calm and not special and clock.chance(0.03):
                    self.refused.add(key)
                    self.world.release(effect.job, ROOT)  # what could not be staged in may be held for that
                    broker.decide(Staged(**fields, error="too large", final=clock.chance(0.5)))
                    return
                self.there.add((key, effect.node))
                broker.decide(Staged(**fields))
            elif effect.node in self.broken or (not self.world.calm and clock.chance(0.1)):
                broker.decide(StagedOut(**fields, error="no space left on device"))
                clock.later(RETRY, lambda: self.carry_out(broker, wire, effect))
            else:
                self.world.takes_back(key, effect.node)
                self.back.add((key, effect.node))
                broker.decide(StagedOut(**fields))

        part = broker.state.parts.get(effect.job, {}).get((effect.run, effect.node))
        if part is not None and (part.state == "LEAVING" or part.stage == "in"):
            clock.later(clock.rng.random() * 2, finished)
