"""The only owner of machines: groups from intent to gone, by what their providers list.

A group's machines are known from listings alone, so that the normal path, a restart and a lost reply are one. Nothing that a call answers
makes a machine, and nothing but a listing (or its absence there, for as long as the provider may lag) takes one away.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sbroker.core import finish, gone, money, staging
from sbroker.core.buy import ALIVE, sites
from sbroker.core.draft import Draft
from sbroker.core.effects import CreateGroup, Signal, Terminate
from sbroker.core.events import Created, Listed, Power, Reap
from sbroker.core.gone import RUNNING
from sbroker.core.state import HOLDING
from sbroker.errors import Code, Refused
from sbroker.machines import Entry
from sbroker.model import Group, Machine, Node
from sbroker.states import GROUP_MOVES, GroupState, NodeState, advance

BOOT = 900  # seconds until a machine's agent must have spoken, beside what its offer says
SUSPEND = 300  # seconds that a machine may be idle, where the partition does not say
AGAIN = 15.0  # seconds until a call of which nothing is known is made again
GRACE = 60.0  # seconds from the notice of a preemption to the end of jobs that were sent their --signal
UNCERTAIN = 600.0  # seconds for which a call of which nothing is known may still take effect
AVOID = {"no_capacity": 600.0, "quota": 1800.0, "auth": 300.0, "unsatisfiable": 86400.0, "boot": 1800.0, "preempted": 3600.0}


def move(draft: Draft, group: Group, to: GroupState, **fields: Any) -> Group:
    return draft.put_group(replace(group, state=advance(GROUP_MOVES, group.state, to), **fields))


# -- what the provider answers


def created(draft: Draft, event: Created) -> None:
    """The answer to a CreateGroup. Unknown means: ask again with the same token."""
    group = draft.group(event.token)
    if group is None:
        return
    if group.state is GroupState.RELEASING:
        draft.effect(Terminate(site=group.site, token=group.token))
        return
    if group.state not in (GroupState.WANTED, GroupState.ASKED):
        return
    if group.state is GroupState.WANTED:
        group = move(draft, group, GroupState.ASKED, asked=draft.now)
    if event.kind == "unknown":
        draft.put_group(replace(group, kind="unknown", error=event.error, asked=draft.now))
        draft.effect(CreateGroup(token=group.token, at=draft.now + AGAIN))
    elif event.kind:
        move(draft, group, GroupState.REFUSED, kind=event.kind, error=event.error, ended=draft.now, avoid=draft.now + AVOID[event.kind])
        for name in group.nodes:
            give_back(draft, name, "%s: %s" % (group.site, event.error))
    else:
        draft.put_group(replace(group, kind="", error="", answered=True, asked=draft.now))


def listed(draft: Draft, event: Listed) -> None:
    """What a site has now. Machines of ours that no live group wants are terminated."""
    site = sites(draft).get(event.site) or {}
    lag = float(site.get("list_lag") or 0.0)
    seen: dict[str, dict[int, Entry]] = {}
    strays: dict[str, list[str]] = {}
    for entry in event.listing.machines:
        group = draft.group(entry.token)
        if group is not None and group.site == event.site and group.state in ALIVE:
            seen.setdefault(entry.token, {})[entry.index] = entry
        elif entry.ours and entry.token and entry.state != "gone":
            strays.setdefault(entry.token, []).append(entry.id)
    told = {each.token: each for each in event.listing.groups}
    for group in draft.groups():
        if group.site != event.site or group.state not in ALIVE or event.asked < group.created:
            continue
        word = told.get(group.token)
        if word is not None and word.state == "refused" and group.state in (GroupState.WANTED, GroupState.ASKED):
            created(draft, Created(token=group.token, kind="no_capacity", error=word.reason or "it was refused"))
            continue
        _seen(draft, group, seen.get(group.token, {}), event.asked, lag)
    for token, ids in strays.items():
        if number_of(token) >= draft.counter("group", 1):
            continue  # made after the record was: it was restored from an older one, and an operator has to look first
        draft.effect(Terminate(site=event.site, token=token, ids=tuple(ids)))


def number_of(token: str) -> int:
    """The number in a group's token, -1 if it has none."""
    text = token[1:].partition("-")[0]
    return int(text) if token.startswith("g") and text.isdigit() else -1


