"""Job lists as scontrol takes them: ``12``, ``12_3``, ``12_[1-5,7]``, several with commas; and how it names one in a complaint."""

from __future__ import annotations

import re
from typing import NamedTuple

from sbroker.api import Target, View
from sbroker.model import Job
from slurm_compat.taskset import tasks_text

_REF = re.compile(r"(\d+)(?:_(\d+|\[([\d,:-]+)\]))?(?:\+\d+)?$")
MAX_TASKS = 1 << 22  # of one expression


class JobRef(NamedTuple):
    """`job` None: no id at all. `tasks` None: the whole job."""

    text: str
    job: int | None
    tasks: tuple[int, ...] | None

    def target(self) -> Target:
        return Target(job=self.job or 0, tasks=self.tasks)

    def complaint(self, words: str) -> str:
        """``Invalid job id specified for job 12``, but ``12_3: Invalid job id specified``."""
        if self.job is not None and self.tasks is not None:
            return f"{self.job}_{tasks_text(self.tasks)}: {words}"
        return f"{words} for job {self.text}"


def split(text: str) -> list[str]:
    """The items of a job list: commas inside brackets do not count. Empty ones are dropped."""
    return [item for item in re.split(r",(?![^\[]*\])", text) if item]


def parse(text: str) -> JobRef:
    found = _REF.match(text)
    if not found:
        return JobRef(text, None, None)
    tasks: tuple[int, ...] | None = None
    if found[3] is not None:
        listed = _tasks(found[3])
        if listed is None:
            return JobRef(text, None, None)
        tasks = listed
    elif found[2] is not None:
        tasks = (int(found[2]),)
    return JobRef(text, int(found[1]), tasks)


def _tasks(text: str) -> tuple[int, ...] | None:
    """ "1-5,8-20:4" → ascending numbers; None when malformed or absurdly many."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not match:
            return None
        low, high, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if high < low or step < 1 or high - low > MAX_TASKS:
            return None
        found.update(range(low, high + 1, step))
    return tuple(sorted(found))


def job_of(view: View, ref: JobRef) -> Job | None:
    """The record that holds what `ref` names, or None."""
    if ref.job is None:
        return None
    job = view.jobs.get(ref.job)
    if ref.tasks is None:
        return job if job is not None else next(iter(view.array(ref.job)), None)
    wanted = set(ref.tasks)
    return next((one for one in view.array(ref.job) if one.array_task in wanted or wanted.intersection(one.array_pending)), None)
