"""One line of a catalogue, and the offer that is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sbroker.machines import Offer
from sbroker.model import Gres, Value

BOOT = 90  # seconds that a machine of a cloud usually takes until its agent answers, where nobody said
_NO_LABEL = re.compile(r"[^a-z0-9]+")


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


def sold(rows: Iterable[Row], boot_seconds: int = BOOT) -> Iterator[Offer]:
    """What can be ordered of a catalogue. Left out: a part of an accelerator, which is no device that a job could be given."""
    gres: dict[tuple[str, float], tuple[Gres, ...]] = {("", 0): ()}
    shapes: dict[str, str] = {}
    for row in rows:
        if row.accelerator and row.count != int(row.count):
            continue
        key = (row.accelerator, row.count)
        devices = gres.get(key)
        if devices is None:
            devices = gres[key] = (Gres(name="gpu", type=row.accelerator, count=int(row.count)),) if row.accelerator and row.count else ()
        what = row.type or row.accelerator
        if what not in shapes:
            shapes[what] = _NO_LABEL.sub("-", what.lower()).strip("-") or "machine"
        # a host type is sold with and without accelerators: n1-standard-8 with two t4
        extra = "+%s:%d" % key if row.accelerator and row.cloud == "gcp" and row.type.startswith("n1-") else ""
        place = row.zone or row.region
        yield Offer(
            name="%s%s/%s%s" % (what, extra, place, "/spot" if row.spot else ""),
            shape=shapes[what] + ("-%s-%d" % (row.accelerator, row.count) if extra else ""),
            cloud=row.cloud,
            region=row.region,
            zone=row.zone,
            type=row.type,
            cpus=max(1, int(row.cpus)),
            memory=int(row.memory * 1024),
            gres=devices,
            arch=row.arch,
            spot=row.spot,
            price=row.price,
            boot_seconds=boot_seconds,
            data=row.data,
        )
