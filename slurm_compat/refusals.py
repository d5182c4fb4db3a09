"""Slurm's sentence for each refusal, as the commands that name an error print it."""

from __future__ import annotations

from sbroker.errors import Code, Refused

SENTENCES = {
    Code.INVALID_PARTITION: "Invalid partition name specified",
    Code.INVALID_ACCOUNT: "Invalid account or account/partition combination specified",
    Code.INVALID_QOS: "Invalid qos specification",
    Code.INVALID_NODE_NAME: "Invalid node name specified",
    Code.INVALID_NODE_COUNT: "Node count specification invalid",
    Code.INVALID_FEATURE: "Invalid feature specification",
    Code.INVALID_GRES: "Invalid generic resource (gres) specification",
    Code.INVALID_TIME_LIMIT: "Requested time limit is invalid (missing or exceeds some limit)",
    Code.INVALID_TIME_MIN: "Requested time limit is invalid (missing or exceeds some limit)",
    Code.INVALID_JOB_ID: "Invalid job id specified",
    Code.INVALID_ARRAY: "Invalid job array specification",
    Code.INVALID_LICENSES: "Invalid license specification",
    Code.INVALID_RESERVATION: "Requested reservation is invalid",
    Code.INVALID_DEPENDENCY: "Job dependency problem",
    Code.INVALID_NICE: "Invalid nice value",
    Code.INVALID_UPDATE: "Requested operation not supported on this system",
    Code.DEADLINE_PASSED: "Incompatible begin and deadline time specification",
    Code.NODE_CONFIG: "Requested node configuration is not available",
    Code.TOO_MANY_CPUS: "Requested node configuration is not available",
    Code.MEMORY: "Memory required by task is not available",
    Code.TMP_DISK: "Temporary disk specification can not be satisfied",
    Code.ACCESS_DENIED: "Access/permission denied",
    Code.ALREADY_DONE: "Job has already finished",
    Code.DISABLED: "Requested operation is presently disabled",
    Code.JOB_PENDING: "Job is pending execution",
    Code.NOT_RUNNING: "Job is not running",
    Code.JOB_FINISHED: "Job has already finished",
    Code.BATCH_ONLY: "Requested operation not supported for this job type",
    Code.SCRIPT_MISSING: "Invalid job id specified",
}


def sentence(refused: Refused) -> str:
    """Words for a refusal; its own detail where Slurm has no sentence (hooks, rules of ours, what is not here yet)."""
    return SENTENCES.get(refused.code) or refused.detail or refused.code.value
