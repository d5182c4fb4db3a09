"""Counts that Slurm shows of a job: asked for while it waits, held once it runs. One place, so that all commands agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sbroker.model import Gres, Job, JobSpec, Node, Partition
from sbroker.states import JobState
from slurm_compat.units import held_gres, mebibytes


class Numbers(NamedTuple):
    """What a job asks for, or has. Memory in MiB; gres: "gpu" → how many in all."""

    nodes: int
    nodes_max: int | None  # None: no most
    cpus: int
    tasks: int | None  # None: never said, never started
    mem: int
    gres: dict[str, int]


class World:
    """What the counts of a waiting job depend on: partitions and nodes, the largest of each partition looked up once for a whole listing."""

    __slots__ = ("_largest", "nodes", "partitions")

    def __init__(self, partitions: Mapping[str, Partition], nodes: Mapping[str, Node]) -> None:
        self.partitions, self.nodes = partitions, nodes
        self._largest: dict[str, tuple[int, int]] = {}

    def largest(self, partition: str) -> tuple[int, int]:
        """CPUs and MiB of the largest node of a partition; (0, 0) of an unknown or empty one."""
        found = self._largest.get(partition)
        if found is None:
            known = self.partitions.get(partition)
            members = [self.nodes[name] for name in known.nodes if name in self.nodes] if known is not None else []
            found = max((node.cpus for node in members), default=0), max((node.memory for node in members), default=0)
            self._largest[partition] = found
        return found


def wanted_nodes(spec: JobSpec) -> int:
    """The least number of nodes that the job asks for."""
    if spec.nodes_min is not None:
        return spec.nodes_min
    return max(1, len(spec.nodelist))


def per_task(spec: JobSpec) -> int:
    """CPUs of a task."""
    return spec.cpus_per_task or 1


def wanted_tasks(spec: JobSpec) -> int | None:
    """Tasks that it asks for, by whichever option says so; None when none does."""
    if spec.ntasks is not None:
        return spec.ntasks
    nodes = wanted_nodes(spec)
    if spec.ntasks_per_node:
        return spec.ntasks_per_node * nodes
    if spec.ntasks_per_gpu:
        return spec.ntasks_per_gpu * sum(gres_total(spec, nodes, nodes).values())
    shape = (spec.sockets_per_node, spec.cores_per_socket, spec.threads_per_core)
    if spec.sockets_per_node:
        return nodes * (shape[0] or 1) * (shape[1] or 1) * (shape[2] or 1)
    if spec.nodes_max in (None, nodes):
        return nodes if spec.nodes_min or spec.nodelist else None
    return None


def gres_total(spec: JobSpec, nodes: int, tasks: int) -> dict[str, int]:
    """Name → how many in the whole job, of --gres and of the --gpus options."""
    total: dict[str, int] = {}

    def add(items: Iterable[Gres], times: int) -> None:
        for item in items:
            total[item.name] = total.get(item.name, 0) + item.count * times

    add(spec.gres, nodes)
    if spec.gpus:
        add(spec.gpus, 1)
    elif spec.gpus_per_node:
        add(spec.gpus_per_node, nodes)
    elif spec.gpus_per_task:
        add(spec.gpus_per_task, tasks)
    elif spec.gpus_per_socket:
        add(spec.gpus_per_socket, nodes * (spec.sockets_per_node or 1))
    return total


def asked(job: Job, world: World) -> Numbers:
    """Of a job that has no nodes."""
    spec = job.spec
    nodes = wanted_nodes(spec)
    tasks = wanted_tasks(spec)
    cpus = nodes if spec.overcommit else (tasks or 1) * per_task(spec)
    shown = max(tasks or min(1, nodes), nodes) if spec.ntasks is None else tasks
    if spec.ntasks is None and job.state.ended and job.run < 0:
        shown = None
    gres = gres_total(spec, nodes, tasks or nodes)
    return Numbers(nodes, spec.nodes_max, cpus if nodes else 0, shown, _memory(job, world, nodes, cpus, gres), gres)


def held(job: Job) -> Numbers:
    """Of a job that has, or had, nodes."""
    spec = job.spec
    tasks = wanted_tasks(spec) or 1
    if spec.ntasks is None:
        tasks = max(tasks, len(job.nodes))
    nodes = len(job.nodes)
    return Numbers(nodes, nodes, sum(share.cpus for share in job.nodes), tasks, sum(share.mem for share in job.nodes), held_gres(job.nodes))


def numbers(job: Job, world: World) -> Numbers:
    return held(job) if job.nodes and job.state is not JobState.PENDING else asked(job, world)


def shown_nodes(job: Job, world: World) -> int:
    """The number of nodes as squeue guesses it for a waiting job: no fewer than its tasks need on nodes of its partition."""
    if job.nodes and job.state is not JobState.PENDING:
        return len(job.nodes)
    spec = job.spec
    least = wanted_nodes(spec)
    tasks = wanted_tasks(spec) or 1
    if spec.ntasks_per_node:
        least = max(least, tasks // spec.ntasks_per_node)
    room = world.largest(job.partition)[0] // per_task(spec)
    if room and least:
        least = max(least, -(-tasks // room))
    return least


def most_nodes(job: Job, world: World) -> int:
    """MAX_NODES."""
    return max(job.spec.nodes_max or 0, shown_nodes(job, world))


def tres(found: Numbers, *, node: bool = True, billing: bool = True) -> str:
    """``cpu=4,mem=4000M,node=2,billing=4,gres/gpu=2``, or "" for nothing at all."""
    parts = []
    if found.cpus:
        parts.append(f"cpu={found.cpus}")
        if found.mem:
            parts.append(f"mem={mebibytes(found.mem)}")
        if node:
            parts.append(f"node={found.nodes}")
        if billing:
            parts.append(f"billing={found.cpus}")
    parts += [f"gres/{name}={count}" for name, count in found.gres.items() if count]
    return ",".join(parts)


def min_memory(job: Job, world: World) -> tuple[str, int]:
    """("CPU" or "Node", MiB): what is asked for by CPU, or by node; 0 = all of it, or nothing said."""
    spec = job.spec
    if spec.mem_per_node is not None:
        return "Node", spec.mem_per_node
    if spec.mem_per_cpu is not None:
        return "CPU", spec.mem_per_cpu
    partition = world.partitions.get(job.partition)
    if partition is not None and partition.def_mem_per_cpu is not None:
        return "CPU", partition.def_mem_per_cpu
    if partition is not None and partition.def_mem_per_node is not None:
        return "Node", partition.def_mem_per_node
    return "Node", 0


def min_cpus(spec: JobSpec) -> int:
    """MinCPUsNode: the least number of CPUs on a node that the request lets one tell."""
    return max(spec.mincpus or 0, (spec.ntasks_per_node or 1) * per_task(spec), 1)


def _memory(job: Job, world: World, nodes: int, cpus: int, gres: Mapping[str, int]) -> int:
    spec = job.spec
    if spec.mem_per_gpu is not None and spec.mem_per_node is None and spec.mem_per_cpu is None:
        return spec.mem_per_gpu * gres.get("gpu", 0)
    kind, mib = min_memory(job, world)
    if kind == "CPU":
        return mib * cpus
    if mib == 0 and spec.mem_per_node == 0:
        mib = world.largest(job.partition)[1]
    return mib * nodes
