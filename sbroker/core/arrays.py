"""Job arrays: one record holds the tasks that have not started; a task leaves it to start, to be held, or to end alone.

As in Slurm, a task that leaves gets the next free job id, and the last one left keeps the array's own.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from sbroker.core.draft import Draft
from sbroker.model import Job


class Split(msgspec.Struct, frozen=True):
    """`task`: the record of the one task. `left`: of the others, None if there are none."""

    task: Job
    left: Job | None


def split(draft: Draft, job: Job, task: int) -> Split:
    """Take `task` out of the array's rest `job`."""
    if task not in job.array_pending:
        raise AssertionError("task %d is not in %d" % (task, job.id))
    if len(job.array_pending) == 1:
        return Split(draft.put_job(replace(job, array_task=task, array_pending=())), None)
    pending = job.array_pending
    at = 0 if pending[0] == task else pending.index(task)
    left = draft.put_job(replace(job, array_pending=pending[:at] + pending[at + 1 :]))
    alone = draft.put_job(replace(job, id=draft.next_job_id(), array_task=task, array_pending=(), request_id=""))
    return Split(alone, left)


def drop(draft: Draft, job: Job, tasks: set[int]) -> tuple[list[Job], Job | None]:
    """Take several tasks out; (their records, the rest)."""
    taken: list[Job] = []
    left: Job | None = job
    for task in sorted(tasks):
        if left is None:
            break
        if task in left.array_pending:
            parted = split(draft, left, task)
            taken.append(parted.task)
            left = parted.left
    return taken, left
