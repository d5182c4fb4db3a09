"""scontrol update: which entity it is about, and what is said when that does not work."""

from __future__ import annotations

from slurm_compat import update_job, update_site
from slurm_compat.control.session import Session
from slurm_compat.update_pairs import BadUpdate, kind_of, pairs

NO_ENTITY = (
    'No valid entity in update command\nInput line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"'
)


async def update(session: Session, word: str, args: list[str]) -> None:
    """The keyword. A request with several faults tells the first."""
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
