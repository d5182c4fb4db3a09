"""scontrol update of nodes and partitions (operators), and of what there is none of here."""

from __future__ import annotations

from typing import Any

from sbroker.errors import Code, Refused
from sbroker.model import INFINITE, Gres
from slurm_compat.control.session import Session, words_of
from slurm_compat.control.words import unquoted
from slurm_compat.grammar import Invalid, gres, memory, timelimit
from slurm_compat.hostlist import HostlistError, expand
from slurm_compat.jobrefs import parse
from slurm_compat.update_pairs import BadUpdate, NotSupported, Pair

NODE_STATES = ("NoResp", "DRAIN", "FAIL", "FUTURE", "RESUME", "POWER_DOWN", "POWER_UP", "UNDRAIN")  # as the complaint lists them
_TAKEN = ("down", "drain", "fail", "idle", "resume", "undrain")  # what the broker can do
_KNOWN = (*_TAKEN, "allocated", "cancel_reboot", "future", "noresp", "power_down", "power_down_asap", "power_down_force", "power_up")
_NEED_REASON = ("down", "drain", "fail")
YES_NO = {"yes": True, "no": False}


async def update_node(session: Session, given: list[Pair]) -> None:
    """Raises BadUpdate."""
    names = ""
    state = reason = None
    fields: dict[str, Any] = {}
    count = 0
    for pair in given:
        value = pair.value or ""
        if pair.names("nodename", 3):
            names = value
            continue
        count += 1
        if pair.names("reason", 1):
            reason = unquoted(value)
        elif pair.names("state", 1):
            state = _node_state(pair, value)
        elif pair.names("weight", 1):
            if not value.isdigit():
                raise BadUpdate(f"scontrol: error: Weight value ({value}) is not a valid number")
            fields["weight"] = int(value)
        elif pair.names("availablefeatures", 3) or pair.names("activefeatures", 3) or pair.names("features", 1):
            fields["features"] = tuple(word for word in value.split(",") if word)
        elif pair.names("gres", 1):
            fields["gres"] = _node_gres(value)
        elif pair.names("nodeaddr", 5):
            fields["address"] = value
        elif pair.names("nodehostname", 5):
            fields["hostname"] = value
        elif pair.names("comment", 2) or pair.names("extra", 1) or pair.names("resumeafter", 7) or pair.names("cpubind", 7):
            raise BadUpdate(f"scontrol: error: {pair.word.partition('=')[0]} of a node is not available here yet")
        else:
            raise NotSupported(pair.word)
    if count == 0:
        raise BadUpdate("No changes specified")
    if state in _NEED_REASON and not reason:
        raise BadUpdate("You must specify a reason when DOWNING or DRAINING a node. Request denied")
    if not session.call.admin:
        await session.fail("slurm_update error: Invalid user id")
        return
    if state is not None and state not in _TAKEN:
        await session.not_here(f"scontrol update State={state.upper()}")
        return
    view = session.api.view
    try:
        nodes = list(view.nodes) if names.upper() == "ALL" else expand(names)
    except HostlistError as error:
        raise BadUpdate(f"{error}\nslurm_update error: Invalid node name specified") from error
    if not nodes or any(name not in view.nodes for name in nodes):
        await session.fail("slurm_update error: Invalid node name specified")
        return
    for name in nodes:
        try:
            await session.api.update_node(name, state=state, reason=reason, **fields)
        except Refused as error:
            await session.fail(f"slurm_update error: {words_of(error, session)}")
            return


def _node_state(pair: Pair, value: str) -> str:
    low = value.lower()
    found = low if low in _KNOWN else next((name for name in _KNOWN if len(low) > 2 and name.startswith(low)), None)
    if found is None:
        raise BadUpdate(
            f"Invalid input: {pair.word}\nRequest aborted\nValid states are: {' '.join(NODE_STATES)}\n"
            "Not all states are valid given a node's prior state"
        )
    return found


def _node_gres(value: str) -> tuple[Gres, ...]:
    try:
        return tuple(Gres(name=name, type=kind, count=count) for name, kind, count in gres.parse_gres(value, {"gpu"}))
    except (Invalid, gres.BadTres) as error:
        raise BadUpdate("slurm_update error: Invalid generic resource (gres) specification") from error


def _names(value: str) -> tuple[str, ...]:
    return () if value.upper() == "ALL" else tuple(word for word in value.split(",") if word)


def _limit(value: str) -> int:
    minutes = timelimit.minutes(value)
    if minutes is None:
        raise ValueError(value)
    return INFINITE if minutes == INFINITE else minutes * 60


def _default_time(value: str) -> int | None:
    return None if value.upper() == "NONE" else _limit(value)


