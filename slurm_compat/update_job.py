"""scontrol update of jobs: which jobs, which changes, and what is said of each job that is refused."""

from __future__ import annotations

from sbroker.errors import Code, Refused
from sbroker.states import JobState
from slurm_compat import jobrefs
from slurm_compat.control.session import Session, words_of
from slurm_compat.jobrefs import JobRef
from slurm_compat.update_keys import KEYS, Changes, fault
from slurm_compat.update_pairs import BadUpdate, NotSupported, Pair


async def update_job(session: Session, given: list[Pair]) -> None:
    """Raises BadUpdate for what is wrong whatever the job; tells refusals job by job."""
    changes = Changes(session)
    jobs = ""
    names: list[Pair] = []
    user: str | None = None
    for pair in given:
        value = pair.value or ""
        if pair.names("jobid", 3):
            jobs = value
        elif pair.names("jobname", 4) or pair.names("name", 2):
            names.append(pair)
        elif pair.names("userid", 3):
            user = value
            if not session.scene().user_id(value):
                raise BadUpdate(f"Invalid UserID: {value}")
        else:
            for name, least, put in KEYS:
                if pair.names(name, least):
                    changes.count += 1
                    put(changes, pair, value)
                    break
            else:
                raise NotSupported(pair.word)
    for line in changes.warnings:
        await session.err(line + "\n")
    refs = _refs(session, changes, jobs, names, user, has_id=any(pair.names("jobid", 3) for pair in given))
    if changes.count == 0:
        if changes.warnings:
            return
        raise BadUpdate("No changes specified")
    for ref in refs:
        words = await _apply(session, changes, ref)
        if words:
            await session.fail(ref.complaint(words), always=False)


def _refs(session: Session, changes: Changes, jobs: str, names: list[Pair], user: str | None, *, has_id: bool) -> list[JobRef]:
    """Which jobs; a name changes a name where an id says which job."""
    if has_id:
        for pair in names:
            changes.count += 1
            if pair.value:
                changes.spec["name"] = pair.value
        return [jobrefs.parse(item) for item in jobrefs.split(jobs)]
    name = next((pair.value or "" for pair in names if pair.names("jobname", 4)), "")
    for pair in names:
        if not pair.names("jobname", 4) and pair.value:
            changes.count += 1
            changes.spec["name"] = pair.value
    uid = session.scene().user_id(user) if user else None
    found = [
        job
        for job in list(session.api.view.jobs.values())
        if job.spec.name == name and not job.state.ended and (uid is None or job.uid == uid[0])
    ]
    if not found:
        raise fault(f"No jobs with name '{name}'")
    return [JobRef(str(job.id), job.id, None) for job in found]


async def _apply(session: Session, changes: Changes, ref: JobRef) -> str:
    """One job; "" or why not."""
    job = jobrefs.job_of(session.api.view, ref)
    if ref.job is None or job is None:
        return "Invalid job id specified"
    call = session.call
    if not call.operator and job.uid != call.uid:
        return "Invalid user id"
    if changes.refusal:
        return changes.refusal
    if changes.operator_only and not call.admin:
        return "Access/permission denied"
    if changes.spec.get("priority") and job.held:
        return "Job is in held state, pending scheduler release"
    try:
        wanted = dict(changes.spec)
        for compute in changes.per_job:
            wanted.update(compute(job))
        if wanted:
            await session.api.update_job(ref.target(), wanted)
        if changes.hold is not None:
            await session.api.hold(ref.target(), changes.hold)
    except Refused as error:
        if error.code is Code.NOT_RUNNING and job.state is not JobState.PENDING:
            return "Job is no longer pending execution"
        return words_of(error, session, job.uid, owner_first=True)
    return ""
