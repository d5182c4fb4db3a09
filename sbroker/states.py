"""States and reasons of the domain, and the tables of the moves that are allowed.

Job states and reasons are Slurm's (the enum *names* are Slurm's words; how they are spelt in text belongs to the front
end). Run, part, group and machine states are ours. A move that is not in its table is a bug: `advance` raises.
"""

from __future__ import annotations

from enum import Enum


class JobState(str, Enum):
    """Base state of a job. `Job.completing` and `Job.configuring` are flags beside it, as in Slurm."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"

    @property
    def ended(self) -> bool:
        return self not in (JobState.PENDING, JobState.RUNNING, JobState.SUSPENDED)


class Reason(str, Enum):
    """Why a job is in its state; Slurm's names as `squeue -o %r` prints them in 22.05."""

    NONE = "None"
    PRIORITY = "Priority"
    DEPENDENCY = "Dependency"
    DEPENDENCY_NEVER = "DependencyNeverSatisfied"
    RESOURCES = "Resources"
    PARTITION_NODE_LIMIT = "PartitionNodeLimit"
    PARTITION_TIME_LIMIT = "PartitionTimeLimit"
    PARTITION_DOWN = "PartitionDown"
    PARTITION_INACTIVE = "PartitionInactive"
    PARTITION_CONFIG = "PartitionConfig"
    HELD_USER = "JobHeldUser"
    HELD_ADMIN = "JobHeldAdmin"
    REQUEUED_HELD = "JobHoldMaxRequeue"
    REQUEUE_HOLD = "job_requeued_in_held_state"
    BEGIN_TIME = "BeginTime"
    LICENSES = "Licenses"
    RESERVATION = "Reservation"
    NODE_DOWN = "NodeDown"
    REQ_NODE_NOT_AVAIL = "ReqNodeNotAvail"
    BAD_CONSTRAINTS = "BadConstraints"
    ARRAY_TASK_LIMIT = "JobArrayTaskLimit"
    FAIL_LAUNCH = "JobLaunchFailure"
    NON_ZERO_EXIT = "NonZeroExitCode"
    TIME_LIMIT = "TimeLimit"
    DEADLINE = "DeadLine"
    OUT_OF_MEMORY = "OutOfMemory"
    ACCOUNT = "InvalidAccount"
    QOS = "InvalidQOS"
    LAUNCH_FAILED_HELD = "launch_failed_requeued_held"
    WAITING_FENCE = "WaitingFence"  # ours: "waiting until node03 is fenced"; Job.reason_text names the node
    STAGE_OUT_FAIL = "StageOutFail"  # ours
    PLAN = "Plan"  # ours: the plan has no place; Job.reason_text is the sentence


class RunState(str, Enum):
    PREPARING = "PREPARING"  # Prepare is (to be) sent to every part
    HELD = "HELD"  # every part said it is durably held; Start is (to be) sent to the head
    STARTED = "STARTED"
    ENDING = "ENDING"  # the head ended, or an end was ordered; parts are not all empty yet
    ENDED = "ENDED"
    REVOKED = "REVOKED"  # never started and never will
    LOST = "LOST"  # started, and we shall never know how it ended


class PartState(str, Enum):
    ASKED = "ASKED"
    HELD = "HELD"
    ACTIVE = "ACTIVE"
    LEAVING = "LEAVING"  # nothing of the run works there any more, and its files are on their way to the submit host
    EMPTY = "EMPTY"  # the agent says that nothing of this run is left there, and its files are back
    FENCED = "FENCED"  # machine gone, boot id changed, lease over, or an operator's word


class GroupState(str, Enum):
    WANTED = "WANTED"
    ASKED = "ASKED"
    PARTIAL = "PARTIAL"
    FULL = "FULL"
    REFUSED = "REFUSED"
    RELEASING = "RELEASING"
    GONE = "GONE"


class NodeState(str, Enum):
    """Base state of a node. ALLOCATED and MIXED are derived from the allocations."""

    UNKNOWN = "UNKNOWN"  # configured, its agent never spoke in this epoch
    IDLE = "IDLE"
    DOWN = "DOWN"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.PREPARING: frozenset({RunState.HELD, RunState.REVOKED, RunState.LOST}),
    RunState.HELD: frozenset({RunState.STARTED, RunState.REVOKED, RunState.LOST, RunState.ENDING}),
    RunState.STARTED: frozenset({RunState.ENDING, RunState.ENDED, RunState.LOST}),
    RunState.ENDING: frozenset({RunState.ENDED, RunState.LOST}),
    RunState.ENDED: frozenset(),
    RunState.REVOKED: frozenset(),
    RunState.LOST: frozenset(),
}
PART_MOVES: dict[PartState, frozenset[PartState]] = {
    PartState.ASKED: frozenset({PartState.HELD, PartState.EMPTY, PartState.FENCED}),
    PartState.HELD: frozenset({PartState.ACTIVE, PartState.LEAVING, PartState.EMPTY, PartState.FENCED}),
    PartState.ACTIVE: frozenset({PartState.LEAVING, PartState.EMPTY, PartState.FENCED}),
    PartState.LEAVING: frozenset({PartState.EMPTY, PartState.FENCED}),
    PartState.EMPTY: frozenset(),
    PartState.FENCED: frozenset(),
}
GROUP_MOVES: dict[GroupState, frozenset[GroupState]] = {
    GroupState.WANTED: frozenset({GroupState.ASKED, GroupState.GONE}),
    GroupState.ASKED: frozenset({GroupState.PARTIAL, GroupState.FULL, GroupState.REFUSED, GroupState.RELEASING}),
    GroupState.PARTIAL: frozenset({GroupState.FULL, GroupState.RELEASING}),
    GroupState.FULL: frozenset({GroupState.RELEASING, GroupState.PARTIAL}),
    GroupState.REFUSED: frozenset({GroupState.GONE}),
    GroupState.RELEASING: frozenset({GroupState.GONE}),
    GroupState.GONE: frozenset(),
}


class IllegalMove(AssertionError):
    """A state was asked to move where its table does not lead: a bug, never a user's mistake."""


def advance(table: dict, old: Enum, new: Enum) -> Enum:
    """`new` if `table` allows old → new, else IllegalMove."""
    if new not in table[old]:
        raise IllegalMove("%s may not become %s" % (old, new))
    return new
