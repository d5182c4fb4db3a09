"""One thing that can be bought in one place, and what somebody may ask for."""

from __future__ import annotations

from typing import Any

from sbroker.model import Value


class Row(Value, frozen=True, kw_only=True):
    """A machine type in one zone (or region, where zones make no difference), on demand or spot: two rows for both."""

    cloud: str
    region: str
    zone: str = ""
    type: str  # the cloud's own name of it
    cpus: float
    memory: float  # GiB
    accelerator: str = ""  # canonical, see `accelerators`
    count: float = 0  # of accelerators; parts of one are sold, too
    arch: str = "x86_64"
    spot: bool = False
    price: float  # USD an hour
    data: dict[str, Any] = {}  # the cloud's own


class Wanted(Value, frozen=True, kw_only=True):
    """What one machine must have at least, and where it may be. Empty tuples mean any."""

    cpus: float = 0
    memory: float = 0  # GiB
    accelerators: tuple[str, ...] = ()  # canonical names, any of them will do
    count: float = 0  # of accelerators; 0: none are wanted
    exact_count: bool = False
    arch: str = ""
    spot: bool | None = None  # None: either
    clouds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()  # patterns such as us-*
    zones: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    max_price: float | None = None  # USD an hour


class Dropped(Value, frozen=True, kw_only=True):
    """A place that has nothing, and the first demand that left nothing there."""

    cloud: str
    region: str
    why: str
