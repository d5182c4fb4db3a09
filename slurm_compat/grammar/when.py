"""--begin and --deadline: clock times, dates, words and offsets from now.

A value is a sequence of words: at most one time of day and one date. Without a date a time that has passed today means tomorrow;
without a year a date that has passed means next year. Standard library, Python 3.6.
"""

import calendar
import re
import time

from slurm_compat.grammar import Invalid

_SPACE = re.compile(r"[ \t\n\v\f\r-]+")
_OFFSET = re.compile(r"(?P<sign>[+-])[ \t]*(?P<n>[0-9]+)[ \t]*")
_UNIT = re.compile(r"(seconds?|minutes?|hours?|days?|weeks?)", re.I)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_AMPM = re.compile(r"[ \t]*([aApP])\.?[mM]\.?")
_DATE = re.compile(r"([0-9]{1,2})([/.])([0-9]{1,2})(?:[/.]([0-9]{2}))?")
_LEAD = re.compile(r"[0-9]{1,2}")
_DIGITS = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})?")
_NOON = {"noon": (12, 0, 0), "midnight": (0, 0, 0), "fika": (15, 0, 0)}


class _Bad(Exception):
    def __init__(self, at):
        self.at = at


def parse(text, option, now, local=time.localtime, mktime=time.mktime):
    """→ seconds since the epoch. `local` and `mktime` give the user's time zone. Raises Invalid."""
    if not text:
        raise Invalid("Invalid --%s specification" % option)
    try:
        try:
            moment = _parse(text, now, local, mktime)
            local(moment)  # what has no date is no time
            return moment
        except (OverflowError, OSError, ValueError):
            raise _Bad(0)
    except _Bad as bad:
        raise Invalid("Invalid --%s specification" % option, before=(("raw", "Invalid time specification (pos=%d): %s" % (bad.at, text)),))


def _parse(text, now, local, mktime):
    today = local(now)
    clock: tuple = ()
    date: tuple = ()
    at = 0
    while at < len(text):
        space = _SPACE.match(text, at) or (re.compile("T").match(text, at) if date and not clock else None)
        if space:
            at = space.end()
            continue
        if text[at : at + 3].lower() == "now":
            if clock or date:
                raise _Bad(at)
            return _now(text, at + 3, now)
        if text[at] in "0123456789":
            at, clock, date = _digits(text, at, clock, date, today)
        else:
            at, clock, date = _word(text, at, clock, date, today)
    if not clock and not date:
        raise _Bad(0)
    if not date:
        moment = mktime((today.tm_year, today.tm_mon, today.tm_mday, *clock, 0, 0, -1))
        if moment < now:
            moment = mktime((today.tm_year, today.tm_mon, today.tm_mday + 1, *clock, 0, 0, -1))
        return moment
    return mktime((*date, *(clock or (0, 0, 0)), 0, 0, -1))


def _now(text, at, now):
    rest = _SPACE.match(text, at)
    begin = rest.end() if rest and "-" not in rest.group() else at
    offset = _OFFSET.match(text, begin)
    if not offset:
        if begin >= len(text):
            return now
        raise _Bad(begin)
    number, end = int(offset.group("n")), offset.end()
    scale = 1
    if end < len(text):
        unit = _UNIT.match(text, end)
        if not unit:
            raise _Bad(offset.start("n"))
        scale, end = _SECONDS[unit.group(1)[0].lower()], unit.end()
        if end < len(text):
            raise _Bad(end)
    return now + number * scale * (-1 if offset.group("sign") == "-" else 1)


def _word(text, at, clock, date, today):
    for word, when in _NOON.items():
        if text[at : at + len(word)].lower() == word:
            if clock:
                raise _Bad(at)
            return at + len(word), when, date
    if text[at] in "tT":
        for word in ("tomorrow", "today", "teatime"):
            if text[at : at + len(word)] == word:
                if word == "teatime":
                    return at + len(word), (16, 0, 0), date
                if date:
                    raise _Bad(at)
                return at + len(word), clock, (today.tm_year, today.tm_mon, today.tm_mday + (word == "tomorrow"))
        raise _Bad(at + 1)
    raise _Bad(at)


def _lead(text, at):
    """The one or two digits at `at`."""
    match = _LEAD.match(text, at)
    return match.group() if match else ""


def _digits(text, at, clock, date, today):
    iso = _ISO.match(text, at)
    if iso:
        year, month, day = (int(part) for part in iso.groups())
        if date or not 1 <= month <= 12:
            raise _Bad(at + 5)
        if not 1 <= day <= 31:
            raise _Bad(at + 8)
        return iso.end(), clock, (year, month, day)
    time_of_day = _CLOCK.match(text, at)
    if time_of_day or (not clock and date and not _DATE.match(text, at)):
        return _clock(text, at, time_of_day, clock, date)
    match = _DATE.match(text, at) or _DIGITS.match(text, at)
    lead = _lead(text, at)
    month = int(lead)
    if not 1 <= month <= 12 or date:
        raise _Bad(at - 1 if lead == "0" else at)
    if not match:
        raise _Bad(at + len(lead))
    groups = match.groups()
    day, short_year = int(groups[2] if len(groups) == 4 else groups[1]), groups[-1]
    if not 1 <= day <= 31:
        raise _Bad(match.start(3 if len(groups) == 4 else 2))
    if short_year is not None:
        return match.end(), clock, (2000 + int(short_year), month, day)
    passed = (month, day) < (today.tm_mon, today.tm_mday)
    return match.end(), clock, (today.tm_year + passed, month, day)


def _clock(text, at, match, clock, date):
    lead = _lead(text, at)
    if clock:
        raise _Bad(at)
    hour = int(lead)
    if hour > 23:
        raise _Bad(at)
    if not match:
        raise _Bad(at + len(lead))
    minute, second = int(match.group(2)), int(match.group(3) or 0)
    if minute > 59:
        raise _Bad(match.start(2))
    if second > 59:
        raise _Bad(match.start(3))
    end = match.end()
    half = _AMPM.match(text, end)
    if half:
        if not 1 <= hour <= 12:
            raise _Bad(end)
        hour = hour % 12 + (12 if half.group(1) in "pP" else 0)
        end = half.end()
    return end, (hour, minute, second), date


def utc(parts):
    """mktime for UTC, with the fields beyond their range normalised."""
    return calendar.timegm((*parts[:6], 0, 0, 0))
