"""sattach from outside the job: find the step's job and hand the call over to its head."""

from __future__ import annotations

from sbroker.api import Api, Call, Client
from sbroker.errors import Code, Refused
from sbroker.states import JobState
from slurm_compat import small
from slurm_compat.messages import control_sentence

NO_STEP = "sattach: error: Could not get job step info: %s\n"
ENDED = "Job/step already completing or completed"


async def run(call: Call, client: Client, api: Api) -> int:
    wish = small.parse_sattach({"argv": list(call.argv), "env": call.env}, api.config.imitate)
    if "refuse" in wish:
        await client.out(wish["refuse"]["out"])
        await client.out(wish["refuse"]["err"], 2)
        return int(wish["refuse"]["code"])
    job = api.view.jobs.get(wish["job"])
    why = ""
    if job is None:
        why = sentence(Refused(Code.INVALID_JOB_ID))
    elif job.state is JobState.PENDING:
        why = sentence(Refused(Code.JOB_PENDING))
    elif job.state.ended or job.completing:
        why = ENDED
    elif wish["step"] not in api.view.steps.get(wish["job"], {}):
        why = sentence(Refused(Code.INVALID_JOB_ID))
    if why:
        await client.out(NO_STEP % why, 2)
        return 1
    try:
        return await api.session(call, client, job.id, {})
    except Refused as refused:
        await client.out(NO_STEP % ENDED if refused.code is Code.NOT_RUNNING else f"sattach: error: {control_sentence(refused)}\n", 2)
        return 1
