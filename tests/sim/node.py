"""A simulated node: the real journal, link and epoch of the agent, with run directories and supervisors as a small model of ours.

What survives what: run directories, the journal's durable bytes and the epoch survive everything; supervisors survive the agent's
death; nothing else survives a reboot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sbroker.agent import lease
from sbroker.agent.link import Epoch, Journal, Link
from tests.sim.clock import Clock
from tests.sim.wire import Wire

if TYPE_CHECKING:
    from tests.sim.world import World

Key = tuple[int, int]


class Directory:
    """runs/JOB.RUN: the rules of sbroker.agent.rundir without a file system."""

    def __init__(self, info: dict[str, Any] | None) -> None:
        self.info = info
        self.mark = "held" if info is not None else "revoked"
        self.word: list[list[Any]] | None = None

    @property
    def state(self) -> str:
        if self.word is not None:
            return "ENDED"
        return {"held": "HELD", "started": "ACTIVE", "revoked": "REVOKED"}[self.mark]

    def decide(self, mark: str) -> bool:
        """The rename of `held`: true for the first only."""
        if self.mark != "held":
            return False
        self.mark = mark
        return True


class Supervisor:
    """The parent of a run's tasks on one node; the head's decides when it is over."""

    def __init__(self, node: SimNode, key: Key, directory: Directory) -> None:
        self.node, self.key, self.dir, self.info = node, key, directory, directory.info or {}
        self.head = self.info["head"] == node.name
        self.active = directory.state == "ACTIVE"
        self.over = False  # its tasks are gone
        self.alive = True
        self.unacked: list[list[Any]] = []
        self.count = 0
        self.why = ""
        self.stopped = False  # by its own job: it does nothing
        self.began = 0.0
        self.attended_at = node.agent.attendance.at if node.agent is not None else node.clock.now

    def report(self, kind: str, **data: Any) -> None:
        self.count += 1
        entry = [self.count, kind, self.node.clock.now, data]
        self.unacked.append(entry)
        if self.node.agent is not None:
            self.node.agent.hear(self, [entry])

    def acked(self, number: int) -> None:
        self.unacked = [entry for entry in self.unacked if entry[0] > number]
        if self.over and not self.unacked:
            self.exit()

    def start(self) -> None:
        """The broker's order to the head: its only way to the first task."""
        if not self.alive or self.active or self.unattended() or not self.dir.decide("started"):
            return
        self.active = True
        self.keep_lease()
        if self.node.world.maybe_kill(self):
            return
        self.report("started", pid=1)
        if self.head:
            self.node.world.executes(self.key, self.node.name)
            for name in self.info["nodes"]:
                if name != self.node.name:
                    self.node.clock.soon(lambda name=name: self.node.world.at(name, lambda node: node.start_by_head(self.key)))
            self.stopped = self.info["what"] in ("stops", "stops-again")
            what = self.kill if self.info["what"] == "dies" else lambda: self.finish("exit", self.info["code"])
            self.node.clock.later(self.info["seconds"], what)
            if self.info["time_limit"] > 0:
                self.began = self.node.clock.now
                self.node.clock.later(self.info["time_limit"], self.out_of_time)

    def start_as_member(self) -> None:
        if self.alive and not self.active and not self.unattended() and self.dir.decide("started"):
            self.active = True
            self.keep_lease()
            self.node.world.executes(self.key, self.node.name)

    def attended(self, at: float) -> None:
        self.attended_at = max(self.attended_at, at)

    def unattended(self) -> bool:
        return bool(self.info["lease"]) and self.node.clock.now - self.attended_at > lease.soft(self.info)

    def keep_lease(self) -> None:
        """As sbroker.agent.ending does it. A machine that was frozen has it behind it when it goes on."""
        if not self.info["lease"] or not self.alive or self.over:
            return
        if self.node.frozen:
            self.node.thawed.append(self.keep_lease)
            return
        silent = self.node.clock.now - self.attended_at
        if self.unattended():
            self.end("unattended")
            if silent > lease.hard(self.info):
                self.finish("unattended", 0, 15)
                return
        self.node.clock.later((lease.hard if self.unattended() else lease.soft)(self.info) - silent + 0.01, self.keep_lease)

    def finish(self, why: str, code: int, signal: int = 0) -> None:
        """The run ends here; the head says how, and has the others end."""
        if self.node.frozen:
            self.node.thawed.append(lambda: self.finish(why, code, signal))
            return
        if not self.alive or self.over or not self.active or self.stopped:
            return
        self.over = True
        if self.node.world.maybe_kill(self):
            return
        if self.head:
            self.node.world.finished(self.key, why)
            self.report("ended", code=code, signal=signal, why=why)
            for name in self.info["nodes"]:
                if name != self.node.name and not self.node.clock.chance(0.1):  # the head may not reach it
                    self.node.clock.soon(lambda name=name: self.node.world.at(name, lambda node: node.end_by_head(self.key)))
        self.node.world.cleared(self.key, self.node.name)
        self.report("empty")

    def end(self, why: str) -> None:
        if not self.alive or self.over or self.why or self.stopped:
            return
        if why == "time_limit" and self.head and self.node.clock.now < self.began + self.info["time_limit"]:
            return
        self.why = why
        if self.head and self.active:
            self.report("ending", why=why)
        self.node.clock.soon(lambda: self.finish(why, 0, 15), 1.0)

    def out_of_time(self) -> None:
        """Its own clock; one that is stopped when it strikes has it behind it."""
        self.end("time_limit")

    def looked_after(self, why: str) -> None:
        """As sbroker.agent.runs does it: continued, and killed when it stops again."""
        if not self.alive or not self.stopped:
            return
        if self.info["what"] == "stops-again":
            self.node.clock.later(5.0, self.kill)
            return
        self.stopped = False
        if self.info["time_limit"] > 0 and self.node.clock.now >= self.began + self.info["time_limit"]:
            self.out_of_time()
        self.end(why)

    def exit(self) -> None:
        """Done: what the agent has not taken is left in the directory."""
        self.alive = False
        self.node.supervisors.pop(self.key, None)
        self.dir.word = self.unacked

    def kill(self) -> None:
        """SIGKILL, at any moment. Its tasks may go on for a while."""
        if not self.alive:
            return
        self.alive = False
        self.node.supervisors.pop(self.key, None)
        if self.node.agent is not None:
            self.node.clock.soon(lambda: self.node.gone(self.key), 0.1)


