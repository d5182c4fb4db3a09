"""A cloud that is not there: capacity, delays, prices and failures by script, on the clock that it is given.

For demonstrations, and for tests of everything that deals with providers. A site:

    cloud: {provider: fake, max_nodes: 4, boot: 60,
            shapes: [{name: big, cpus: 8, memory: 32G, gres: "gpu:a100:1", price: 3.0, capacity: 2}],
            script: [{at: 600, capacity: {big: 0}}, {at: 900, fail: lost_reply, on: create}, {at: 1200, preempt: big}]}

Its machines are remembered in `file` (a broker's: in its spool), so that they outlive a broker as a real cloud's do; else by the process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from sbroker.config.units import Seconds, Size
from sbroker.errors import AuthRefused, NoCapacity, QuotaExceeded, Unsatisfiable
from sbroker.model import Gres, Value
from sbroker.providers import base
from sbroker.providers.local import parse_gres

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,40}[A-Za-z0-9])?")
NOTICE = 120.0  # seconds between the notice of a preemption and the end


class Shape(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    cpus: int = 1
    memory: Size = Size(1024)
    tmp: Size = Size(0)
    gres: str = ""
    arch: str = "x86_64"
    spot: bool = False
    price: float = 0.0
    capacity: int | None = None  # None: any number


class Happening(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the script says of one moment, `at` seconds after the cloud began."""

    at: Seconds
    capacity: dict[str, int] = {}
    price: dict[str, float] = {}
    preempt: str | None = None  # shape whose machines get a notice, and go two minutes later
    fail: Literal["no_capacity", "quota", "auth", "unknown", "lost_reply"] | None = None
    on: Literal["offers", "create", "list", "terminate"] = "create"
    calls: int = 1  # so many calls fail; lost_reply: it was done, and looks as if it was not


class FakeSettings(base.SiteSettings, frozen=True, kw_only=True):
    """What the cloud has (`shapes`), how slow it is, and what will happen (`script`)."""

    shapes: tuple[Shape, ...] = (Shape(name="small"),)
    max_nodes: int | None = None
    queue: Seconds = Seconds(0)  # seconds a machine is queued
    boot: Seconds = Seconds(0)  # and then takes to run
    list_lag: Seconds = Seconds(0)
    atomic: bool = False
    dies_by: Literal["self", "ttl", "broker"] = "broker"
    script: tuple[Happening, ...] = ()
    file: str | None = None


class Machine(Value, frozen=True, kw_only=True):
    id: str
    index: int
    shape: str
    price: float
    created: float
    ended: float | None = None


class Cloud(Value, frozen=True, kw_only=True):
    """What exists there, whoever asks."""

    began: float
    made: int = 0
    groups: dict[str, tuple[Machine, ...]] = {}
    expiries: dict[str, float] = {}
    failures: dict[str, int] = {}  # number of a happening → calls that failed by it


_clouds: dict[str, Cloud] = {}  # site → cloud without a file


