"""Which nodes, and how much of each: Slurm's cons_tres with CR_Core_Memory, as the real one was seen to do.

`place` looks at nodes through a `Pool` (what is usable now, or at some later time) and gives the shares of an allocation, in the
order of the nodes, or a `Miss` that says what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

import msgspec

from sbroker import features
from sbroker.core import gres, ruling
from sbroker.core.shape import Want, count
from sbroker.core.usage import EMPTY, Use, cpus_of, ids
from sbroker.model import JobSpec, Node, NodeShare, Partition


class Miss(Enum):
    """Why there is no placement."""

    NODES = "nodes"  # not enough nodes with enough left
    CPUS = "cpus"  # no node is big enough
    MEMORY = "memory"
    TMP = "tmp"
    SOCKETS = "sockets"


class Pool(Protocol):
    """What selection may use: nodes by name (None: not usable now), and what is taken of them."""

    def node(self, name: str) -> Node | None: ...
    def use(self, name: str) -> Use: ...
    def order(self, name: str) -> int: ...


class Offer(msgspec.Struct):
    """What one node can give. CPUs are those that tasks may use."""

    node: Node
    use: Use
    free: int  # mask of free cores
    cpus: int  # usable ones, after all bounds
    tasks: int  # that fit, at most
    gpus: int  # free ones of the kind asked per job or per task
    per_core: int  # usable threads of a core
    required: bool


def usable_threads(want: Want, node: Node) -> int:
    return min(want.threads or node.threads_per_core, node.threads_per_core)


def fits_config(want: Want, node: Node) -> Miss | None:
    """Whether the empty node is big enough for its part."""
    per_core = usable_threads(want, node)
    cores = node.cpus // node.threads_per_core
    if (
        (want.threads is not None and want.threads > node.threads_per_core)
        or (want.sockets or 0) > node.sockets
        or (want.cores or 0) > node.cores_per_socket
    ):
        return Miss.SOCKETS
    if want.node_cpus > cores * per_core:
        return Miss.CPUS
    if (want.mem_node if want.mem_node is not None else want.mem_cpu or 0) > node.memory:
        return Miss.MEMORY
    if want.tmp > node.tmp:
        return Miss.TMP
    return Miss.NODES if (want.mem_cpu or 0) * want.node_cpus > node.memory else None


def offer(want: Want, node: Node, use: Use, uid: int, required: bool) -> Offer | None:
    """What this node can give now, None if that is not its part."""
    if use is not EMPTY and not _may_join(want, node, use, uid):
        return None
    cores = node.cpus // node.threads_per_core
    every = (1 << cores) - 1
    free = every & ~use.cores
    if want.share > 1:
        free = every & ~_crowded(use, want.share, node)
    per_core = usable_threads(want, node)
    cpus = free.bit_count() * per_core
    if cpus < want.node_cpus or fits_config(want, node) is not None:
        return None
    memory = node.memory - use.mem
    if want.mem_node is not None:
        if (node.memory if want.mem_node == 0 else want.mem_node) > memory:
            return None
    elif want.mem_cpu:
        # whole cores are given, so each usable thread costs the memory of threads_per_core / per_core CPUs
        unit = want.mem_cpu * node.threads_per_core
        cpus = min(cpus, memory // unit * per_core)
    if want.gres and not gres.enough(node, use, want.gres, want.types):
        return None
    tasks = cpus // want.cpt if not want.overcommit else 1 << 30
    gpus = 0
    if want.task_gpus:
        gpus = gres.free_count(node, use, want.task_gpus, want.types)
        tasks = min(tasks, gpus // count(want.task_gpus))
        if tasks < 1:
            return None
    elif want.gpus:
        gpus = gres.free_count(node, use, want.gpus, want.types)
        if gpus < 1:
            return None
        if want.cpus_per_gpu:
            gpus = min(gpus, cpus // want.cpus_per_gpu)
    if want.mem_gpu:
        least = count(want.gres) or 1
        if want.mem_gpu * least > memory:
            return None
        gpus = min(gpus, memory // want.mem_gpu) if gpus else gpus
    if want.cpus_per_gpu and count(want.gres) * want.cpus_per_gpu > cpus:
        return None
    if want.tasks_per_node and not want.overcommit:
        tasks = min(tasks, want.tasks_per_node)
    if want.tasks_per_socket:
        tasks = min(tasks, want.tasks_per_socket * node.sockets)
    if not want.overcommit:
        cpus = min(cpus, max(tasks * want.cpt, want.node_cpus)) if tasks < 1 << 30 else cpus
        if cpus < want.node_cpus or tasks < 1:
            return None
    return Offer(node, use, free, cpus, tasks, gpus, per_core, required)


def _may_join(want: Want, node: Node, use: Use, uid: int) -> bool:
    if node.one_user and any(other != uid for _, other, _ in use.holders.values()):
        return False
    if want.whole and use.holders:
        return False
    return all(not (mode == "node" or ((mode == "user" or want.user_only) and other != uid)) for _, other, mode in use.holders.values())


def _crowded(use: Use, share: int, node: Node) -> int:
    """Cores that have as many jobs as may share one."""
    from sbroker.core.usage import cores_of

    times: dict[int, int] = {}
    for each, _, _ in use.holders.values():
        bits = cores_of(each.cpu_ids, node.threads_per_core)
        while bits:
            low = bits & -bits
            times[low] = times.get(low, 0) + 1
            bits ^= low
    return sum(core for core, number in times.items() if number >= share)


def place(spec: JobSpec, want: Want, partition: Partition, pool: Pool, uid: int) -> tuple[NodeShare, ...] | Miss:
    """An allocation in this partition, or what stands in the way."""
    exclude, required = {*spec.exclude, *spec.barred}, set(spec.nodelist)
    known: list[Node] = []
    for name in partition.nodes:
        if name not in exclude:
            node = pool.node(name)
            if node is not None and not (spec.within and ruling.lets(spec, partition.name, node)):
                known.append(node)
    if required and not required.issubset(node.name for node in known):
        return Miss.NODES
    miss = Miss.NODES
    for way in features.alternatives(spec.constraint) if spec.constraint else (features.Alternative(None),):
        offers: list[Offer] = []
        causes: set[Miss] = set()
        for node in known:
            if way.every is not None and not features.holds(way.every, node.features):
                continue
            found = offer(want, node, pool.use(node.name), uid, node.name in required)
            if found is not None:
                offers.append(found)
            else:
                cause = fits_config(want, node)
                causes.add(cause or Miss.NODES)
        if required and sum(found.required for found in offers) < len(required):
            continue
        near = [pool.order(name) for name in required]
        offers.sort(
            key=lambda found: (
                not found.required,
                found.node.weight,
                _distance(pool.order(found.node.name), near),
                pool.order(found.node.name),
            )
        )
        for group in _runs(offers, pool) if spec.contiguous else (offers,):
            chosen = choose(want, group, way, spec)
            if chosen is not None:
                shares = share_out(want, chosen, spec)
                if shares is not None:
                    return tuple(sorted(shares, key=lambda share: pool.order(share.node)))
        if not offers and len(causes) == 1:
            miss = causes.pop()
    return miss


def _distance(place: int, near: list[int]) -> int:
    """How far from the nodes that the user named."""
    return min((abs(place - other) for other in near), default=0)


def _runs(offers: list[Offer], pool: Pool) -> Iterable[list[Offer]]:
    """Groups of nodes that stand next to each other."""
    by_order = sorted(offers, key=lambda found: pool.order(found.node.name))
    group: list[Offer] = []
    for found in by_order:
        if group and pool.order(found.node.name) != pool.order(group[-1].node.name) + 1:
            yield group
            group = []
        group.append(found)
    if group:
        yield group


def _enough(want: Want, chosen: list[Offer]) -> bool:
    if len(chosen) < want.nodes_min:
        return False
    tasks = want.tasks if want.tasks is not None and not want.overcommit else 0
    if sum(found.tasks for found in chosen) < tasks or sum(found.cpus for found in chosen) < tasks * want.cpt:
        return False
    return not want.gpus or sum(found.gpus for found in chosen) >= count(want.gpus)


def choose(want: Want, offers: list[Offer], way: features.Alternative, spec: JobSpec) -> list[Offer] | None:
    """Which of the offers (best first) to take."""
    if len(offers) < want.nodes_min or not offers:
        return None
    if way.counts:
        return _by_counts(want, offers, way)
    fewest = sum(found.required for found in offers) or 1
    if want.nodes_max is None and not spec.spread:
        if want.nodes_min <= 1 and fewest <= 1:
            first = [found for found in offers if found.required] or offers
            for found in first:
                if _enough(want, [found]):
                    return [found]
        chosen: list[Offer] = []
        for found in offers:
            chosen.append(found)
            if len(chosen) >= max(want.nodes_min, fewest) and _enough(want, chosen):
                return chosen
            if want.tasks is not None and len(chosen) >= max(want.tasks, want.nodes_min):
                return _exchange(want, chosen, offers[len(chosen) :])
        return None
    most = min(want.nodes_max if want.nodes_max is not None else len(offers), len(offers))
    if want.tasks is not None:
        most = min(most, max(want.tasks, want.nodes_min))
    low = max(want.nodes_min, fewest)
    sizes = range(most, low - 1, -1) if want.exact_nodes or spec.spread else range(low, most + 1)
    for size in sizes:
        found_set = _exchange(want, offers[:size], offers[size:])
        if found_set is not None:
            return found_set
    return None


def _exchange(want: Want, chosen: list[Offer], rest: list[Offer]) -> list[Offer] | None:
    """`chosen`, smaller ones given up for bigger ones of `rest` until it is enough."""
    chosen, rest = list(chosen), sorted(rest, key=lambda found: (-found.cpus, -found.gpus))
    while not _enough(want, chosen):
        free = [found for found in chosen if not found.required]
        if not rest or not free:
            return None
        least = min(free, key=lambda found: (found.cpus, found.gpus))
        best = rest.pop(0)
        if (best.cpus, best.gpus) <= (least.cpus, least.gpus) and best.gpus <= least.gpus:
            return None
        chosen[chosen.index(least)] = best
    return chosen


def _by_counts(want: Want, offers: list[Offer], way: features.Alternative) -> list[Offer] | None:
    """So many nodes of each counted feature, the others as they come."""
    chosen: list[Offer] = [found for found in offers if found.required]
    for expr, number in way.counts:
        fitting = [found for found in offers if features.holds(expr, found.node.features)]
        missing = number - sum(found in chosen for found in fitting)
        for found in fitting:
            if missing > 0 and found not in chosen:
                chosen.append(found)
                missing -= 1
        if missing > 0:
            return None
    for found in offers:
        if len(chosen) >= want.nodes_min and _enough(want, chosen):
            break
        if found not in chosen:
            chosen.append(found)
    if not _enough(want, chosen) or (want.nodes_max is not None and len(chosen) > want.nodes_max):
        return None
    return chosen


def spread_cpus(want: Want, offers: list[Offer]) -> list[int]:
    """CPUs of each node. The first nodes get as much as leaves one for each of the rest; what tasks of several CPUs make too
    much is taken back from the first: 5 tasks on 2 nodes are 4 and 1, 8 tasks of 2 CPUs on 4 nodes 3, 3, 1 and 1."""
    if want.overcommit or want.tasks is None:
        return [max(want.node_cpus, want.cpt) for _ in offers]
    left, gives = want.tasks * want.cpt, []
    for index, found in enumerate(offers):
        give = max(min(found.cpus, left - (len(offers) - index - 1)), want.cpt)
        give = max(give // want.cpt * want.cpt, want.node_cpus)
        gives.append(give)
        left -= give
    extra = -left
    for index, give in enumerate(gives):
        while extra >= want.cpt and give - want.cpt >= max(want.node_cpus, want.cpt) and give > 1:
            give -= want.cpt
            extra -= want.cpt
            gives[index] = give
    index = 0
    while extra <= -want.cpt and index < len(gives):  # nodes at the end were too small
        room = (offers[index].cpus - gives[index]) // want.cpt * want.cpt
        more = min(room, -extra // want.cpt * want.cpt)
        gives[index] += more
        extra += more
        index += 1
    return gives


def share_out(want: Want, offers: list[Offer], spec: JobSpec) -> tuple[NodeShare, ...] | None:
    """The shares of an allocation on these nodes, the first get most; None if devices do not work out after all."""
    if len(offers) == 1 and want.tasks is not None and not want.overcommit:
        cpus = [max(want.tasks * want.cpt, want.node_cpus)]
    else:
        cpus = spread_cpus(want, offers)
    gpus = gres.spread(count(want.gpus), [found.gpus for found in offers]) if want.gpus else [0] * len(offers)
    shares = []
    for found, number, job_gpus in zip(offers, cpus, gpus, strict=False):
        tasks = max(1, number // want.cpt)
        if want.task_gpus:
            tasks = min(tasks, found.gpus // count(want.task_gpus))
        wanted = list(want.gres)
        if want.gpus and job_gpus:
            wanted.append(msgspec.structs.replace(want.gpus[0], count=job_gpus))
        if want.task_gpus:
            wanted += [msgspec.structs.replace(item, count=item.count * tasks) for item in want.task_gpus]
        devices = gres.take(found.node, found.use, tuple(wanted), want.types)
        if devices is None:
            return None
        cards = sum(len(indices) for key, indices in devices.items() if key.split(":")[0] == "gpu")
        if want.cpus_per_gpu:
            number = max(number, cards * want.cpus_per_gpu)
        threads = found.node.threads_per_core
        if want.whole:
            bits = (1 << (found.node.cpus // threads)) - 1
        else:
            bits = pick_cores(found, -(-number // found.per_core), -(-want.cpt // found.per_core), spec)
        total = bits.bit_count() * threads
        shares.append(
            NodeShare(
                node=found.node.name,
                cpus=total,
                cpu_ids=ids(cpus_of(bits, threads)),
                mem=min(memory(want, found.node, total, cards), found.node.memory - found.use.mem),
                gres=devices,
            )
        )
    return tuple(shares)


def memory(want: Want, node: Node, cpus: int, cards: int) -> int:
    """MiB of a share."""
    if want.mem_gpu is not None:
        return want.mem_gpu * cards
    if want.mem_node is not None:
        return want.mem_node or node.memory
    return (want.mem_cpu or 0) * cpus


def pick_cores(found: Offer, cores: int, unit: int, spec: JobSpec) -> int:
    """`cores` free ones: a task's worth from each socket in turn, or socket by socket with -m …:block."""
    free, node = found.free, found.node
    per_socket = max(1, node.cpus // node.threads_per_core // max(1, node.sockets))
    words = (spec.distribution or "").lower().split(",")[0].split(":")
    block = len(words) > 1 and words[1] == "block"
    if block or node.sockets < 2:
        bits = 0
        for _ in range(min(cores, free.bit_count())):
            low = free & -free
            bits |= low
            free ^= low
        return bits
    socket_mask = (1 << per_socket) - 1
    sockets = [free & (socket_mask << (index * per_socket)) for index in range(node.sockets)]
    bits, index = 0, 0
    while cores and any(sockets):
        at = index % node.sockets
        for _ in range(min(max(1, unit), cores)):
            low = sockets[at] & -sockets[at]
            if low:
                bits |= low
                sockets[at] ^= low
                cores -= 1
        index += 1
    return bits
