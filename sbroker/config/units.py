"""Sizes and times as administrators write them. Each type is the number that the broker works with."""

from __future__ import annotations

import re
from typing import Any

from sbroker.model import INFINITE

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_MIB = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


class Size(int):
    """MiB, written as 16000M, 2G, 1.5T or a number of MiB."""


class Limit(int):
    """Seconds, -1 for none; written as partitions' time limits are: minutes, MM:SS, H:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS, infinite."""


class Seconds(int):
    """Seconds, written as a number of them or H:MM:SS."""


class Hosts(tuple):
    """Names, written as node[1-4] or as a list."""


class Text(str):
    """The value of a variable, as it is written."""


def hook(kind: type, value: Any) -> Any:
    """What msgspec calls for the types above. ValueError says what would be right."""
    text = str(value).strip()
    if kind is Size:
        return Size(size(text))
    if kind is Limit:
        return Limit(limit(text))
    if kind is Seconds:
        return Seconds(seconds(text))
    if kind is Text:
        if not isinstance(value, str):
            raise ValueError("%r is not a word: write it in quotes" % str(value))
        return Text(value)
    if kind is Hosts:
        from sbroker.hostlist import expand

        return Hosts(expand(",".join(map(str, value)) if isinstance(value, list) else text))
    raise TypeError("no reader for values of %s" % kind)


def size(text: str) -> int:
    """MiB, rounded up."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("%r is not a size: write 16000M, 2G or 1T" % text)
    return -int(-float(match[1]) * _MIB[match[2].upper()] // 1)


def limit(text: str) -> int:
    """Seconds, or INFINITE."""
    if text.lower() in ("infinite", "unlimited"):
        return INFINITE
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isascii() and part.isdigit() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        raise ValueError("%r is not a time: write 30 (minutes), 1:00:00, 2-00:00:00 or infinite" % text)
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, secs = (*numbers, 0, 0)[:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + secs
    if len(numbers) == 3:
        return (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
    return numbers[0] * 60 + (numbers[1] if len(numbers) == 2 else 0)


def seconds(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    if re.fullmatch(r"[0-9]+:[0-5]?[0-9]:[0-5]?[0-9]", text):
        return limit(text)
    raise ValueError("%r is not a number of seconds: write 30 or 0:10:00" % text)
