"""Slurm's words for refusals and waiting, each in one table."""

from __future__ import annotations

from sbroker.errors import Code, Refused
from sbroker.states import Reason

SENTENCES: dict[Code, str] = {
    Code.INVALID_PARTITION: "Invalid partition name specified",
    Code.PARTITION_UNAVAILABLE: "Required partition not available (inactive or drain)",
    Code.INVALID_ACCOUNT: "Invalid account or account/partition combination specified",
    Code.INVALID_QOS: "Invalid qos specification",
    Code.INVALID_NODE_NAME: "Invalid node name specified",
    Code.INVALID_NODE_COUNT: "Node count specification invalid",
    Code.INVALID_FEATURE: "Invalid feature specification",
    Code.INVALID_GRES: "Invalid generic resource (gres) specification",
    Code.INVALID_TIME_LIMIT: "Requested time limit is invalid (missing or exceeds some limit)",
    Code.INVALID_TIME_MIN: "Invalid time-min specification (exceeds job's time or other limits)",
    Code.INVALID_JOB_ID: "Invalid job id specified",
    Code.INVALID_ARRAY: "Invalid job array specification",
    Code.INVALID_LICENSES: "Invalid license specification",
    Code.INVALID_RESERVATION: "Requested reservation is invalid",
    Code.INVALID_DEPENDENCY: "Job dependency problem",
    Code.INVALID_NICE: "Invalid --nice value",
    Code.INVALID_UPDATE: "Requested operation not supported on this system",
    Code.DEADLINE_PASSED: "Incompatible begin and deadline time specification",
    Code.NODE_CONFIG: "Requested node configuration is not available",
    Code.TOO_MANY_CPUS: "Requested node configuration is not available",
    Code.MEMORY: "Requested node configuration is not available",
    Code.SOCKETS: "Requested node configuration is not available",
    Code.TMP_DISK: "Requested node configuration is not available",
    Code.ACCESS_DENIED: "Access/permission denied",
    Code.GROUP: "User's group not permitted to use this partition",
    Code.ALREADY_DONE: "Job/step already completing or completed",
    Code.DISABLED: "Requested operation is presently disabled",
    Code.JOB_PENDING: "Job is pending execution",
    Code.NOT_PENDING: "Job is no longer pending execution",
    Code.NOT_RUNNING: "Job is not running",
    Code.JOB_FINISHED: "Job/step already completing or completed",
    Code.BATCH_ONLY: "Requested operation not supported for this job type",
    Code.SCRIPT_MISSING: "Job script not available",
}

# where scontrol, sacct and the small commands say it in other words than the commands that submit or cancel
CONTROL_SENTENCES: dict[Code, str] = {
    Code.ALREADY_DONE: "Job has already finished",
    Code.JOB_FINISHED: "Job has already finished",
    Code.BATCH_ONLY: "Only batch jobs are accepted or processed",
    Code.SCRIPT_MISSING: "Job script not specified",
    Code.INVALID_NICE: "Invalid nice value",
}

# what stands before the sentence when a submission is refused
LEADS = {"sbatch": "Batch job submission failed: ", "salloc": "Job submit/allocate failed: ", "srun": "Unable to allocate resources: "}

# the error line before the sentence, where Slurm prints one
_BEFORE: dict[Code, str] = {
    Code.TOO_MANY_CPUS: "CPU count per node can not be satisfied",
    Code.MEMORY: "Memory specification can not be satisfied",
    Code.SOCKETS: "Socket, core and/or thread specification can not be satisfied",
    Code.TMP_DISK: "Temporary disk specification can not be satisfied",
}

# refused by the shape of what was asked: salloc says that its allocation was revoked
CONFIGURATION = frozenset({Code.NODE_CONFIG, Code.TOO_MANY_CPUS, Code.MEMORY, Code.SOCKETS, Code.TMP_DISK})

# what srun and salloc say first of a job that has to wait, by its reason
WAITING: dict[Reason, str] = {
    Reason.PARTITION_NODE_LIMIT: "Requested partition configuration not available now",
    Reason.PARTITION_TIME_LIMIT: "Requested partition configuration not available now",
    Reason.PARTITION_CONFIG: "Requested partition configuration not available now",
    Reason.PARTITION_DOWN: "Requested partition configuration not available now",
    Reason.PARTITION_INACTIVE: "Requested partition configuration not available now",
    Reason.HELD_USER: "Job is in held state, pending scheduler release",
    Reason.HELD_ADMIN: "Job is in held state, pending scheduler release",
    Reason.NODE_DOWN: "Required node not available (down, drained or reserved)",
    Reason.REQ_NODE_NOT_AVAIL: "Required node not available (down, drained or reserved)",
}


def before(refused: Refused) -> str:
    """The error line that Slurm prints before the sentence, or ""."""
    if refused.code is Code.INVALID_PARTITION:
        return "invalid partition specified: %s" % (refused.detail or "(null)")
    return _BEFORE.get(refused.code, "")


def sentence(refused: Refused) -> str:
    """Slurm's sentence of a refusal; its own detail where Slurm has none (hooks, rules of ours, what is not here yet)."""
    return SENTENCES.get(refused.code) or refused.detail or refused.code.value


def control_sentence(refused: Refused) -> str:
    """The same in the words of scontrol, sacct and the small commands, which differ for some."""
    return CONTROL_SENTENCES.get(refused.code) or sentence(refused)


def unavailable_now(reason: Reason) -> str:
    """Why --immediate failed."""
    if reason is Reason.PRIORITY:
        return "Immediate execution impossible, insufficient priority"
    text = WAITING.get(reason, "")
    return text if text.startswith("Requested") else "Requested nodes are busy"
