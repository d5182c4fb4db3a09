"""Offers as bit masks: a question over a hundred thousand of them is a few ANDs of big integers.

Offers stand in order of price, so the lowest bit of what is left is the cheapest. A column knows the positions of each of its values, and
makes the mask of a value when that is asked for the first time. Never changed: a refresh makes another index.
"""

from __future__ import annotations

import bisect
import fnmatch
import functools
from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from functools import cached_property
from typing import Any

from sbroker.catalog import places
from sbroker.catalog.accelerators import UnknownAccelerator, canonical, resolve
from sbroker.features import Expr
from sbroker.machines import Offer
from sbroker.model import Gres

ANY = "*"  # instead of a model: all devices of that name together


class Column:
    """The offers that have a value, as masks."""

    def __init__(self, values: Iterable[Hashable], size: int) -> None:
        self._size, self._masks = size, dict[Any, int]()
        self.positions: dict[Any, array] = {}
        found = self.positions
        for index, value in enumerate(values):
            try:
                found[value].append(index)
            except KeyError:
                found[value] = array("I", (index,))

    def __getitem__(self, value: Any) -> int:
        """The mask of a value, 0 if nothing has it."""
        mask = self._masks.get(value)
        if mask is None:
            positions = self.positions.get(value)
            if positions is None:
                return 0
            mask = self._masks[value] = bits(positions, self._size)
        return mask

    def any(self, values: Iterable[Any]) -> int:
        mask = 0
        for value in values:
            mask |= self[value]
        return mask

    def like(self, pattern: str) -> int:
        """Of all values (words) that match the pattern, or are it."""
        if any(letter in pattern for letter in "*?["):
            return self.any(fnmatch.filter(self.positions, pattern))
        return self[pattern]


class AtLeast:
    """Masks of the offers that have at least a number, by the distinct numbers."""

    def __init__(self, values: Iterable[float], size: int) -> None:
        single = Column(values, size).positions
        self.numbers = sorted(single)
        self.masks, mask = [0] * len(self.numbers), 0
        for index in range(len(self.numbers) - 1, -1, -1):
            mask |= bits(single[self.numbers[index]], size)
            self.masks[index] = mask

    def __call__(self, least: float) -> int:
        index = bisect.bisect_left(self.numbers, least)
        return self.masks[index] if index < len(self.masks) else 0


