"""sinfo's columns. A row is a group of nodes that look the same in the columns that are shown.

A column is of one kind: "part" and "node" texts tell groups apart, "range" ones only with --exact (else ``8+``), "sum" never.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable
from typing import Any

from sbroker.model import Partition
from slurm_compat.columns.context import Context
from slurm_compat.hostlist import compress_sorted, sort_key
from slurm_compat.nodestate import NodeInfo, gpus_in_use
from slurm_compat.render import Column
from slurm_compat.timefmt import limit
from slurm_compat.units import gres_text, ranges

NULL = "(null)"
UNKNOWN = "Unknown"


class Group:
    """One row: the first partition in it, and its nodes (each once; [] where a partition has none that the filters let through)."""

    __slots__ = ("nodes", "part", "rank")

    def __init__(self, part: Partition, rank: int) -> None:
        self.part, self.rank = part, rank
        self.nodes: dict[str, NodeInfo] = {}

    def counts(self) -> tuple[int, int, int, int]:
        """Nodes in use, idle, other, all."""
        busy = sum(info.busy for info in self.nodes.values())
        other = sum(info.other for info in self.nodes.values())
        return busy, len(self.nodes) - busy - other, other, len(self.nodes)

    def cpus(self) -> tuple[int, int, int, int]:
        used = total = other = 0
        for info in self.nodes.values():
            total += info.node.cpus
            used += info.cpus_used
            if info.other or (info.busy and ("DRAIN" in info.flags or info.base == "down")):
                other += info.node.cpus - info.cpus_used
        return used, total - used - other, other, total


class NodeColumn(Column):
    """`key(part, info, ctx)` → what tells groups apart; None: nothing does."""

    __slots__ = ("key", "kind")

    def __init__(
        self,
        header: str,
        kind: str,
        text: Callable[[Any, Any], str],
        key: Callable[..., Any] | None,
        order: Callable[[Any, Any], Any] | None,
        fit: Callable[[str, int], str] | None = None,
    ) -> None:
        super().__init__(header, text, order=order, fit=fit)
        self.kind, self.key = kind, key


def _first(group: Group) -> NodeInfo | None:
    return next(iter(group.nodes.values()), None)


def _part(
    header: str,
    text: Callable[[Partition, Context], str],
    order: Callable[[Group, Context], Any] | None = None,
    fit: Callable[[str, int], str] | None = None,
) -> NodeColumn:
    def shown(g: Group, c: Context) -> str:
        return text(g.part, c)

    return NodeColumn(header, "part", shown, lambda part, info, c: text(part, c), order or shown, fit)


def _starred(part: Partition, c: Context) -> str:
    return part.name + "*" if part.default else part.name


def _keep_star(text: str, width: int) -> str:
    """The sign of the default partition stays when its name is cut."""
    return text[: width - 1] + "*" if len(text) > width and text.endswith("*") else text


def _node(
    header: str, text: Callable[[NodeInfo, Context], str], none: str = "", order: Callable[[NodeInfo, Context], Any] | None = None
) -> NodeColumn:
    def shown(g: Group, c: Context) -> str:
        info = _first(g)
        return none if info is None else text(info, c)

    def compared(g: Group, c: Context) -> Any:
        info = _first(g)
        return ((0,) if info is None else (1, order(info, c))) if order else shown(g, c)

    return NodeColumn(header, "node", shown, lambda part, info, c: text(info, c), compared)


def _range(header: str, value: Callable[[NodeInfo], int], text: Callable[[int], str] = str) -> NodeColumn:
    def shown(g: Group, c: Context) -> str:
        values = [value(info) for info in g.nodes.values()] or [0]
        return text(min(values)) + ("+" if max(values) > min(values) else "")

    def least(g: Group, c: Context) -> int:
        return min((value(info) for info in g.nodes.values()), default=0)

    return NodeColumn(header, "range", shown, lambda part, info, c: value(info), least)


def _span(header: str, value: Callable[[NodeInfo], float | None], text: Callable[[float], str]) -> NodeColumn:
    """``0.52-16.80``: of what changes by the minute."""

    def shown(g: Group, c: Context) -> str:
        values = [v for v in (value(info) for info in g.nodes.values()) if v is not None]
        if not values:
            return "N/A"
        low, high = text(min(values)), text(max(values))
        return low if low == high else f"{low}-{high}"

    return NodeColumn(header, "sum", shown, None, lambda g, c: min((value(i) or 0 for i in g.nodes.values()), default=0))


def _sum(header: str, text: Callable[[Group], str], order: Callable[[Group, Context], Any] | None = None) -> NodeColumn:
    return NodeColumn(header, "sum", lambda g, c: text(g), None, order or (lambda g, c: text(g)))


def _slashes(numbers: tuple[int, ...]) -> str:
    return "/".join(map(str, numbers))


def _shape(info: NodeInfo) -> tuple[int, int, int]:
    return info.node.sockets, info.node.cores_per_socket, info.node.threads_per_core


def sct(g: Group, c: Context) -> str:
    """``2:4:1``, with a "+" after what is not the same everywhere."""
    kinds = list(zip(*map(_shape, g.nodes.values()), strict=True)) or [(0,)] * 3
    return ":".join(f"{min(k)}{'+' if max(k) > min(k) else ''}" for k in kinds)


def first_name(g: Group, c: Context) -> tuple[str, int, int]:
    return min(map(sort_key, g.nodes), default=("", 0, 0))


def job_size(part: Partition, c: Context) -> str:
    low = part.min_nodes or 1
    high = "infinite" if part.max_nodes is None else str(part.max_nodes)
    return high if str(low) == high else f"{low}-{high}"


def oversubscribe(part: Partition, c: Context) -> str:
    return part.oversubscribe.upper()


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def gres_used(info: NodeInfo, c: Context) -> str:
    """``gpu:a100:2(IDX:0-1)``; a node without any counts 0 of each kind that the cluster knows."""
    if not info.node.gres:
        kinds = sorted({g.name for node in c.view.nodes.values() for g in node.gres})
        return ",".join(f"{kind}:0" for kind in kinds) or NULL
    used = gpus_in_use(info)
    parts = []
    for g in info.node.gres:
        devices = used.get(f"{g.name}:{g.type}" if g.type else g.name, set())
        parts.append(f"{g.name}:{g.type + ':' if g.type else ''}{len(devices)}(IDX:{ranges(devices) or 'N/A'})")
    return ",".join(parts)


def _max_time(g: Group, c: Context) -> int:
    return g.part.max_time if g.part.max_time >= 0 else 1 << 40


def _features(info: NodeInfo, c: Context) -> str:
    return ",".join(info.node.features) or NULL


def _when(info: NodeInfo, c: Context) -> str:
    return c.times.at(info.node.reason_time, UNKNOWN) if info.node.reason else UNKNOWN


def _user(info: NodeInfo, c: Context) -> str:
    return user_name(info.node.reason_uid) if info.node.reason else UNKNOWN


def _user_long(info: NodeInfo, c: Context) -> str:
    return f"{user_name(info.node.reason_uid)}({info.node.reason_uid})" if info.node.reason else UNKNOWN


def _groups(part: Partition, c: Context) -> str:
    return ",".join(part.allow_groups) or "all"


def _state_order(info: NodeInfo, c: Context) -> int:
    return info.order


def _fixed(header: str, text: str) -> NodeColumn:
    return NodeColumn(header, "sum", lambda g, c: text, None, lambda g, c: 0)


_ROWS: tuple[tuple[str, str, NodeColumn], ...] = (
    ("a", "available", _part("AVAIL", lambda p, c: {"INACTIVE": "inact"}.get(p.state, p.state.lower()))),
    ("A", "nodeai", _sum("NODES(A/I)", lambda g: _slashes(g.counts()[:2]))),
    ("b", "features_act", _node("ACTIVE_FEATURES", _features)),
    ("B", "maxcpuspernode", _fixed("MAX_CPUS_PER_NODE", "UNLIMITED")),
    ("c", "cpus", _range("CPUS", lambda i: i.node.cpus)),
    ("C", "cpusstate", _sum("CPUS(A/I/O/T)", lambda g: _slashes(g.cpus()))),
    ("d", "disk", _range("TMP_DISK", lambda i: i.node.tmp)),
    ("D", "nodes", _sum("NODES", lambda g: str(len(g.nodes)), lambda g, c: len(g.nodes))),
    ("e", "freemem", _span("FREE_MEM", lambda i: i.node.free_mem, lambda v: str(int(v)))),
    ("E", "reason", _node("REASON", lambda i, c: i.node.reason or "none", "none")),
    ("f", "features", _node("AVAIL_FEATURES", _features)),
    ("F", "nodeaiot", _sum("NODES(A/I/O/T)", lambda g: _slashes(g.counts()))),
    ("g", "groups", _part("GROUPS", _groups)),
    ("G", "gres", _node("GRES", lambda i, c: gres_text(i.node.gres, "") or NULL)),
    ("h", "oversubscribe", _part("OVERSUBSCRIBE", oversubscribe)),
    ("H", "timestamp", _node("TIMESTAMP", _when, UNKNOWN)),
    ("I", "priorityjobfactor", _part("PRIO_JOB_FACTOR", lambda p, c: str(p.priority_tier))),
    ("l", "time", _part("TIMELIMIT", lambda p, c: limit(p.max_time, infinite="infinite"), _max_time)),
    ("L", "defaulttime", _part("DEFAULTTIME", lambda p, c: limit(p.default_time, "n/a", "infinite"))),
    ("m", "memory", _range("MEMORY", lambda i: i.node.memory)),
    ("M", "preemptmode", _fixed("PREEMPT_MODE", "OFF")),
    ("n", "nodehost", _node("HOSTNAMES", lambda i, c: i.node.hostname or i.node.name)),
    ("N", "nodelist", NodeColumn("NODELIST", "sum", lambda g, c: compress_sorted(g.nodes), None, first_name)),
    ("o", "nodeaddr", _node("NODE_ADDR", lambda i, c: i.node.address or i.node.name)),
    ("O", "cpusload", _span("CPU_LOAD", lambda i: i.node.load, lambda v: f"{v:.2f}")),
    ("p", "prioritytier", _part("PRIO_TIER", lambda p, c: str(p.priority_tier), lambda g, c: g.part.priority_tier)),
    ("P", "partition", _part("PARTITION", _starred, lambda g, c: g.part.name, _keep_star)),
    ("r", "root", _part("ROOT", lambda p, c: "no")),
    ("R", "partitionname", _part("PARTITION", lambda p, c: p.name)),
    ("s", "size", _part("JOB_SIZE", job_size)),
    ("S", "allocnodes", _fixed("ALLOCNODES", "all")),
    ("t", "statecompact", _node("STATE", lambda i, c: i.short, "n/a", _state_order)),
    ("T", "statelong", _node("STATE", lambda i, c: i.word, "n/a", _state_order)),
    ("u", "user", _node("USER", _user, UNKNOWN)),
    ("U", "userlong", _node("USER", _user_long, UNKNOWN)),
    ("v", "version", _node("VERSION", lambda i, c: c.release)),
    ("V", "cluster", _fixed("CLUSTER", "N/A")),
    ("w", "weight", _range("WEIGHT", lambda i: i.node.weight)),
    ("X", "sockets", _range("SOCKETS", lambda i: i.node.sockets)),
    ("Y", "cores", _range("CORES", lambda i: i.node.cores_per_socket)),
    ("z", "socketcorethread", NodeColumn("S:C:T", "range", sct, lambda part, i, c: _shape(i), sct)),
    ("Z", "threads", _range("THREADS", lambda i: i.node.threads_per_core)),
    ("", "allocmem", _node("ALLOCMEM", lambda i, c: str(i.mem_used))),
    ("", "comment", _fixed("COMMENT", NULL)),
    ("", "extra", _fixed("EXTRA", NULL)),
    ("", "gresused", _node("GRES_USED", gres_used)),
    ("", "port", _fixed("PORT", "0")),
    ("", "statecomplete", _node("STATECOMPLETE", lambda i, c: i.complete, "n/a", _state_order)),
)

LETTERS: dict[str, Column] = {letter: column for letter, _, column in _ROWS if letter}
NAMES: dict[str, Column] = {name: column for _, name, column in _ROWS if name}

