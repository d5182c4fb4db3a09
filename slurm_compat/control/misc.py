"""ping, version, write, completing, errnumstr, listpids and the keywords that only the controller's owner would use."""

from __future__ import annotations

import os

from sbroker.errors import Refused, SbrokerError
from slurm_compat import jobrefs
from slurm_compat.control import help as help_text
from slurm_compat.control.session import Session, words_of
from slurm_compat.hostlist import HostlistError, compress, expand
from slurm_compat.show import step
from slurm_compat.update_pairs import BadUpdate, pairs
from slurm_compat.update_site import create_partition

ERRORS = {
    0: "No error",
    1000: "Unspecified error",
    1002: "Unexpected message received",
    2000: "Invalid partition name specified",
    2001: "Job submission denied",
    2002: "Access/permission denied",
    2009: "Job violates accounting/QOS policy",
    2010: "Invalid user id",
    2014: "Requested node configuration is not available",
    2015: "Requested nodes are busy",
    2016: "Invalid partition name specified",
    2017: "Invalid job id specified",
    2021: "Job has already finished",
    2022: "Job is no longer pending execution",
}


async def ping(session: Session, word: str, args: list[str]) -> None:
    await session.out(f"Slurmctld(primary) at {os.uname().nodename.partition('.')[0]} is UP\n")


async def version(session: Session, word: str, args: list[str]) -> None:
    await session.out(f"slurm {session.version}\n")
    if args:
        await session.fail("too many arguments for version keyword")


async def help_(session: Session, word: str, args: list[str]) -> None:
    await session.out(help_text.TEXT)
    if args:
        await session.fail(f"too many arguments for keyword:{word}")


