"""Machines that are not there yet: a shape that finds no place on existing nodes is asked of the plan, and what the plan answers becomes a
group and its nodes, on which the job is launched at once (it is CONFIGURING until their agents speak).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import asdict, replace

from sbroker.catalog import places
from sbroker.core import money, ruling, spot
from sbroker.core.draft import Draft
from sbroker.core.effects import CreateGroup
from sbroker.core.plan import expected_end
from sbroker.core.select import Miss, fits_config, offer, place
from sbroker.core.shape import Shape, Want, count
from sbroker.core.usage import EMPTY, Use
from sbroker.machines import Ask, Offer
from sbroker.model import INFINITE, Gres, Group, JobSpec, Node, NodeShare, Partition
from sbroker.plan import Answer, Market, Placement, Policy, Question, rank, tell
from sbroker.plan.words import gathered
from sbroker.states import GroupState

ALIVE = frozenset({GroupState.WANTED, GroupState.ASKED, GroupState.PARTIAL, GroupState.FULL, GroupState.RELEASING})


class Orders:
    """What one pass has bought and asked so far."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.answers: dict[tuple[tuple, str], Answer] = {}
        self.egress = 0.0  # USD that moving the data of the last one that was bought for is estimated to cost
        self.barred = ""  # why the last one that was to buy may spend nothing on what it was offered
        self.open: dict[tuple[str, str], Group] = {}  # (site, offer) → group of single machines that this decision made
        self.room = {site: int(facts["max_nodes"]) for site, facts in sites(draft).items() if facts.get("max_nodes") is not None}
        for name in draft.state.fleet:
            node = draft.node(name)
            if node is not None and node.token and node.site in self.room:
                self.room[node.site] -= 1

    def answer(self, shape: Shape, partition: Partition) -> Answer:
        """The plan's answer for a shape; the same for all jobs of the shape in a pass, until something is bought."""
        key = (shape.key, partition.name)
        if key not in self.answers:
            self.answers[key] = ask(self.draft, shape, partition, self.room)
        return self.answers[key]

    def buy(self, shape: Shape, partition: Partition) -> tuple[NodeShare, ...] | None:
        """Order what the plan likes best, and give the shares on it. None if the plan has no place, or `barred` says why nothing may be spent."""
        self.barred = ""
        for placement in self.answer(shape, partition).placements:
            single = placement.count == 1
            group = self.open.get((placement.site, placement.offer.name)) if single else None
            group, nodes = _grown(self.draft, group, placement)
            shares, bar = _given(self.draft, shape, partition, placement, nodes, partial(money.barrier, self.draft))
            if shares is None:
                self.barred = self.barred or bar
                continue
            for node in nodes:
                self.draft.put_node(node)
            self.draft.put_group(group)
            _join(self.draft, nodes)
            if placement.site in self.room:
                self.room[placement.site] -= placement.count
            if single:
                self.open[placement.site, placement.offer.name] = group
            if len(group.nodes) == placement.count:  # else it was ordered by a job before, in this decision
                self.draft.effect(CreateGroup(token=group.token))
            self.answers.clear()
            self.egress = placement.egress
            return shares
        return None


def sites(draft: Draft) -> dict[str, Any]:
    """Site → what the core has to know of it, of the sites whose machines are made on demand."""
    return draft.state.settings.get("sites") or {}


def elastic(draft: Draft, partition: Partition) -> bool:
    known = sites(draft)
    return any(site in known for site in partition.sites)


def markets(draft: Draft, partition: Partition) -> list[Market]:
    known = sites(draft)
    return [draft.state.markets.get(site) or Market(site, (), error="what it sells is not known yet") for site in partition.sites if site in known]


def ask(draft: Draft, shape: Shape, partition: Partition, room: dict[str, int]) -> Answer:
    return rank(markets(draft, partition), question(draft, shape, partition, room))


def question(draft: Draft, shape: Shape, partition: Partition, room: dict[str, int]) -> Question:
    spec, want = shape.spec, shape.want(partition)
    return Question(
        ask=Ask(
            count=want.nodes_min,
            cpus=want.node_cpus,
            memory=want.mem_node or (want.mem_cpu or 0) * want.node_cpus,
            tmp=want.tmp,
            gres=want.gres or tuple(replace(item, count=1) for item in want.gpus) or want.task_gpus,
            spot=spot.market(spec, draft.state.settings, shape.requeues),
        ),
        fit=fit(draft, spec, want, partition),
        total=Ask(cpus=want.cpus, gres=want.gpus) if (want.tasks or 1) > 1 or want.gpus else None,
        seconds=None if shape.time_limit == INFINITE else shape.time_limit,
        partition=partition.name,
        account=shape.account or "",
        policy=Policy(kind=partition.policy or "cheapest", burst_after=partition.burst_after, hour_worth=partition.hour_worth),  # type: ignore[arg-type]
        rules=ruling.of(draft, partition),
        max_price=partition.max_price,
        peering=ruling.peering(draft),
        sources=ruling.sources(spec),
        sites=partition.sites,
        types=partition.gpu_types,
        constraint=spec.constraint,
        paths=spec.bound,
        avoid=avoided(draft),
        room=room,
        now=draft.now,
    )


