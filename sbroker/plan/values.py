"""What is asked of the plan, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from sbroker.catalog.egress import Peering
from sbroker.machines import Ask, Offer
from sbroker.model import Value


class Policy(Value, frozen=True, kw_only=True):
    """How a partition chooses. "weights" takes what costs least in USD when an hour of waiting is worth `hour_worth`."""

    kind: Literal["cheapest", "soonest", "onprem", "weights"] = "cheapest"
    burst_after: int = 0  # seconds of estimated waiting for the partition's own nodes before machines are bought; "onprem"
    hour_worth: float = 0.0  # USD, "weights"


class Rule(Value, frozen=True, kw_only=True):
    """One entry of `rules`: what it is about (`data`, `path`: patterns of what a job reads; both None: every job), and what is left then.
    Rules only narrow. Empty tuples and None leave all."""

    data: str | None = None
    path: str | None = None
    partitions: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()  # patterns (eu-*), countries (de) and groups of countries (eu); a site without regions may say such a word as a feature
    countries: tuple[str, ...] = ()  # de, fr, … and groups of them
    spot: bool | None = None
    max_price: float | None = None  # USD an hour, of all machines of a job
    max_cost: float | None = None  # USD, of a job


class Source(Value, frozen=True, kw_only=True):
    """Data that the job reads where it runs: where that lies now, and how much."""

    name: str  # path or URL, for sentences and rules
    site: str = ""
    cloud: str = ""
    region: str = ""
    zone: str = ""
    gigabytes: float = 0.0


class Question(Value, frozen=True, kw_only=True):
    """One shape of job. `fit` says how many machines of an offer it needs, None where no number of them will do. It looks at nothing of the
    offer but its size (cpus, memory, tmp, gres, arch), so it is asked once for all offers of a size; it never says less than `ask.count`."""

    ask: Ask  # what each machine must have at least; `spot` None: either
    fit: Callable[[Offer], int | None]
    seconds: int | None  # how long it may run; None: without a limit
    partition: str = ""
    account: str = ""
    policy: Policy = Policy()
    rules: tuple[Rule, ...] = ()
    sites: tuple[str, ...] = ()  # of the partition, in order
    types: tuple[str, ...] = ()  # accelerators that an untyped gpu means: the partition's gpu_types
    constraint: str | None = None  # as typed
    paths: tuple[str, ...] = ()  # that the job is bound to: its submit directory, `#SBROKER data=`
    sources: tuple[Source, ...] = ()
    total: Ask | None = None  # CPUs and gres that all its machines must have together, where that decides their number
    moved: Mapping[str, float] = {}  # cloud → GB that left it this month
    peering: tuple[Peering, ...] = ()  # agreements that make moving data cheaper
    deadline: float | None = None  # when it must have ended, seconds since the epoch
    avoid: Mapping[tuple[str, str, str, bool], str] = {}  # (site, zone or region, type, spot) → why, of places that refused; "" for place and type: all
    room: Mapping[str, int] = {}  # site → machines that it may still have
    max_price: float | None = None  # USD an hour
    now: float = 0.0


class Placement(Value, frozen=True, kw_only=True):
    """Machines that would do, and what they mean."""

    site: str
    offer: Offer
    count: int
    rate: float  # USD an hour, of all of them
    cost: float | None  # USD for `seconds`, boot and egress in it; None: without a limit
    egress: float  # USD
    start: float  # seconds from now until they are there
    why: str = ""  # a sentence: why this rank


class Dropped(Value, frozen=True, kw_only=True):
    """A place that will not do, with a sentence."""

    site: str
    place: str  # region, zone or type; "" the whole site
    why: str


class Answer:
    """Placements, best first; and what was dropped, which is worked out when somebody asks for it."""

    def __init__(self, placements: tuple[Placement, ...] = (), dropped: tuple[Dropped, ...] | Callable[[], tuple[Dropped, ...]] = (), considered: int = 0) -> None:
        self.placements = placements
        self.considered = considered  # offers that met all demands on one machine
        self._dropped = dropped

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Every place without a placement that will not do, with its sentence."""
        if callable(self._dropped):
            self._dropped = self._dropped()
        return self._dropped

    @property
    def best(self) -> Placement | None:
        return self.placements[0] if self.placements else None