def _number(value: str) -> int | None:
    return None if value.upper() in ("INFINITE", "UNLIMITED") else int(value)


def _megabytes(value: str) -> int | None:
    if value.upper() in ("UNLIMITED", "0"):
        return None
    found = memory.mebibytes(value)
    if found is None:
        raise ValueError(value)
    return found


def _hosts(value: str) -> tuple[str, ...]:
    return tuple(expand(value))


# name, least letters, field of Partition, how to read it
PARTITION_KEYS = (
    ("allowaccounts", 6, "allow_accounts", _names),
    ("allowgroups", 6, "allow_groups", _names),
    ("allowqos", 6, "allow_qos", _names),
    ("default", 7, "default", lambda value: YES_NO[value.lower()]),
    ("defaulttime", 8, "default_time", _default_time),
    ("defmempercpu", 10, "def_mem_per_cpu", _megabytes),
    ("defmempernode", 10, "def_mem_per_node", _megabytes),
    ("hidden", 1, "hidden", lambda value: YES_NO[value.lower()]),
    ("maxmempercpu", 10, "max_mem_per_cpu", _megabytes),
    ("maxnodes", 4, "max_nodes", _number),
    ("maxtime", 4, "max_time", _limit),
    ("minnodes", 2, "min_nodes", int),
    ("nodes", 1, "nodes", _hosts),
    ("oversubscribe", 5, "oversubscribe", str.lower),
    ("shared", 2, "oversubscribe", str.lower),
    ("prioritytier", 9, "priority_tier", int),
    ("state", 2, "state", str.upper),
)
PARTITION_STATES = ("UP", "DOWN", "DRAIN", "INACTIVE")


def partition_fields(given: list[Pair]) -> tuple[str, dict[str, Any]]:
    """Name and fields of a partition. Raises BadUpdate."""
    name = ""
    fields: dict[str, Any] = {}
    for pair in given:
        value = pair.value or ""
        if pair.names("partitionname", 3):
            name = value
            continue
        row = next((row for row in PARTITION_KEYS if pair.names(row[0], row[1])), None)
        if row is None:
            raise BadUpdate(f"scontrol: error: Update of this parameter is not supported: {pair.word}\nslurm_update error: No error")
        _, _, field, read = row
        try:
            fields[field] = read(value)
        except (ValueError, KeyError) as error:
            raise BadUpdate(f"scontrol: error: Invalid input: {pair.word}\nslurm_update error: No error") from error
        if field == "state" and fields[field] not in PARTITION_STATES:
            raise BadUpdate(
                f"scontrol: error: Invalid input: {pair.word}\nscontrol: error: Acceptable State values are UP, DOWN, DRAIN and"
                " INACTIVE\nslurm_update error: No error"
            )
    return name, fields


async def create_partition(session: Session, given: list[Pair]) -> None:
    """Raises BadUpdate."""
    name, fields = partition_fields(given)
    if not session.call.admin:
        await session.fail("Error creating the partition: Invalid user id")
        return
    try:
        await session.api.create_partition(name, **fields)
    except Refused as error:
        await session.fail(f"Error creating the partition: {words_of(error, session)}")


async def update_partition(session: Session, given: list[Pair]) -> None:
    """Raises BadUpdate."""
    name, fields = partition_fields(given)
    if not fields:
        raise BadUpdate("scontrol: error: No changes specified")
    if not session.call.admin:
        await session.fail("slurm_update error: Invalid user id")
        return
    try:
        await session.api.update_partition(name, **fields)
    except Refused as error:
        await session.fail(f"slurm_update error: {words_of(error, session)}")


async def update_step(session: Session, given: list[Pair]) -> None:
    """Steps have no time limit of their own here; what is wrong with the id is told."""
    step = next((pair for pair in given if pair.names("stepid", 4)), None)
    if step is None or not (step.value or "")[:1].isdigit():
        raise BadUpdate(f"Invalid StepID parameter: {step.word if step is not None else ''}")
    ref = parse((step.value or "").partition(".")[0])
    if ref.job is None or ref.job not in session.api.view.jobs:
        await session.fail("slurm_update error: Invalid job id specified")
        return
    await session.not_here("scontrol update StepId=")


async def update_reservation(session: Session, given: list[Pair]) -> None:
    if not session.call.admin:
        raise BadUpdate("Error updating the reservation: Invalid user id")
    raise BadUpdate(f"Error updating the reservation: {words_of(Refused(Code.INVALID_RESERVATION), session)}")


async def update_debug(session: Session, given: list[Pair]) -> None:
    level = next((pair.value or "" for pair in given if pair.names("slurmctlddebug", 2)), "")
    raise BadUpdate(f"invalid debug level: {level}")