class Agent:
    """The replaceable part: knows nothing that is not on disk or told by supervisors."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self.journal = Journal(node.journal, node.boot)
        node.journal = self.journal.image()
        self.journal.durable()
        self.epoch = Epoch(node.epoch)
        self.link: Link | None = None
        self.wire: Wire | None = None
        self.attendance = lease.Attendance(node.clock.now)
        self.to_ack: dict[Key, int] = {}
        self.over: set[Key] = set()  # runs without a supervisor of which all was told
        self._flushing = False

    def scan(self) -> None:
        for key, directory in sorted(self.node.runs.items()):
            supervisor = self.node.supervisors.get(key)
            if supervisor is not None:
                self.hear(supervisor, supervisor.unacked)
            elif directory.state == "HELD":
                self.report("held", key)
            elif directory.state in ("ACTIVE", "ENDED"):
                self.node.gone(key)

    def hear(self, supervisor: Supervisor, entries: list[list[Any]]) -> None:
        for number, kind, time, data in list(entries):
            self.report(kind, supervisor.key, data, number, time)
            self.to_ack[supervisor.key] = number

    def report(self, kind: str, key: Key, data: dict | None = None, origin: int = 0, time: float | None = None) -> None:
        self.journal.append(kind, key[0], key[1], self.node.clock.now if time is None else time, data or {}, origin)
        if not self._flushing:
            self._flushing = True
            self.node.clock.soon(self.flush, 0.005)

    def flush(self) -> None:
        if self.node.frozen:
            self.node.thawed.append(self.flush)
            return
        self._flushing = False
        if self.node.agent is not self:
            return
        data = self.journal.take()
        if self.node.world.maybe_crash_agent(self.node):
            return
        self.node.journal += data
        self.journal.durable()
        if self.node.world.maybe_crash_agent(self.node):
            return
        told, self.to_ack = self.to_ack, {}
        for key, number in told.items():
            supervisor = self.node.supervisors.get(key)
            if supervisor is not None:
                supervisor.acked(number)
        self.send_reports()

    def send_reports(self) -> None:
        if self.link is not None and self.wire is not None:
            for header, _ in self.link.outgoing():
                self.wire.send("broker", header)

    def receive(self, wire: Wire, header: dict[str, Any]) -> None:
        if self.node.frozen:  # it lies in some buffer until the machine goes on
            self.node.thawed.append(lambda: self.receive(wire, header))
            return
        if self.node.agent is not self:
            return
        op = header["op"]
        if op == "hello":
            refusal = self.epoch.check(header["store"], header["epoch"])
            if refusal:
                wire.send("broker", {"op": "refused", "error": refusal, "epoch": self.epoch.epoch})
                return
            if self.wire is not None and self.wire is not wire:
                self.wire.cut()
            self.node.world.newest_epoch(self.node, header["epoch"])
            self.node.epoch = self.epoch.accept(header["store"], header["epoch"]) or self.node.epoch
            self.wire, self.link = wire, Link(self.journal)
            identity = {"node": self.node.name, "incarnation": self.node.incarnation, "boot_id": self.node.boot}
            self.attendance.greeting(self.node.clock.now)
            wire.send("broker", self.link.greet(identity, self.live(), {})[0])
            self.send_reports()
        elif wire is self.wire:
            if op == "ack":
                self.journal.ack(header["seq"])
            elif op == "ping":
                self.attendance.answering(header["n"], self.node.clock.now)
                wire.send("broker", {"op": "pong", "n": header["n"]})
            elif op == "attend":
                self.attendance.vouched(header["n"])
                for supervisor in self.node.supervisors.values():
                    supervisor.attended(self.attendance.at)
            else:
                if op in ("prepare", "start"):
                    self.attendance.ordered()
                self.node.order(self, op, (header["job"], header["run"]), header)

    def live(self) -> list[list[Any]]:
        found, telling = [], self.journal.unacked("empty")
        for key, directory in sorted(self.node.runs.items()):
            if directory.state == "HELD":
                found.append([key[0], key[1], "HELD"])
            elif key in telling or (directory.state == "ACTIVE" and key not in self.over) or key in self.node.supervisors:
                found.append([key[0], key[1], "ACTIVE"])
        return found


class SimNode:
    def __init__(self, world: World, clock: Clock, name: str, machine: str = "") -> None:
        self.world, self.clock, self.name, self.machine = world, clock, name, machine
        self.dead = False  # its machine is gone
        self.journal, self.epoch = b"", b""
        self.runs: dict[Key, Directory] = {}
        self.supervisors: dict[Key, Supervisor] = {}
        self.frozen = False  # the machine stands still and goes on later
        self.full_until = 0.0  # refuses runs until then
        self.thawed: list[Callable[[], None]] = []
        self.boots = 0
        self.boot = "boot-%s%s-0" % (name, machine)
        self.agent: Agent | None = None
        self.start_agent()

    @property
    def incarnation(self) -> str:
        return "folder-%s%s:%s" % (self.name, self.machine, self.boot)

    def die(self) -> None:
        """The machine is gone, and never comes again."""
        self.dead = True
        self.reboot()
        self.world.working = {pair for pair in self.world.working if pair[1] != self.name}

    def start_agent(self) -> None:
        if self.agent is None and not self.dead:
            self.agent = Agent(self)
            self.agent.scan()

    def crash_agent(self) -> None:
        if self.agent is not None:
            self.agent = None
            self.world.cut_wires(self.name)
            self.clock.soon(self.start_agent, 2.0)

    def freeze(self, seconds: float) -> None:
        """Everything stands still. What the network still brings is read when it goes on."""
        if self.frozen or self.agent is None:
            return
        self.frozen = True
        self.clock.later(seconds, self.thaw)

    def thaw(self) -> None:
        self.frozen, thawed = False, self.thawed
        self.thawed = []
        for supervisor in list(self.supervisors.values()):  # all of it goes on at the same moment; here this takes no time
            if supervisor.active:
                supervisor.keep_lease()
        for call in thawed:
            call()

    def reboot(self) -> None:
        """All processes die at once."""
        self.frozen, self.thawed = False, []
        for supervisor in list(self.supervisors.values()):
            supervisor.alive = False
        self.supervisors.clear()
        self.agent = None
        self.world.cut_wires(self.name)
        self.boots += 1
        self.boot = "boot-%s%s-%d" % (self.name, self.machine, self.boots)
        self.clock.soon(self.start_agent, 5.0)

    # --- orders, as sbroker.agent.runs carries them out

    def order(self, agent: Agent, op: str, key: Key, header: dict[str, Any]) -> None:
        directory, supervisor = self.runs.get(key), self.supervisors.get(key)
        if op == "prepare":
            if directory is None and self.clock.now < self.full_until:
                self.world.files.refused.add(key)
                agent.report("refused", key, {"error": "the disk is full", "fault": "node"})
            elif directory is None:
                self.runs[key] = directory = Directory(header["info"])
                if self.world.maybe_crash_agent(self):
                    return
                self.fork(key)
                agent.report("held", key)
            elif directory.state == "HELD":
                agent.report("held", key)
            elif directory.state == "REVOKED":
                agent.report("refused", key, {"error": "the run was revoked first"})
        elif op == "start":
            if directory is None or directory.state == "REVOKED":
                agent.report("refused", key, {"error": "the run is not held here"})
            elif directory.state == "HELD" and agent.attendance.over(directory.info, self.clock.now):
                self.revoke(agent, key)
            elif directory.state == "HELD":
                supervisor = supervisor or self.fork(key)
                supervisor.attended(agent.attendance.at)
                supervisor.start()
        elif op == "revoke" or (op == "end" and (directory is None or directory.state in ("HELD", "REVOKED"))):
            self.revoke(agent, key)
        elif op == "end" and supervisor is not None:
            supervisor.looked_after(header["why"])
            supervisor.end(header["why"])
        elif op == "forget" and directory is not None and (key in agent.over or directory.state in ("ENDED", "REVOKED")):
            del self.runs[key]
            agent.journal.forget(*key)

    def revoke(self, agent: Agent, key: Key) -> None:
        directory = self.runs.setdefault(key, Directory(None))
        if directory.state in ("ACTIVE", "ENDED"):
            return
        directory.decide("revoked")
        supervisor = self.supervisors.pop(key, None)
        if supervisor is not None:
            supervisor.alive = False
        agent.report("empty", key)

    def fork(self, key: Key) -> Supervisor:
        supervisor = self.supervisors[key] = Supervisor(self, key, self.runs[key])
        return supervisor

    def start_by_head(self, key: Key) -> None:
        if self.frozen:
            self.thawed.append(lambda: self.start_by_head(key))
            return
        directory = self.runs.get(key)
        if directory is not None and directory.state == "HELD":
            (self.supervisors.get(key) or self.fork(key)).start_as_member()

    def end_by_head(self, key: Key) -> None:
        supervisor = self.supervisors.get(key)
        if supervisor is not None and supervisor.active:
            supervisor.finish("exit", 0)

    def gone(self, key: Key) -> None:
        """No supervisor answers for this run."""
        directory, agent = self.runs.get(key), self.agent
        if directory is None or agent is None or key in self.supervisors or directory.state in ("HELD", "REVOKED"):
            return
        word = directory.word or []
        for number, kind, time, data in word:
            agent.report(kind, key, data, number, time)
        if any(entry[1] == "empty" for entry in word):
            agent.over.add(key)
            return
        if not word:
            agent.report("lost", key)
        self.clock.soon(lambda: self.clear(agent, key), 1.0)

    def clear(self, agent: Agent, key: Key) -> None:
        """What the dead supervisor left is killed at last."""
        if self.agent is not agent or key not in self.runs:
            return
        self.world.cleared(key, self.name)
        agent.report("empty", key)
        agent.over.add(key)
