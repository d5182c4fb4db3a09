"""One simulated cluster under one seed: nodes, brokers, users, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sbroker.api import Target
from sbroker.core.events import Cancel, Fence, Hold, Requeue, Submit, Suspend, UpdateNode, Who
from sbroker.model import Dependency, DepItem, JobSpec, Node, Partition
from tests.sim import check
from tests.sim.broker import Broker
from tests.sim.clock import Clock
from tests.sim.cloud import Cloud, idle
from tests.sim.disk import Disk
from tests.sim.files import Files
from tests.sim.node import SimNode
from tests.sim.wire import Wire

ALICE = Who(uid=1001, user="alice", gid=1001, group="alice")
BOB = Who(uid=1002, user="bob", gid=1002, group="bob")
ROOT = Who(uid=0, user="root", operator=True)


class World:
    def __init__(self, seed: int, *, jobs: int = 14, trouble: float = 1.0, nodes: int = 3, dying: int = 0, stopping: tuple[str, ...] = (), lease: int = 0, clouds: int = 0) -> None:
        """`dying`: so many more jobs, which kill their own supervisors; `stopping`: those that stop them, "stops" or "stops-again".
        `lease`: of all nodes; then outages are longer, and machines freeze."""
        self.seed, self.clock = seed, Clock(seed)
        self.disk = Disk(self.clock)
        self.lease, self.outage = lease, 300.0 if lease else 60.0
        self.trouble = trouble  # 0: nothing goes wrong
        self.nodes: dict[str, SimNode] = {}
        self.quiet_after = self.clock.now + 60.0
        self.settings: dict[str, Any] = {"lost_after": 8, "min_job_age": 100_000, "stage_out_grace": 20}
        apart = self.clock.rng.randrange(nodes + 1)  # so many nodes do not share the submit host's files
        self.clouds = {name: Cloud(self, name) for name in ("east", "west", "north")[:clouds]}
        if clouds:
            self.settings["sites"] = {name: cloud.facts() for name, cloud in self.clouds.items()}
        size = {"site": "sim", "cpus": 4, "memory": 4000, "lease": lease}
        self.config_nodes = tuple(
            Node(name="n%d" % index, one_user=index == 0, shared_fs=index >= apart or ("/elsewhere",), **size) for index in range(nodes)
        )
        self.files = Files(self)
        names = tuple(node.name for node in self.config_nodes)
        limit = 3600 if clouds else None  # nothing is bought without one
        main = Partition(name="main", default=True, nodes=names, sites=("sim", *self.clouds), suspend_time=5, default_time=limit, def_mem_per_cpu=500)
        self.config_partitions = (main,)
        self.fenced = 0  # parts that were fenced before a new run of their job came to be
        self.execs: dict[tuple[tuple[int, int], str], int] = {}
        self.working: set[tuple[tuple[int, int], str]] = set()
        self.finishes: dict[tuple[int, int], str] = {}
        self.accepted: dict[str, int] = {}
        self.cancelled: set[int] = set()
        self.suspended: set[int] = set()  # may share cores once they go on
        self.incarnations: dict[str, str] = {}
        self.epochs: dict[str, int] = {}
        self.cut_off: dict[str, float] = {}
        self.wires: list[tuple[str, Wire]] = []
        for node in self.config_nodes:
            self.nodes[node.name] = SimNode(self, self.clock, node.name)
        self.broker: Broker | None = None
        self.start_broker()
        for number in range(jobs):
            self.clock.later(self.clock.rng.random() * 50, lambda number=number: self.user_submits("req-%d" % number))
        for number in range(dying):
            spec = JobSpec(name="dying", comment="1 0 dies")
            self.clock.later(self.clock.rng.random() * 20, lambda number=number, spec=spec: self.user_submits("dying-%d" % number, spec))
        for what in stopping:
            spec = JobSpec(name=what, comment="1 0 " + what, time_limit=60)
            self.clock.later(self.clock.rng.random() * 20, lambda what=what, spec=spec: self.user_submits(what, spec))
        self._plan_trouble()

    # --- the run

    def run(self) -> None:
        """Until all is quiet, or something is broken: `check.Broken` names the seed."""
        limit = self.clock.now + 6000
        while self.clock.step():
            if self.clock.now > self.quiet_after + 30 and self._all_over():
                break
            check.require(self.clock.now < limit, "it does not come to rest", self.stuck())
        check.end(self)

    def _all_over(self) -> bool:
        if self.broker is None or not self.broker.alive or self.disk._queue:
            return False
        if self.clouds and not idle(self.broker):
            return False
        return not self.stuck() and all(not node.supervisors and not node.runs and node.agent is not None for node in self.nodes.values())

    def stuck(self) -> list[Any]:
        if self.broker is None:
            return []
        state = self.broker.state
        return [brief(state, job) for job in state.jobs.values() if check.lives(job) and not check.waits_for_ever(state, job)]

    # --- users

    def user_submits(self, request: str, spec: JobSpec | None = None) -> None:
        """Submit, and again with the same id until there is an answer."""
        spec = spec or self.some_job(request)
        who = BOB if request.endswith(("1", "4", "7")) else ALICE

        def reply(answer: Any) -> None:
            check.require(isinstance(answer, list), "refused", answer)
            known = self.accepted.setdefault(request, answer[0])
            check.require(known == answer[0], "one request made two jobs", request, known, answer)
            if spec.name not in ("dying", "stops", "stops-again") and self.clock.chance(0.5):
                self.clock.soon(lambda: self.user_meddles(answer[0], who), 20.0)

        if self.broker is not None:
            self.broker.ask(Submit(spec=spec, who=who, request_id=request), reply)
        self.clock.later(4.0, lambda: None if request in self.accepted else self.user_submits(request, spec))

    def some_job(self, name: str) -> JobSpec:
        rng = self.clock.rng
        fields: dict[str, Any] = {
            "name": rng.choice([name, name, "same"]),
            "comment": "%.2f %d" % (rng.random() * rng.choice([3, 8, 400 if self.lease else 30]), rng.choice([0, 0, 0, 3])),
        }
        kind = rng.randrange(6)
        if kind == 0:
            fields.update(ntasks=rng.randint(2, 6), nodes_min=2, nodes_max=2)
        elif kind == 1:
            tasks = rng.randint(2, 5)
            fields.update(array="0-%d" % (tasks - 1), array_tasks=tuple(range(tasks)), array_limit=rng.choice([None, 1, 2]))
        else:
            fields.update(ntasks=rng.randint(1, 4))
        if self.accepted and rng.random() < 0.3:
            word = rng.choice(["afterok", "afterany", "afternotok", "after", "singleton"])
            item = DepItem(kind=word) if word == "singleton" else DepItem(kind=word, job=rng.choice(sorted(self.accepted.values())))
            fields["dependency"] = Dependency(items=(item,))
        if rng.random() < 0.2:
            fields["requeue"] = False
        if rng.random() < 0.15:
            fields["begin"] = self.clock.now + rng.random() * 10
        return JobSpec(**fields)

    def user_meddles(self, job: int, who: Who = ALICE) -> None:
        broker, rng = self.broker, self.clock.rng
        if broker is None or not broker.alive:
            return
        target, what = Target(job=job), rng.randrange(6)
        if what == 0:
            self.cancelled.add(job)
            broker.ask(Cancel(targets=(target,), who=who))
        elif what == 1:
            self.cancelled.add(job)
            broker.ask(Cancel(targets=(Target(job=job, tasks=(1, 3)),), who=who))
        elif what == 2:
            broker.ask(Requeue(target=target, who=who))
        elif what == 3:
            broker.ask(Hold(target=target, who=ALICE, held="user"))
            self.clock.later(5.0, lambda: self.release(job, who))
        elif what == 4:
            self.suspended.add(job)
            broker.ask(Suspend(target=target, who=ROOT))
            self.clock.later(5.0, lambda: self.resume(job))
        else:
            broker.ask(Requeue(target=target, who=ALICE, hold=True))
            self.clock.later(5.0, lambda: self.release(job, who))

    def release(self, job: int, who: Who) -> None:
        """Again and again: a request that nobody answered may not have been heard."""
        if self.broker is not None and self.broker.alive:
            self.broker.ask(Hold(target=Target(job=job), who=who, held=""))
        if self.clock.now < self.quiet_after + 20:
            self.clock.later(7.0, lambda: self.release(job, who))

    def resume(self, job: int) -> None:
        if self.broker is not None and self.broker.alive:
            self.broker.ask(Suspend(target=Target(job=job), who=ROOT, suspend=False))
        if self.clock.now < self.quiet_after + 20:
            self.clock.later(7.0, lambda: self.resume(job))

    # --- trouble

    def _plan_trouble(self) -> None:
        if not self.trouble:
            return
        kinds = [self.cut_a_wire, self.lose_a_node, self.reboot_a_node, self.take_over, self.kill_a_supervisor, self.down_a_node, self.fill_a_disk]
        if self.lease:  # what a dead supervisor left goes on for a while even on a machine that has just thawed: no lease covers that
            kinds = [self.cut_a_wire, self.lose_a_node, self.lose_a_node, self.freeze_a_node, self.freeze_a_node, self.take_over]
        for _ in range(int(self.clock.rng.random() * 8 * self.trouble)):
            at = self.clock.rng.random() * 55
            self.clock.later(at, self.clock.rng.choice(kinds))

    @property
    def calm(self) -> bool:
        return self.clock.now > self.quiet_after or not self.trouble

    def maybe_crash_broker(self, broker: Broker) -> bool:
        if self.calm or not broker.alive or not self.clock.chance(0.01 * self.trouble):
            return False
        broker.crash()
        return True

    def maybe_crash_agent(self, node: SimNode) -> bool:
        if self.calm or not self.clock.chance(0.01 * self.trouble):
            return False
        node.crash_agent()
        return True

    def maybe_kill(self, supervisor: Any) -> bool:
        if self.calm or self.lease or not self.clock.chance(0.02 * self.trouble):
            return False
        supervisor.kill()
        return True

    def kill_a_supervisor(self) -> None:
        living = [each for node in self.nodes.values() for each in node.supervisors.values()]
        if living:
            self.clock.rng.choice(living).kill()

    def cut_wires(self, name: str) -> None:
        """All connections to this node, greeted or not."""
        for other, wire in self.wires:
            if other == name:
                wire.cut()

    def cut_a_wire(self) -> None:
        self.cut_wires(self.clock.rng.choice(sorted(self.nodes)))

    def lose_a_node(self) -> None:
        """Nobody reaches it for a while, perhaps for longer than `lost_after`."""
        name = self.clock.rng.choice(sorted(self.nodes))
        self.cut_off[name] = self.clock.now + self.clock.rng.random() * self.outage
        self.cut_wires(name)

    def maybe_freeze(self, name: str) -> None:
        """With an order on its way."""
        if self.lease and not self.calm and self.clock.chance(0.1 * self.trouble):
            self.freeze(name)

    def freeze_a_node(self) -> None:
        self.freeze(self.clock.rng.choice(sorted(self.nodes)))

    def freeze(self, name: str) -> None:
        """The connection is cut when nothing was heard for a while; what was sent until then is read after the thaw."""
        seconds = self.clock.rng.random() * self.outage
        self.nodes[name].freeze(seconds)
        self.cut_off[name] = max(self.cut_off.get(name, 0.0), self.clock.now + seconds)
        self.clock.later(1.0 + self.clock.rng.random() * 3, lambda: self.cut_wires(name))

    def reboot_a_node(self) -> None:
        name = self.clock.rng.choice(sorted(self.nodes))
        self.working = {pair for pair in self.working if pair[1] != name}
        self.nodes[name].reboot()
        if self.clock.chance(0.3) and self.broker is not None and self.broker.alive:
            self.broker.ask(Fence(node=name, proof="an operator saw it start anew", who=ROOT))

    def down_a_node(self) -> None:
        """An operator takes a node down, or drains it, and up again until that was heard."""
        name, state = self.clock.rng.choice(sorted(self.nodes)), self.clock.rng.choice(["down", "drain"])
        if self.broker is not None and self.broker.alive:
            self.broker.ask(UpdateNode(node=name, who=ROOT, state=state, reason="maintenance"))
        for number in range(12):
            self.clock.later(10.0 + 7 * number, lambda: self.up_a_node(name))

    def fill_a_disk(self) -> None:
        """A node refuses every run for a while: none of the jobs' doing. An operator puts it back."""
        name = self.clock.rng.choice(sorted(self.nodes))
        self.nodes[name].full_until = self.clock.now + self.clock.rng.random() * 15
        for number in range(12):
            self.clock.later(10.0 + 7 * number, lambda: self.up_a_node(name))

    def up_a_node(self, name: str) -> None:
        if self.broker is not None and self.broker.alive:
            self.broker.ask(UpdateNode(node=name, who=ROOT, state="resume"))

    def take_over(self) -> None:
        """Another broker starts while the old one does not know yet."""
        old, self.broker = self.broker, None
        self.start_broker()
        if old is not None:
            self.clock.soon(old.stop, 2.0)

    def start_broker(self) -> None:
        if self.broker is None or not self.broker.alive:
            self.broker = None
            self.broker = Broker(self)

    def at(self, name: str, does: Callable[[SimNode], None]) -> None:
        """On that node, if its machine is still there."""
        if name in self.nodes:
            does(self.nodes[name])

    def unreachable(self, name: str) -> bool:
        return self.clock.now < self.cut_off.get(name, 0.0)

    def newest_epoch(self, node: SimNode, epoch: int) -> None:
        check.require(epoch >= self.epochs.get(node.name, 0), "(7) a node took orders of an older broker", node.name, epoch)
        self.epochs[node.name] = epoch

    # --- the truth

    def executes(self, key: tuple[int, int], node: str) -> None:
        self.execs[key, node] = self.execs.get((key, node), 0) + 1
        check.require(self.execs[key, node] == 1, "(2) a run was executed twice", key, node)
        check.require(node not in self.files.apart or (key, node) in self.files.there, "a run started where its files are not", key, node)
        for (other, run), where in self.working:
            if self.nodes[where].frozen:
                continue
            check.require(other != key[0] or run == key[1], "(1) two runs of a job work at once", key, run, where)
        self.working.add((key, node))

    def busy(self, key: tuple[int, int], node: str) -> bool:
        return (key, node) in self.working and not self.nodes[node].frozen

    def takes_back(self, key: tuple[int, int], node: str) -> None:
        """The files come back now."""
        check.require(not self.busy(key, node), "files were taken back while the run works", key, node)

    def finished(self, key: tuple[int, int], why: str) -> None:
        self.finishes[key] = why

    def cleared(self, key: tuple[int, int], node: str) -> None:
        self.working.discard((key, node))


def brief(state: Any, job: Any) -> str:
    """A job in one line, for the message of a broken seed."""
    run, parts = state.runs.get(job.id), state.parts.get(job.id, {})
    return "%d %s%s %s held=%r deps=%s begin=%s run=%s parts=%s" % (
        job.id,
        job.state.value,
        "+CG" if job.completing else "",
        job.reason.value,
        job.held,
        [(item.kind, item.job) for item in job.deps_left.items] if job.deps_left else None,
        job.begin,
        (run.run, run.state.value, run.head) if run else None,
        {"%d@%s" % key: part.state.value for key, part in parts.items()},
    )