def bits(positions: Iterable[int], size: int) -> int:
    """The mask with these positions."""
    found = bytearray(size // 8 + 1)
    for index in positions:
        found[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(found, "little")


@functools.lru_cache(maxsize=4096)
def models(name: str, kind: str) -> tuple[str, ...]:
    """What a type in --gres may stand for, as the index has it. A type that no table knows stands for itself."""
    if name != "gpu":
        return (kind,)
    try:
        return resolve(kind)
    except UnknownAccelerator:
        return (kind.lower(),)


def model(item: Gres) -> str:
    """The one type that a machine's device has, "" where it has none."""
    if item.type is None or item.name != "gpu":
        return item.type or ""
    return canonical(item.type) or item.type.lower()


Size = tuple[int, int, int, tuple[Gres, ...], str]  # cpus, memory, tmp, gres, arch: all that a job sees of a machine


def size_of(offer: Offer) -> Size:
    return (offer.cpus, offer.memory, offer.tmp, offer.gres, offer.arch)


class Index:
    """All columns of some offers."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self.offers = sorted(offers, key=lambda offer: offer.price)
        self.prices = [offer.price for offer in self.offers]
        self.all = (1 << len(self.offers)) - 1

    def __len__(self) -> int:
        return len(self.offers)

    def _column(self, value: Callable[[Offer], Hashable]) -> Column:
        return Column(map(value, self.offers), len(self.offers))

    @cached_property
    def cloud(self) -> Column:
        return self._column(lambda offer: offer.cloud)

    @cached_property
    def region(self) -> Column:
        return self._column(lambda offer: offer.region)

    @cached_property
    def zone(self) -> Column:
        return self._column(lambda offer: offer.zone)

    @cached_property
    def place(self) -> Column:
        """(cloud, region, zone)."""
        return self._column(lambda offer: (offer.cloud, offer.region, offer.zone))

    @cached_property
    def type(self) -> Column:
        return self._column(lambda offer: offer.type)

    @cached_property
    def arch(self) -> Column:
        return self._column(lambda offer: offer.arch)

    @cached_property
    def spot(self) -> Column:
        return self._column(lambda offer: offer.spot)

    @cached_property
    def boot(self) -> Column:
        return self._column(lambda offer: offer.boot_seconds)

    @cached_property
    def size(self) -> Column:
        """`Size`, where most offers share one with others: few questions about a machine need to be asked of more than these."""
        return self._column(size_of)

    @cached_property
    def cpus(self) -> AtLeast:
        return AtLeast((offer.cpus for offer in self.offers), len(self.offers))

    @cached_property
    def memory(self) -> AtLeast:
        return AtLeast((offer.memory for offer in self.offers), len(self.offers))

    @cached_property
    def tmp(self) -> AtLeast:
        return AtLeast((offer.tmp for offer in self.offers), len(self.offers))

    @cached_property
    def _devices(self) -> dict[tuple[str, str], dict[int, array]]:
        """(name, model) → count → positions; the model ANY for all of a name."""
        found: dict[tuple[str, str], dict[int, array]] = {}
        known: dict[tuple[Gres, ...], dict[tuple[str, str], int]] = {}
        for index, offer in enumerate(self.offers):
            if not offer.gres:
                continue
            counts = known.get(offer.gres)
            if counts is None:
                counts = known[offer.gres] = {}
                for item in offer.gres:
                    for key in ((item.name, model(item)), (item.name, ANY)):
                        counts[key] = counts.get(key, 0) + item.count
            for key, count in counts.items():
                found.setdefault(key, {}).setdefault(count, array("I")).append(index)
        return found

    @cached_property
    def _device_masks(self) -> dict[tuple[str, str, int], int]:
        return {}

    def devices(self, name: str, model: str, least: int) -> int:
        """The offers with so many devices of that name and model."""
        key = (name, model, least)
        mask = self._device_masks.get(key)
        if mask is None:
            counts = self._devices.get((name, model), {})
            mask = 0
            for count, positions in counts.items():
                if count >= least:
                    mask |= bits(positions, len(self.offers))
            self._device_masks[key] = mask
        return mask

    def resources(self) -> set[str]:
        """Names of generic resources that there are."""
        return {name for name, _ in self._devices}

    def models(self, name: str = "gpu") -> set[str]:
        """Which there are."""
        return {model for known, model in self._devices if known == name and model != ANY}

    @cached_property
    def _features(self) -> dict[str, array]:
        found: dict[str, array] = {}
        for index, offer in enumerate(self.offers):
            for word in offer.features:
                found.setdefault(word, array("I")).append(index)
        return found

    def features(self) -> set[str]:
        """What sites say of their machines."""
        return set(self._features)

    @cached_property
    def _words(self) -> dict[str, int]:
        return {}

    def feature(self, word: str) -> int:
        """The offers with that feature, in all the meanings of `places.features`."""
        mask = self._words.get(word)
        if mask is None:
            mask = self.cloud[word] | self.region[word] | self.zone[word] | self.type[word] | self.arch[places.ARCHITECTURES.get(word, word)]
            if word in ("spot", "ondemand"):
                mask |= self.spot[word == "spot"]
            mask |= self.place.any(key for key in self.place.positions if word in places.words(key[0], key[1]))
            mask = self._words[word] = (mask | bits(self._features.get(word, ()), len(self.offers))) if word else 0
        return mask

    def located(self, patterns: Collection[str]) -> int:
        """The offers in regions that match one of the patterns, or lie in one of these countries or groups of countries."""
        mask = 0
        for pattern in patterns:
            mask |= self.region.like(pattern) | self.feature(pattern)
        return mask

    def holds(self, expr: Expr) -> int:
        """The offers whose machines pass a --constraint; all machines of an offer are alike, so counts in it add nothing."""
        if expr.op == "name":
            return self.feature(expr.name)
        masks = [self.holds(part) for part in expr.parts]
        mask = masks[0]
        for other in masks[1:]:
            mask = mask | other if expr.op == "|" else mask & other
        return mask

    def name(self, name: str) -> int:
        """The offer of that name."""
        return self._names[name]

    @cached_property
    def _names(self) -> Column:
        return self._column(lambda offer: offer.name)

    def below(self, price: float) -> int:
        """The offers that cost at most so much."""
        return (1 << bisect.bisect_right(self.prices, price)) - 1

    def each(self, mask: int) -> Iterator[int]:
        """The positions in a mask, cheapest first."""
        if not mask:
            return
        data = mask.to_bytes((len(self.offers) >> 3) + 1, "little")
        for start in range(self.first(mask) >> 8 << 5, len(data), 32):
            word = int.from_bytes(data[start : start + 32], "little")
            while word:
                low = word & -word
                yield start * 8 + low.bit_length() - 1
                word ^= low

    def sizes(self, mask: int, cpus: int = 0, memory: int = 0) -> list[tuple[Size, int]]:
        """Each size (with so much at least) of which something is in a mask, and the position of the cheapest there."""
        data = mask.to_bytes((len(self.offers) >> 3) + 1, "little")
        found = []
        for size, positions in self.size.positions.items():
            if size[0] < cpus or size[1] < memory:
                continue
            if len(positions) > 128:
                same = self.size[size] & mask
                if same:
                    found.append((size, self.first(same)))
                continue
            for row in positions:
                if data[row >> 3] >> (row & 7) & 1:
                    found.append((size, row))
                    break
        return found

    def first(self, mask: int) -> int:
        """The position of the cheapest in a mask that is not 0."""
        return (mask & -mask).bit_length() - 1
