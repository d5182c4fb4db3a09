"""The shape of a job: all that placement looks at. Jobs of one shape are interchangeable but for priority, so a pass tries a
shape once. `Want` is a shape read for one partition, defaults included.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from sbroker.model import INFINITE, Gres, Job, JobSpec, Partition

YEAR = 365 * 86400  # what an unlimited job is thought to take

_FIELDS = [
    "reservation",
    "ntasks",
    "nodes_min",
    "nodes_max",
    "use_min_nodes",
    "spread",
    "cpus_per_task",
    "ntasks_per_node",
    "ntasks_per_socket",
    "ntasks_per_core",
    "ntasks_per_gpu",
    "mincpus",
    "sockets_per_node",
    "cores_per_socket",
    "threads_per_core",
    "core_spec",
    "overcommit",
    "mem_per_node",
    "mem_per_cpu",
    "mem_per_gpu",
    "tmp",
    "gres",
    "gpus",
    "gpus_per_node",
    "gpus_per_socket",
    "gpus_per_task",
    "cpus_per_gpu",
    "gres_flags",
    "licenses",
    "constraint",
    "nodelist",
    "exclude",
    "barred",
    "kind",
    "requeue",
    "bound",
    "within",
    "contiguous",
    "exclusive",
    "oversubscribe",
    "hint",
    "switches",
]
_spec_key = attrgetter(*_FIELDS)


def shape_key(job: Job) -> tuple:
    """Equal for jobs that placement cannot tell apart."""
    spec = job.spec
    lost = job.requeues if spec.requeue or spec.constraint else 0  # too often, and it gets no spot machine
    return (spec.partitions or (job.partition,), job.time_limit, job.account, job.qos, job.uid, job.gid, _spec_key(spec), tuple(sorted(spec.sbroker.items())), lost)


class Want(msgspec.Struct, frozen=True):
    """A request in numbers. CPUs are hardware threads; memory MiB. `None`: no bound, or not asked."""

    tasks: int | None  # asked in all
    cpt: int  # CPUs a task
    nodes_min: int
    nodes_max: int | None
    exact_nodes: bool  # take nodes_max if there are so many, as Slurm does unless --use-min-nodes
    cpus: int  # least in all
    node_cpus: int  # least on each node
    tasks_per_node: int | None
    tasks_per_socket: int | None
    threads: int | None  # of a core to use
    sockets: int | None  # asked of the machine
    cores: int | None
    overcommit: bool
    mem_node: int | None  # 0 = all of the node's
    mem_cpu: int | None
    mem_gpu: int | None
    tmp: int
    gres: tuple[Gres, ...]  # on each node
    gpus: tuple[Gres, ...]  # in all
    task_gpus: tuple[Gres, ...]  # for each task
    cpus_per_gpu: int | None
    whole: bool  # nobody else on its nodes
    user_only: bool  # nobody but this user
    share: int  # jobs of this partition that may use one core
    types: tuple[str, ...] = ()  # of gpu that an untyped request may get here


def _sum(*lists: tuple[Gres, ...]) -> tuple[Gres, ...]:
    total: dict[tuple[str, str | None], int] = {}
    for gres in lists:
        for item in gres:
            total[item.name, item.type] = total.get((item.name, item.type), 0) + item.count
    return tuple(Gres(name=name, type=kind, count=count) for (name, kind), count in total.items() if count)


def _times(gres: tuple[Gres, ...], factor: int) -> tuple[Gres, ...]:
    return tuple(msgspec.structs.replace(item, count=item.count * factor) for item in gres)


def count(gres: tuple[Gres, ...], name: str = "gpu") -> int:
    """How many of `name` they add up to."""
    return sum(item.count for item in gres if item.name == name)


def sharing(spec: JobSpec, partition: Partition) -> tuple[bool, int]:
    """(whole nodes only, how many jobs may use one core) under the partition's OverSubscribe."""
    word, _, number = partition.oversubscribe.partition(":")
    if word == "exclusive":
        return True, 1
    if word == "force":
        return False, int(number or 4)
    if spec.exclusive == "node":
        return True, 1
    return False, int(number or 4) if word == "yes" and spec.oversubscribe else 1


