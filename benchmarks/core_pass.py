"""How long the core takes, without store, sockets or nodes: `python -m benchmarks.core_pass [JOBS] [SHAPES] [NODES]`.

Prints milliseconds; nothing is judged, machines differ.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from sbroker.api import Target
from sbroker.core.decide import decide
from sbroker.core.events import Cancel, Configure, Hello, Reports, Submit, Tick, Who
from sbroker.core.state import State
from sbroker.model import JobSpec, Node, Partition, Report

ALICE = Who(uid=1001, user="alice", gid=1001, group="alice")


class Bench:
    def __init__(self, nodes: int) -> None:
        self.state, self.now, self.seqs = State(), 1000.0, {}
        machines = tuple(
            Node(name="node%d" % number, site="bench", cpus=8, sockets=2, cores_per_socket=4, memory=16000)
            for number in range(1, nodes + 1)
        )
        partition = Partition(name="debug", default=True, nodes=tuple(node.name for node in machines), def_mem_per_cpu=1000)
        self.do(Configure(nodes=machines, partitions=(partition,), settings={}))
        for node in machines:
            self.do(Hello(node=node.name, incarnation="bench:" + node.name, boot_id=node.name))

    def do(self, event: Any) -> Any:
        decision = decide(self.state, event, self.now)
        self.state.apply(decision.changes)
        return decision

    def report(self, node: str, kind: str, job: int, run: int, **data: Any) -> Any:
        seq = self.seqs[node] = self.seqs.get(node, 0) + 1
        report = Report(node=node, incarnation="bench:" + node, seq=seq, kind=kind, job=job, run=run, time=self.now, data=data)  # type: ignore[arg-type]
        return self.do(Reports(reports=(report,)))

    def finish(self, job: int) -> None:
        """The running job's life until nothing of it is left."""
        record = self.state.jobs[job]
        for share in record.nodes:
            self.report(share.node, "held", job, record.run)
        self.report(record.nodes[0].node, "started", job, record.run)
        self.report(record.nodes[0].node, "ended", job, record.run, code=0, signal=0, why="exit")
        for share in record.nodes:
            self.report(share.node, "empty", job, record.run)


def timed(what: str, count: int, call: Callable[[], Any]) -> None:
    began = time.perf_counter()
    call()
    spent = (time.perf_counter() - began) * 1000
    print("%-58s %9.2f ms%s" % (what, spent, "  (%.3f each)" % (spent / count) if count > 1 else ""))


def main(jobs: int = 10_000, shapes: int = 50, nodes: int = 4) -> None:
    bench = Bench(nodes)
    for _number in range(nodes):
        bench.do(Submit(spec=JobSpec(name="hog", ntasks=8, time_limit=3600), who=ALICE))
    specs = [JobSpec(name="job", ntasks=1 + number % 8, time_limit=60 + number) for number in range(shapes)]

    def submit() -> None:
        for number in range(jobs):
            bench.do(Submit(spec=specs[number % shapes], who=ALICE, request_id="request-%d" % number))

    timed("%d submissions that must wait, %d shapes, %d nodes" % (jobs, shapes, nodes), jobs, submit)
    timed("a pass when nothing was freed", 1, lambda: bench.do(Tick()))
    bench.state.version += 1
    timed("a pass when nothing can start, all looked at anew", 1, lambda: bench.do(Tick()))
    rows = list(_rows(bench.state))
    timed("reading the state again", 1, lambda: State.load(rows))
    timed("one job ends, another starts", 1, lambda: bench.finish(1))
    tasks = tuple(range(10_000))
    timed("an array of 10000 tasks", 1, lambda: bench.do(Submit(spec=JobSpec(name="array", array="0-9999", array_tasks=tasks), who=ALICE)))
    targets = tuple(Target(job=key) for key in bench.state.jobs)
    timed("cancelling all", 1, lambda: bench.do(Cancel(targets=targets, who=ALICE)))

    fresh = Bench(nodes)

    def short() -> None:
        for _ in range(500):
            fresh.do(Submit(spec=JobSpec(name="true", ntasks=1), who=ALICE))
        for job in range(1, 501):
            fresh.finish(job)

    timed("500 short jobs from submission to end", 500, short)


def _rows(state: State) -> Any:
    from sbroker.core.effects import Put

    for table, rows in (("job", state.jobs), ("run", state.all_runs), ("node", state.nodes), ("partition", state.partitions)):
        yield from (Put(table, key, value) for key, value in rows.items())  # type: ignore[attr-defined]
    for job, parts in state.parts.items():
        yield from (Put("part", (job, *key), part) for key, part in parts.items())


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