def reap(draft: Draft, event: Reap) -> None:
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED)
    numbers = [number_of(token) for token in event.tokens]
    draft.put_counter("group", max([draft.counter("group", 1), *(number + 1 for number in numbers)]))


def _seen(draft: Draft, group: Group, entries: dict[int, Entry], asked: float, lag: float) -> None:
    """Bring a group's machines up to what was listed."""
    there, sure = set(), group.answered and asked >= group.asked + lag
    for index in range(group.count):
        old, entry = draft.machine(group.token, index), entries.get(index)
        if entry is not None and entry.state != "gone":
            there.add(index)
            _machine(draft, group, old, entry)
        elif old is not None and old.gone is None and (entry is not None or asked >= old.created + lag):
            old = replace(old, state="gone", gone=draft.now, reason=(entry.reason if entry is not None else "") or old.reason)
            draft.put_machine(old)
            money.machine_gone(draft, old)
            machine_gone(draft, group, index)
    group = draft.group(group.token) or group
    if group.state in (GroupState.WANTED, GroupState.ASKED) and there:
        group = move(draft, group, GroupState.ASKED) if group.state is GroupState.WANTED else group
        group = move(draft, group, GroupState.FULL if len(there) == group.count else GroupState.PARTIAL, kind="", error="")
    elif group.state is GroupState.PARTIAL and len(there) == group.count:
        group = move(draft, group, GroupState.FULL)
    ended = {index for index in range(group.count) if (known := draft.machine(group.token, index)) is not None and known.gone is not None}
    if group.state is GroupState.PARTIAL and sure:
        for index in range(group.count):  # it was made smaller than wanted: the jobs of the rest go elsewhere
            if index not in there and index not in ended:
                draft.put_machine(Machine(token=group.token, index=index, site=group.site, node=group.nodes[index], state="gone", created=draft.now, gone=draft.now))
                give_back(draft, group.nodes[index], "%s had %d of %d machines" % (group.site, len(there), group.count))
                ended.add(index)
    if group.state in (GroupState.PARTIAL, GroupState.FULL) and len(ended) == group.count:
        group = move(draft, group, GroupState.RELEASING)
    if group.state is GroupState.RELEASING:
        over = asked >= group.asked + (lag if group.answered else UNCERTAIN)
        if not there and over:
            move(draft, group, GroupState.GONE, ended=draft.now)
            for name in group.nodes:
                power_off(draft, name, group.token)
        elif there and not all(_has_node(draft, group, index) for index in there):
            draft.effect(Terminate(site=group.site, token=group.token))
    releasing = [entries[index].id for index in there if _leaves(draft, group, index)]
    if releasing and group.state in ALIVE:
        draft.effect(Terminate(site=group.site, token=group.token, ids=tuple(releasing)))


def _has_node(draft: Draft, group: Group, index: int) -> bool:
    node = draft.node(group.nodes[index])
    return node is not None and node.token == group.token


def _leaves(draft: Draft, group: Group, index: int) -> bool:
    """Whether a machine is to go now: nobody uses it any more."""
    node = draft.node(group.nodes[index])
    return node is not None and node.token == group.token and node.releasing and not draft.held(node.name)


def _machine(draft: Draft, group: Group, old: Machine | None, entry: Entry) -> None:
    name = group.nodes[entry.index]
    address = entry.addresses[0] if entry.addresses else ""
    new = Machine(
        token=group.token,
        index=entry.index,
        site=group.site,
        id=entry.id,
        state=entry.state,
        reason=entry.reason,
        node=name,
        address=address or (old.address if old else ""),
        price=entry.price or float(group.offer.get("price") or 0.0),
        created=entry.created or draft.now,
    )
    if old is None or old.gone is None:
        draft.put_machine(new)
    node = draft.node(name)
    if node is None or node.token != group.token:
        return
    if address and node.address != address:
        node = draft.put_node(replace(node, address=address))
    if entry.state == "stopping" and not node.releasing:
        preempted(draft, node, entry.reason or "stopping")


