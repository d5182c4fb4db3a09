"""The cluster on which the goldens were recorded (22.05.8: four nodes, two partitions), and its queue, as values of the model."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from types import SimpleNamespace

from sbroker.model import Dependency, DepItem, Gres, Job, JobSpec, Node, NodeShare, Partition, Step
from sbroker.states import JobState, NodeState, Reason
from slurm_compat.hostlist import expand

ENV = {"TZ": "UTC"}
CONFIG = SimpleNamespace(cluster="oracle", imitate="22.05")
ALICE, ROOT = 1001, 0


def at(clock: str, date: str = "2026-11-24") -> float:
    return calendar.timegm(time.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S"))


NOW = at("09:22:30")


class FakeView:
    """A `View` over plain mappings."""

    def __init__(
        self,
        jobs: Iterable[Job] = (),
        steps: Iterable[Step] = (),
        nodes: Iterable[Node] = (),
        partitions: Iterable[Partition] = (),
        plans: dict[int, tuple[float, str]] | None = None,
    ) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.runs: dict = {}
        self.steps: dict[int, dict[int, Step]] = {}
        for step in steps:
            self.steps.setdefault(step.job, {})[step.step] = step
        self.nodes = {node.name: node for node in nodes}
        self.partitions = {part.name: part for part in partitions}
        self.plans = plans or {}  # job → when and where the last pass means to start it

    def array(self, array_id: int) -> list[Job]:
        found = [job for job in self.jobs.values() if job.array_id == array_id]
        return sorted(found, key=lambda job: (not job.array_pending, job.array_task or 0))

    def user_jobs(self, uid: int) -> list[Job]:
        return [job for job in self.jobs.values() if job.uid == uid]

    def node_jobs(self, node: str) -> list[Job]:
        live = [job for job in self.jobs.values() if job.state in (JobState.RUNNING, JobState.SUSPENDED) or job.completing]
        return [job for job in live if any(share.node == node for share in job.nodes)]

    def node_used(self, node: str) -> tuple[int, int, dict[str, int]]:
        shares = [s for job in self.node_jobs(node) if not job.completing for s in job.nodes if s.node == node]
        gres: dict[str, int] = {}
        for share in shares:
            for key, devices in share.gres.items():
                gres[key] = gres.get(key, 0) + len(devices)
        return sum(s.cpus for s in shares), sum(s.mem for s in shares), gres

    def estimate(self, job: int) -> float | None:
        return self.plans[job][0] if job in self.plans else None

    def planned(self, job: int | None = None) -> frozenset[str]:
        found = self.plans.values() if job is None else [self.plans[job]] if job in self.plans else []
        return frozenset(name for _, nodes in found for name in expand(nodes))


def node(number: int, **fields: object) -> Node:
    gpus = number > 2
    values: dict = {
        "name": f"node{number}", "site": "gpus" if gpus else "cpu", "state": NodeState.IDLE, "cpus": 8, "sockets": 2, "cores_per_socket": 4,
        "memory": 16000, "weight": 10 if gpus else 1, "features": ("gpu", "a100") if gpus else ("cpu", "intel"), "incarnation": "i",
        "gres": (Gres(name="gpu", type="a100", count=4),) if gpus else (), "version": "22.05.8", "address": "127.0.0.1",
        "load": 15.89 if number == 2 else 16.80, "free_mem": 19888 if number == 2 else 19465,
    }  # fmt: skip
    return Node(**{**values, **fields})


NODES = tuple(node(n) for n in (1, 2, 3, 4))
PARTITIONS = (
    Partition(name="debug", default=True, nodes=("node1", "node2", "node3", "node4"), def_mem_per_cpu=1000),
    Partition(name="gpu", nodes=("node3", "node4"), def_mem_per_cpu=1000, max_time=172800, default_time=3600),
)


PRIORITIES = {790: 4294901100, 791: 4294901099, 792: 4294901098, 793: 4294901097, 794: 4294901096, 796: 4294901095, 797: 4294901094,
              798: 4294901093, 799: 4294901092, 800: 4294901094, 801: 4294901094}  # fmt: skip


def job(number: int, name: str = "wrap", *, priority: int | None = None, spec: dict | None = None, **fields: object) -> Job:
    """A job of alice's, pending unless it has nodes."""
    asked = {"name": name, "work_dir": "/home/alice/w", "stdout": "/dev/null", "submit_host": "localhost", "sid": 2506, **(spec or {})}
    values: dict = {
        "id": number, "user": "alice", "uid": ALICE, "gid": ALICE, "group": "alice", "account": "lab", "qos": "normal",
        "partition": "debug",
        "priority": PRIORITIES.get(number, 1) if priority is None else priority, "submit_time": at("09:22:27"), "last_eval": at("09:22:27"),
    }  # fmt: skip
    return Job(spec=JobSpec(**asked), **{**values, **fields})


