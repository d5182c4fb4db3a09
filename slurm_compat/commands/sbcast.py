"""sbcast from outside the job: find the job and hand the call over to its head, which passes the file on to all its nodes."""

from __future__ import annotations

import os

from sbroker.api import Api, Call, Client
from sbroker.errors import Refused
from slurm_compat import small
from slurm_compat.grammar import numbers
from slurm_compat.messages import control_sentence


async def run(call: Call, client: Client, api: Api) -> int:
    wish = small.parse_sbcast({"argv": list(call.argv), "env": call.env}, api.config.imitate)
    if "refuse" in wish:
        await client.out(wish["refuse"]["out"])
        await client.out(wish["refuse"]["err"], 2)
        return int(wish["refuse"]["code"])
    job = api.view.jobs.get(int(wish["job"])) if wish["job"].isdigit() else None
    if job is None or job.state.ended:
        try:  # the file is looked at first
            await client.read(wish["source"], 0)
        except IsADirectoryError:
            pass
        except OSError as error:
            await client.out(f"sbcast: error: Can't open `{wish['source']}`: {os.strerror(error.errno or 0)}\n", 2)
            return 255
        await client.out(f"sbcast: error: Slurm job {numbers.leading(wish['job'])} lookup error: Invalid job id specified\n", 2)
        return 255
    try:
        return await api.session(call, client, job.id, {})
    except Refused as refused:
        await client.out(f"sbcast: error: Slurm job {wish['job']} lookup error: {control_sentence(refused)}\n", 2)
        return 1