# -- what becomes of nodes


def machine_gone(draft: Draft, group: Group, index: int) -> None:
    """A machine is not there any more: that is the proof that nothing of its runs is."""
    name = group.nodes[index]
    node = draft.node(name)
    if node is None or node.token != group.token:
        return
    gone.fence(draft, name)
    power_off(draft, name, group.token)


def give_back(draft: Draft, name: str, why: str) -> None:
    """A node that will not come."""
    node = draft.node(name)
    if node is not None:
        _clear(draft, name, why)
        power_off(draft, name, node.token)


def _clear(draft: Draft, name: str, why: str) -> None:
    """The jobs of a node whose agent has never spoken: nothing of them has run there, and they go back to the queue uncharged."""
    for number, run in draft.held(name):
        part, job, record = draft.part(number, run, name), draft.job(number), draft.run_of(number, run)
        if part is None or part.state not in HOLDING:
            continue
        staging.gone(draft, part)
        if record is not None and job is not None and job.run == run and job.state in RUNNING:
            finish.order_end(draft, record, "launch")
            finish.requeue(draft, money.forgive(draft, job), delay=None, text=why)
        finish.settle(draft, number, run)


def power_off(draft: Draft, name: str, token: str) -> None:
    """The node has no machine any more: idle~ if the configuration lists it, else it is no node any more."""
    node = draft.node(name)
    if node is None or node.token != token or draft.held(name):
        return
    if node.listed:
        draft.put_node(
            Node(
                name=node.name, site=node.site, cloud=True, listed=True, cpus=node.cpus, sockets=node.sockets,
                cores_per_socket=node.cores_per_socket, threads_per_core=node.threads_per_core, memory=node.memory, tmp=node.tmp, gres=node.gres,
                features=node.features, weight=node.weight, shared_fs=node.shared_fs, stage=node.stage, stage_out_grace=node.stage_out_grace,
                lease=node.lease, arch=node.arch, drain=node.drain, reason=node.reason if node.drain else "",
            )
        )  # fmt: skip
        return
    draft.del_node(name)
    for partition in draft.partitions():
        if name in partition.nodes:
            draft.put_partition(replace(partition, nodes=tuple(each for each in partition.nodes if each != name)))


def preempted(draft: Draft, node: Node, why: str) -> None:
    """The cloud takes the machine back soon: what may be run again is ended with its signal and waits for another place."""
    group = draft.group(node.token)
    node = draft.put_node(replace(node, releasing=True, reason="%s: %s" % (group.site if group else node.site, why), reason_time=draft.now))
    if group is not None:
        draft.put_group(replace(group, kind="preempted", error="it took a machine back", avoid=draft.now + AVOID["preempted"]))
    for number, run in draft.held(node.name):
        job = draft.job(number)
        if job is None or job.run != run or job.state not in RUNNING:
            continue
        signal = job.spec.signal
        if signal is None:
            _vacate(draft, node, number, run)
        else:  # it may want to save what it has: it is ended a little later
            head = draft.run_of(number, run)
            if head is not None:
                if finish.may_requeue(job) and not head.why:
                    draft.put_run(replace(head, why="preempt"))
                draft.effect(Signal(job=number, run=run, node=head.head, signum=signal.signum, batch=signal.batch))


def _vacate(draft: Draft, node: Node, number: int, run: int) -> None:
    """End this run, because its machine goes; it runs again elsewhere if it may."""
    job, record = draft.job(number), draft.run_of(number, run)
    if job is None or record is None or job.run != run or job.state not in RUNNING:
        return
    finish.order_end(draft, record, "preempt")
    text = "%s was taken back" % node.name
    if finish.may_requeue(job):
        finish.taken_back(draft, job, node.name)
    else:
        draft.change(job, reason_text=text)
    finish.settle(draft, number, run)