def shares(*names: str, cpus: int = 1, mem: int = 1000, **gres: tuple[int, ...]) -> tuple[NodeShare, ...]:
    return tuple(NodeShare(node=n, cpus=cpus, mem=mem, gres={"gpu:a100": gres["gpu"]} if gres else {}) for n in names)


def running(number: int, name: str, nodes: tuple[NodeShare, ...], start: str, **fields: object) -> Job:
    return job(number, name, state=JobState.RUNNING, nodes=nodes, start_time=at(start), eligible_time=at(start), run=0, **fields)


def queue() -> list[Job]:
    """The jobs of the goldens: run=790 … nodeavail=799; tasks 1 and 2 of the array run as 800 and 801."""
    array = {"array_id": 797, "array_size": 10, "time_limit": 300}
    return [
        running(790, "run", (NodeShare(node="node1", cpus=3, mem=3000), NodeShare(node="node2", cpus=1, mem=1000)), "09:22:26",
                time_limit=1800, submit_time=at("09:22:26"), spec={"nodes_min": 2, "nodes_max": 2, "ntasks": 4, "comment": "hi"}),
        running(791, "gpujob", shares("node3", cpus=2, mem=2048, gpu=(0, 1)), "09:22:26", partition="gpu", time_limit=3600,
                submit_time=at("09:22:26"),
                spec={"partitions": ("gpu",), "cpus_per_task": 2, "mem_per_node": 2048, "gres": (Gres(name="gpu", count=2),)}),
        job(792, "fill", reason=Reason.RESOURCES, time_limit=3600, spec={"nodes_min": 4, "nodes_max": 4, "exclusive": "node"}),
        job(793, "prio", reason=Reason.PRIORITY, time_limit=3600, spec={"ntasks": 30}),
        job(794, "dep", reason=Reason.DEPENDENCY, deps_left=Dependency(items=(DepItem(kind="afterok", job=790),))),
        job(795, "held", priority=0, reason=Reason.HELD_USER, held="user"),
        job(796, "begin", reason=Reason.BEGIN_TIME, begin=at("10:22:27")),
        job(797, "arr", reason=Reason.ARRAY_TASK_LIMIT, array_pending=tuple(range(3, 11)), spec={"array_limit": 2, "ntasks": 1}, **array),
        job(798, "averyveryverylongjobname", account="other", reason=Reason.PRIORITY, spec={"nodelist": ("node1",), "exclusive": "node"}),
        job(799, "limit", reason=Reason.PARTITION_TIME_LIMIT, partition="gpu", time_limit=259200, spec={"partitions": ("gpu",)}),
        running(800, "arr", shares("node1"), "09:22:28", array_task=1, spec={"array_limit": 2}, **array),
        running(801, "arr", shares("node1"), "09:22:28", array_task=2, spec={"array_limit": 2}, **array),
    ]  # fmt: skip


def steps() -> list[Step]:
    batch = [Step(job=j, run=0, step=-5, name="batch", nodes=(n,), start_time=at(t)) for j, n, t in
             ((790, "node1", "09:22:26"), (791, "node3", "09:22:26"), (800, "node1", "09:22:28"), (801, "node1", "09:22:28"))]  # fmt: skip
    return [*batch, Step(job=790, run=0, step=0, name="sleep", nodes=("node1", "node2"), ntasks=4, cpus=4, start_time=at("09:22:26"))]


PLANS = {792: (at("10:22:26"), "node[1-4]"), 793: (at("11:22:00"), "node[1-4]"), 798: (at("12:22:00"), "node1")}


def busy() -> FakeView:
    return FakeView(queue(), steps(), NODES, PARTITIONS, PLANS)


def idle() -> FakeView:
    return FakeView((), (), NODES, PARTITIONS)