def want(spec: JobSpec, partition: Partition) -> Want:
    """What `spec` asks of `partition`."""
    gpus, tasks = spec.gpus, spec.ntasks
    cpt = spec.cpus_per_task or 1
    node_gres = _sum(spec.gres, spec.gpus_per_node, _times(spec.gpus_per_socket, spec.sockets_per_node or 1))
    low, high = spec.nodes_min, spec.nodes_max or None  # a most of 0 is none
    if spec.ntasks_per_gpu and not gpus and not count(node_gres) and tasks:
        gpus = (Gres(name="gpu", count=-(-tasks // spec.ntasks_per_gpu)),)
    if spec.gpus_per_task and gpus and tasks is None:
        tasks = max(1, count(gpus) // max(1, count(spec.gpus_per_task)))
    if tasks is None and spec.ntasks_per_gpu and (gpus or node_gres):
        tasks = spec.ntasks_per_gpu * (count(gpus) or count(node_gres) * (low or 1))
    if tasks is None and spec.ntasks_per_node and low is not None and (high is None or high == low):
        tasks = spec.ntasks_per_node * low
    if low is None:
        low = -(-tasks // spec.ntasks_per_node) if tasks and spec.ntasks_per_node else 1
    low = max(low, len(spec.nodelist), partition.min_nodes)
    if tasks is not None:
        low = min(low, max(tasks, len(spec.nodelist)))
        high = None if high is None else max(low, min(high, tasks))
    if partition.max_nodes is not None and (high is None or high > partition.max_nodes):
        high = max(low, partition.max_nodes)
    per_task = 0 if spec.overcommit else cpt
    each = spec.ntasks_per_node
    if spec.ntasks_per_gpu and each is None and tasks and low > 1 and tasks % low == 0:
        each = tasks // low  # of so many nodes each has as many tasks, whichever of the GPUs they use
    node_cpus = max(spec.mincpus or 0, cpt, (each or 1) * per_task)
    whole, share = sharing(spec, partition)
    mem = (spec.mem_per_node, spec.mem_per_cpu, spec.mem_per_gpu)
    if mem == (None, None, None):
        has_gpu = bool(count(gpus) or count(node_gres) or spec.gpus_per_task)
        if has_gpu and partition.def_mem_per_gpu is not None:
            mem = (None, None, partition.def_mem_per_gpu)
        elif partition.def_mem_per_node is not None:
            mem = (partition.def_mem_per_node, None, None)
        else:
            mem = (None, partition.def_mem_per_cpu, None)
    limit = partition.max_mem_per_cpu
    if mem[1] is not None and limit is not None and mem[1] > limit:
        # Slurm gives more CPUs instead of more memory for each
        cpt, mem = cpt * -(-mem[1] // limit), (None, limit, None)
        node_cpus = max(node_cpus, cpt)
    has_gpus = count(gpus) or count(node_gres) or spec.gpus_per_task
    cpus = max(low * (node_cpus if not spec.overcommit else 1), (tasks or low) * (cpt if not spec.overcommit else 0))
    one_thread = spec.hint in ("nomultithread", "compute_bound")
    return Want(
        tasks=tasks,
        cpt=cpt,
        nodes_min=low,
        nodes_max=high,
        exact_nodes=not spec.use_min_nodes,
        cpus=cpus,
        node_cpus=node_cpus,
        tasks_per_node=each,
        tasks_per_socket=spec.ntasks_per_socket,
        threads=1 if one_thread or spec.ntasks_per_core == 1 else spec.threads_per_core,
        sockets=spec.sockets_per_node,
        cores=spec.cores_per_socket,
        overcommit=spec.overcommit,
        mem_node=mem[0],
        mem_cpu=mem[1],
        mem_gpu=mem[2],
        tmp=spec.tmp or 0,
        gres=node_gres,
        gpus=gpus,
        task_gpus=spec.gpus_per_task,
        cpus_per_gpu=spec.cpus_per_gpu or (partition.def_cpus_per_gpu if has_gpus else None),
        whole=whole,
        user_only=spec.exclusive == "user",
        share=share,
        types=partition.gpu_types,
    )


class Shape:
    """A shape and its queue: entries (-priority, id) of jobs that only wait for their turn, best first."""

    __slots__ = ("account", "entries", "key", "odd", "partitions", "requeues", "spec", "time_limit", "uid", "wants")

    def __init__(self, key: tuple, job: Job) -> None:
        self.key = key
        self.spec = job.spec
        self.partitions: tuple[str, ...] = key[0]
        self.time_limit = job.time_limit
        self.uid = job.uid
        self.account = job.account
        self.requeues = job.requeues
        self.entries: list[tuple[int, int]] = []
        self.odd: set[int] = set()  # ids whose reason is not "Priority"
        self.wants: dict[str, Any] = {}  # partition name → (Partition, Want)

    def seconds(self) -> int:
        """How long one of these may run."""
        return YEAR if self.time_limit == INFINITE else self.time_limit

    def want(self, partition: Partition) -> Want:
        known = self.wants.get(partition.name)
        if known is None or known[0] is not partition:
            known = self.wants[partition.name] = (partition, want(self.spec, partition))
        return known[1]