def avoided(draft: Draft) -> dict[tuple[str, str, str, bool], str]:
    """Places that refused a while ago, or took a machine back: (site, zone or region, type, spot) → why. A site that does not let us in is
    avoided as a whole: ("", "") for zone and type."""
    found = _forbidden(draft)
    for group in draft.groups():
        if group.avoid is not None and group.avoid > draft.now:
            place, kind, market = place_of(group)
            if group.kind == "auth":
                found[group.site, "", "", False] = found[group.site, "", "", True] = group.error
            else:
                found[group.site, place, kind, market] = group.error
    return found


def _forbidden(draft: Draft) -> dict[tuple[str, str, str, bool], str]:
    """Places that the configuration leaves out, whatever time it is."""
    found: dict[tuple[str, str, str, bool], str] = {}
    for site, facts in sites(draft).items():
        found.update(spot.forbidden(site, facts.get("spot")))
    return found


def place_of(group: Group) -> tuple[str, str, bool]:
    bought = group.offer
    return bought.get("zone") or bought.get("region") or "", bought.get("type") or bought["name"], bool(bought.get("spot"))


def fit(draft: Draft, spec: JobSpec, want: Want, partition: Partition) -> Callable[[Offer], int | None]:
    """How many machines of an offer the shape needs. Machines of one size are looked at once."""
    known: dict[tuple, int | None] = {}

    def machines(bought: Offer) -> int | None:
        size = (bought.cpus, bought.memory, bought.tmp, bought.gres, bought.arch, bought.features)
        if size not in known:
            known[size] = needed(spec, want, virtual(draft, "", bought, "", 0, ""))
        return known[size]

    return machines


