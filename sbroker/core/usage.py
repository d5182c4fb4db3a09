"""What is in use on a node: bit masks of cores and of devices, memory, and who holds it."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from sbroker.model import Node, NodeShare


class Use(msgspec.Struct, frozen=True):
    """In use on one node. `cores`: bit i = core i; `gres`: name → mask of device indices over all types of that name.
    `holders`: job id → (share, uid, mode), mode as `state.sharing_mode` says. A suspended job has given its cores back, so that they are
    not in `cores`; its mode starts with "-"."""

    cores: int = 0
    mem: int = 0
    gres: dict[str, int] = {}
    holders: dict[int, tuple[NodeShare, int, str]] = {}
    frozen: frozenset[int] = frozenset()  # holders that are suspended


EMPTY = Use()


@lru_cache(maxsize=8192)
def mask(ids: str) -> int:
    """ "0-3,8" as a bit mask."""
    bits = 0
    for part in ids.split(",") if ids else ():
        low, _, high = part.partition("-")
        first = int(low)
        bits |= ((1 << (int(high or low) - first + 1)) - 1) << first
    return bits


@lru_cache(maxsize=8192)
def ids(bits: int) -> str:
    """The inverse of `mask`."""
    parts, at = [], 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        at += skip
        run = (~bits & (bits + 1)).bit_length() - 1
        parts.append(str(at) if run == 1 else "%d-%d" % (at, at + run - 1))
        bits >>= run
        at += run
    return ",".join(parts)


@lru_cache(maxsize=8192)
def cores_of(cpu_ids: str, threads: int) -> int:
    """The cores of these CPUs, as a mask; CPU c is a thread of core c // threads."""
    cpus = mask(cpu_ids)
    if threads == 1:
        return cpus
    bits = at = 0
    while cpus:
        if cpus & ((1 << threads) - 1):
            bits |= 1 << at
        cpus >>= threads
        at += 1
    return bits


def cpus_of(cores: int, threads: int) -> int:
    """All CPUs of these cores, as a mask."""
    if threads == 1:
        return cores
    bits, unit, at = 0, (1 << threads) - 1, 0
    while cores:
        if cores & 1:
            bits |= unit << (at * threads)
        cores >>= 1
        at += 1
    return bits


def gres_masks(share: NodeShare) -> dict[str, int]:
    masks: dict[str, int] = {}
    for key, devices in share.gres.items():
        name = key.partition(":")[0]
        masks[name] = masks.get(name, 0) | sum(1 << device for device in devices)
    return masks


def add(use: Use, node: Node | None, job: int, share: NodeShare, uid: int, mode: str, frozen: bool = False) -> Use:
    """`use` and this share, of a suspended job if `frozen`."""
    gres = use.gres
    if share.gres:
        gres = dict(gres)
        for name, bits in gres_masks(share).items():
            gres[name] = gres.get(name, 0) | bits
    threads = node.threads_per_core if node else 1
    cores = use.cores if frozen else use.cores | cores_of(share.cpu_ids, threads)
    still = use.frozen | {job} if frozen else use.frozen
    return Use(cores, use.mem + share.mem, gres, {**use.holders, job: (share, uid, mode)}, still)


def drop(use: Use, node: Node | None, job: int) -> Use:
    """`use` without what `job` holds."""
    return drop_all(use, node, {job}) if job in use.holders else use


def drop_all(use: Use, node: Node | None, jobs: set[int]) -> Use:
    """`use` without what these jobs hold."""
    left = {job: held for job, held in use.holders.items() if job not in jobs}
    if not left:
        return EMPTY
    threads = node.threads_per_core if node else 1
    cores = mem = 0
    gres: dict[str, int] = {}
    for job, (share, _, _) in left.items():
        mem += share.mem
        if job not in use.frozen:
            cores |= cores_of(share.cpu_ids, threads)
        if share.gres:
            for name, bits in gres_masks(share).items():
                gres[name] = gres.get(name, 0) | bits
    return Use(cores, mem, gres, left, use.frozen - jobs if use.frozen else use.frozen)


def freeze(use: Use, node: Node | None, job: int, frozen: bool) -> Use:
    """`use` with the job suspended, or going on."""
    held = use.holders.get(job)
    if held is None or (job in use.frozen) == frozen:
        return use
    return add(drop(use, node, job), node, job, *held, frozen)
