"""How much a job asks for, as Slurm's commands count it before the job has an allocation.

The scheduler has its own arithmetic; these are the numbers that squeue and scontrol print.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sbroker.model import Job, JobSpec, Node, Partition
from slurm_compat.units import gres_counts, held_gres


class Asked(NamedTuple):
    tasks: int
    cpus: int  # of a range of node counts no more than its tasks need
    nodes: int  # NODES
    min_nodes: int  # TRES node=
    max_nodes: int
    cpus_per_node: int  # MIN_CPUS
    mem: int  # MiB in all
    gres: dict[str, int]  # in all


class Sizes:
    """The largest node of each partition, looked up once for a whole listing."""

    def __init__(self, nodes: Mapping[str, Node], partitions: Mapping[str, Partition]) -> None:
        self._nodes, self._partitions = nodes, partitions
        self._known: dict[str, tuple[int, int]] = {}

    def largest(self, partition: str) -> tuple[int, int]:
        """CPUs and MiB of the largest node of a partition; (0, 0) of an unknown or empty one."""
        found = self._known.get(partition)
        if found is None:
            part = self._partitions.get(partition)
            members = [self._nodes[n] for n in part.nodes if n in self._nodes] if part else []
            found = max((n.cpus for n in members), default=0), max((n.memory for n in members), default=0)
            self._known[partition] = found
        return found

    def partition(self, name: str) -> Partition | None:
        return self._partitions.get(name)


def nodes_asked(job: Job, sizes: Sizes) -> int:
    """NODES of a pending job: no fewer than its tasks need on the largest nodes of its partition."""
    spec = job.spec
    nodes = _nodes_min(spec)
    tasks = spec.ntasks if spec.ntasks is not None else _tasks(spec, nodes)
    if spec.ntasks_per_node:
        needed = -(-tasks // spec.ntasks_per_node)
    else:
        node_cpus = sizes.largest(job.partition)[0]
        needed = -(-tasks // max(1, node_cpus // (spec.cpus_per_task or 1))) if node_cpus else nodes
    return needed if needed > nodes else nodes


def asked(job: Job, sizes: Sizes) -> Asked:
    """The numbers of a pending job."""
    spec = job.spec
    per_task = spec.cpus_per_task or 1
    nodes_min = _nodes_min(spec)
    tasks = _tasks(spec, nodes_min)
    min_cpus = (tasks if not spec.overcommit else nodes_min) * per_task
    nodes = nodes_asked(job, sizes)
    return Asked(
        tasks=max(tasks, nodes_min),
        cpus=min_cpus,
        nodes=nodes,
        min_nodes=nodes_min,
        max_nodes=max(spec.nodes_max or 0, nodes),
        cpus_per_node=max(spec.mincpus or 0, per_task * (spec.ntasks_per_node or 1)),
        mem=_memory(job, min_cpus, nodes_min, sizes),
        gres=_gres(spec, tasks, nodes_min),
    )


def held(job: Job) -> tuple[int, int, dict[str, int]]:
    """CPUs, MiB and gres of the allocation."""
    return sum(share.cpus for share in job.nodes), sum(share.mem for share in job.nodes), held_gres(job.nodes)


def memory_asked(job: Job, sizes: Sizes) -> tuple[int, bool]:
    """MiB, and whether that is for each CPU: --mem, --mem-per-cpu or the partition's default; 0 = all of a node."""
    spec = job.spec
    if spec.mem_per_node is not None:
        return spec.mem_per_node, False
    if spec.mem_per_cpu is not None:
        return spec.mem_per_cpu, True
    part = sizes.partition(job.partition)
    if part is not None and part.def_mem_per_cpu is not None:
        return part.def_mem_per_cpu, True
    return (part.def_mem_per_node or 0) if part is not None else 0, False


def _nodes_min(spec: JobSpec) -> int:
    """-N as typed, 0 too."""
    return spec.nodes_min if spec.nodes_min is not None else len(spec.nodelist) or 1


def _tasks(spec: JobSpec, nodes_min: int) -> int:
    if spec.ntasks is not None:
        return spec.ntasks
    if spec.ntasks_per_node:
        return spec.ntasks_per_node * nodes_min
    fixed = spec.nodes_max in (None, spec.nodes_min) or not nodes_min
    return nodes_min if fixed else 1


def _memory(job: Job, cpus: int, nodes: int, sizes: Sizes) -> int:
    spec = job.spec
    if spec.mem_per_gpu is not None:
        gpus = _gres(spec, _tasks(spec, nodes), nodes).get("gpu", 0)
        return spec.mem_per_gpu * gpus
    amount, per_cpu = memory_asked(job, sizes)
    if per_cpu:
        return amount * cpus
    return (amount or sizes.largest(job.partition)[1]) * nodes


def _gres(spec: JobSpec, tasks: int, nodes: int) -> dict[str, int]:
    out = {name: count * nodes for name, count in gres_counts(spec.gres).items()}
    for items, times in (
        (spec.gpus, 1),
        (spec.gpus_per_node, nodes),
        (spec.gpus_per_task, tasks),
        (spec.gpus_per_socket, (spec.sockets_per_node or 1) * nodes),
    ):
        for name, count in gres_counts(items).items():
            out[name] = out.get(name, 0) + count * times
    return out
