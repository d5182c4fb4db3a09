"""What runs on machines that cost money may still cost: one `Due` a run, and sums of them over periods of time that stay right as
runs come and go, so that a budget is asked in O(1) however many jobs run.

Amounts are integers in micro-USD, so that they add up exactly in any order.
"""

from __future__ import annotations

from typing import NamedTuple

from sbroker.core.shape import YEAR
from sbroker.model import INFINITE, Job, Run
from sbroker.states import JobState

MICRO = 1_000_000  # of a USD
_PERIODS = 64  # sums kept for an account


class Due(NamedTuple):
    """What a run costs from `start` to `until` (seconds since the epoch)."""

    account: str
    rate: float  # USD an hour
    start: float
    until: float
    egress: int = 0  # micro-USD, counted at the start

    def by(self, at: float) -> int:
        """What it has cost by this moment, of the rate."""
        return round(max(0.0, min(at, self.until) - self.start) * self.rate * MICRO / 3600)

    def within(self, since: float, until: float) -> int:
        """What falls into that period. Periods that follow each other add up to the whole."""
        return self.by(until) - self.by(since) + (self.egress if since <= self.start < until else 0)

    @property
    def whole(self) -> int:
        return self.by(self.until) + self.egress


def owes(job: Job | None, run: Run | None) -> Due | None:
    """What the job's present run may cost by its time limit; None if it costs nothing, or is over and charged."""
    if job is None or not (job.rate or job.egress) or run is None or job.run != run.run or run.released is not None:
        return None
    if job.state in (JobState.RUNNING, JobState.SUSPENDED):
        seconds = YEAR if job.time_limit == INFINITE else job.time_limit
        until = (run.started or run.created) + job.suspended_secs + seconds
    elif job.completing:
        until = run.ended or (job.submit_time if job.state is JobState.PENDING else job.end_time) or run.created
    else:
        return None
    return Due(job.account or "", job.rate, run.created, max(until, run.created), usd(job.egress))


def usd(amount: float) -> int:
    """USD in micro-USD."""
    return round(amount * MICRO)


class Owed:
    """The dues of all runs that cost something, by job."""

    def __init__(self) -> None:
        self.dues: dict[int, Due] = {}
        self.accounts: dict[str, dict[int, None]] = {}  # account → jobs with dues
        self._sums: dict[str, dict[tuple[float, float], int]] = {}

    def put(self, job: int, new: Due | None) -> None:
        old = self.dues.get(job)
        if old == new:
            return
        for entry, sign in ((old, -1), (new, 1)):
            if entry is None:
                continue
            jobs = self.accounts.setdefault(entry.account, {})
            if sign > 0:
                jobs[job] = None
            else:
                jobs.pop(job, None)
            sums = self._sums.get(entry.account, {})
            for period in sums:
                sums[period] += sign * entry.within(*period)
            if not jobs:
                del self.accounts[entry.account]
        if new is None:
            del self.dues[job]
        else:
            self.dues[job] = new

    def sum(self, account: str, since: float, until: float) -> int:
        """What the runs of an account may cost within that period."""
        sums = self._sums.setdefault(account, {})
        if (since, until) not in sums:
            if len(sums) >= _PERIODS:
                sums.clear()
            sums[since, until] = sum(self.dues[job].within(since, until) for job in self.accounts.get(account, ()))
        return sums[since, until]


class Overlay:
    """Dues as a decision in the making leaves them, over those of the state, which stay as they are."""

    def __init__(self, base: Owed) -> None:
        self._base = base
        self._moved: dict[int, Due | None] = {}
        self._sums: dict[tuple[str, float, float], int] = {}

    def put(self, job: int, new: Due | None) -> None:
        old = self.get(job)
        if old == new:
            return
        self._moved[job] = new
        for (account, since, until), known in self._sums.items():
            self._sums[account, since, until] = known + _part(new, account, since, until) - _part(old, account, since, until)

    def get(self, job: int) -> Due | None:
        return self._moved[job] if job in self._moved else self._base.dues.get(job)

    def of(self, account: str) -> list[tuple[int, Due]]:
        """Jobs of the account with what is due for each."""
        keys = [*self._base.accounts.get(account, ()), *self._moved]
        return [(key, entry) for key in dict.fromkeys(keys) if (entry := self.get(key)) is not None and entry.account == account]

    def sum(self, account: str, since: float, until: float) -> int:
        key = (account, since, until)
        if key not in self._sums:
            self._sums[key] = self._base.sum(*key) + sum(
                _part(new, *key) - _part(self._base.dues.get(job), *key) for job, new in self._moved.items()
            )
        return self._sums[key]


def _part(entry: Due | None, account: str, since: float, until: float) -> int:
    return entry.within(since, until) if entry is not None and entry.account == account else 0
