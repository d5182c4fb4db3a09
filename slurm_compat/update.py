"""scontrol update: KEY=VALUE pairs, which entity they are about, and what is said when that does not work."""

from __future__ import annotations

from typing import NamedTuple

from slurm_compat.control.session import Session

NO_ENTITY = (
    'No valid entity in update command\nInput line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"'
)


class Pair(NamedTuple):
    """KEY=VALUE as typed. `sign` "+" or "-" for KEY+=VALUE; `value` None where there is no "="."""

    word: str
    key: str
    value: str | None
    sign: str = ""

    def names(self, name: str, least: int) -> bool:
        """Whether the key is `name`, or an abbreviation of at least so many letters."""
        return len(self.key) >= least and name.startswith(self.key)


class BadUpdate(Exception):
    """The request is refused before anything was asked of the broker. `text`: whole lines without the last newline; `code`: exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class NotSupported(BadUpdate):
    def __init__(self, word: str) -> None:
        super().__init__(f"Update of this parameter is not supported: {word}\nRequest aborted")


def pairs(words: list[str]) -> list[Pair]:
    """Words → pairs. Keys in lower case. An entity without "=" takes the next word as its value ("update job 12 …")."""
    out: list[Pair] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        key, equals, value = word.partition("=")
        sign = key[-1:] if equals and key[-1:] in ("+", "-") else ""
        pair = Pair(word, (key[:-1] if sign else key).lower(), value if equals else None, sign)
        if not equals and kind_of(pair) is not None and at < len(words) and "=" not in words[at]:
            pair = pair._replace(value=words[at])
            at += 1
        out.append(pair)
    return out


# entity, name and least letters; the first that any word names is what the update is about
KINDS = (
    ("job", "jobid", 3),
    ("job", "jobname", 4),
    ("node", "nodename", 3),
    ("partition", "partitionname", 3),
    ("reservation", "reservationname", 3),
    ("step", "stepid", 4),
    ("debug", "slurmctlddebug", 2),
    ("frontend", "frontendname", 2),
)


def kind_of(pair: Pair) -> str | None:
    for kind, name, least in KINDS:
        if pair.names(name, least):
            return kind
    return None


async def update(session: Session, word: str, args: list[str]) -> None:
    """The keyword. A request with several faults tells the first."""
    from slurm_compat import update_job, update_site  # here: they need the pairs of this module

    if not args:
        await session.fail(f"too few arguments for {word} keyword", always=True)
        return
    given = pairs(args)
    kinds = [kind for kind in (kind_of(pair) for pair in given) if kind is not None]
    if "job" in kinds:  # a job's reservation may be named beside it
        kinds = ["job"]
    try:
        if not kinds:
            raise BadUpdate(NO_ENTITY)
        if kinds[0] == "job":
            await update_job.update_job(session, given)
        elif kinds[0] == "node":
            await update_site.update_node(session, given)
        elif kinds[0] == "partition":
            await update_site.update_partition(session, given)
        elif kinds[0] == "step":
            await update_site.update_step(session, given)
        elif kinds[0] == "reservation":
            await update_site.update_reservation(session, given)
        elif kinds[0] == "frontend":
            raise BadUpdate("scontrol: error: there are no front end nodes")
        else:
            await update_site.update_debug(session, given)
    except BadUpdate as error:
        session.code = error.code
        await session.err(error.text + "\n")