class Provider(base.Provider):
    Settings = FakeSettings
    remote = False

    def __init__(self, settings: FakeSettings, context: base.Context) -> None:
        super().__init__(settings, context)
        self.list_lag, self.atomic, self.dies_by = float(settings.list_lag), settings.atomic, settings.dies_by
        # a broker's own cloud outlives it as a real one does
        self._file = settings.file or (os.path.join(context.spool, context.site + ".cloud") if context.spool and os.access(context.spool, os.W_OK) else None)
        self._shapes = {shape.name: shape for shape in settings.shapes}

    @classmethod
    def check(cls, site: str, settings: FakeSettings) -> None:
        names = [shape.name for shape in settings.shapes]
        if len(set(names)) != len(names):
            raise ValueError("shapes: two of them have the same name")
        if settings.max_nodes is not None and settings.max_nodes < 0:
            raise ValueError("max_nodes: %d is no number of machines" % settings.max_nodes)
        for shape in settings.shapes:
            if not _LABEL.fullmatch(shape.name):
                raise ValueError("shapes: %r cannot be the name of a shape: letters, digits and dashes, for it goes into names of nodes" % shape.name)
            if shape.cpus < 1 or shape.memory < 1 or shape.tmp < 0 or shape.price < 0 or (shape.capacity or 0) < 0:
                raise ValueError("shapes: %s has less than nothing of something: cpus and memory are at least 1, tmp, price and capacity at least 0" % shape.name)
            try:
                parse_gres(shape.gres)
            except ValueError as error:
                raise ValueError("shapes: %s" % error) from error
        for event in settings.script:
            for name in (*event.capacity, *event.price, *([event.preempt] if event.preempt else ())):
                if name not in names:
                    raise ValueError("script: there is no shape %s; there are: %s" % (name, ", ".join(sorted(names))))

    def offers(self, ask: base.Ask) -> Iterable[base.Offer]:
        cloud = self._load()
        self._fail("offers", cloud)
        for shape in self.settings.shapes:
            gres = parse_gres(shape.gres)
            if (
                shape.cpus >= ask.cpus
                and shape.memory >= ask.memory
                and shape.tmp >= ask.tmp
                and ask.arch in ("", shape.arch)
                and ask.spot in (None, shape.spot)
                and all(_has(gres, wanted) for wanted in ask.gres)
            ):
                yield base.Offer(
                    name=shape.name,
                    cpus=shape.cpus,
                    memory=int(shape.memory),
                    tmp=int(shape.tmp),
                    gres=gres,
                    arch=shape.arch,
                    spot=shape.spot,
                    price=self._price(shape, cloud),
                    available=self._available(shape, cloud),
                    boot_seconds=int(self.settings.queue + self.settings.boot),
                    features=self.settings.features,
                )

    def create(self, order: base.Order) -> None:
        cloud = self._load()
        lost = self._fail("create", cloud)
        if order.token not in cloud.groups:
            cloud = self._make(order, self._load())
            self._save(cloud)
        if lost:
            raise base.ProviderError("the answer of the site %s was lost" % self.context.site)

    def _make(self, order: base.Order, cloud: Cloud) -> Cloud:
        shape = self._shapes.get(order.offer.name)
        if shape is None:
            raise Unsatisfiable("the site %s has no machines %s" % (self.context.site, order.offer.name))
        live = sum(1 for machine in self._machines(cloud) if machine.ended is None)
        least = order.count if self.atomic else order.min
        if self.settings.max_nodes is not None and live + least > self.settings.max_nodes:
            raise QuotaExceeded("the site %s may have %d machines" % (self.context.site, self.settings.max_nodes))
        room = [order.count]
        if self.settings.max_nodes is not None:
            room.append(self.settings.max_nodes - live)
        available = self._available(shape, cloud)
        if available is not None:
            room.append(available)
        count = min(room)
        if count < least:
            raise NoCapacity("the site %s has %s machines %s now" % (self.context.site, available, shape.name))
        now, price = self.clock.now(), self._price(shape, cloud)
        machines = tuple(
            Machine(id="i-%06d" % (cloud.made + index + 1), index=index, shape=shape.name, price=price, created=now)
            for index in range(count)
        )
        expiries = (
            {**cloud.expiries, order.token: order.expiry} if order.expiry is not None and self.dies_by != "broker" else cloud.expiries
        )
        return msgspec.structs.replace(cloud, made=cloud.made + count, groups={**cloud.groups, order.token: machines}, expiries=expiries)

    def list(self) -> base.Listing:
        cloud, now = self._load(), self.clock.now()
        lost = self._fail("list", cloud)
        if lost:
            raise base.ProviderError("the answer of the site %s was lost" % self.context.site)
        entries, groups = [], []
        for token, machines in cloud.groups.items():
            seen = [machine for machine in machines if now >= machine.created + self.list_lag]
            shown = [(self._entry(token, machine, now, cloud), machine.ended) for machine in seen]
            # What has ended is shown for a while, and then no more.
            entries += [entry for entry, ended in shown if ended is None or now < ended + max(self.list_lag, 1.0)]
            if shown:
                states = {entry.state for entry, _ in shown}
                groups.append(
                    base.Group(token=token, state="gone" if states == {"gone"} else "queued" if states == {"queued"} else "active")
                )
        return base.Listing(machines=tuple(entries), groups=tuple(groups))

    def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        cloud, now = self._load(), self.clock.now()
        lost = self._fail("terminate", cloud)
        cloud = self._load()
        if token in cloud.groups:
            ended = tuple(
                msgspec.structs.replace(machine, ended=now)
                if machine.ended is None and (self.atomic or ids is None or machine.id in ids)
                else machine
                for machine in cloud.groups[token]
            )
            self._save(msgspec.structs.replace(cloud, groups={**cloud.groups, token: ended}))
        if lost:
            raise base.ProviderError("the answer of the site %s was lost" % self.context.site)

    def _entry(self, token: str, machine: Machine, now: float, cloud: Cloud) -> base.Entry:
        age, reason = now - machine.created, ""
        state: base.MachineState = "running"
        notice = self._notice(machine, cloud)
        if machine.ended is not None:
            state = "gone"
        elif notice is not None and now >= notice:
            state, reason = "stopping", "preempted"
        elif age < self.settings.queue:
            state = "queued"
        elif age < self.settings.queue + self.settings.boot:
            state = "starting"
        endpoint = base.Endpoint(transport="local", hostname=machine.id, directory=os.path.join(self.context.spool, "%s-%s" % (self.context.site, machine.id)))
        reached = state in ("running", "stopping")
        return base.Entry(
            token=token,
            index=machine.index,
            id=machine.id,
            state=state,
            reason=reason,
            offer=machine.shape,
            price=machine.price,
            created=machine.created,
            addresses=("%s.%s.invalid" % (machine.id, self.context.site),) if reached else (),
            endpoint=endpoint if reached else None,
        )

    def _notice(self, machine: Machine, cloud: Cloud) -> float | None:
        """When the machine is told that it will go."""
        times = (cloud.began + event.at for event in self.settings.script if event.preempt == machine.shape)
        return next((time for time in times if time >= machine.created), None)

    def _price(self, shape: Shape, cloud: Cloud) -> float:
        said = [event.price[shape.name] for event in self._past(cloud) if shape.name in event.price]
        return said[-1] if said else shape.price

    def _available(self, shape: Shape, cloud: Cloud) -> int | None:
        said = [event.capacity[shape.name] for event in self._past(cloud) if shape.name in event.capacity]
        total = said[-1] if said else shape.capacity
        used = sum(1 for machine in self._machines(cloud) if machine.shape == shape.name and machine.ended is None)
        return None if total is None else max(0, total - used)

    def _past(self, cloud: Cloud) -> tuple[Happening, ...]:
        past = (event for event in self.settings.script if cloud.began + event.at <= self.clock.now())
        return tuple(sorted(past, key=lambda event: event.at))

    def _fail(self, call: str, cloud: Cloud) -> bool:
        """Raise what the script has for this call; True if the call shall be done and its answer lost."""
        for number, event in enumerate(self.settings.script):
            key = str(number)
            if event.fail is None or event.on != call or event not in self._past(cloud) or cloud.failures.get(key, 0) >= event.calls:
                continue
            self._save(msgspec.structs.replace(cloud, failures={**cloud.failures, key: cloud.failures.get(key, 0) + 1}))
            if event.fail == "lost_reply":
                return True
            raise {"no_capacity": NoCapacity, "quota": QuotaExceeded, "auth": AuthRefused, "unknown": base.ProviderError}[event.fail](
                "the site %s says so by its script" % self.context.site
            )
        return False

    @staticmethod
    def _machines(cloud: Cloud) -> Iterable[Machine]:
        return (machine for machines in cloud.groups.values() for machine in machines)

    def _load(self) -> Cloud:
        """The cloud as it is now: what the clock has ended is ended."""
        if self._file is None:
            cloud = _clouds.get(self.context.site)
        else:
            path = Path(self._file)
            cloud = msgspec.json.decode(path.read_bytes(), type=Cloud) if path.exists() else None
        if cloud is None:
            cloud = Cloud(began=self.clock.now())
            self._save(cloud)
        now, groups = self.clock.now(), {}
        for token, machines in cloud.groups.items():
            groups[token] = tuple(self._aged(token, machine, now, cloud) for machine in machines)
        return msgspec.structs.replace(cloud, groups=groups)

    def _aged(self, token: str, machine: Machine, now: float, cloud: Cloud) -> Machine:
        notice = self._notice(machine, cloud)
        ends = [
            time for time in (cloud.expiries.get(token), None if notice is None else notice + NOTICE) if time is not None and time <= now
        ]
        return msgspec.structs.replace(machine, ended=min(ends)) if ends and machine.ended is None else machine

    def _save(self, cloud: Cloud) -> None:
        if self._file is None:
            _clouds[self.context.site] = cloud
            return
        partial = self._file + ".part"
        Path(partial).write_bytes(msgspec.json.encode(cloud))
        os.replace(partial, self._file)


def _has(gres: tuple[Gres, ...], wanted: Gres) -> bool:
    return sum(one.count for one in gres if one.name == wanted.name and wanted.type in (None, one.type)) >= wanted.count