async def errnumstr(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail(f"one arguments required for keyword:{word}")
    elif not args[0].lstrip("-").isdigit():
        await session.fail(f"numeric arguments required for keyword:{word}")
    else:
        number = int(args[0])
        text = ERRORS.get(number) or (os.strerror(number) if 0 < number < 200 else f"Unknown error {number}")
        await session.out(text + "\n")


async def write(session: Session, word: str, args: list[str]) -> None:
    what = args[0].lower()
    if what == "batch_script":
        if len(args) > 3:
            await session.fail(f"too many arguments for keyword:{word}")
        elif len(args) > 1:
            await _script(session, args[1], args[2] if len(args) > 2 else None)
    elif what == "config":
        await session.not_here("scontrol write config")
    else:
        await session.fail(f"invalid write argument:{args[0]}")


async def _script(session: Session, text: str, path: str | None) -> None:
    """The exit code stays 0 whatever happens, as scontrol's does."""
    ref = jobrefs.parse(text)
    try:
        if ref.job is None:
            raise LookupError
        job = jobrefs.job_of(session.api.view, ref)
        script = await session.api.script(job.id if job is not None else ref.job)
    except LookupError:
        await session.err("job script retrieval failed: Invalid job id specified\n")
        return
    except Refused as error:
        await session.err(f"job script retrieval failed: {words_of(error, session)}\n")
        return
    if path == "-":
        await session.client.out(script)
        return
    path = path or f"slurm-{ref.job}.sh"
    try:
        await session.client.write(path, script)
    except OSError as error:
        await session.err(f"failed to open file `{path}`: {os.strerror(error.errno or 0)}\n")
        return
    if session.quiet != 1:
        await session.out(f"batch script for job {ref.job} written to {path}\n")


async def completing(session: Session, word: str, args: list[str]) -> None:
    view = session.api.view
    for _, job in sorted(view.jobs.items()):
        if job.completing:
            nodes = [share.node for share in job.nodes]
            down = [name for name in nodes if name in view.nodes and view.nodes[name].state.value == "DOWN"]
            busy = [name for name in nodes if name not in down]
            tail = f"Nodes(COMPLETING)={compress(busy)} " if busy else ""
            tail += f"Nodes(DOWN)={compress(down)} " if down else ""
            ended = session.scene().times.at(job.end_time, "Unknown")
            await session.out(f"JobId={job.id} EndTime={ended} CompletingTime={_span(session, job.end_time)} {tail}\n")


def _span(session: Session, since: float | None) -> str:
    seconds = int(session.api.now() - since) if since is not None else 0
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


async def listpids(session: Session, word: str, args: list[str]) -> None:
    await session.out("PID      JOBID    STEPID   LOCALID GLOBALID\n")
    node = args[1] if len(args) > 1 else None
    if args and args[0] != "*" and not args[0][:1].isdigit():
        await session.fail(f'"{args[0]}" does not look like a jobid')
        return
    if node or any(session.call.host in (one.hostname, one.name) for one in session.api.view.nodes.values()):
        await session.not_here("scontrol listpids")
        return
    await session.err("scontrol: error: stepd_available: Couldn't find nodename\n")
    if args and args[0] != "*":
        await session.fail(f"JobId={args[0]} does not exist on node (null).")
    else:
        await session.fail("No job steps exist on this node.")


async def pidinfo(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail(f"missing argument for keyword:{word}")
        return
    await session.fail("Failed to locate job for requested pid")


async def getent(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.err("scontrol: error: stepd_available: Couldn't find nodename\nNo steps found on this node\n")
        return
    scene = session.scene()
    for job in sorted(session.api.view.node_jobs(args[0]), key=lambda job: job.id):
        steps = [one for one in step.running(scene, job) if args[0] in one.nodes]
        for one in sorted(steps, key=lambda one: (one.step < 0, one.step)):
            await session.out(f"JobId={job.id}.{step.label(one.step)}:\nUser:\n{scene.passwd(job.uid)}\nGroups:\n\n")


async def notify(session: Session, word: str, args: list[str]) -> None:
    ref = jobrefs.parse(args[0])
    if ref.job is None:
        await session.fail(f"Invalid job_id {args[0]}job notify failure: No error")
    elif jobrefs.job_of(session.api.view, ref) is None:
        await session.fail("job notify failure: Invalid job id specified")
    else:
        await session.not_here("scontrol notify")


async def cluster(session: Session, word: str, args: list[str]) -> None:
    known = getattr(session.api.config, "cluster", "")
    if args and args[0] != known:
        await unknown_cluster(session, args[0])


async def unknown_cluster(session: Session, name: str) -> None:
    await session.fail(
        f"scontrol: error: No cluster '{name}' known by database.\nscontrol: error: '{name}' can't be reached now, or it is an invalid entry"
        " for --cluster.  Use 'sacctmgr list clusters' to see available clusters.",
        always=True,
    )


async def reboot(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail("Missing node list. Specify ALL|<NodeList>", always=True)
        return
    await session.fail("scontrol: error: RebootProgram isn't defined\nscontrol_reboot_nodes error: Unspecified error", always=True)


async def cancel_reboot(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail(f"missing argument for keyword:{word}")
    elif await session.operators_only("slurm_update"):
        try:
            unknown = [name for name in expand(args[0]) if name not in session.api.view.nodes]
        except HostlistError:
            unknown = [args[0]]
        if unknown:
            await session.fail("slurm_update error: Invalid node name specified")


async def shutdown(session: Session, word: str, args: list[str]) -> None:
    if await session.operators_only("slurm_shutdown"):
        await session.fail("scontrol: error: stop the broker with 'sbroker down'", always=True)


async def reconfigure(session: Session, word: str, args: list[str]) -> None:
    if await session.operators_only("slurm_reconfigure"):
        try:
            await session.api.reconfigure()
        except SbrokerError as error:
            await session.fail("scontrol: error: the configuration was not changed: %s" % error, always=True)


async def takeover(session: Session, word: str, args: list[str]) -> None:
    await session.fail("slurm_takeover error: Unable to contact slurm controller (connect failure)")


async def token(session: Session, word: str, args: list[str]) -> None:
    await session.fail("Error fetching token")


_DEBUG = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3", "debug4", "debug5")
_SETTERS = {
    "setdebug": "debug_level",
    "setdebugflags": "debug_flags",
    "schedloglevel": "schedlog_level",
    "fsdampeningfactor": "fs_dampeningfactor",
}


def setter(name: str):
    """The keyword `name`, which changes what a log says: not for users, and nothing of it is here."""

    async def act(session: Session, word: str, args: list[str]) -> None:
        if name == "setdebug" and args[0].lower() not in _DEBUG and not args[0].isdigit():
            await session.fail(f"invalid debug level: {args[0]}")
        elif not session.call.admin:
            await session.fail(f"slurm_set_{_SETTERS[name]} error: Permission denied")
        else:
            await session.not_here(f"scontrol {name}")

    return act


async def create(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail(f"too few arguments for {word} keyword", always=True)
        return
    key, equals, _ = args[0].partition("=")
    kind = _kind(key)
    if not equals and kind != "reservation":
        await session.fail(f"scontrol: error: Invalid input: {args[0]}  Request aborted", always=True)
    elif kind is None:
        await session.fail(f"scontrol: error: Invalid creation entity: {args[0]}", always=True)
    elif kind == "partition":
        try:
            await create_partition(session, pairs(args))
        except BadUpdate as error:
            session.code = error.code
            await session.err(error.text + "\n")
    elif kind == "node" and not session.call.admin:
        await session.fail("Error creating the node(s): Invalid user id")
    else:
        await session.not_here(f"scontrol create {kind}")


async def delete(session: Session, word: str, args: list[str]) -> None:
    if not args:
        await session.fail(f"too few arguments for {word} keyword", always=True)
        return
    key, equals, value = args[0].partition("=")
    kind = _kind(key) if equals else None
    if kind is None:
        await session.fail(f"Invalid deletion entity: {args[0]}", always=True)
    elif kind == "reservation":
        await session.fail(f"delete_reservation {args[0]}: Requested reservation is invalid")
    elif not session.call.admin:
        await session.fail(f"delete_{kind} {args[0]}: Invalid user id")
    elif kind == "partition":
        try:
            await session.api.delete_partition(value)
        except Refused as error:
            await session.fail(f"delete_partition {args[0]}: {words_of(error, session)}")
    else:
        await session.fail("scontrol: error: a node is removed in the configuration file", always=True)


def _kind(key: str) -> str | None:
    low = key.lower()
    for least, name, kind in ((3, "nodename", "node"), (3, "partitionname", "partition"), (3, "reservationname", "reservation")):
        if len(low) >= least and name.startswith(low):
            return kind
    return None
