"""Catalogues in the CSV format that SkyPilot's fetchers write, one file a cloud, columns by header.

A row with a price and a spot price becomes two. GCP's accelerators that are attached to a machine type are rows of their own
(without an instance type: any n1, or a TPU; with one that has no accelerator: its own), whose price is added to the host's. Rows that
cannot be read are counted with the reason, not guessed.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from sbroker.catalog.accelerators import canonical
from sbroker.catalog.offers import Row
from sbroker.errors import SbrokerError

COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region")

# a TPU slice is named by its size: chips of the generations that have one core each, cores (two a chip) of the others
_SLICE = re.compile(r"(tpu-v[0-9]+[a-z]*)-([0-9]+)")
CHIPS = ("tpu-v5e", "tpu-v6e", "tpu7x")


class NotACatalog(SbrokerError):
    """The file is not a catalogue in the CSV format that is read here."""


class Import:
    """Rows of one file, and what was left out and why."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.left_out: Counter[str] = Counter()


def read(path: Path, cloud: str) -> Import:
    """A file, gzipped or not. NotACatalog."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8", "replace")
    return parse(io.StringIO(text), cloud)


def parse(lines: Iterable[str], cloud: str) -> Import:
    reader = csv.DictReader(lines)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise NotACatalog("it has no column %s: a catalogue has %s" % (", ".join(missing), ", ".join(COLUMNS)))
    made = Import()
    attached: list[Row] = []
    for line in reader:
        row = _row(line, cloud, made)
        if row is None:
            continue
        (attached if not line["InstanceType"].strip() else made.rows).append(row)
    made.rows = _joined(made.rows, attached) if cloud == "gcp" else made.rows + attached
    return made


def _row(line: dict[str, str], cloud: str, made: Import) -> Row | None:
    """The on-demand row; its spot price, if any, waits in `data`."""
    name, accelerator = (line["InstanceType"] or "").strip(), (line["AcceleratorName"] or "").strip()
    piece = _SLICE.fullmatch(accelerator)
    model = canonical(piece[1] if piece else accelerator) if accelerator else ""
    if accelerator and model is None:
        made.left_out["no accelerator is called %s" % accelerator] += 1
        return None
    try:
        price, spot = _number(line["Price"]), _number(line["SpotPrice"])
        cpus, memory, count = _number(line["vCPUs"]), _number(line["MemoryGiB"]), _number(line["AcceleratorCount"])
    except ValueError as error:
        made.left_out[str(error)] += 1
        return None
    if piece and model:
        name, count = name or accelerator, float(piece[2]) / (1 if model in CHIPS else 2)
    if price is None and spot is None:
        made.left_out["no price"] += 1
        return None
    data = {} if spot is None else {"spot": spot}
    arch = (line.get("Arch") or "").strip() or "x86_64"
    return Row(cloud=cloud, region=(line["Region"] or "").strip(), zone=(line.get("AvailabilityZone") or "").strip(), type=name, cpus=cpus or 0,
               memory=memory or 0, accelerator=model or "", count=count or 0, arch={"arm64": "aarch64"}.get(arch, arch),
               price=price if price is not None else -1.0, data=data)  # fmt: skip


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    if not text:
        return None
    number = float(text)
    if not 0 <= number < 1e9:
        raise ValueError("the number %s cannot be" % text)
    return number


def markets(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row on demand and, where there is a spot price below that, on the spot market."""
    for row in rows:
        spot = row.data.get("spot")
        data = {key: value for key, value in row.data.items() if key != "spot"}
        if row.price >= 0:
            yield replace(row, data=data)
        if spot and (row.price < 0 or spot < row.price):  # the same price is no market, and 0 is a gap in somebody's table
            yield replace(row, spot=True, price=spot, data=data)


def _joined(hosts: list[Row], attached: list[Row]) -> list[Row]:
    """GCP: machine types with the accelerators that are sold for them, TPU slices as they are."""
    bare = {(row.type, row.zone): row for row in hosts if not row.accelerator}
    own = [row for row in hosts if row.accelerator]
    found = [_sum(bare[key], row) if (key := (row.type, row.zone)) in bare else row for row in own]
    used = {(row.type, row.zone) for row in own}
    # a host that costs nothing is one whose accelerator has no row: it cannot be had for nothing
    found += [row for key, row in bare.items() if key not in used and row.price > 0]
    found += [row for row in attached if row.type]
    any_host: dict[str, list[Row]] = {}
    for row in bare.values():
        if row.type.startswith("n1-"):
            any_host.setdefault(row.zone, []).append(row)
    for row in attached:
        if not row.type:
            found.extend(_sum(host, row) for host in any_host.get(row.zone, ()))
    return found


def _sum(host: Row, accelerator: Row) -> Row:
    data = {"spot": host.data["spot"] + accelerator.data["spot"]} if "spot" in host.data and "spot" in accelerator.data else {}
    return replace(host, accelerator=accelerator.accelerator, count=accelerator.count, price=host.price + accelerator.price, data=data)
