"""One line of a catalogue, and the offer that is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sbroker.machines import Offer
from sbroker.model import Gres, Value

BOOT = 90  # seconds that a machine of a cloud usually takes until its agent answers, where nobody said
# of TPUs: chips of a host, and CPUs and GiB of a chip's share of it; catalogues do not say how big the hosts are
_TPU_HOSTS = {"tpu-v2": (4, 24, 83), "tpu-v3": (4, 24, 83), "tpu-v4": (4, 60, 100), "tpu-v5e": (8, 28, 48), "tpu-v5p": (4, 52, 112), "tpu-v6e": (8, 22, 176), "tpu7x": (4, 56, 240)}
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
    """What can be ordered of a catalogue. Left out: a part of an accelerator, which is no device that a job could be given, and slices of TPUs
    over several hosts, which are no one machine."""
    gres: dict[tuple[str, float], tuple[Gres, ...]] = {("", 0): ()}
    shapes: dict[str, str] = {}
    for row in rows:
        if row.accelerator and row.count != int(row.count):
            continue
        cpus, memory = row.cpus, row.memory
        if not cpus and row.accelerator in _TPU_HOSTS:
            most, each, gib = _TPU_HOSTS[row.accelerator]
            if row.count > most:
                continue
            cpus, memory = each * row.count, gib * row.count
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
            cpus=max(1, int(cpus)),
            memory=int(memory * 1024),
            gres=devices,
            arch=row.arch,
            spot=row.spot,
            price=row.price,
            boot_seconds=boot_seconds,
            data=row.data,
        )