def needed(spec: JobSpec, want: Want, node: Node) -> int | None:
    """So many nodes like this one; None where no number would do."""
    if fits_config(want, node) is not None:
        return None
    gives = offer(want, node, EMPTY, 0, False)
    if gives is None:
        return None
    number = max(want.nodes_min, 1)
    if want.tasks is not None and not want.overcommit:
        number = max(number, -(-want.tasks // gives.tasks), -(-want.tasks * want.cpt // gives.cpus))
    if want.gpus:
        number = max(number, -(-count(want.gpus) // gives.gpus))
    if want.nodes_max is not None and number > want.nodes_max:
        return None
    return None if want.tasks is not None and number > max(want.tasks, want.nodes_min) else number


def virtual(draft: Draft, site: str, bought: Offer, name: str, index: int, token: str) -> Node:
    """The node that a machine of this offer will be."""
    facts = sites(draft).get(site) or {}
    return Node(
        name=name,
        site=site,
        cloud=True,
        token=token,
        index=index,
        listed=False,
        price=bought.price,
        cpus=bought.cpus,
        sockets=1,
        cores_per_socket=bought.cpus,
        threads_per_core=1,
        memory=bought.memory,
        tmp=bought.tmp,
        gres=tuple(Gres(name=item.name, type=item.type, count=item.count) for item in bought.gres),
        features=places.features(bought),
        arch=bought.arch,
        **facts.get("node", {}),
    )


def _grown(draft: Draft, group: Group | None, placement: Placement) -> tuple[Group, list[Node]]:
    """The group with the placement's machines in it, a new one if there is none to grow, and their nodes. Nothing is put yet."""
    site, bought = placement.site, placement.offer
    if group is None:
        number = draft.counter("group", 1)
        # the time makes it another one than a broker had that was restored from an older record
        group = Group(token="g%d-%x" % (number, int(draft.now * 1000)), site=site, offer=_plain(bought), count=0, min=0, created=draft.now)
        draft.put_counter("group", number + 1)
    gang = placement.count > 1
    names = _names(draft, site, bought, placement.count)
    nodes: list[Node] = []
    for name in names:
        node = virtual(draft, site, bought, name, len(group.nodes) + len(nodes), group.token)
        known = draft.node(name)
        nodes.append(node if known is None else replace(node, listed=known.listed, weight=known.weight))
    total = group.count + placement.count
    return replace(group, nodes=(*group.nodes, *names), count=total, min=total if gang else 1), nodes


def _plain(bought: Offer) -> dict[str, Any]:
    return {**asdict(bought), "gres": [asdict(item) for item in bought.gres], "features": list(bought.features)}


def _names(draft: Draft, site: str, bought: Offer, number: int) -> list[str]:
    """Names of nodes without a machine, lowest first: <site>-<shape>-<n>."""
    shape, at = bought.shape or bought.name, 0
    found: list[str] = []
    while len(found) < number:
        at += 1
        name = "%s-%s-%d" % (site, shape, at)
        node = draft.node(name)
        if node is None or (node.cloud and not node.token and not node.drain and not draft.held(name)):
            found.append(name)
    return found


class _Fresh:
    """A pool of nodes that are not there yet."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.places = {name: index for index, name in enumerate(self.nodes)}

    def node(self, name: str) -> Node | None:
        return self.nodes.get(name)

    def use(self, name: str) -> Use:
        return EMPTY

    def order(self, name: str) -> int:
        return self.places[name]


def on_these(shape: Shape, partition: Partition, nodes: list[Node]) -> tuple[NodeShare, ...] | None:
    shares = place(shape.spec, shape.want(partition), replace(partition, nodes=tuple(node.name for node in nodes)), _Fresh(nodes), shape.uid)
    return None if isinstance(shares, Miss) or len(shares) != len(nodes) else shares


def _join(draft: Draft, nodes: list[Node]) -> None:
    """New nodes belong to the partitions of their site."""
    for partition in draft.partitions():
        known = set(partition.nodes)
        new = tuple(node.name for node in nodes if node.site in partition.sites and node.name not in known)
        if new:
            draft.put_partition(replace(partition, nodes=partition.nodes + new))


def why_not(answer: Answer) -> str:
    """One sentence about an answer without a place."""
    words = gathered(answer)
    return "no machine can be had: %s" % "; ".join(sentence.rstrip(".") for sentence in words[:3]) if words else "no site sells what it needs"


def _given(
    draft: Draft, shape: Shape, partition: Partition, placement: Placement, nodes: list[Node], barrier: Callable[..., str]
) -> tuple[tuple[NodeShare, ...] | None, str]:
    """The shares on the machines of a placement; or None, and why it may not have them ("" where they do not work out). `barrier`: money's."""
    longest = (sites(draft).get(placement.site) or {}).get("max_lifetime")
    if longest is not None and shape.seconds() + placement.offer.boot_seconds > longest:
        return None, "machines of %s live for %d s (max_lifetime), it may run for longer: ask for less by --time" % (placement.site, longest)
    shares = on_these(shape, partition, nodes)
    if shares is None:
        return None, ""
    rates = money.rates_on(shape.spec, partition, shares, {node.name: node for node in nodes}.get)
    bar = barrier(shape, sum(rates.values()), egress=placement.egress, boot=placement.offer.boot_seconds)
    return (None, bar) if bar else (shares, "")


def ever(draft: Draft, shape: Shape, partition: Partition) -> str | None:
    """None if some market may have a place for the shape some day, as far as is known; else the plan's sentence."""
    if any(not market.at and not market.offers for market in markets(draft, partition)):
        return None  # not heard of yet
    found = _some_day(draft, shape, partition)
    return found if isinstance(found, str) else None


def _some_day(draft: Draft, shape: Shape, partition: Partition) -> tuple[Placement, tuple[NodeShare, ...]] | str:
    """Where it could run if nothing were in use or avoided, or why nowhere."""
    room = {site: int(facts["max_nodes"]) for site, facts in sites(draft).items() if facts.get("max_nodes") is not None}
    asked = replace(question(draft, shape, partition, room), avoid=_forbidden(draft))
    answer, dear = rank([market.whole() for market in markets(draft, partition)], asked), ""
    for placement in answer.placements:
        shares, bar = _given(draft, shape, partition, placement, _grown(draft, None, placement)[1], money.unaffordable)
        if shares is not None:
            return placement, shares
        dear = dear or bar
    return dear or why_not(answer)


class Bought(NamedTuple):
    """What would be bought."""

    seconds: float  # from now
    shares: tuple[NodeShare, ...]
    said: tuple[str, ...]


def rehearse(draft: Draft, shape: Shape, partition: Partition) -> Bought | str | None:
    """What would be bought; a sentence if nothing can be; None where nothing is bought."""
    if not elastic(draft, partition):
        return None
    answer, barred = Orders(draft).answer(shape, partition), ""
    for placement in answer.placements:
        shares, bar = _given(draft, shape, partition, placement, _grown(draft, None, placement)[1], partial(money.barrier, draft))
        if shares is not None:
            return Bought(placement.start, shares, tuple(tell(answer)))
        barred = barred or bar
    if barred:
        return barred
    later = _some_day(draft, shape, partition)
    if isinstance(later, str):
        return later
    ends = [expected_end(job, draft.now) for name in draft.state.fleet for number, _ in draft.held(name) if (job := draft.job(number)) is not None]
    if not ends:
        return why_not(answer)
    placement, shares = later
    return Bought(max(ends) - draft.now + placement.start, shares, ("Later, when others have ended: %s." % why_not(answer),))
