"""The oracle's cluster as model values, a broker that keeps what it was asked, and a user's side that keeps what was printed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from sbroker.api import Call, HistoryQuery, Record, Target
from sbroker.errors import Code, Refused
from sbroker.model import Gres, Job, JobSpec, Node, NodeShare, Partition, Run, Step
from sbroker.states import JobState, NodeState, Reason
from slurm_compat.commands import sacct, scontrol

NOW = 1795512158.0  # 2026-11-24T09:22:38 UTC
ENV = {"TZ": "UTC"}


def when(clock: str, day: int = 24) -> float:
    """ "09:22:26" on that day of November 2026, UTC."""
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return 1793491200.0 + (day - 1) * 86400 + hours * 3600 + minutes * 60 + seconds


def node(number: int, **changes: Any) -> Node:
    gpu = number > 2
    fields: dict[str, Any] = {
        "name": f"node{number}",
        "site": "gpus" if gpu else "cpu",
        "state": NodeState.IDLE,
        "address": "127.0.0.1",
        "hostname": f"node{number}",
        "cpus": 8,
        "sockets": 2,
        "cores_per_socket": 4,
        "threads_per_core": 1,
        "memory": 16000,
        "weight": 10 if gpu else 1,
        "arch": "x86_64",
        "gres": (Gres(name="gpu", type="a100", count=4),) if gpu else (),
        "features": ("gpu", "a100") if gpu else ("cpu", "intel"),
        "os": "Linux 6.18.44-fc-v657 #1 SMP PREEMPT_DYNAMIC @0",
        "version": "22.05.8",
        "incarnation": "x",
        "boot_time": when("08:47:12"),
        "agent_time": when("09:04:48"),
        "load": 16.8,
        "free_mem": 19465,
    }
    return Node(**{**fields, **changes})


PARTITIONS = {
    "debug": Partition(name="debug", default=True, nodes=("node1", "node2", "node3", "node4"), def_mem_per_cpu=1000),
    "gpu": Partition(name="gpu", nodes=("node3", "node4"), def_mem_per_cpu=1000, default_time=3600, max_time=172800),
}


def share(name: str, cpus: int, mem: int, cpu_ids: str = "", **gres: tuple[int, ...]) -> NodeShare:
    return NodeShare(node=name, cpus=cpus, mem=mem, cpu_ids=cpu_ids, gres={key.replace("_", ":"): value for key, value in gres.items()})


def spec(name: str = "wrap", **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {"name": name, "work_dir": "/home/alice/w", "stdout": "/dev/null", "submit_host": "localhost", "sid": 2506}
    return JobSpec(**{**fields, **changes})


def job(number: int, of: JobSpec | None = None, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": number,
        "user": "alice",
        "uid": 1001,
        "gid": 1001,
        "group": "alice",
        "spec": of or spec(),
        "account": "lab",
        "qos": "normal",
        "partition": "debug",
        "priority": 4294901100,
        "submit_time": when("09:22:26"),
        "last_eval": when("09:22:26"),
    }
    return Job(**{**fields, **changes})


class View:
    """Enough of `sbroker.api.View` for records."""

    def __init__(self, jobs: list[Job] = (), *, nodes: list[Node] | None = None, steps: list[Step] = (), runs: list[Run] = (), plan: frozenset[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.plan = plan
        self.jobs = {one.id: one for one in jobs}
        self.nodes = {one.name: one for one in (nodes if nodes is not None else [node(n) for n in range(1, 5)])}
        self.partitions = dict(PARTITIONS)
        self.runs = {one.job: one for one in runs}
        self.steps: dict[int, dict[int, Step]] = {}
        for one in steps:
            self.steps.setdefault(one.job, {})[one.step] = one

    def array(self, array_id: int) -> list[Job]:
        members = [one for one in self.jobs.values() if one.array_id == array_id]
        return sorted(members, key=lambda one: (one.array_task is not None, one.id))

    def user_jobs(self, uid: int) -> list[Job]:
        return [one for one in self.jobs.values() if one.uid == uid]

    def node_jobs(self, name: str) -> list[Job]:
        return [
            one for one in self.jobs.values() if (not one.state.ended or one.completing) and any(part.node == name for part in one.nodes)
        ]

    def node_used(self, name: str) -> tuple[int, int, dict[str, int]]:
        parts = [part for one in self.node_jobs(name) for part in one.nodes if part.node == name]
        gres: dict[str, int] = {}
        for part in parts:
            for key, devices in part.gres.items():
                gres[key] = gres.get(key, 0) + len(devices)
        return sum(part.cpus for part in parts), sum(part.mem for part in parts), gres

    def estimate(self, number: int) -> float | None:
        return None

    def planned(self, number: int | None = None) -> frozenset[str]:
        return self.plan


class Broker:
    """Keeps what it was asked in `asked`; refuses what `refuse` says: (method, job or name) → Code."""

    def __init__(
        self, view: View, call: Call, *, refuse: dict[tuple[str, Any], Code] | None = None, records: list[Record] = (), now: float = NOW
    ) -> None:  # type: ignore[assignment]
        self.view, self.caller, self.refuse, self.records, self._now = view, call, refuse or {}, list(records), now
        self.config = SimpleNamespace(
            cluster="oracle", imitate="22.05", kill_wait=5, min_job_age=3600, max_array_size=100001, mpi_default="none"
        )
        self.asked: list[tuple[Any, ...]] = []
        self.queries: list[HistoryQuery] = []
        self.scripts: dict[int, bytes] = {}

    def now(self) -> float:
        return self._now

    def _take(self, method: str, key: Any, *rest: Any) -> None:
        code = self.refuse.get((method, key))
        if code is None and isinstance(key, int) and key not in self.view.jobs and not self.view.array(key):
            code = Code.INVALID_JOB_ID
        if code is not None:
            raise Refused(code)
        self.asked.append((method, key, *rest))

    async def hold(self, target: Target, held: str) -> None:
        self._take("hold", target.job, target.tasks, held)

    async def requeue(self, target: Target, *, hold: bool = False) -> None:
        self._take("requeue", target.job, target.tasks, hold)

    async def suspend(self, target: Target, suspend: bool) -> None:
        self._take("suspend", target.job, target.tasks, suspend)

    async def update_job(self, target: Target, changes: dict[str, Any]) -> None:
        self._take("update_job", target.job, target.tasks, changes)

    async def update_node(self, name: str, *, state: str | None = None, reason: str | None = None, **fields: Any) -> None:
        self._take("update_node", name, state, reason, fields)

    async def update_partition(self, name: str, **fields: Any) -> None:
        if name not in self.view.partitions:
            raise Refused(Code.INVALID_PARTITION)
        self._take("update_partition", name, fields)

    async def create_partition(self, name: str, **fields: Any) -> None:
        self._take("create_partition", name, fields)

    async def delete_partition(self, name: str) -> None:
        if name not in self.view.partitions:
            raise Refused(Code.INVALID_PARTITION)
        self._take("delete_partition", name)

    async def reconfigure(self) -> None:
        self._take("reconfigure", "")

    async def script(self, number: int, past: Job | None = None) -> bytes:
        if number not in self.scripts:
            raise Refused(Code.INVALID_JOB_ID if past is None else Code.SCRIPT_MISSING)
        return self.scripts[number]

    async def changed(self, number: int, timeout: float | None = None) -> Job | None:
        one = self.view.jobs.get(number)
        if one is not None and one.state is JobState.PENDING:
            self.view.jobs[number] = job(number, state=JobState.RUNNING)
        return self.view.jobs.get(number)

    async def history(self, query: HistoryQuery) -> list[Record]:
        self.queries.append(query)
        return self.records


class User:
    """What a command did on the user's side."""

    def __init__(self, stdin: str = "", files: dict[str, bytes] | None = None) -> None:
        self.printed: dict[int, str] = {1: "", 2: ""}
        self._stdin, self.files, self.written = stdin, files or {}, {}  # type: ignore[var-annotated]

    async def out(self, data: str | bytes, fd: int = 1) -> None:
        self.printed[fd] += data if isinstance(data, str) else data.decode()

    async def stdin(self) -> bytes:
        return self._stdin.encode()

    async def lines(self) -> AsyncIterator[bytes]:
        *whole, rest = self._stdin.encode().split(b"\n")
        for line in [*whole, rest] if rest else whole:
            yield line

    async def read(self, path: str, limit: int = 64 << 20) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path]

    async def write(self, path: str, data: bytes, *, append: bool = False, mode: int = 0o666) -> None:
        if path.startswith("/nonexistent"):
            raise FileNotFoundError(2, "No such file or directory")
        self.written[path] = data


def command(
    name: str,
    argv: list[str],
    view: View,
    *,
    uid: int = 1001,
    operator: bool = False,
    env: dict[str, str] | None = None,
    stdin: str = "",
    ttys: frozenset[int] = frozenset(),
    **more: Any,
) -> SimpleNamespace:
    """One call of "scontrol" or "sacct" → out, err, code, asked (changes) and the user's and broker's sides."""
    call = Call(
        id="c",
        name=name,
        argv=tuple(argv),
        env={**ENV, **(env or {})},
        cwd="/home/alice/w",
        uid=uid,
        gid=uid,
        user="alice" if uid else "root",
        operator=operator,
        admin=operator,
        host="LOGIN",
        ttys=ttys,
    )
    user = User(stdin, more.pop("files", None))
    scripts = more.pop("scripts", {})
    broker = Broker(view, call, **more)
    broker.scripts = scripts
    code = asyncio.run({"scontrol": scontrol, "sacct": sacct}[name].run(call, user, broker))  # type: ignore[arg-type]
    return SimpleNamespace(out=user.printed[1], err=user.printed[2], code=code, asked=broker.asked, user=user, broker=broker)


__all__ = ["NOW", "Reason", "command", "job", "node", "share", "spec", "when"]
