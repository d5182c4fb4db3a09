"""Slurm's sentence for each refusal, as scontrol and sacct print it."""

from __future__ import annotations

from sbroker.errors import Code, Refused
from slurm_compat import messages

# where these two say it in other words than the commands that submit or cancel
SENTENCES = {
    Code.ALREADY_DONE: "Job has already finished",
    Code.JOB_FINISHED: "Job has already finished",
    Code.BATCH_ONLY: "Only batch jobs are accepted or processed",
    Code.SCRIPT_MISSING: "Job script not specified",
    Code.INVALID_NICE: "Invalid nice value",
}


def sentence(refused: Refused) -> str:
    """Words for a refusal; its own detail where Slurm has no sentence (hooks, rules of ours, what is not here yet)."""
    return SENTENCES.get(refused.code) or messages.sentence(refused)


def release(imitate: str) -> str:
    """ "22.05.8" for `imitate` 22.05."""
    return messages.RELEASES.get(imitate, messages.RELEASES["22.05"])["version"]
