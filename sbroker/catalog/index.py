"""The catalogue as bit masks: a question over a hundred thousand rows is a few ANDs of big integers.

Rows stand in order of price, so the lowest bit of what is left is the cheapest row. A mask for every value of a column that is asked
for equality (cloud, region, accelerator …), and for every distinct number of a column that is asked for "at least", of all rows with
that much or more.
"""

from __future__ import annotations

import bisect
import fnmatch
from collections.abc import Callable, Iterable, Iterator

from sbroker.catalog.offers import Dropped, Row, Wanted


class AtLeast:
    """Masks of the rows that have at least a number, by the distinct numbers of a column."""

    def __init__(self, values: list[float]) -> None:
        self.numbers = sorted(set(values))
        at = {number: index for index, number in enumerate(self.numbers)}
        single = _masks((at[value] for value in values), len(values))
        self.masks, mask = [0] * len(self.numbers), 0
        for index in range(len(self.numbers) - 1, -1, -1):
            mask |= single.get(index, 0)
            self.masks[index] = mask

    def __call__(self, least: float) -> int:
        index = bisect.bisect_left(self.numbers, least)
        return self.masks[index] if index < len(self.masks) else 0


def _masks(values: Iterable, size: int) -> dict:
    """Value → mask of the rows that have it."""
    found: dict = {}
    for index, value in enumerate(values):
        bits = found.get(value)
        if bits is None:
            bits = found[value] = bytearray(size // 8 + 1)
        bits[index >> 3] |= 1 << (index & 7)
    return {value: int.from_bytes(bits, "little") for value, bits in found.items()}


class Catalog:
    """All that can be bought. Never changed: a refresh makes another one."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = sorted(rows, key=lambda row: row.price)
        size = len(self.rows)
        self.all = (1 << size) - 1
        self.prices = [row.price for row in self.rows]
        self.by = {name: _masks((getattr(row, name) for row in self.rows), size) for name in ("cloud", "region", "zone", "type", "arch", "accelerator", "spot")}
        self.places = _masks(((row.cloud, row.region) for row in self.rows), size)
        self.cpus, self.memory = AtLeast([row.cpus for row in self.rows]), AtLeast([row.memory for row in self.rows])
        self.count = AtLeast([row.count for row in self.rows])
        self.counts = _masks((row.count for row in self.rows), size)

    def __len__(self) -> int:
        return len(self.rows)

    def demands(self, wanted: Wanted) -> Iterator[tuple[str, int]]:
        """Each demand as a sentence about a place without it, and the mask of the rows that meet it."""
        if wanted.clouds:
            yield "only %s may be used" % ", ".join(wanted.clouds), self._any("cloud", wanted.clouds)
        if wanted.regions:
            yield "it is not among the regions %s" % ", ".join(wanted.regions), self._any("region", wanted.regions)
        if wanted.zones:
            yield "no zone of it is among %s" % ", ".join(wanted.zones), self._any("zone", wanted.zones)
        if wanted.types:
            yield "it has no %s" % " or ".join(wanted.types), self._any("type", wanted.types)
        if wanted.accelerators:
            yield "it has no %s" % " or ".join(wanted.accelerators), self._any("accelerator", wanted.accelerators)
        if wanted.count:
            mask = self.counts.get(wanted.count, 0) if wanted.exact_count else self.count(wanted.count)
            yield "no machine there has %g accelerators of that kind" % wanted.count, mask
        elif not wanted.accelerators:
            yield "it has machines with accelerators only", self.by["accelerator"].get("", 0)
        if wanted.arch:
            yield "it has none of the architecture %s" % wanted.arch, self.by["arch"].get(wanted.arch, 0)
        if wanted.cpus:
            yield "no such machine there has %g CPUs" % wanted.cpus, self.cpus(wanted.cpus)
        if wanted.memory:
            yield "no such machine there has %g GiB of memory" % wanted.memory, self.memory(wanted.memory)
        if wanted.spot is not None:
            yield "it has none %s" % ("on the spot market" if wanted.spot else "on demand"), self.by["spot"].get(wanted.spot, 0)
        if wanted.max_price is not None:
            below = bisect.bisect_right(self.prices, wanted.max_price)
            yield "the cheapest costs more than %.2f USD an hour" % wanted.max_price, (1 << below) - 1

    def mask(self, wanted: Wanted) -> int:
        """Of all rows that meet every demand."""
        mask = self.all
        for _, met in self.demands(wanted):
            mask &= met
        return mask

    def find(self, wanted: Wanted, most: int = 10, keep: Callable[[Row], bool] | None = None) -> list[Row]:
        """The `most` cheapest rows, cheapest first; `keep` narrows further, row by row."""
        found: list[Row] = []
        mask = self.mask(wanted)
        while mask and len(found) < most:
            lowest = mask & -mask
            row = self.rows[lowest.bit_length() - 1]
            mask ^= lowest
            if keep is None or keep(row):
                found.append(row)
        return found

    def cheapest_by_place(self, wanted: Wanted) -> dict[tuple[str, str], Row]:
        """(cloud, region) → its cheapest row that meets every demand."""
        mask, found = self.mask(wanted), {}
        for place, rows in self.places.items():
            here = mask & rows
            if here:
                found[place] = self.rows[(here & -here).bit_length() - 1]
        return found

    def dropped(self, wanted: Wanted) -> list[Dropped]:
        """Every place that has nothing, with the first demand that left nothing there."""
        left, gone = dict(self.places), []
        for why, met in self.demands(wanted):
            for place, mask in list(left.items()):
                rest = mask & met
                if rest:
                    left[place] = rest
                else:
                    del left[place]
                    gone.append(Dropped(cloud=place[0], region=place[1], why=why))
        return gone

    def why_nothing(self, wanted: Wanted) -> str:
        """The demand that leaves nothing anywhere: "" if something is left."""
        if not self.rows:
            return "the catalogue is empty"
        mask = self.all
        for why, met in self.demands(wanted):
            if not mask & met:
                return why
            mask &= met
        return ""

    def _any(self, column: str, wanted: tuple[str, ...]) -> int:
        """Rows with one of the values; patterns (``us-*``) name all that they match."""
        masks, found = self.by[column], 0
        for value in wanted:
            if any(letter in value for letter in "*?["):
                for name in fnmatch.filter(masks, value):
                    found |= masks[name]
            else:
                found |= masks.get(value, 0)
        return found
