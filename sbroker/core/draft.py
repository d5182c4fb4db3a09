"""One decision in the making: what it changes lies over the state, which stays as it is.

Reads see the decision's own changes. `put` records a change; `effect` an order. `freed` says that something may start now that
could not before, so that the decision ends with a full pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from sbroker.core import usage
from sbroker.core.effects import Decision, Del, Effect, Put
from sbroker.core.owed import Overlay, owes
from sbroker.core.state import HOLDING, State, lives, queued, share_of, sharing_mode
from sbroker.model import Group, Job, Machine, Node, Part, Partition, Run, Step
from sbroker.states import PART_MOVES, RUN_MOVES, JobState, PartState, RunState, advance


class Draft:
    def __init__(self, state: State, now: float) -> None:
        self.state, self.now = state, now
        self.changes: list[Put | Del] = []
        self.effects: list[Effect] = []
        self.answer: Any = None
        self.jobs: dict[int, Job | None] = {}
        self.freed = False
        self.quiet: set[int] = set()  # jobs that somebody touched: as in Slurm they have no reason until the next pass
        self._runs: dict[tuple[int, int], Run | None] = {}
        self._last_run: dict[int, Run | None] = {}
        self._parts: dict[int, dict[tuple[int, str], Part | None]] = {}
        self._nodes: dict[str, Node | None] = {}
        self._partitions: dict[str, Partition | None] = {}
        self._counters: dict[str, int] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._steps: dict[tuple[int, int, int], Step] = {}
        self._use: dict[str, usage.Use] = {}
        self._groups: dict[str, Group] = {}
        self._machines: dict[tuple[str, int], Machine | None] = {}
        self._taken: dict[str, set[tuple[int, int]]] = {}  # node → (job, run) of parts of this decision
        self._members: dict[int, list[int]] = {}  # array id → records that came to be in this decision
        self._live: dict[int, int] = {}  # array id → change of State.array_live
        self._active: dict[int, int] = {}
        self.owed = Overlay(state.owed)

    def decision(self) -> Decision:
        return Decision(changes=self.changes, effects=self.effects, answer=self.answer)

    def effect(self, effect: Effect) -> None:
        self.effects.append(effect)

    # -- jobs

    def job(self, key: int) -> Job | None:
        return self.jobs[key] if key in self.jobs else self.state.jobs.get(key)

    def put_job(self, job: Job) -> Job:
        old = self.job(job.id)
        if old == job:
            return job
        self.jobs[job.id] = job
        self.changes.append(Put("job", job.id, job))
        self.owed.put(job.id, owes(job, self.run(job.id)))
        if job.array_id:
            if old is None:
                self._members.setdefault(job.array_id, []).append(job.id)
            for record, sign in ((old, -1), (job, 1)):
                if record is not None:
                    self._live[job.array_id] = self._live.get(job.array_id, 0) + sign * lives(record)
                    is_active = record.completing or record.state in (JobState.RUNNING, JobState.SUSPENDED)
                    self._active[job.array_id] = self._active.get(job.array_id, 0) + sign * is_active
        if old is not None and (old.state is JobState.SUSPENDED) != (job.state is JobState.SUSPENDED):
            self.freed = True
            for share in job.nodes:
                self._use[share.node] = usage.freeze(self.use(share.node), self.node(share.node), job.id, job.state is JobState.SUSPENDED)
        if old is not None and queued(old) and job.state is not JobState.RUNNING and not queued(job):
            self.freed = True  # it stood before others
        elif old is not None and queued(job) and not (queued(old) and (old.spec is job.spec and old.priority <= job.priority)):
            self.freed = True
        return job

    def change(self, job: Job, **fields: Any) -> Job:
        return self.put_job(replace(job, **fields))

    def del_job(self, job: Job) -> None:
        self.jobs[job.id] = None
        self.changes.append(Del("job", job.id))

    def array(self, array_id: int) -> Iterator[Job]:
        """Records of an array, those of this decision included."""
        known = self.state.arrays.get(array_id, {})
        for key in known:
            job = self.job(key)
            if job is not None:
                yield job
        for key in list(self._members.get(array_id, ())):
            job = self.job(key)
            if job is not None:
                yield job

    def array_live(self, array_id: int) -> int:
        return self.state.array_live.get(array_id, 0) + self._live.get(array_id, 0)

    def array_active(self, array_id: int) -> int:
        return self.state.array_active.get(array_id, 0) + self._active.get(array_id, 0)

    # -- runs and parts

    def run(self, job: int) -> Run | None:
        """Its present or last run."""
        return self._last_run[job] if job in self._last_run else self.state.runs.get(job)

    def run_of(self, job: int, number: int) -> Run | None:
        key = (job, number)
        return self._runs[key] if key in self._runs else self.state.all_runs.get(key)

    def put_run(self, run: Run) -> Run:
        self._runs[run.job, run.run] = run
        last = self.run(run.job)
        if last is None or last.run <= run.run:
            self._last_run[run.job] = run
        self.changes.append(Put("run", (run.job, run.run), run))
        self.owed.put(run.job, owes(self.job(run.job), self.run(run.job)))
        return run

    def move_run(self, run: Run, to: RunState, **fields: Any) -> Run:
        return self.put_run(replace(run, state=advance(RUN_MOVES, run.state, to), **fields))

    def parts(self, job: int, run: int) -> list[Part]:
        """The parts of this run, head first as allocated."""
        base, over = self.state.parts.get(job, {}), self._parts.get(job)
        rows = {**base, **over} if over else base
        found = {node: part for (number, node), part in rows.items() if number == run and part is not None}
        record = self.job(job)
        order = [share.node for share in record.nodes if share.node in found] if record and record.run == run else []
        return [found[node] for node in order] + [part for node, part in found.items() if node not in order]

    def part(self, job: int, run: int, node: str) -> Part | None:
        over = self._parts.get(job, {})
        return over[run, node] if (run, node) in over else self.state.parts.get(job, {}).get((run, node))

    def put_part(self, part: Part) -> Part:
        old = self.part(part.job, part.run, part.node)
        self._parts.setdefault(part.job, {})[part.run, part.node] = part
        self.changes.append(Put("part", (part.job, part.run, part.node), part))
        held, holds = old is not None and old.state in HOLDING, part.state in HOLDING
        if holds:
            self._taken.setdefault(part.node, set()).add((part.job, part.run))
        if held != holds:
            self._hold(part, holds)
        return part

    def move_part(self, part: Part, to: PartState, **fields: Any) -> Part:
        return self.put_part(replace(part, state=advance(PART_MOVES, part.state, to), **fields))

    def _hold(self, part: Part, holds: bool) -> None:
        node = self.node(part.node)
        if not holds:
            self._use[part.node] = usage.drop(self.use(part.node), node, part.job)
            self.freed = True
            if node is not None and node.token and not self.held(part.node):
                self.put_node(replace(node, idle_since=self.now))
            return
        if node is not None and node.idle_since is not None:
            self.put_node(replace(node, idle_since=None))
        job = self.job(part.job)
        share = share_of(job, part.node)
        if share is not None and job is not None:
            self._use[part.node] = usage.add(self.use(part.node), node, part.job, share, job.uid, sharing_mode(self.state, job))

    def held(self, node: str) -> list[tuple[int, int]]:
        """(job, run) of what holds a part of the node."""
        keys = dict.fromkeys((*self.state.node_parts.get(node, ()), *self._taken.get(node, ())))
        return [(job, run) for job, run in keys if (part := self.part(job, run, node)) is not None and part.state in HOLDING]

    def use(self, node: str) -> usage.Use:
        found = self._use.get(node)
        return found if found is not None else self.state.use.get(node, usage.EMPTY)

    def step(self, job: int, run: int, number: int) -> Step | None:
        """A step of the job's present or last run."""
        found = self._steps.get((job, run, number)) or self.state.steps.get(job, {}).get(number)
        return found if found is not None and found.run == run else None

    def steps(self, job: int, run: int) -> list[Step]:
        """All steps of this run that the state or this decision knows."""
        rows = {number: step for number, step in self.state.steps.get(job, {}).items() if step.run == run}
        rows.update({key[2]: step for key, step in self._steps.items() if key[:2] == (job, run)})
        return list(rows.values())

    def put_step(self, step: Step) -> None:
        self._steps[step.job, step.run, step.step] = step
        self.changes.append(Put("step", (step.job, step.run, step.step), step))

    # -- the rest

    def node(self, name: str) -> Node | None:
        return self._nodes[name] if name in self._nodes else self.state.nodes.get(name)

    def put_node(self, node: Node) -> Node:
        if self.node(node.name) != node:
            self._nodes[node.name] = node
            self.changes.append(Put("node", node.name, node))
            self.freed = True
        return node

    def del_node(self, name: str) -> None:
        self._nodes[name] = None
        self.changes.append(Del("node", name))
        self.freed = True

    def touched(self) -> Iterable[str]:
        """Names of nodes that this decision changes."""
        return tuple(self._nodes)

    def group(self, token: str) -> Group | None:
        return self._groups.get(token) or self.state.groups.get(token)

    def groups(self) -> list[Group]:
        return list({**self.state.groups, **self._groups}.values())

    def put_group(self, group: Group) -> Group:
        if self.group(group.token) != group:
            self._groups[group.token] = group
            self.changes.append(Put("group", group.token, group))
        return group

    def del_group(self, token: str) -> None:
        self.changes.append(Del("group", token))

    def machine(self, token: str, index: int) -> Machine | None:
        key = (token, index)
        return self._machines[key] if key in self._machines else self.state.machines.get(key)

    def put_machine(self, machine: Machine) -> None:
        if self.machine(machine.token, machine.index) != machine:
            self._machines[machine.token, machine.index] = machine
            self.changes.append(Put("machine", (machine.token, machine.index), machine))

    def del_machine(self, token: str, index: int) -> None:
        self._machines[token, index] = None
        self.changes.append(Del("machine", (token, index)))

    def partition(self, name: str) -> Partition | None:
        return self._partitions[name] if name in self._partitions else self.state.partitions.get(name)

    def partitions(self) -> list[Partition]:
        merged = {**self.state.partitions, **self._partitions}
        return [partition for partition in merged.values() if partition is not None]

    def put_partition(self, partition: Partition) -> None:
        if self.partition(partition.name) != partition:
            self._partitions[partition.name] = partition
            self.changes.append(Put("partition", partition.name, partition))
            self.freed = True

    def del_partition(self, name: str) -> None:
        self._partitions[name] = None
        self.changes.append(Del("partition", name))
        self.freed = True

    def counter(self, name: str, default: int) -> int:
        return self._counters.get(name, self.state.counters.get(name, default))

    def put_counter(self, name: str, value: int) -> None:
        self._counters[name] = value
        self.changes.append(Put("counter", name, value))

    def seen(self, node: str, incarnation: str) -> int | None:
        key = (node, incarnation)
        return self._seen[key] if key in self._seen else self.state.seen.get(key)

    def put_seen(self, node: str, incarnation: str, seq: int) -> None:
        self._seen[node, incarnation] = seq
        self.changes.append(Put("seen", (node, incarnation), seq))

    def del_seen(self, node: str, incarnation: str) -> None:
        self._seen.pop((node, incarnation), None)
        self.changes.append(Del("seen", (node, incarnation)))

    def next_job_id(self) -> int:
        """The next free id; used up even if the decision is to refuse later in the same call."""
        number = self.counter("job", int(self.state.settings["first_job_id"]))
        while self.job(number) is not None:
            number += 1
        self.put_counter("job", number + 1)
        return number

    def next_priority(self) -> int:
        """Slurm's basic priority: each submission a little lower than the one before."""
        value = self.counter("priority", 4294901759)
        self.put_counter("priority", value - 1)
        return value

    def waiting(self) -> Iterable[Job]:
        """Jobs of this decision's changes that wait for their turn."""
        return [job for job in self.jobs.values() if job is not None and queued(job)]
