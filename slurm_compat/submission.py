"""What sbatch, salloc and srun share on the broker's side: parsing, talking, host files, clusters."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from sbroker.api import Api, Call, Client
from sbroker.errors import Code, Refused
from slurm_compat import getopt, hostlist, messages, srunsize
from slurm_compat.getopt import BadOption
from slurm_compat.grammar import Invalid, spoken
from slurm_compat.releases import version
from slurm_compat.request import Asked

HET = "heterogeneous jobs (components separated by \":\") are not supported"


async def say(client: Client, command: str, kind: str, line: str, *, anew: bool = False) -> None:
    """One line on standard error, as `command` prints it; `anew`: also to a client that comes back to a session."""
    await client.out(spoken(command, kind, line), 2, anew=anew)


async def guarded(call: Call, client: Client, body: Callable[[], Awaitable[int]]) -> int:
    """`body`'s exit code; refusals become Slurm's words and code."""
    command, lead = call.name, messages.LEADS[call.name]
    try:
        return await body()
    except BadOption as bad:
        await client.out(bad.text, 2)
        return bad.code
    except Invalid as bad:
        if bad.out:
            await client.out(bad.out)
        text = bad.text(command)
        if text:
            await client.out(text, 2)
        return bad.code if bad.fixed else exit_error(call)
    except srunsize.Refusal as no:
        await client.out(no.err, 2)
        return exit_error(call)
    except Refused as refused:
        first = messages.before(refused)
        if first:
            await say(client, command, "error", first)
        if refused.code in (Code.INVALID_GRES, Code.DEADLINE_PASSED):  # what the real commands see themselves
            lead = ""
        await say(client, command, "error", lead + messages.sentence(refused))
        return exit_error(call)


def exit_error(call: Call) -> int:
    """The exit code of Slurm's own errors: SLURM_EXIT_ERROR, or 1."""
    wanted = call.env.get("SLURM_EXIT_ERROR", "")
    return int(wanted) & 255 if wanted.isdecimal() and int(wanted) else 1


def known_gres(api: Api) -> set[str]:
    """Names of generic resources that some node has."""
    return {item.name for node in api.view.nodes.values() for item in node.gres}


def asked_of(call: Call, api: Api) -> Asked:
    return Asked(call, api.now(), known_gres(api), version(api.config.imitate))


def parsed(call: Call) -> getopt.Parsed:
    """argv of sbatch, salloc or srun; ":" after the options asks for a heterogeneous job, which is refused."""
    found = getopt.parse_argv(call.name, call.argv)
    if found.rest[:1] == [":"]:
        raise Invalid(HET, 1)
    return found


def from_variables(call: Call) -> list[tuple[str, str | None]]:
    found = [(name, value) for name, value, _variable in getopt.from_env(call.name, call.env)]
    plane = call.env.get("SLURM_DIST_PLANESIZE")  # salloc and sbatch export -m plane=3 as two variables
    return [(name, "plane=" + plane) if plane and (name, value) == ("distribution", "plane") else (name, value) for name, value in found]


async def host_files(asked: Asked, client: Client) -> None:
    """--nodefile, and --nodelist or --exclude with a "/": replace the file's name by the hosts in it. Raises Invalid."""
    for option in ("nodefile", "nodelist", "exclude"):
        value = asked.other.get(option)
        if value is None or (option != "nodefile" and "/" not in value):
            continue
        try:
            data = await client.read(value)
        except OSError as error:
            line = "slurm_allocate_resources error opening file %s, %s" % (value, os.strerror(error.errno or 0))
            if option == "nodefile":
                raise Invalid("Invalid --nodefile node file", before=(("error", line),)) from error
            raise Invalid(line, 1) from error
        names = ",".join(line.partition("#")[0].strip() for line in data.decode("utf-8", "surrogateescape").splitlines())
        asked.other["nodelist" if option == "nodefile" else option] = ",".join(part for part in names.split(",") if part)


async def arbitrary_hosts(asked: Asked, client: Client) -> None:
    """SLURM_HOSTFILE names a host for each task; for srun it makes the distribution arbitrary, for the others that must be asked for.

    Raises Invalid.
    """
    path = asked.call.env.get("SLURM_HOSTFILE")
    wanted = asked.command == "srun" or asked.fields.get("distribution", "").startswith("arbitrary")
    if not path or "nodelist" in asked.other or not wanted:
        return
    failure = "Failure getting NodeNames from hostfile"
    try:
        text = (await client.read(path)).decode("utf-8", "surrogateescape")
        hosts = hostlist.expand(",".join(text.split()))
    except (OSError, hostlist.HostlistError) as error:
        raise Invalid(failure, 1) from error
    tasks = asked.fields.get("ntasks") or len(hosts)
    if tasks > len(hosts):
        raise Invalid(failure, 1, before=(("error", "Too few NodeNames in Slurm Hostfile"),))
    asked.other["nodelist"] = ",".join(hosts[:tasks])
    asked.fields.update(ntasks=tasks, distribution="arbitrary")


async def clusters(asked: Asked, client: Client, api: Api) -> str | None:
    """--clusters: the name to show if it was asked for by name. Raises Invalid if no name is ours."""
    wanted = asked.other.get("clusters")
    if not wanted:
        return None
    ours = api.config.cluster
    names = [name for name in wanted.split(",") if name]
    strangers = [name for name in names if name not in (ours, "all")]
    for name in strangers[:1]:
        await say(client, asked.command, "error", "No cluster '%s' known by database." % name)
    if len(strangers) == len(names):
        raise Invalid("'%s' can't be reached now, or it is an invalid entry for --cluster.  Use 'sacctmgr list clusters' to see "
                      "available clusters." % wanted, 1)
    return ours


async def tell(asked: Asked, client: Client, *, listing: bool = True) -> None:
    """Print the lines that parsing collected, and the listing of -v."""
    if listing and asked.verbose:
        await client.out("".join(spoken(asked.command, "info", line) for line in asked.listing()), 2)
    for kind, line in asked.said:
        if kind == "error" or not asked.other.get("quiet"):
            await say(client, asked.command, kind, line)


async def test_only(call: Call, client: Client, api: Api, asked: Asked, **fields: Any) -> int:
    """--test-only: when and where the job would start, on standard error; and what would be bought for it, of which Slurm knows nothing."""
    try:
        place = await api.test(asked.spec(name=asked.other.get("name") or call.name, **fields))
    except Refused as refused:
        if refused.code is Code.INVALID_GRES:
            await say(client, call.name, "error", messages.sentence(refused))
            return 1
        if refused.code is Code.INVALID_PARTITION:
            await say(client, call.name, "error", messages.before(refused))
        await client.out("allocation failure: %s\n" % messages.sentence(refused), 2)
        return 1
    await say(client, call.name, "info", "Job %d to start at %s using %d processors on nodes %s in partition %s" % (
        place.job, asked.spell_time(place.start), place.cpus, hostlist.compress_sorted(place.nodes), place.partition))
    for sentence in place.said:
        await say(client, call.name, "info", sentence)
    return 0