def release(draft: Draft, node: Node) -> None:
    """Have a node's machine terminated. Nothing starts there any more."""
    group = draft.group(node.token)
    draft.put_node(replace(node, releasing=True, idle_since=None))
    if group is None:
        return
    machine = draft.machine(group.token, node.index)
    if all((known := draft.node(name)) is None or known.token != group.token or known.releasing for name in group.nodes):
        if group.state is GroupState.WANTED:
            group = move(draft, group, GroupState.ASKED)
        if group.state is not GroupState.RELEASING:
            move(draft, group, GroupState.RELEASING)
        draft.effect(Terminate(site=group.site, token=group.token))
    elif machine is not None and machine.id and machine.gone is None:
        draft.effect(Terminate(site=group.site, token=group.token, ids=(machine.id,)))


def power(draft: Draft, event: Power) -> None:
    """`sbroker down` and scontrol's power_down."""
    if not event.who.operator:
        raise Refused(Code.ACCESS_DENIED)
    nodes = [node for name in event.nodes or tuple(draft.state.fleet) if (node := draft.node(name)) is not None and node.token]
    busy = [node.name for node in nodes if draft.held(node.name)]
    if busy and not event.force:
        raise Refused(Code.POLICY, "%s is in use: cancel its jobs first" % busy[0])
    for node in nodes:
        if not node.releasing and not draft.held(node.name):
            release(draft, node)


# -- time


def tick(draft: Draft) -> None:
    """Boots that take too long, machines that nobody uses, and groups of which nothing is left."""
    for name in list(draft.state.fleet):
        node = draft.node(name)
        if node is None or not node.token:
            continue
        if node.releasing:
            if node.reason_time is not None and node.reason_time + GRACE <= draft.now:
                for number, run in draft.held(name):
                    _vacate(draft, node, number, run)
        elif finish.unborn(node) and _boot_end(draft, node) <= draft.now:
            _no_boot(draft, node)
        elif not draft.held(name) and _reap_at(draft, node) <= draft.now:
            release(draft, node)
    for group in draft.groups():
        if group.state in (GroupState.REFUSED, GroupState.GONE) and (group.avoid or 0.0) <= draft.now:
            for index in range(group.count):
                if draft.machine(group.token, index) is not None:
                    draft.del_machine(group.token, index)
            draft.del_group(group.token)


def _no_boot(draft: Draft, node: Node) -> None:
    """A machine whose agent does not speak: its place is avoided, its jobs go elsewhere."""
    group = draft.group(node.token)
    if group is not None:
        error = "%s did not answer within %d s" % (node.name, int(_boot_end(draft, node) - group.created))
        draft.put_group(replace(group, kind="boot", error=error, avoid=draft.now + AVOID["boot"]))
        _clear(draft, node.name, "%s: %s" % (group.site, error))
    release(draft, draft.node(node.name) or node)


def _boot_end(draft: Draft, node: Node) -> float:
    group, machine = draft.group(node.token), draft.machine(node.token, node.index)
    since = machine.created if machine is not None else group.created if group is not None else draft.now
    limit = (sites(draft).get(node.site) or {}).get("boot_timeout")
    return since + float(limit if limit is not None else BOOT + int((group.offer if group else {}).get("boot_seconds") or 0))


def _reap_at(draft: Draft, node: Node) -> float:
    """When the machine goes if nobody takes it before. Where its jobs are gone before it came, at once."""
    if finish.unborn(node) or node.state is NodeState.DOWN:
        return draft.now
    if node.idle_since is None:
        return float("inf")
    times = [partition.suspend_time for partition in draft.partitions() if node.site in partition.sites]
    known = [time for time in times if time is not None]
    return node.idle_since + (max(known) if known else SUSPEND)


def next_due(draft: Draft) -> float | None:
    """When `tick` has to look next, as this decision leaves things."""
    times = []
    for name in {*draft.state.fleet, *draft.touched()}:
        node = draft.node(name)
        if node is None or not node.token:
            continue
        if node.releasing:
            if node.reason_time is not None and draft.held(name) and node.reason_time + GRACE > draft.now:
                times.append(node.reason_time + GRACE)
        elif draft.held(name):
            if finish.unborn(node):
                times.append(_boot_end(draft, node))
        else:
            times.append(_reap_at(draft, node))
    times += [group.avoid or draft.now for group in draft.groups() if group.state in (GroupState.REFUSED, GroupState.GONE)]
    return min((time for time in times if time != float("inf")), default=None)

