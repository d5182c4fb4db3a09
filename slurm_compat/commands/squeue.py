"""squeue: jobs and steps, chosen by filters, sorted, printed by a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sbroker.api import Api, Call, Client, View
from slurm_compat.columns import jobs as job_columns
from slurm_compat.columns import steps as step_columns
from slurm_compat.columns.context import Context
from slurm_compat.commands.common import Stop, leading_number, listing, own_cluster, refuse, say, start, user_id, words
from slurm_compat.getopt import Raw
from slurm_compat.hostlist import HostlistError, expand
from slurm_compat.jobtext import COMPACT
from slurm_compat.releases import release
from slurm_compat.render import BadSort, Layout, compile_long, compile_short, compile_sort, sort_rows
from slurm_compat.selection import JobFilter, pick_jobs, pick_steps

DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
LONG = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
START = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R"
STEPS = "%.15i %.8j %.9P %.8u %.9M %N"
USAGE = """\
Usage: squeue [-A account] [--clusters names] [-i seconds] [--job jobid]
              [-n name] [-o format] [-p partitions] [--qos qos]
              [--reservation reservation] [--sort fields] [--start]
              [--step step_id] [-t states] [-u user_name] [--usage]
              [-L licenses] [-w nodes] [--federation] [--local] [--sibling]
