"""scontrol show ENTITY."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from slurm_compat.control import help as help_text
from slurm_compat.control.session import Session
from slurm_compat.hostlist import HostlistError, expand
from slurm_compat.show import config, hostnames, job, node, partition, step

Show = Callable[[Session, str | None], Awaitable[None]]


async def show(session: Session, word: str, args: list[str]) -> None:
    """`args` after the keyword: the entity, ``entity=id``, or both words."""
    name, equals, value = args[0].partition("=")
    rest = args[1:]
    if equals:
        rest = [value, *rest]
    entity = hostnames.entity_of(name)
    if entity is not None:
        if len(rest) > 1:
            await session.fail(f"too many arguments for keyword:{word}")
            return
        await _hosts(session, entity, rest[0] if rest else None)
        return
    low = name.lower()
    for least, names, act, most in ENTITIES:
        if len(low) >= least and any(full.startswith(low) for full in names):
            if len(rest) > most:
                await session.fail(f"too many arguments for keyword:{word}")
            else:
                await act(session, rest[0] if rest else None)
            return
    await session.fail(f"invalid entity:{name} for keyword:{word} ")


async def _hosts(session: Session, entity: str, text: str | None) -> None:
    files: dict[str, str] = {}
    if text and text.startswith("/"):
        try:
            files[text] = (await session.client.read(text)).decode("utf-8", "surrogateescape")
        except OSError:
            await session.err(f"Can not open {text}\n")
            session.code = 1
            return
    found = hostnames.show(entity, text, session.call.env, files.get)
    if found is None:
        await session.out(help_text.TEXT)
        await session.fail("invalid encode argument")
        return
    out, err, code = found
    await session.out(out)
    await session.err(err)
    session.code = code or session.code


async def _job(session: Session, text: str | None) -> None:
    scene = session.scene()
    if not text or text == "0":
        jobs = job.every(scene)
        if not jobs and session.quiet != 1:
            await session.out("No jobs in the system\n")
        await session.out(job.text(scene, jobs))
        return
    try:
        found = job.named(scene, text)
    except job.BadJobId:
        await session.fail("scontrol_print_job error: Invalid job id specified")
        return
    if not found:
        await session.fail("slurm_load_jobs error: Invalid job id specified")
        return
    task = int(text.partition("_")[2]) if "_" in text else None
    await session.out(job.text(scene, found, task))


async def _step(session: Session, text: str | None) -> None:
    scene = session.scene()
    if not text:
        steps = step.every(scene)
        if not steps and session.quiet != 1:
            await session.out("No job steps in the system\n")
    else:
        try:
            steps = step.named(scene, text)
        except step.NoJob:
            await session.fail("slurm_get_job_steps error: Invalid job id specified")
            return
        except step.NotFound as error:
            session.code = 1
            if session.quiet != 1:
                await session.out(f"Job step {error.shown} not found\n")
            return
    await session.out("".join(step.text(scene, owner, one) for owner, one in steps))


async def _node(session: Session, text: str | None) -> None:
    scene = session.scene()
    nodes = session.api.view.nodes
    if text is None:
        if not nodes and session.quiet != 1:
            await session.out("No nodes in the system\n")
        await session.out("".join(node.text(scene, one) for one in nodes.values()))
        return
    try:
        names = expand(text)
    except HostlistError as error:
        await session.err(hostnames.complaint(error))
        session.code = 1
        return
    for name in names:
        if name in nodes:
            await session.out(node.text(scene, nodes[name]))
        else:
            session.code = 1
            if session.quiet != 1:
                await session.out(f"Node {name} not found\n")


async def _partition(session: Session, text: str | None) -> None:
    scene = session.scene()
    known = session.api.view.partitions
    if text is None:
        shown = [part for part in known.values() if session.all or session.call.operator or not part.hidden]
        if not shown and session.quiet != 1:
            await session.out("No partitions in the system\n")
        await session.out("".join(partition.text(scene, part) for part in shown))
    elif text in known:
        await session.out(partition.text(scene, known[text]))
    else:
        session.code = 1
        if session.quiet != 1:
            await session.out(f"Partition {text} not found\n")


async def _config(session: Session, text: str | None) -> None:
    await session.out(config.text(session.scene()))


async def _aliases(session: Session, text: str | None) -> None:
    host = text or session.call.host
    names = [name for name, one in session.api.view.nodes.items() if one.hostname == host]
    await session.out(" ".join(names) + "\n" if names else "")


async def _daemons(session: Session, text: str | None) -> None:
    here = any(session.call.host in (one.hostname, one.name) for one in session.api.view.nodes.values())
    await session.out("slurmctld slurmd \n" if here else "slurmctld \n")


async def _licenses(session: Session, text: str | None) -> None:
    if session.quiet != 1:
        await session.out("No licenses configured in Slurm.\n")


async def _reservations(session: Session, text: str | None) -> None:
    if text:
        session.code = 1
        await session.out(f"Reservation {text} not found\n")
    elif session.quiet != 1:
        await session.out("No reservations in the system\n")


async def _topology(session: Session, text: str | None) -> None:
    what = f"Topology information contains no switch or node named {text}" if text else "No topology information available"
    await session.err(f"scontrol: error: {what}\n")


async def _frontend(session: Session, text: str | None) -> None:
    if session.quiet != 1:
        await session.out("No nodes in the system\n")


async def _slurmd(session: Session, text: str | None) -> None:
    await session.err("scontrol: error: slurm_slurmd_info: Connection refused\n")
    await session.fail("slurm_load_slurmd_status: Connection refused")


async def _nothing(session: Session, text: str | None) -> None:
    """There is none of it here, and scontrol says so by saying nothing."""


async def _assoc(session: Session, text: str | None) -> None:
    await session.not_here("scontrol show assoc_mgr")


ENTITIES: tuple[tuple[int, tuple[str, ...], Show, int], ...] = (
    (1, ("aliases",), _aliases, 1),
    (2, ("assoc_mgr", "assocmgr"), _assoc, 99),
    (2, ("bbstat", "burstbuffer", "dwstat"), _nothing, 99),
    (1, ("config", "cache"), _config, 1),
    (1, ("daemons",), _daemons, 0),
    (1, ("federations",), _nothing, 1),
    (2, ("frontend", "frontendname"), _frontend, 1),
    (1, ("jobs", "jobid", "jobname"), _job, 1),
    (2, ("licenses",), _licenses, 1),
    (1, ("nodes", "nodename"), _node, 1),
    (2, ("partitions", "partitionname"), _partition, 1),
    (1, ("reservations", "reservationname"), _reservations, 1),
    (2, ("slurmd",), _slurmd, 1),
    (2, ("steps", "stepid"), _step, 1),
    (1, ("topology",), _topology, 1),
)
