"""`sbroker sync JOB`: the files of a job that runs (or ran) on nodes with files of their own, brought up to date on both sides."""

from __future__ import annotations

from typing import Any

from sbroker.api import Api, Client
from sbroker.errors import Code, Refused, SbrokerError

DIRECTIONS = (("out", "brought here", "removed here"), ("in", "taken there", "removed there"))


async def run(client: Client, api: Api, arguments: list[str]) -> int:
    """A line a node on standard output; conflicts, and what could not be brought over, on standard error. 1 if a node failed."""
    number = arguments[0] if arguments else ""
    if not number.isdigit():
        await client.out("sbroker: error: sync needs a job id, not %r.\n" % number, 2)
        return 1
    code = 0
    try:
        nodes = api.staged(int(number))
    except SbrokerError as error:
        known = {Code.INVALID_JOB_ID: "There is no job %s." % number, Code.ACCESS_DENIED: "Job %s is another user's." % number}
        await client.out("sbroker: error: %s\n" % (known.get(error.code, error) if isinstance(error, Refused) else error), 2)
        return 1
    if not nodes:
        await client.out("The nodes of job %s have the same files as this host: there is nothing to do.\n" % number)
    for node in nodes:
        said = []
        for do, files, removed in DIRECTIONS:
            try:
                outcome = await api.sync(int(number), node, do)
            except (SbrokerError, ConnectionError) as error:
                outcome = {"error": str(error)}
            for text in api.findings(outcome):
                await client.out("sbroker: warning: %s: %s\n" % (node, text), 2)
            if outcome["error"]:
                await client.out("sbroker: error: %s: %s\n" % (node, outcome["error"]), 2)
                code = 1
                break
            said += _moved(outcome, files, removed)
        else:
            await client.out("%s: %s\n" % (node, ", ".join(said) or "nothing had changed"))
    return code


def _moved(outcome: dict[str, Any], files: str, removed: str) -> list[str]:
    said = []
    if outcome.get("files"):
        said.append("%d %s (%s)" % (outcome["files"], files, size(outcome.get("bytes") or 0)))
    if outcome.get("removed"):
        said.append("%d %s" % (outcome["removed"], removed))
    return said


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return "%.3g %s" % (count, unit)
        count /= 1000
    return "%.3g TB" % count
