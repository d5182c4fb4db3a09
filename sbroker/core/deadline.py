"""When a job with a deadline should use spot machines, wait for one, or pay the full price. Pure; one call a look.

What there is to spend is *slack*: the time to the deadline that the work itself does not need. Waiting costs slack, and so does every
changeover (boot, files, restart from a checkpoint); a changeover onto a spot machine costs money, too, and pays only if the machine
then lasts. So: spot while there is one that should last; without one wait, but only as fast as the whole of the slack lasts for the
whole of the work; and buy at the full price no later than when only a changeover's time is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

ONDEMAND = "on-demand"
_PRIOR = 4.0  # hours that a spot machine lasts, until something else was seen
_PRIOR_WEIGHT = 1.0  # ends for which that guess counts
_SHARE = 0.7  # of the time with a spot machine somewhere, until something else was seen
_SHARE_WEIGHT = 6.0  # hours for which that guess counts
_CARE = 0.7  # of what is to be waited for, so much has to be in hand
_MARGIN = 2  # looks of time kept in hand


class View(NamedTuple):
    """What is known at one look. Times in hours."""

    left: float  # until the deadline
    work: float  # compute still to do, after what is safe in a checkpoint
    total: float  # compute in all
    window: float  # from the job's start to its deadline
    changeover: float
    step: float  # until the next look
    place: str | None  # where it runs now: a spot zone, ONDEMAND, None
    changing: float = 0.0  # of the present changeover, still to go
    prices: Mapping[str, float] = {}  # of the zones that have a spot machine now, over the on-demand price


class Record:
    """What was seen of the zones so far: how long spot machines last there."""

    def __init__(self) -> None:
        self._up: dict[str, float] = {}
        self._ends: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._seen = self._some = 0.0

    def share(self) -> float:
        """Of the time, in which some zone has a machine."""
        return (self._some + _SHARE * _SHARE_WEIGHT) / (self._seen + _SHARE_WEIGHT)

    def look(self, available: Sequence[str], step: float) -> None:
        """A look: these zones have a machine, and will have it for one step at least."""
        now = set(available)
        self._seen += step
        self._some += step if now else 0.0
        for zone in now:
            self._up[zone] = self._up.get(zone, 0.0) + step
            self._since[zone] = self._since.get(zone, 0.0) + step
        for zone in [zone for zone in self._since if zone not in now]:
            self._ends[zone] = self._ends.get(zone, 0) + 1
            del self._since[zone]

    def lasts(self, zone: str) -> float:
        """Hours that a machine of this zone should go on."""
        return (self._up.get(zone, 0.0) + _PRIOR * _PRIOR_WEIGHT) / (self._ends.get(zone, 0) + _PRIOR_WEIGHT)


def choose(view: View, record: Record) -> str | None:
    """Where to be until the next look: a zone of `view.prices`, ONDEMAND, or None to wait."""
    margin = _MARGIN * view.step
    slack = view.left - view.work - view.changing
    reserve = view.changeover + margin  # what an on-demand machine that is bought at the last moment takes
    if view.place == ONDEMAND:
        if slack < view.changeover + reserve:
            return ONDEMAND
        best = _best(view, record)
        return best if best is not None and _pays(view, record, best) else ONDEMAND
    if view.place is not None and view.place in view.prices:
        return view.place if slack >= reserve - margin else ONDEMAND
    if slack <= reserve:
        return ONDEMAND
    best = _best(view, record)
    if best is not None and slack >= view.changeover + reserve:
        return best
    # nothing to be had: if the slack lasts for all that is still to be waited for, wait; else spend it no faster than the work is done
    share = record.share()
    if slack - reserve >= _CARE * view.work * (1 - share) / share:
        return None
    spendable = view.window - view.total - view.changeover
    due = spendable * (1 - view.work / view.total) + view.changeover
    spent = spendable - (slack - view.changeover)
    return None if spent < due else ONDEMAND


def _best(view: View, record: Record) -> str | None:
    """The zone with the least cost an hour of work, changeovers counted."""
    cost = {}
    for zone, price in view.prices.items():
        lasts = min(record.lasts(zone), view.work + view.changeover)
        worked = max(lasts - view.changeover, 1e-3)
        cost[zone] = price * lasts / worked
    return min(cost, key=lambda zone: cost[zone]) if cost else None


def _pays(view: View, record: Record, zone: str) -> bool:
    """Whether leaving an on-demand machine for this one saves more than both changeovers cost."""
    worked = min(record.lasts(zone) - view.changeover, view.work)
    saved = worked * (1 - view.prices[zone])
    return saved > view.changeover * (1 + view.prices[zone])
