"""Durations and dates as Slurm prints them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sbroker.model import INFINITE

STANDARD = "%Y-%m-%dT%H:%M:%S"


def duration(seconds: float) -> str:
    """``0:05``, ``1:02:03``, ``2-00:00:00``: days and hours only where needed; INVALID for a negative one, or more than 365 days."""
    secs = int(seconds)
    if not 0 <= secs <= 365 * 86400:
        return "INVALID"
    minutes, sec = divmod(secs, 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}-{hours % 24:02d}:{minute:02d}:{sec:02d}"
    return f"{hours}:{minute:02d}:{sec:02d}" if hours else f"{minute}:{sec:02d}"


def full_duration(seconds: float) -> str:
    """``00:00:05``, ``1-02:03:04``: hours always, as scontrol and sacct print them."""
    secs = int(seconds)
    if secs < 0:
        return "INVALID"
    hours, rest = divmod(secs, 3600)
    days = f"{hours // 24}-" if hours >= 24 else ""
    return f"{days}{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}"


def limit(seconds: int | None, none: str = "NOT_SET", infinite: str = "UNLIMITED") -> str:
    """A time limit; `none` and `infinite` are what this column calls those two."""
    if seconds is None:
        return none
    return infinite if seconds == INFINITE else duration(seconds)


class Times:
    """Prints dates in the caller's time zone (TZ) and form (SLURM_TIME_FORMAT: standard, relative or strftime's)."""

    def __init__(self, env: Mapping[str, str], now: float) -> None:
        self.now = now
        self._local = _zone(env.get("TZ"))
        self._known: dict[int, str] = {}
        form = env.get("SLURM_TIME_FORMAT") or "standard"
        self._relative = form == "relative"
        self._form = STANDARD if form in ("standard", "relative") else form

    def at(self, when: float | None, none: str = "N/A") -> str:
        """The date of `when` (seconds since the epoch), or `none` when there is none."""
        if not when:
            return none
        second = int(when)
        text = self._known.get(second)
        if text is None:
            moment = self._local(second)
            text = self._known[second] = time.strftime(self._choose(moment) if self._relative else self._form, moment)
        return text

    def ctime(self) -> str:
        """The line above a long listing: ``Tue Nov 24 09:22:26 2026``."""
        return time.strftime("%a %b %e %H:%M:%S %Y", self._local(int(self.now)))

    def _choose(self, moment: time.struct_time) -> str:
        today = self._local(int(self.now))
        days = _ordinal(moment) - _ordinal(today)
        if days == 0:
            return "%H:%M:%S"
        if days in (1, -1):
            return "Tomorr %H:%M" if days == 1 else "Ystday %H:%M"
        if 0 < days < 7:
            return "%a %H:%M"
        return "%-d %b %H:%M" if moment.tm_year == today.tm_year else "%-d %b %Y"


def _ordinal(moment: time.struct_time) -> int:
    return datetime(moment.tm_year, moment.tm_mon, moment.tm_mday).toordinal()


def _zone(name: str | None) -> Callable[[int], time.struct_time]:
    """Seconds → local time of the caller. A name that is no zone of the tz database counts as UTC, as libc does it."""
    if not name:
        return time.localtime
    try:
        zone = ZoneInfo(name.lstrip(":"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return time.gmtime
    return lambda second: datetime.fromtimestamp(second, zone).timetuple()
