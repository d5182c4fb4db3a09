"""Words about a job that several commands print: its id, state, reason, dependencies, times, files."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sbroker.model import INFINITE, Job
from sbroker.states import JobState, Reason
from slurm_compat.taskset import ID_SIZE, pending_text

COMPACT = {
    "PENDING": "PD",
    "RUNNING": "R",
    "SUSPENDED": "S",
    "COMPLETED": "CD",
    "CANCELLED": "CA",
    "FAILED": "F",
    "TIMEOUT": "TO",
    "NODE_FAIL": "NF",
    "PREEMPTED": "PR",
    "BOOT_FAIL": "BF",
    "DEADLINE": "DL",
    "OUT_OF_MEMORY": "OOM",
    "COMPLETING": "CG",
    "CONFIGURING": "CF",
    "RESIZING": "RS",
    "RESV_DEL_HOLD": "RD",
    "REQUEUED": "RQ",
    "REQUEUE_FED": "RF",
    "REQUEUE_HOLD": "RH",
    "REVOKED": "RV",
    "SIGNALING": "SI",
    "SPECIAL_EXIT": "SE",
    "STAGE_OUT": "SO",
    "STOPPED": "ST",
}
"""Every state that Slurm has a word for → its short form; in the order in which squeue lists them."""

_EXPLAINED = frozenset({JobState.PENDING, JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY, JobState.DEADLINE})


def state(job: Job) -> str:
    """``RUNNING``; COMPLETING and CONFIGURING take the place of the base state."""
    if job.completing:
        return "COMPLETING"
    if job.configuring and job.state is JobState.RUNNING:
        return "CONFIGURING"
    return job.state._value_  # `value` is a descriptor written in Python, and listings are long


def job_id(job: Job, room: int | None = None) -> str:
    """``12``, ``12_3`` or ``12_[3-10%2]``. `room`: SLURM_BITSTR_LEN, None if not set."""
    if not job.array_id:
        return str(job.id)
    if job.array_task is not None:
        return f"{job.array_id}_{job.array_task}"
    if not job.array_pending:  # the record of an array whose last task has gone
        return str(job.array_id)
    text = f"{job.array_id}_[{pending_text(job.array_pending, job.spec.array_limit, room)}]"
    return text[:ID_SIZE] if room is None else text


def task_id(job: Job, room: int | None = None) -> str:
    """``3``, ``3-10%2`` or ``N/A``."""
    if job.array_task is not None:
        return str(job.array_task)
    return pending_text(job.array_pending, job.spec.array_limit, room) if job.array_pending else "N/A"


def partition(job: Job) -> str:
    """Where it is, or all the partitions where it may start."""
    asked = job.spec.partitions
    return ",".join(asked) if len(asked) > 1 and job.state is JobState.PENDING else job.partition


def reason(job: Job) -> str:
    """Why the job is in its state, as squeue's %r has it."""
    if job.reason_text:
        return "%s, %s" % (job.reason.value, job.reason_text) if job.reason in (Reason.RESOURCES, Reason.PRIORITY) else job.reason_text
    if job.reason is Reason.REQUEUE_HOLD:
        return job.reason.value.replace("_", " ")
    return job.reason._value_


def explained(job: Job) -> bool:
    """Whether squeue's last column shows the reason rather than the nodes."""
    return job.state in _EXPLAINED


def dependency(job: Job, jobs: Mapping[int, Job]) -> str:
    """What is left of --dependency, e.g. ``afterok:790(unfulfilled)``; "" when nothing is."""
    left = job.deps_left
    if left is None or not left.items:
        return ""
    word = "failed" if job.dep_failed else "unfulfilled"
    parts = []
    for item in left.items:
        if item.kind == "singleton":
            parts.append("singleton(unfulfilled)")
            continue
        text = f"{item.kind}:{item.job}"
        if item.task is not None:
            text += f"_{item.task}"
        elif item.job in jobs and jobs[item.job].array_id:
            text += "_*"
        if item.delay:
            text += f"+{item.delay // 60}"
        failed = word if item.kind in ("afterok", "afternotok", "aftercorr") and _over(jobs.get(item.job)) else "unfulfilled"
        parts.append(f"{text}({failed})")
    return ("?" if left.any else ",").join(parts)


def _over(job: Job | None) -> bool:
    return job is None or (job.state.ended and not job.array_pending)


def elapsed(job: Job, now: float) -> float:
    """Seconds that it ran: up to now or its end, less suspensions. 0 while it is pending."""
    if job.start_time is None or job.state is JobState.PENDING:
        return 0
    if job.end_time is not None:
        end = job.end_time
    elif job.state is JobState.SUSPENDED and job.suspend_time is not None:
        end = job.suspend_time
    else:
        end = now
    return end - job.start_time - job.suspended_secs


def start(job: Job, estimate: float | None, now: float) -> float | None:
    """When it started, or is expected to."""
    if job.state is not JobState.PENDING:
        return job.start_time
    if job.held:
        return job.begin if job.begin and job.begin > now else None
    if estimate is not None:
        return estimate
    return job.begin if job.begin and job.begin > now else None


def end(job: Job, started: float | None) -> float | None:
    """When it ended, or its time limit will be over; INFINITE (-1) with no limit, None when nothing is known."""
    if job.end_time is not None and job.state is not JobState.PENDING:
        return job.end_time
    if started is None:
        return None
    if job.time_limit == INFINITE:
        return INFINITE
    return started + job.time_limit + job.suspended_secs


def stdio(job: Job) -> tuple[str, str, str]:
    """Paths of standard input, output and error of a batch job, patterns as they were typed. "" for an allocation's input."""
    spec = job.spec
    default = f"slurm-{job.id}.out"
    out = os.path.join(spec.work_dir, spec.stdout or default)
    err = os.path.join(spec.work_dir, spec.stderr) if spec.stderr else out
    given = "/dev/null" if spec.kind == "batch" else ""
    return os.path.join(spec.work_dir, spec.stdin) if spec.stdin else given, out, err


def command(job: Job) -> str:
    """The script's path with its arguments; "" when there is none."""
    return " ".join((job.spec.command, *job.spec.script_args)) if job.spec.command else ""


def submitted_from(job: Job) -> str:
    """The controller calls its own machine localhost, by the address that the request came from."""
    host, here = job.spec.submit_host, os.uname().nodename
    return "localhost" if host in (here, here.partition(".")[0]) else host


def waits_for_tasks(job: Job) -> bool:
    """Kept back by its own array's limit: it grows older in the queue, yet is not eligible."""
    return job.state is JobState.PENDING and job.reason is Reason.ARRAY_TASK_LIMIT


def oversubscribe(job: Job, default: str = "no") -> str:
    """OK, YES, NO, USER or MCS. `default`: the partition's setting."""
    if job.spec.exclusive:
        return {"node": "NO", "user": "USER", "mcs": "MCS"}[job.spec.exclusive]
    if default.startswith("exclusive"):
        return "NO"
    return "YES" if job.spec.oversubscribe or default.startswith("force") else "OK"
