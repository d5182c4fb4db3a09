"""submit_hook: a site's own program sees each submission as JSON and may change or refuse it. One second, no privileges."""

from __future__ import annotations

import asyncio

import msgspec

from sbroker.api import Call
from sbroker.errors import Code, Refused
from sbroker.model import JobSpec

SECONDS = 1.0
FIXED = ("script_hash", "environ_hash", "kind")  # a hook may not put another script or environment in a user's name


async def run_hook(program: str, spec: JobSpec, call: Call) -> JobSpec:
    """Feed {"user", "uid", "gid", "spec"}; the answer is {"spec": {…}} or {"refuse": "sentence"}; nothing printed means no change."""
    ask = msgspec.json.encode({"user": call.user, "uid": call.uid, "gid": call.gid, "spec": spec})
    try:
        process = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    except OSError as error:
        raise Refused(Code.HOOK, "the site's submit_hook cannot be run (%s): tell your administrator" % error) from error
    try:
        out, errors = await asyncio.wait_for(process.communicate(ask), SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise Refused(Code.HOOK, "the site's submit_hook took longer than %g s: tell your administrator" % SECONDS) from None
    if process.returncode:
        raise Refused(Code.HOOK, "the site's submit_hook failed (exit %d): %s" % (process.returncode, errors.decode("utf-8", "replace").strip() or "it said nothing"))
    if not out.strip():
        return spec
    try:
        answer = msgspec.json.decode(out, type=dict)
        if "refuse" in answer:
            raise Refused(Code.HOOK, str(answer["refuse"]))
        changed = msgspec.convert(answer["spec"], type=JobSpec)
    except (msgspec.MsgspecError, KeyError) as error:
        raise Refused(Code.HOOK, "the site's submit_hook answered what is not a job (%s): tell your administrator" % error) from error
    return msgspec.structs.replace(changed, **{name: getattr(spec, name) for name in FIXED})
