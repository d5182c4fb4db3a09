"""srun's part in the broker: find or make the allocation, then hand the call to the head's supervisor, which runs the step."""

from __future__ import annotations

import asyncio
import re

from sbroker.api import Api, Call, Client
from sbroker.errors import BrokenOff, Code, Refused
from sbroker.states import JobState
from slurm_compat import messages, srun, srunsize
from slurm_compat.allocation import Allocation, Over
from slurm_compat.grammar import Invalid
from slurm_compat.request import Asked
from slurm_compat.submission import (
    HET,
    arbitrary_hosts,
    asked_of,
    clusters,
    exit_error,
    from_variables,
    guarded,
    host_files,
    parsed,
    say,
    tell,
    test_only,
)

_STEP_ONLY = ("stdin", "stdout", "stderr", "open_mode")  # of the step, not of the job

_SHOWN = ("label", "open-mode", "pty", "unbuffered")  # of the step, but in -v's listing, which comes before the wait for nodes


async def run(call: Call, client: Client, api: Api) -> int:
    return await guarded(call, client, lambda: _run(call, client, api))


async def _run(call: Call, client: Client, api: Api) -> int:
    line = parsed(call)
    if ":" in line.rest:
        raise Invalid(HET if line.rest[-1] != ":" else "No command given to execute.", 1, "fatal" if line.rest[-1] == ":" else "error")
    asked = asked_of(call, api)
    asked.take(from_variables(call), "env")
    asked.take(line.pairs, "cli")
    await clusters(asked, client, api)
    number = _inside(call, asked)
    if number is not None:
        return await _step(call, client, api, number)
    srun.check_cpu_bind(dict(line.pairs).get("cpu-bind"))
    asked.shown.update((option, value or "set") for option, value in line.pairs if option in _SHOWN)
    return await _alone(call, client, api, asked, line.rest)


def _inside(call: Call, asked: Asked) -> int | None:
    """The job that the step is to be part of, if it is not to be one of its own."""
    if "jobid" in asked.source:
        return int(asked.other["jobid"])
    text = call.env.get("SLURM_JOBID", "")
    return int(text) if re.match("[0-9]+$", text) else None


async def _step(call: Call, client: Client, api: Api, number: int) -> int:
    """A step in an allocation that is there. Its options are read again by the supervisor, which knows the nodes."""
    job = api.view.jobs.get(number)
    why = ""
    if job is None:
        why = "Unable to confirm allocation for job %d: %s" % (number, messages.SENTENCES[Code.INVALID_JOB_ID])
    elif job.uid != call.uid and not call.operator:
        why = "Unable to confirm allocation for job %d: %s" % (number, messages.SENTENCES[Code.ACCESS_DENIED])
    elif job.state.ended or job.completing:
        why = "Slurm job %d has expired" % number
    elif job.state is JobState.PENDING:
        why = "Unable to confirm allocation for job %d: %s" % (number, messages.SENTENCES[Code.JOB_PENDING])
    if why:
        await say(client, "srun", "error", why, anew=True)
        await say(client, "srun", "info", "Check SLURM_JOB_ID environment variable. Expired or invalid job %d" % number, anew=True)
        return exit_error(call)
    try:
        return await api.session(call, client, number, {})
    except Refused as refused:
        await say(client, "srun", "error", "Unable to create step for job %d: %s" % (number, messages.sentence(refused)), anew=True)
        return exit_error(call)


async def _alone(call: Call, client: Client, api: Api, asked: Asked, command: list[str]) -> int:
    """A job made for one step: its name is the command's, it ends with the step."""
    if "relative" in asked.other and (asked.other.get("nodelist") or asked.other.get("exclude")):
        raise Invalid(srunsize.RELATIVE, 1)
    if "relative" in asked.other:
        raise Invalid("--relative option invalid for job allocation request", 1, "fatal")
    mpi = asked.other.get("mpi")
    if mpi == "list":
        await client.out(srun.MPI_LIST)
        return 0
    if not command:
        raise Invalid("No command given to execute.", 1, "fatal")
    await host_files(asked, client)
    await arbitrary_hosts(asked, client)
    asked.check()
    srun.check_mpi(api.config.mpi_default if mpi is None else mpi)
    for name in _STEP_ONLY:
        asked.fields.pop(name, None)
    name = asked.other.get("name") or command[0].rpartition("/")[2]
    if asked.other.get("test_only"):
        asked.other["name"] = name
        await tell(asked, client)
        return await test_only(call, client, api, asked)
    await tell(asked, client)
    allocation = Allocation(call, client, api, asked)
    code = 1
    try:
        await allocation.obtain(asked.spec(name=name, kind="alloc", command=command[0]))
        await allocation.ready()
        await allocation.signals.close()
        code = await api.session(call, client, allocation.number, {"listed": True})
        return code
    except Over as over:
        return over.code
    except (BrokenOff, asyncio.CancelledError):
        allocation.number = 0  # the client comes back for the same step: nothing is given back
        raise
    finally:
        await allocation.signals.close()
        await allocation.release(*_as_status(code))


def _as_status(code: int) -> tuple[int, int]:
    """srun's exit code as (code, signal) of the job: 128 + N means that its tasks died of signal N."""
    return (0, code - 128) if 128 < code <= 192 else (code & 255, 0)