\t      [-ahjlrsv]
"""
_FULL = {name: name for name in COMPACT} | {short: name for name, short in COMPACT.items()}


class Request(msgspec.Struct, kw_only=True):
    """A parsed command line. `early`: complaints that do not stop it."""

    filter: JobFilter
    steps: bool = False
    layout: Layout
    sort: str
    header: bool = True
    dated: bool = False  # the date stands above the header
    cluster: str = ""  # named by -M: its name stands above all
    iterate: int | None = None
    expand: bool = False
    per_partition: bool = False
    convert: bool = True
    early: str = ""


def parse(raw: Raw, uid: int, nodes: Mapping[str, object], cluster: str, uid_of: Callable[[str], int | None] = user_id) -> Request:
    """The request of a command line whose options are well-formed. Stop on what Slurm refuses."""
    o = raw.options
    early: list[str] = []
    rest = list(raw.rest)
    for name in ("jobs", "steps"):  # their argument is optional, but a word after a bare -j is taken for it
        if o.get(name) is True and rest:
            o[name] = rest.pop(0)
    if rest:
        raise Stop(f"squeue: error: Unrecognized option: {rest[0]}\n", out=USAGE)
    refuse("squeue", o)
    if "clusters" in o:
        own_cluster("squeue", o["clusters"], cluster)
    chosen = JobFilter()
    if isinstance(o.get("jobs"), str):
        chosen.jobs = [_job(word) for word in words(o["jobs"])]
    if isinstance(o.get("steps"), str):
        chosen.steps = [_step(word) for word in words(o["steps"])]
    if "states" in o:
        chosen.states = _states(o["states"])
    elif "start" in o:
        chosen.states = frozenset({"PENDING"})
    chosen.uids = _users(raw, uid, uid_of, early)
    if "nodelist" in o:
        chosen.nodes = _nodes(o["nodelist"], nodes)
    for name in ("partitions", "name", "accounts", "qos", "licenses"):
        if name in o:
            setattr(chosen, "names" if name == "name" else name, frozenset(words(o[name])))
    if "reservation" in o:
        chosen.reservation = o["reservation"]
    chosen.hidden = "all" in o or "jobs" in o
    steps = "steps" in o
    layout, errors = _layout(raw, steps)
    return Request(
        filter=chosen,
        steps=steps,
        layout=layout,
        sort=o.get("sort") or ("P,i" if steps else "S" if "start" in o else "P,t,-p"),
        header="noheader" not in o,
        dated="long" in o or "iterate" in o,
        cluster=cluster if "clusters" in o else "",
        iterate=_iterate(o["iterate"]) if "iterate" in o else None,
        expand="array" in o,
        per_partition="priority" in o,
        convert="noconvert" not in o,
        early="".join(early) + errors,
    )


def _job(word: str) -> tuple[int, int | None]:
    """Job id and task id of one item of -j."""
    base, bar, task = word.partition("_")
    number = leading_number(base)
    if number <= 0:
        raise Stop(f"squeue: error: Invalid job id: {word}\n")
    return number, leading_number(task) if bar else None


def _step(word: str) -> tuple[int, int | None, int]:
    """Job, task and step id of one item of -s."""
    base, dot, step = word.partition(".")
    number, bar, task = base.partition("_")
    if not dot or leading_number(number) <= 0:
        raise Stop(f"squeue: error: Invalid job_step id: {word if dot else word + '.??'}\n")
    return leading_number(number), leading_number(task) if bar else None, leading_number(step)


def _states(text: str) -> frozenset[str]:
    found = set()
    for word in words(text):
        if word.lower() == "all":
            return frozenset(COMPACT)
        state = _FULL.get(word.upper())
        if state is None:
            raise Stop(
                f"squeue: error: Invalid job state specified: {word}\nsqueue: error: Valid job states include: {','.join(COMPACT)}\n\n"
            )
        found.add(state)
    return frozenset(found)


def _users(raw: Raw, uid: int, uid_of: Callable[[str], int | None], early: list[str]) -> frozenset[int] | None:
    """The last of --me and --user counts."""
    named = raw.options.get("user")
    for name, _ in reversed(raw.pairs):
        if name == "me":
            return frozenset({uid})
        if name == "user":
            break
    if named is None:
        return None
    found = set()
    for word in words(named):
        number = uid_of(word)
        if number is None:
            early.append(f"squeue: error: Invalid user: {word}\n\n")
        else:
            found.add(number)
    return frozenset(found)


def _nodes(text: str, nodes: Mapping[str, object]) -> frozenset[str]:
    try:
        names = expand(text)
    except HostlistError as bad:
        raise Stop(f"squeue: error: Invalid node name {text}\n") from bad
    for name in names:
        if name not in nodes:
            raise Stop(f"squeue: error: Invalid node name {name}\n")
    return frozenset(names)


def _iterate(text: str) -> int:
    seconds = leading_number(text)
    if seconds <= 0:
        raise Stop(f"squeue: error: --iterate={text}\n\n")
    return seconds


def _layout(raw: Raw, steps: bool) -> tuple[Layout, str]:
    """The format of the command line, else of --start, -l or -s, else of the variables; and what is wrong with it."""
    o, sources = raw.options, raw.sources
    typed = [name for name, _ in raw.pairs if name in ("format", "Format")]
    if "format" in typed and "Format" in typed:
        ours, theirs = ("-O (--Format)", "-o (--format)") if typed[-1] == "Format" else ("-o (--format)", "-O (--Format)")
        raise Stop(f"squeue: error: {ours} is incompatible with {theirs}\n")
    if "format" in typed and "long" in o:
        raise Stop("squeue: fatal: Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry.\n")
    table = step_columns if steps else job_columns
    what = "job step" if steps else "job"
    if typed and typed[-1] == "Format":
        layout = compile_long(o["Format"], table.NAMES)
    elif typed:
        layout = compile_short(o["format"], table.LETTERS, trailing_bar=steps)
    elif steps or "start" in o or "long" in o:
        layout = compile_short(STEPS if steps else START if "start" in o else LONG, table.LETTERS)
    elif sources.get("format") == "env":
        layout = compile_short(o["format"], table.LETTERS, trailing_bar=False)
    elif sources.get("Format") == "env":
        layout = compile_long(o["Format"], table.NAMES)
    else:
        layout = compile_short(DEFAULT, table.LETTERS)
    return layout, "".join(f"squeue: error: Invalid {what} format specification: {bad}\n" for bad in layout.errors)


def render(request: Request, view: View, config: Any, now: float, env: Mapping[str, str] | None = None) -> tuple[str, str, int]:
    """(standard output, standard error, exit code) of one listing. Pure."""
    context = Context(view, config, now, env, convert=request.convert)
    chosen = request.filter
    if not request.steps and chosen.jobs is not None and len(chosen.jobs) == 1 and not _known(view, chosen.jobs[0][0]):
        return "", "slurm_load_jobs error: Invalid job id specified\n", 1
    table = step_columns if request.steps else job_columns
    head = f"CLUSTER: {request.cluster}\n" if request.cluster and request.header else ""
    if request.header:
        head += (context.times.ctime() + "\n" if request.dated else "") + request.layout.header()
    rows: list[Any]
    if request.steps:
        rows = pick_steps(view, chosen)
    else:
        rows = pick_jobs(view, chosen, expand=request.expand, per_partition=request.per_partition)
    try:
        keys = compile_sort(request.sort, table.LETTERS, strict=not request.steps)
    except BadSort as bad:
        return head, f"squeue: error: Invalid sort specification: {bad}\n", 1
    sort_rows(rows, keys, context)
    return head + request.layout.rows(rows, context), "", 0


def _known(view: View, job: int) -> bool:
    return job in view.jobs or bool(view.array(job))


async def run(call: Call, client: Client, api: Api) -> int:
    """One squeue call; the exit code."""
    raw = await start(call, client, api, USAGE)
    if isinstance(raw, int):
        return raw
    if "json" in raw.options:
        from slurm_compat import jsonout
        from slurm_compat.show.scene import Scene

        scene = Scene(api.view, api.config, call.env, api.now(), version=release(getattr(api.config, "imitate", "22.05")))
        await client.out(jsonout.squeue(scene, api.view.jobs.values()))
        return 0
    try:
        request = parse(raw, call.uid, api.view.nodes, getattr(api.config, "cluster", ""))
    except Stop as stop:
        await say(client, stop.out, stop.err)
        return stop.code
    if request.early:
        await client.out(request.early, 2)
    return await listing(client, lambda: render(request, api.view, api.config, api.now(), call.env), request.iterate)
