"""Failures named by the next move. A refusal carries a code; the front end owns its words."""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """Why a request was refused. The front end maps each code to Slurm's sentence."""

    INVALID_PARTITION = "invalid_partition"
    PARTITION_UNAVAILABLE = "partition_unavailable"  # "Required partition not available (inactive or drain)"
    INVALID_ACCOUNT = "invalid_account"
    INVALID_QOS = "invalid_qos"
    INVALID_NODE_NAME = "invalid_node_name"
    INVALID_NODE_COUNT = "invalid_node_count"
    INVALID_FEATURE = "invalid_feature"
    INVALID_GRES = "invalid_gres"
    INVALID_TIME_LIMIT = "invalid_time_limit"  # over the partition's limit
    INVALID_TIME_MIN = "invalid_time_min"
    INVALID_JOB_ID = "invalid_job_id"
    INVALID_ARRAY = "invalid_array"
    INVALID_LICENSES = "invalid_licenses"
    INVALID_RESERVATION = "invalid_reservation"
    INVALID_DEPENDENCY = "invalid_dependency"
    CIRCULAR_DEPENDENCY = "circular_dependency"
    INVALID_NICE = "invalid_nice"
    INVALID_UPDATE = "invalid_update"
    DEADLINE_PASSED = "deadline_passed"
    NODE_CONFIG = "node_config"  # "Requested node configuration is not available"
    TOO_MANY_CPUS = "too_many_cpus"
    MEMORY = "memory"  # "Memory specification can not be satisfied"
    SOCKETS = "sockets"  # "Socket, core and/or thread specification can not be satisfied"
    TMP_DISK = "tmp_disk"  # "Temporary disk specification can not be satisfied"
    ACCESS_DENIED = "access_denied"
    GROUP = "group"  # "User's group not permitted to use this partition"
    ALREADY_DONE = "already_done"
    DISABLED = "disabled"  # "Requested operation is presently disabled"
    JOB_PENDING = "job_pending"
    JOB_HELD = "job_held"  # "Job is in held state, pending scheduler release"
    INVALID_NODE_STATE = "invalid_node_state"  # "Invalid node state specified"
    NOT_PENDING = "not_pending"  # "Job is no longer pending execution"
    NOT_RUNNING = "not_running"
    JOB_FINISHED = "job_finished"
    BATCH_ONLY = "batch_only"
    SCRIPT_MISSING = "script_missing"
    HOOK = "hook"  # submit_hook said no; detail is its sentence
    POLICY = "policy"  # a rule of ours; detail is the sentence
    NOT_HERE_YET = "not_here_yet"  # detail names the feature


class SbrokerError(Exception):
    """Root of all errors that a user may see. The docstring of the subclass or the given text is the message."""

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").strip()


class Refused(SbrokerError):
    """The request was refused and changed nothing."""

    def __init__(self, code: Code, detail: str = "", *, job: int | None = None) -> None:
        super().__init__(detail or code.value)
        self.code, self.detail, self.job = code, detail, job


class BrokenOff(SbrokerError):
    """The broker's part of this call ended before its answer; the client asks again, and must find everything as it is."""


class LoginRefused(SbrokerError):
    """Nobody is let into that node now; the text says why."""


class NoLogins(LoginRefused):
    """The node has no sshd."""


class ConfigError(SbrokerError):
    """config.yaml is wrong; the text says file, line, value and what would be right."""


class StoreError(SbrokerError):
    """The database could not take a change; nothing that depended on it was said or done."""


class NoCapacity(SbrokerError):
    """The place has none now: try the next offer."""


class QuotaExceeded(SbrokerError):
    """The account may not have more there: skip the region for a while."""


class AuthRefused(SbrokerError):
    """The provider refused our credentials: stop asking, tell the administrator."""


class Unsatisfiable(SbrokerError):
    """No place can ever run this: reject now."""
