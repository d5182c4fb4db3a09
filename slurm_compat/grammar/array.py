"""--array: lists, ranges, steps, and how many at once. Standard library, Python 3.6."""

import re

HIGHEST = 4000000  # Slurm's own bound on MaxArraySize
_RANGE = re.compile(r"[ \t]*\+?([0-9]+)(?:-[ \t]*\+?([0-9]+)(?::\+?([0-9]+))?)?$")


class BadArray(ValueError):
    """The specification is not one (Slurm: "Invalid job array specification")."""


def parse(text):
    """"0-15:4,20%2" → (ascending tuple of indices, limit or None). Empty text → ((), None): no array. Raises BadArray."""
    plain, percent, throttle = text.partition("%")
    limit = None
    if percent:
        digits = re.match(r"[ \t]*([0-9]+)", throttle)
        limit = int(digits.group(1)) or None if digits else None
    plain = plain.strip("[]")
    if not plain and percent:
        return (0,), limit
    found: set = set()
    for part in plain.split(","):
        if not part:
            continue
        match = _RANGE.match(part)
        if not match:
            raise BadArray(text)
        low = int(match.group(1))
        high = int(match.group(2)) if match.group(2) else low
        step = int(match.group(3)) if match.group(3) else 1
        if high < low or step == 0 or high > HIGHEST:
            raise BadArray(text)
        found.update(range(low, high + 1, step))
    return tuple(sorted(found)), (limit if found else None)


def spelled(text):
    """The part of --array before "%", without brackets."""
    return text.partition("%")[0].strip("[]")
