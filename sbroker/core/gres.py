"""Generic resources of a node as devices: which are free, which to give.

Device indices count all types of one name in the order of the configuration: gpu:a100:2,gpu:v100:2 are 0-1 and 2-3.
A share's keys are "gpu:a100" where the type is configured, else "gpu". Types of GPUs are compared as names of accelerators (a100 is
a100-40gb or a100-80gb), so that a job gets on a machine what the plan bought it for.
"""

from __future__ import annotations

from functools import lru_cache

from sbroker.catalog.accelerators import means
from sbroker.core.usage import Use
from sbroker.model import Gres, Node


@lru_cache(maxsize=4096)
def layout(gres: tuple[Gres, ...]) -> dict[str, tuple[tuple[str | None, int, int], ...]]:
    """name → ((type, first index, count), …)."""
    found: dict[str, tuple[tuple[str | None, int, int], ...]] = {}
    for item in gres:
        rows = found.get(item.name, ())
        first = rows[-1][1] + rows[-1][2] if rows else 0
        found[item.name] = (*rows, (item.type, first, item.count))
    return found


def _bits(node: Node, use: Use, item: Gres, types: tuple[str, ...]) -> list[tuple[str | None, int]]:
    """Free devices that `item` may get, as (type, mask)."""
    taken = use.gres.get(item.name, 0)
    rows = []
    for kind, first, number in layout(node.gres).get(item.name, ()):
        if item.type is not None and kind != item.type and not (item.name == "gpu" and kind is not None and means(item.type, kind)):
            continue
        if item.type is None and item.name == "gpu" and types and kind is not None and not any(means(each, kind) for each in types):
            continue
        rows.append((kind, (((1 << number) - 1) << first) & ~taken))
    return rows


def free_count(node: Node, use: Use, wanted: tuple[Gres, ...], types: tuple[str, ...]) -> int:
    """Free devices of these kinds, each counted once."""
    union = 0
    for item in wanted:
        for _, bits in _bits(node, use, item, types):
            union |= bits
    return union.bit_count()


def enough(node: Node, use: Use, wanted: tuple[Gres, ...], types: tuple[str, ...]) -> bool:
    return take(node, use, wanted, types) is not None


def take(node: Node, use: Use, wanted: tuple[Gres, ...], types: tuple[str, ...]) -> dict[str, tuple[int, ...]] | None:
    """Devices for all of `wanted`, lowest first, typed requests before untyped ones; None if they are not there."""
    given: dict[str, list[int]] = {}
    gone: dict[str, int] = {}
    for item in sorted(wanted, key=lambda each: each.type is None):
        left = item.count
        for kind, bits in _bits(node, use, item, types):
            bits &= ~gone.get(item.name, 0)
            while left > 0 and bits:
                low = bits & -bits
                bits ^= low
                gone[item.name] = gone.get(item.name, 0) | low
                given.setdefault(item.name if kind is None else "%s:%s" % (item.name, kind), []).append(low.bit_length() - 1)
                left -= 1
        if left > 0:
            return None
    return {key: tuple(sorted(indices)) for key, indices in given.items()}


def spread(total: int, free: list[int]) -> list[int]:
    """`total` devices over nodes that have so many free: as many as leaves one for each of the rest, 3 on 2 nodes are 2 and 1."""
    gives, left = [], total
    for index, number in enumerate(free):
        give = max(0, min(number, left - (len(free) - index - 1)))
        gives.append(give)
        left -= give
    for index, number in enumerate(free):
        more = min(number - gives[index], left)
        gives[index] += more
        left -= more
    return gives


def known_names(nodes: list[Node]) -> set[str]:
    return {item.name for node in nodes for item in node.gres}
