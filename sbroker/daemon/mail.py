"""--mail-type: one short message by the host's sendmail, with the subject that Slurm's users filter on."""

from __future__ import annotations

import asyncio
import logging
import shutil

from sbroker.model import Job

log = logging.getLogger("sbroker.mail")

WORDS = {
    "BEGIN": "Began", "END": "Ended", "FAIL": "Failed", "REQUEUE": "Requeued", "INVALID_DEPEND": "Invalid dependency", "TIME_LIMIT": "Reached time limit",
    "TIME_LIMIT_50": "Reached 50% of time limit", "TIME_LIMIT_80": "Reached 80% of time limit", "TIME_LIMIT_90": "Reached 90% of time limit",
    "STAGE_OUT": "Staged out", "ARRAY_TASKS": "Ended",
}  # fmt: skip


def message(job: Job, what: str, cluster: str) -> tuple[str, bytes]:
    """Recipient and the whole message."""
    to = job.spec.mail_user or job.user
    state = "" if what == "BEGIN" else ", %s, ExitCode %d" % (job.state.value, job.exit.code)
    subject = "%s Job_id=%d Name=%s %s%s" % (cluster, job.array_id or job.id, job.spec.name.replace("\n", " "), WORDS[what], state)
    return to, ("To: %s\nSubject: Slurm %s\n\n" % (to.replace("\n", " "), subject)).encode("utf-8", "replace")


async def send_mail(job: Job, what: str, cluster: str) -> None:
    """Hand the message to sendmail; a host without one is told of in the log, the job does not suffer."""
    program = shutil.which("sendmail", path="/usr/sbin:/usr/lib:/usr/bin")
    if program is None:
        log.warning("job %d asked for mail and this host has no sendmail", job.id)
        return
    to, text = message(job, what, cluster)
    if to.startswith("-"):
        log.warning("job %d: %r is not an address", job.id, to)
        return
    process = await asyncio.create_subprocess_exec(program, "-i", to, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate(text)
    if process.returncode:
        log.warning("job %d: sendmail said %s", job.id, errors.decode("utf-8", "replace").strip())
