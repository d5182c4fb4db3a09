"""hold, uhold, release, requeue, requeuehold, suspend, resume, top, wait_job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from sbroker.errors import Code, Refused
from sbroker.states import JobState
from slurm_compat import jobrefs
from slurm_compat.control.session import Session, words_of
from slurm_compat.jobrefs import JobRef

INVALID_ID = "Invalid job id specified"
INCOMPLETE = "incomplete"
_OVER = "Job/step already completing or completed"
_NAMES = ("jobname", "name")


async def hold(session: Session, word: str, args: list[str]) -> None:
    who = "admin" if session.call.operator else "user"
    await _hold(session, args, "user" if word.lower().startswith(("uh", "holdu")) else who)


async def release(session: Session, word: str, args: list[str]) -> None:
    await _hold(session, args, "")


async def _hold(session: Session, args: list[str], held: str) -> None:
    for arg in args:
        last: str | None = None
        failed = False
        for ref in _named(session, arg):
            last = None
            try:
                if ref.job is None:
                    last = INVALID_ID
                else:
                    await session.api.hold(ref.target(), held)
            except Refused as error:
                job = jobrefs.job_of(session.api.view, ref)
                last = words_of(error, session, job.uid if job is not None else None, owner_first=True)
            if last is not None:
                failed = failed or ref.tasks is None
                await session.fail(ref.complaint(last))
        if failed:
            await session.fail(f"slurm_suspend error: {last or 'No error'}")


def _named(session: Session, arg: str) -> list[JobRef]:
    """The jobs of a list, or of ``jobname=NAME`` (the caller's, or everybody's for an operator)."""
    key, equals, value = arg.partition("=")
    if equals and key.lower() in _NAMES:
        call = session.call
        return [
            JobRef(str(job.id), job.id, None)
            for job in list(session.api.view.jobs.values())
            if job.spec.name == value and not job.state.ended and (call.operator or job.uid == call.uid)
        ]
    return [jobrefs.parse(item) for item in jobrefs.split(arg)]


async def _each(
    session: Session, args: list[str], act: Callable[[JobRef], Awaitable[None]], said: Mapping[Code, str] | None = None
) -> None:
    """`said`: refusals that this keyword words its own way."""
    for arg in args:
        for ref in (jobrefs.parse(item) for item in jobrefs.split(arg)):
            if ref.job is None:
                await session.fail(ref.complaint(INVALID_ID))
                continue
            try:
                await act(ref)
            except Refused as error:
                await session.fail(ref.complaint((said or {}).get(error.code) or words_of(error, session)))


async def requeue(session: Session, word: str, args: list[str]) -> None:
    await _requeue(session, args, hold=False)


async def requeuehold(session: Session, word: str, args: list[str]) -> None:
    await _requeue(session, args, hold=True)


async def _requeue(session: Session, args: list[str], *, hold: bool) -> None:
    only_live = False
    while args and (args[0].lower() == INCOMPLETE or args[0].lower().startswith("state=")):
        if args[0].lower() == INCOMPLETE:
            only_live = True
        elif args[0].lower() != "state=specialexit":
            await session.fail(f"Invalid state {args[0].partition('=')[2]}")
            return
        args = args[1:]

    async def act(ref: JobRef) -> None:
        job = jobrefs.job_of(session.api.view, ref)
        if only_live and job is not None and job.state.ended:
            return
        await session.api.requeue(ref.target(), hold=hold)

    await _each(session, args, act)


async def suspend(session: Session, word: str, args: list[str]) -> None:
    async def act(ref: JobRef) -> None:
        job = jobrefs.job_of(session.api.view, ref)
        if session.call.admin and ref.tasks is None and job is not None and job.state is JobState.SUSPENDED:
            return  # it is already; Slurm says nothing
        await session.api.suspend(ref.target(), True)

    await _each(session, args, act, {Code.JOB_FINISHED: _OVER})


async def resume(session: Session, word: str, args: list[str]) -> None:
    await _each(
        session,
        args,
        lambda ref: session.api.suspend(ref.target(), False),
        {Code.DISABLED: "Job is not suspended", Code.JOB_FINISHED: _OVER},
    )


async def top(session: Session, word: str, args: list[str]) -> None:
    if session.call.admin:
        await session.not_here("scontrol top")
        return
    for arg in args:
        await session.fail(f"Access/permission denied for job {arg}")


async def wait_job(session: Session, word: str, args: list[str]) -> None:
    ref = jobrefs.parse(args[0])
    if ref.job is None:
        session.code = 1
        await session.err(f"Invalid job_id {args[0]}")
        return
    job = jobrefs.job_of(session.api.view, ref)
    if job is None:
        await session.fail(f"scontrol: Problem running job {args[0]}")
        return
    while job is not None and not job.state.ended and (job.state is JobState.PENDING or job.configuring):
        job = await session.api.changed(job.id)
    if job is None or job.state.ended:
        await session.fail(f"scontrol: Job {args[0]} no longer running")
        return
    await session.err(f"scontrol: Nodes are ready for job {args[0]}\n")
