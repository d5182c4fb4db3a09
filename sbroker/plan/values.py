"""What is asked of the plan, and what it answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

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
    regions: tuple[str, ...] = ()  # patterns: eu-*, or a group of countries: eu
    countries: tuple[str, ...] = ()
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
    """One shape of job. `fit` says how many machines of an offer it needs, None where the offer will not do (and why not is no matter of
    size: sizes are in `ask`)."""

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
    avoid: Mapping[tuple[str, str, str, bool], str] = {}  # (site, zone or region, type, spot) → why, of places that refused
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


class Answer(Value, frozen=True, kw_only=True):
    placements: tuple[Placement, ...] = ()  # best first
    dropped: tuple[Dropped, ...] = ()

    @property
    def best(self) -> Placement | None:
        return self.placements[0] if self.placements else None


class Market:
    """What one site sells. Made once from the site's offers, asked often. `at`: when the site said so (seconds since the epoch), 0: a list
    that ships."""

    def __init__(self, site: str, offers: tuple[Offer, ...], *, at: float = 0.0, error: str = "") -> None:
        self.site, self.offers, self.at, self.error = site, offers, at, error

    def whole(self) -> Market:
        """The same as if everything of it could be had now."""
        return Market(self.site, tuple(msgspec.structs.replace(offer, available=None) for offer in self.offers), at=self.at, error=self.error)

    @functools.lru_cache(maxsize=1)  # noqa: B019 (a market lives as long as the answer of its site)
    def words(self) -> tuple[frozenset[str], frozenset[str]]:
        """Features of its machines, and names of their generic resources."""
        words = {word for offer in self.offers for word in (*offer.features, offer.cloud, offer.region, offer.zone, offer.type) if word}
        return frozenset(words | {"spot", "ondemand"}), frozenset(item.name for offer in self.offers for item in offer.gres)
