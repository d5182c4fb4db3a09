"""When a job with a deadline should use spot machines, wait for one, or pay the full price. Pure; one call a look.

`advise` is for a job that waits in the queue; `choose`, below it, also says when one that runs should move.

What there is to spend is *slack*: the time to the deadline that the work itself does not need. Waiting costs slack, and so does every
changeover (boot, files, restart from a checkpoint); a changeover onto a spot machine costs money, too, and pays only if the machine
then lasts. So: spot while there is one that should last; without one wait, but only as fast as the whole of the slack lasts for the
whole of the work; and buy at the full price no later than when only a changeover's time is left. Outages that are known to be short are
waited for. benchmarks/spot_replay.py has what this costs on public traces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

ONDEMAND = "on-demand"
_PRIOR = 4.0  # hours that a spot machine lasts, until something else was seen
_PRIOR_WEIGHT = 1.0  # ends for which that guess counts
_SHARE = 0.7  # of the time with a spot machine somewhere, until something else was seen
_SHARE_WEIGHT = 6.0  # hours for which that guess counts
_CARE = 1.0  # of what is to be waited for, so much has to be in hand, …
_EASE = 0.2  # … and less where there was much slack from the start, for then a wrong guess can still be made good: this over slack to work
_SHORT = 0.5  # hours: outages that last so long at most are waited for
_OUTAGE = 1.0  # hours that one lasts, until something else was seen
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
    lost: float = 0.0  # of the work that is done on a spot machine, so much is undone at most when that is taken away


class Advice(NamedTuple):
    """Where a job that waits should start now."""

    place: str | None  # a zone of `prices`, ONDEMAND, or None: nowhere yet
    look: float  # when to ask again if it has not started, seconds since the epoch
    why: str


class Record:
    """What was seen of the zones so far: how long spot machines last there."""

    def __init__(self) -> None:
        self._up: dict[str, float] = {}
        self._ends: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._seen = self._some = 0.0
        self._out = self._outs = 0.0  # hours of the present outage (no zone has a machine), and of all before
        self._outages = 0

    def share(self) -> float:
        """Of the time, in which some zone has a machine."""
        return (self._some + _SHARE * _SHARE_WEIGHT) / (self._seen + _SHARE_WEIGHT)

    def look(self, available: Sequence[str], step: float) -> None:
        """A look: these zones have a machine, and will have it for one step at least."""
        now = set(available)
        if not now:
            self._out += step
        elif self._out:
            self._outs, self._outages, self._out = self._outs + self._out, self._outages + 1, 0.0
        self._seen += step
        self._some += step if now else 0.0
        for zone in now:
            self._up[zone] = self._up.get(zone, 0.0) + step
            self._since[zone] = self._since.get(zone, 0.0) + step
        for zone in [zone for zone in self._since if zone not in now]:
            self._ends[zone] = self._ends.get(zone, 0) + 1
            del self._since[zone]

    def outage(self) -> float:
        """Hours that one should last."""
        return (self._outs + _OUTAGE) / (self._outages + 1)

    def short(self) -> bool:
        """Whether outages are short, and the present one has not shown yet that it is another kind."""
        return self.outage() <= _SHORT and self._out <= _SHORT

    def lasts(self, zone: str) -> float:
        """Hours that a machine of this zone should go on."""
        return (self._up.get(zone, 0.0) + _PRIOR * _PRIOR_WEIGHT) / (self._ends.get(zone, 0) + _PRIOR_WEIGHT)


def advise(
    record: Record, *, now: float, since: float, deadline: float, total: int, left: int, lost: int, boot: int, prices: Mapping[str, float], step: int = 60
) -> Advice:
    """Spot, on demand, or wait, for a job that is to end by `deadline`; asked at each pass until it starts, and again when it lost its machine.

    `since`: when it was first ready to start; `total`, `left`: seconds of work in all and still to do (without checkpoints its time limit);
    `lost`: seconds of work that it loses at most with its machine (without checkpoints all: `left`); `boot`: seconds from an order to the
    first line of the script; `prices`: zone → spot over on-demand price, of zones with a machine to be had; `step`: seconds between asks.
    A job that could end in time on demand when it was first asked for does so, however often spot machines are taken away.
    """
    hour = 3600.0
    view = View(
        left=(deadline - now) / hour, work=left / hour, total=total / hour, window=(deadline - since) / hour, changeover=boot / hour,
        step=step / hour, place=None, prices=prices, lost=min(lost, left) / hour,
    )  # fmt: skip
    slack = view.left - view.work
    place, spare = choose(view, record), "%d min before its deadline are to spare" % max(0, int(slack * 60))
    if place is None:
        return Advice(None, now + step, "it waits for a spot machine: %s" % spare)
    if place == ONDEMAND:
        return Advice(place, now + step, "on demand: %s%s" % (spare, ", too few to lose a spot machine" if prices else ", and no spot machine is to be had"))
    return Advice(place, now + step, "on the spot market in %s: %s" % (place, spare))


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
    if slack < view.changeover + reserve + view.lost:
        return ONDEMAND  # no spot machine could be lost any more, and slack never grows
    best = _best(view, record)
    if best is not None:
        return best
    # nothing to be had: if the slack lasts for all that is still to be waited for, wait; else spend it no faster than the work is done
    share = record.share()
    ease = _EASE * view.total / max(view.window - view.total, view.step)
    if slack - reserve >= min(_CARE, ease) * view.work * (1 - share) / share:
        return None
    if record.short() and slack - reserve >= record.outage():
        return None  # there is one again before an on-demand machine would have paid for its start
    behind = view.total - view.work < (view.window - view.left) * view.total / view.window
    return ONDEMAND if behind else None


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
