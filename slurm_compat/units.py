"""Amounts as Slurm prints them: memory with its unit, generic resources, trackable resources (TRES)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sbroker.model import Gres, NodeShare


def mebibytes(amount: int, convert: bool = True) -> str:
    """``2G``, ``1.50G``, ``2500M``, ``0``: a larger unit only where halves of it are exact."""
    if not amount:
        return "0"
    if not convert:
        return f"{amount}M"
    for unit in "MGTP":
        if amount < 1024 or amount % 512:
            return f"{amount}{unit}"
        if amount % 1024:
            return f"{amount / 1024:.2f}{'GTPE'['MGTP'.index(unit)]}"
        amount //= 1024
    return f"{amount}E"


def gres_text(items: Iterable[Gres], prefix: str = "gres:") -> str:
    """``gres:gpu:a100:4,gres:shard:2``; "" when there are none."""
    return ",".join(f"{prefix}{g.name}:{g.type}:{g.count}" if g.type else f"{prefix}{g.name}:{g.count}" for g in items)


def gres_counts(items: Iterable[Gres]) -> dict[str, int]:
    """Name without type → how many."""
    out: dict[str, int] = {}
    for g in items:
        out[g.name] = out.get(g.name, 0) + g.count
    return out


def held_gres(shares: Iterable[NodeShare]) -> dict[str, int]:
    """What an allocation holds: name without type → how many devices."""
    out: dict[str, int] = {}
    for share in shares:
        for key, devices in share.gres.items():
            name = key.partition(":")[0]
            out[name] = out.get(name, 0) + len(devices)
    return out


def tres_text(cpus: int, mem: int, nodes: int, gres: Mapping[str, int], *, billing: bool = True, convert: bool = True) -> str:
    """``cpu=2,mem=2G,node=1,billing=2,gres/gpu=2``; without nodes (0): of a node itself."""
    parts = [f"cpu={cpus}"]
    if mem:
        parts.append(f"mem={mebibytes(mem, convert)}")
    if nodes:
        parts.append(f"node={nodes}")
    if billing:
        parts.append(f"billing={cpus}")
    parts += [f"gres/{name}={count}" for name, count in sorted(gres.items()) if count]
    return ",".join(parts)


def ranges(numbers: Iterable[int]) -> str:
    """``0-1,4`` of device or CPU numbers."""
    out: list[list[int]] = []
    for n in sorted(numbers):
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in out)
