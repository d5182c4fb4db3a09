"""What `sbroker` asks of a running broker, as functions of its state. Runs inside the daemon, which dispatches the name "sbroker" here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable

from sbroker import __version__
from sbroker.api import Api, Call, Client, View
from sbroker.cli import costs, ssh_side
from sbroker.errors import Code, Refused, SbrokerError
from sbroker.model import Node
from sbroker.states import JobState

Answer = Awaitable[str]
GONE_WAIT = 300  # seconds
OF_A_JOB = {Code.INVALID_JOB_ID: "There is no job %s.", Code.ACCESS_DENIED: "Job %s is another user's."}


async def run(call: Call, client: Client, api: Api) -> int:
    """One command; its text goes to the caller, its exit code is returned."""
    command, *arguments = call.argv or ("",)
    if command == "sync":
        from sbroker.cli import syncing

        return await syncing.run(client, api, arguments)
    if command == "ssh-proxy":
        return await ssh_side.proxy(call, client, api)
    answer = COMMANDS.get(command)
    if answer is None:
        await client.out("sbroker: error: the broker knows no command %r\n" % command, 2)
        return 2
    try:
        await client.out(await answer(api, arguments) + "\n")
    except SbrokerError as error:
        known = OF_A_JOB.get(error.code) if isinstance(error, Refused) and command in ("explain", "sync") and arguments else None
        await client.out("sbroker: error: %s\n" % (known % arguments[0] if known else error), 2)
        return 1
    return 0


async def status(api: Api, arguments: list[str]) -> str:
    """A line each: pid and release, nodes by state, jobs by state."""
    if "--json" in arguments:
        return json.dumps(api.status())
    view = api.view
    nodes = Counter(_state(view, node) for node in view.nodes.values())
    jobs: Counter[str] = Counter()
    for job in view.jobs.values():
        state = "completing" if job.completing else job.state.value.lower()
        jobs[state] += max(1, len(job.array_pending)) if job.state is JobState.PENDING else 1
    return "\n".join(["broker: pid %d, sbroker %s" % (os.getpid(), __version__), "nodes: %s" % _counts(nodes), "jobs: %s" % _counts(jobs)])


def _state(view: View, node: Node) -> str:
    if node.drain:
        return "drained"
    if node.token and not node.incarnation:
        return "booting"
    return "in use" if any(not job.completing for job in view.node_jobs(node.name)) else node.state.value.lower()


async def explain(api: Api, arguments: list[str]) -> str:
    """Sentences on a job."""
    number = arguments[0].partition("_")[0] if arguments else ""
    if not number.isdigit():
        raise SbrokerError("explain needs a job id, not %r." % (arguments[0] if arguments else ""))
    return "\n".join(await api.explain(int(number)))


async def before_down(api: Api, arguments: list[str]) -> str:
    """`down` asks first: refuse while jobs exist, or with "cancel" end them all and wait until nothing of them is left; refuse when what is
    left will not go by itself."""
    if not api.caller.operator and api.caller.uid != os.getuid():
        raise SbrokerError("this broker is not yours to stop")
    jobs = [job.id for job in api.view.jobs.values() if not job.state.ended or job.completing]
    if jobs and "cancel" not in arguments:
        raise SbrokerError("%d jobs wait or run: --cancel ends them, --keep leaves running ones to the next broker" % len(jobs))
    await api.cancel_many([job for job in jobs if not api.view.jobs[job].state.ended])
    while left := [job for job in jobs if (known := api.view.jobs.get(job)) is not None and (known.completing or not known.state.ended)]:
        reasons = [api.stuck(job) for job in left]
        if all(reasons):
            raise SbrokerError("%s. (sbroker down --keep leaves it to the next broker.)" % ".\n".join(reasons))
        waits = left[reasons.index("")]
        with contextlib.suppress(asyncio.TimeoutError):
            await api.changed(waits, 1.0)
    said = "%d jobs were cancelled." % len(jobs) if jobs else "No jobs."
    made = [node for node in api.view.nodes.values() if node.token]
    if not made:
        return said
    if "cancel" not in arguments:
        raise SbrokerError(
            "%d machines are there, for %.2f USD an hour: --cancel terminates them, --keep leaves them to the next broker"
            % (len(made), sum(node.price for node in made))
        )
    await api.power_down([])
    return "%s\n%s" % (said, await _gone(api, len(made)))


async def _gone(api: Api, number: int) -> str:
    """Wait until no machine of ours is listed any more."""
    end = api.now() + GONE_WAIT
    while api.now() < end:
        left = [(site, each) for site, found in (await api.machines()).items() for each in found["machines"] if each["owner"] != "foreign"]
        errors = ["%s: %s" % (site, found["error"]) for site, found in (await api.machines()).items() if found["error"]]
        if not left and not errors and not any(node.token for node in api.view.nodes.values()):
            return "%d machines were terminated." % number
        await asyncio.sleep(0.5)
    what = ", ".join("%s of %s" % (each["id"], site) for site, each in left) or "; ".join(errors)
    raise SbrokerError("not all machines are gone after %d seconds: %s; `sbroker machines` lists them" % (GONE_WAIT, what))


async def machines(api: Api, arguments: list[str]) -> str:
    """A line for each machine that a site has now."""
    from tabulate import tabulate

    found = await api.machines()
    if "--json" in arguments:
        return json.dumps(found)
    rows = [
        [site, each["id"], each["node"] or {"stray": "(nobody's)", "foreign": "(another broker's)"}.get(each["owner"], ""), each["state"],
         "%.4f" % each["price"], "%.1f" % (max(0.0, api.now() - each["created"]) / 3600) if each["created"] else ""]
        for site, known in sorted(found.items()) for each in known["machines"]
    ]  # fmt: skip
    said = [tabulate(rows, headers=["SITE", "MACHINE", "NODE", "STATE", "USD/H", "HOURS"], tablefmt="plain", disable_numparse=True)] if rows else []
    said += ["%s cannot be listed: %s" % (site, known["error"]) for site, known in sorted(found.items()) if known["error"]]
    return "\n".join(said) or "No machines."


async def reap(api: Api, arguments: list[str]) -> str:
    """Terminate what bears our mark and is on no record."""
    number = await api.reap()
    if not number:
        return "No machine is left that belongs to nobody."
    return "%d machines that belonged to nobody are being terminated." % number


def _counts(counts: Counter[str]) -> str:
    return ", ".join("%d %s" % (count, word) for word, count in sorted(counts.items())) or "none"


async def refresh(api: Api, arguments: list[str]) -> str:
    """Ask sites what they sell."""
    return "\n".join(await api.refresh_catalog(arguments))


COMMANDS: dict[str, Callable[[Api, list[str]], Answer]] = {
    "status": status,
    "explain": explain,
    "before-down": before_down,
    "cost": costs.answer,
    "catalog-refresh": refresh,
    "machines": machines,
    "reap": reap,
    "ssh-where": ssh_side.where,
    "ssh-users": ssh_side.users,
}
