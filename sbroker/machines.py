"""What brokers and providers tell each other: what is looked for, what could be had, what is ordered, and what there is.

Values of the provider contract (`sbroker.providers.base`) that the core decides on, too.
"""

from __future__ import annotations

from typing import Any, Literal

from sbroker.model import Gres, Value


class Ask(Value, frozen=True, kw_only=True):
    """The machines that somebody looks for: what one of them must have at least."""

    count: int = 1
    cpus: int = 1
    memory: int = 0  # MiB
    tmp: int = 0  # MiB
    gres: tuple[Gres, ...] = ()
    arch: str = ""  # "": any
    spot: bool | None = None  # None: either


class Offer(Value, frozen=True, kw_only=True):
    """One kind of machine that could be had."""

    name: str  # unique within the site
    shape: str = ""  # what goes into node names, a host label; "": the name
    cloud: str = ""
    region: str = ""
    zone: str = ""  # "": the cloud chooses
    type: str = ""  # the cloud's own name of the machine type
    cpus: int
    memory: int
    tmp: int = 0
    gres: tuple[Gres, ...] = ()
    arch: str = ""
    spot: bool = False
    price: float = 0.0  # USD an hour and machine
    available: int | None = None  # how many now; None: unknown
    boot_seconds: int = 0  # usual time until the agent answers
    features: tuple[str, ...] = ()
    data: dict[str, Any] = {}  # the provider's own: region, zone, image, …


class Order(Value, frozen=True, kw_only=True):
    """A group of machines to make: `count`, or at least `min` of them."""

    token: str
    offer: Offer
    count: int = 1
    min: int = 1
    image: str | None = None
    boot: str = ""  # boot data: a script
    expiry: float | None = None  # when they must be gone at the latest, seconds since the epoch


class Endpoint(Value, frozen=True, kw_only=True):
    """How to reach the agent of one machine; `transport` names the file in sbroker/transports that can."""

    transport: str
    node: str = ""  # name that the agent bears
    hostname: str = ""  # what its tasks see as host name, "" to leave it as it is
    directory: str = ""  # of the agent
    address: str = ""
    port: int = 0
    ports: str = ""  # where the agent may take calls of other nodes' supervisors: LOW-HIGH, "0" any, "" nowhere
    user: str = ""
    data: dict[str, Any] = {}  # the transport's own


MachineState = Literal["queued", "starting", "running", "stopping", "gone"]


class Entry(Value, frozen=True, kw_only=True):
    """One machine as the provider sees it now. `token` is "" for machines that nobody ordered: those of a fixed site."""

    token: str
    index: int
    id: str = ""
    state: MachineState = "running"
    reason: str = ""
    addresses: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    offer: str = ""
    price: float = 0.0
    created: float = 0.0
    ours: bool = True  # False: has our tag's shape but another store's id; reported, never terminated


class Group(Value, frozen=True, kw_only=True):
    """A group as a whole, also while no machine of it exists."""

    token: str
    state: Literal["queued", "active", "refused", "gone"]
    reason: str = ""


class Listing(Value, frozen=True, kw_only=True):
    machines: tuple[Entry, ...] = ()
    groups: tuple[Group, ...] = ()
