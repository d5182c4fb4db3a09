"""sinfo: partitions and nodes, in groups of nodes that look the same in the columns shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sbroker.api import Api, Call, Client, View
from sbroker.model import Partition
from slurm_compat.columns.context import Context
from slurm_compat.columns.nodes import LETTERS, NAMES, Group, NodeColumn
from slurm_compat.commands.common import Stop, leading_number, listing, own_cluster, refuse, say, start, words
from slurm_compat.getopt import Raw
from slurm_compat.hostlist import HostlistError, expand, sort_key
from slurm_compat.nodestate import FILTERS, VALID, NodeInfo
from slurm_compat.render import Cell, Layout, compile_long, compile_short, compile_sort, sort_rows

USAGE = """\
Usage: sinfo [-abdelNRrsTv] [-i seconds] [-t states] [-p partition] [-n nodes]
             [-S fields] [-o format] [-O Format] [--federation] [--local]
"""
# "{p}" and "{n}": the width of the longest partition and node name
DEFAULT = "%{p}P %.5a %.10l %.6D %.6t %N"
LONG = "%{p}P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %N"
SUMMARY = "%{p}P %.5a %.10l %.16F %N"
NODES = "%{n}N %.6D %.{p}P %6t"
NODES_LONG = "%{n}N %.6D %.{p}P %.11T %4c %.8z %.6m %.8d %.6w %.8f %20E"
REASONS = "%20E %9u %19H %N"
REASONS_LONG = "%20E %12U %19H %6t %N"
LEAST_WIDTH = 9  # of a column of names


class Request(msgspec.Struct, kw_only=True):
    """A parsed command line. `states`: (names, whether a node must be in all of them), or None for every state."""

    layout: Layout
    sort: str
    states: tuple[tuple[str, ...], bool] | None = None
    nodes: frozenset[str] | None = None
    partitions: frozenset[str] | None = None
    responding: bool = False
    dead: bool = False
    by_node: bool = False
    exact: bool = False
    hidden: bool = False
    header: bool = True
    dated: bool = False
    reservations: bool = False
    reasons: bool = False
    cluster: str = ""
    iterate: int | None = None
    early: str = ""


def parse(raw: Raw, view: View, cluster: str) -> Request:
    """The request of a command line whose options are well-formed. Stop on what Slurm refuses."""
    o = raw.options
    refuse("sinfo", o)
    if "clusters" in o:
        own_cluster("sinfo", o["clusters"], cluster)
    layout, errors = _layout(raw, view)
    by_node, reasons = "Node" in o, "list-reasons" in o
    states = _states(o["states"]) if "states" in o else (("DOWN", "DRAIN", "FAIL"), False) if reasons else None
    return Request(
        layout=layout,
        sort=o.get("sort") or ("N" if by_node else "#P,-t"),
        states=states,
        nodes=_nodes(o["nodes"]) if "nodes" in o else None,
        partitions=frozenset(words(o["partition"])) if "partition" in o else None,
        responding="responding" in o,
        dead="dead" in o,
        by_node=by_node,
        exact="exact" in o,
        hidden="all" in o or "partition" in o,
        header="noheader" not in o,
        dated="long" in o or "iterate" in o,
        reservations="reservation" in o,
        reasons=reasons,
        cluster=cluster if "clusters" in o else "",
        iterate=_iterate(o["iterate"]) if "iterate" in o else None,
        early=errors,
    )


def _iterate(text: str) -> int:
    seconds = leading_number(text)
    if seconds <= 0:
        raise Stop(f"sinfo: error: Error: invalid entry for --iterate={text}\n")
    return seconds


def _states(text: str) -> tuple[tuple[str, ...], bool]:
    both = "&" in text
    names = [name for name in text.replace("&", ",").split(",") if name]
    for name in names:
        if name.upper() not in FILTERS:
            raise Stop(f'sinfo: error: Bad state string: "{name}"\nsinfo: error: valid states: {VALID}\n')
    return tuple(name.upper() for name in names), both


def _nodes(text: str) -> frozenset[str]:
    try:
        return frozenset(expand(text))
    except HostlistError as bad:
        detail = f"sinfo: error: _parse_single_range: {bad.detail}\n" if bad.detail else ""
        raise Stop(f"{detail}sinfo: error: '{text}' invalid entry for --nodes\n") from bad


def _layout(raw: Raw, view: View) -> tuple[Layout, str]:
    o = raw.options
    typed = [value for name, value in raw.pairs if name in ("format", "Format")]
    if typed and "long" in o:
        raise Stop("sinfo: fatal: Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry.\n")
    if typed and "Format" in o:
        layout = _long(typed[-1] or "")
        return layout, "".join(f"sinfo: error: Invalid job format specification: {bad}\n" for bad in layout.errors)
    if typed:
        form = typed[-1] or ""
    elif "list-reasons" in o:
        form = REASONS_LONG if "long" in o else REASONS
    elif "summarize" in o:
        form = SUMMARY
    elif "Node" in o:
        form = NODES_LONG if "long" in o else NODES
    elif raw.sources.get("format") == "env":
        form = o["format"]
    else:
        form = LONG if "long" in o else DEFAULT
    if "{" in form and not typed and form != o.get("format"):
        names = [part.name + "*" * part.default for part in view.partitions.values()]
        form = form.format(p=max([LEAST_WIDTH, *map(len, names)]), n=max([LEAST_WIDTH, *map(len, view.nodes)]))
    layout = _everything() if form == "%all" else compile_short(form, LETTERS)
    return layout, "".join(f"Invalid node format specification: {bad}\n" for bad in layout.errors)


def _everything() -> Layout:
    """Every letter, small ones first; the bars after the capitals have a blank before them, as Slurm prints them."""
    letters = sorted(LETTERS, key=lambda letter: (letter.isupper(), letter))
    return Layout([Cell(LETTERS[letter], 0, False, " |" if letter.isupper() else "|") for letter in letters], [])


def _long(form: str) -> Layout:
    """A -O format, in which "all" stands for every letter."""
    cells: list[Cell] = []
    errors: list[str] = []
    for field in form.split(","):
        part = _everything() if field.partition(":")[0].lower() == "all" else compile_long(field, NAMES)
        cells += part.cells
        errors += part.errors
    return Layout(cells, errors)


def render(request: Request, view: View, config: Any, now: float, env: Mapping[str, str] | None = None) -> tuple[str, str, int]:
    """(standard output, standard error, exit code) of one listing. Pure but for user names."""
    context = Context(view, config, now, env)
    if request.reservations:
        return "No reservations in the system\n", "", 0
    head = f"CLUSTER: {request.cluster}\n" if request.cluster and request.header else ""
    if request.header:
        head += (context.times.ctime() + "\n" if request.dated else "") + request.layout.header()
    rows = groups(request, view, context)
    keys = compile_sort(request.sort, LETTERS, strict=False)
    by_rank = request.sort.replace("-", "").startswith("#P")
    if by_rank:  # partitions in configured order, which a sign does not turn round
        sort_rows(rows, compile_sort(request.sort.partition("P")[2], LETTERS, strict=False), context)
        rows.sort(key=lambda group: group.rank)
    else:
        sort_rows(rows, keys, context)
    return head + request.layout.rows(rows, context), "", 0


def groups(request: Request, view: View, context: Context) -> list[Group]:
    """The rows: nodes that the filters let through, put together where no column that is shown tells them apart."""
    columns = [column for column in request.layout.columns if isinstance(column, NodeColumn)]
    keyed = [column for column in columns if column.key is not None and (column.kind != "range" or request.exact)]
    names_partition = request.layout.uses(LETTERS["P"]) or request.layout.uses(LETTERS["R"])
    infos: dict[str, NodeInfo] = {}
    planned = view.planned()
    found: dict[tuple, Group] = {}
    for rank, part in enumerate(_partitions(request, view)):
        before = len(found)
        touched = False
        for name in sorted(part.nodes, key=sort_key):
            node = view.nodes.get(name)
            if node is None or (request.nodes is not None and name not in request.nodes):
                continue
            info = infos.get(name)
            if info is None:
                info = infos[name] = NodeInfo(view, node, name in planned)
            if not _passes(info, request):
                continue
            touched = True
            key = tuple([column.key(part, info, context) for column in keyed])
            if request.by_node:
                key = (name, rank, *key)
            elif names_partition:
                key = (rank, *key)
            group = found.get(key)
            if group is None:
                group = found[key] = Group(part, rank)
            group.nodes[name] = info
        if not touched and len(found) == before and names_partition and not request.by_node and not request.reasons:
            found[("none", rank)] = Group(part, rank)
    return list(found.values())


def _partitions(request: Request, view: View) -> list[Partition]:
    parts = [p for p in view.partitions.values() if request.hidden or not p.hidden]
    return parts if request.partitions is None else [p for p in parts if p.name in request.partitions]


def _passes(info: NodeInfo, request: Request) -> bool:
    silent = "NOT_RESPONDING" in info.flags
    if (request.dead and not silent) or (request.responding and silent):
        return False
    if request.states is None:
        return True
    names, every = request.states
    return (all if every else any)(FILTERS[name](info) for name in names) if names else False


async def run(call: Call, client: Client, api: Api) -> int:
    """One sinfo call; the exit code."""
    raw = await start(call, client, api, USAGE)
    if isinstance(raw, int):
        return raw
    try:
        request = parse(raw, api.view, getattr(api.config, "cluster", ""))
    except Stop as stop:
        await say(client, stop.out, stop.err)
        return stop.code
    if request.early:
        await client.out(request.early, 2)
    return await listing(client, lambda: render(request, api.view, api.config, api.now(), call.env), request.iterate)
