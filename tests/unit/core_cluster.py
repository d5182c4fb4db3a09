"""The oracle's cluster (four nodes of 8 CPUs, GPUs on two) under the core alone, for the tests of it."""

from __future__ import annotations

from typing import Any

from sbroker.api import Target
from sbroker.core.decide import decide
from sbroker.core.effects import Decision
from sbroker.core.events import Cancel, Configure, Hello, Hold, Reports, Submit, Tick, Who
from sbroker.core.state import State
from sbroker.errors import Refused
from sbroker.model import Gres, Job, JobSpec, Node, Partition, Report

ALICE = Who(uid=1001, user="alice", gid=1001, group="alice", groups=("alice",))
BOB = Who(uid=1002, user="bob", gid=1002, group="bob", groups=("bob",))
ROOT = Who(uid=0, user="root", operator=True)


def gpu(count: int, kind: str | None = None) -> tuple[Gres, ...]:
    return (Gres(name="gpu", type=kind, count=count),)


def machines() -> tuple[Node, ...]:
    plain = {"site": "local", "cpus": 8, "sockets": 2, "cores_per_socket": 4, "memory": 16000}
    return (
        *(Node(name="node%d" % number, features=("cpu", "intel"), weight=1, **plain) for number in (1, 2)),
        *(Node(name="node%d" % number, features=("gpu", "a100"), weight=10, gres=gpu(4, "a100"), **plain) for number in (3, 4)),
    )


def partitions() -> tuple[Partition, ...]:
    return (
        Partition(name="debug", default=True, nodes=("node1", "node2", "node3", "node4"), def_mem_per_cpu=1000),
        Partition(name="gpu", nodes=("node3", "node4"), max_time=2 * 86400, default_time=3600, def_mem_per_cpu=1000),
    )


class Cluster:
    """Decisions are applied at once, as if the store were instant; nodes speak when the test says so."""

    def __init__(self, nodes: tuple[Node, ...] | None = None, parts: tuple[Partition, ...] | None = None, **settings: Any) -> None:
        self.state, self.now = State({"users": {"alice": {"accounts": ["lab", "other"], "default_account": "lab"}}, **settings}), 1000.0
        self.seqs: dict[str, int] = {}
        nodes = nodes or machines()
        self.do(Configure(nodes=nodes, partitions=parts or partitions()))
        for node in nodes:
            self.hello(node.name)

    def do(self, event: Any) -> Decision:
        decision = decide(self.state, event, self.now)
        self.state.apply(decision.changes)
        return decision

    def hello(self, node: str, *live: tuple[int, int, str], boot: str = "boot", folder: str = "folder") -> Decision:
        return self.do(Hello(node=node, incarnation="%s:%s" % (folder, boot), boot_id=boot, live=live))

    def submit(self, who: Who = ALICE, **fields: Any) -> int:
        fields.setdefault("name", "job")
        return self.do(Submit(spec=JobSpec(**fields), who=who)).answer[0]  # type: ignore[index]

    def refusal(self, event: Any) -> str:
        """The code with which `event` is refused; "" if it is not."""
        before = dict(self.state.jobs)
        try:
            self.do(event)
        except Refused as refused:
            assert self.state.jobs == before
            return refused.code.value
        return ""

    def job(self, key: int) -> Job:
        return self.state.jobs[key]

    def tick(self, seconds: float = 0) -> Decision:
        self.now += seconds
        return self.do(Tick())

    def cancel(self, job: int, who: Who = ALICE, **fields: Any) -> Decision:
        tasks = fields.pop("tasks", None)
        return self.do(Cancel(targets=(Target(job=job, tasks=tasks),), who=who, **fields))

    def hold(self, job: int, held: str = "user", who: Who = ALICE, tasks: tuple[int, ...] | None = None) -> Decision:
        return self.do(Hold(target=Target(job=job, tasks=tasks), who=who, held=held))  # type: ignore[arg-type]

    def report(self, node: str, kind: str, job: int, run: int | None = None, **data: Any) -> Decision:
        self.seqs[node] = self.seqs.get(node, 0) + 1
        run = self.job(job).run if run is None else run
        incarnation = self.state.nodes[node].incarnation
        report = Report(node=node, incarnation=incarnation, seq=self.seqs[node], kind=kind, job=job, run=run, time=self.now, data=data)  # type: ignore[arg-type]
        return self.do(Reports(reports=(report,)))

    def begin(self, job: int) -> None:
        """The run is held everywhere and starts."""
        shares = self.job(job).nodes
        for share in shares:
            self.report(share.node, "held", job)
        self.report(shares[0].node, "started", job, pid=1)

    def end(self, job: int, code: int = 0, signal: int = 0, why: str = "exit") -> None:
        shares = self.job(job).nodes
        run = self.job(job).run
        self.report(shares[0].node, "ended", job, run, code=code, signal=signal, why=why)
        for share in shares:
            self.report(share.node, "empty", job, run)

    def finish(self, job: int, code: int = 0) -> None:
        self.begin(job)
        self.end(job, code)

    def reasons(self) -> dict[int, str]:
        return {job.id: job.reason.value for job in self.state.jobs.values() if not job.state.ended}


def per_node(job: Job) -> str:
    """As SLURM_JOB_CPUS_PER_NODE has it: 4,1 or 8(x2)."""
    runs: list[list[int]] = []
    for share in job.nodes:
        if runs and runs[-1][0] == share.cpus:
            runs[-1][1] += 1
        else:
            runs.append([share.cpus, 1])
    return ",".join("%d(x%d)" % (cpus, times) if times > 1 else str(cpus) for cpus, times in runs)
