"""Counts as C's strtol reads them: leading blanks, a sign, digits, nothing after. Standard library, Python 3.6."""

import re

from slurm_compat.grammar import Invalid

_DECIMAL = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)$")
_LEADING = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def int32(value):
    """`value` as it fits a C int: Slurm keeps the low 32 bits of what strtol saw (long, clamped to 64 bits)."""
    value = max(-(1 << 63), min((1 << 63) - 1, value)) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def _refuse(text, what):
    return Invalid('Invalid numeric value "%s" for %s.' % (text, what), 1, fixed=True)


def positive(text, what):
    """A count of at least one; `what` is how the message names it, e.g. "--ntasks". May wrap to less, as Slurm's does."""
    match = _DECIMAL.match(text)
    if not match or int(match.group(1)) <= 0:
        raise _refuse(text, what)
    return int32(int(match.group(1)))


def natural(text, what):
    """A count of at least zero; empty text is zero."""
    if text == "":
        return 0
    match = _DECIMAL.match(text)
    if not match or int(match.group(1)) < 0:
        raise _refuse(text, what)
    return int32(int(match.group(1)))


def leading(text):
    """C's atoi, unbounded: the number that `text` begins with, 0 if it begins with none."""
    match = _LEADING.match(text)
    return int(match.group(1)) if match else 0


_SUFFIXED = re.compile(r"[ \t]*([+-]?[0-9]+)[ \t]*([kKmM]?)$")


def suffixed(text):
    """A number with K (1024) or M (1024²), as a C int; None if it is not one."""
    match = _SUFFIXED.match(text)
    if not match:
        return None
    return int32(int(match.group(1)) * {"": 1, "k": 1 << 10, "m": 1 << 20}[match.group(2).lower()])


def nodes(text):
    """--nodes=MIN[-MAX] → (min, max or None). Raises Invalid."""
    left, dash, right = text.partition("-")
    low = suffixed(left) if left.strip() or not dash else 1
    if low is None or low < 0:
        raise Invalid('"%s" is not a valid node count' % left)
    if not dash:
        return low, low
    if text == "-1":  # Slurm shows it as 1
        return 1, 1
    high = suffixed(right) if right.strip() else -1
    if high is None:
        raise Invalid('"%s" is not a valid node count' % right)
    if high != 0 and high < low:
        raise Invalid("Maximum node count %d is less than minimum node count %d" % (high, low))
    return low, high


def sockets(text):
    """--extra-node-info=S[:C[:T]] → (sockets, cores, threads), None for "*" or what is not given. Raises Invalid."""
    result: list = [None, None, None]
    if text:
        for place, part in enumerate(text.split(":")[:3]):
            name = ("first", "second", "third")[place]
            low = part.partition("-")[0] if not part.startswith("-") else part
            if part in ("", "*"):
                continue
            value = _SUFFIXED.match(low)
            number = int(value.group(1)) * {"": 1, "k": 1 << 10, "m": 1 << 20}[value.group(2).lower()] if value else -1
            if number < 0:
                raise Invalid('Invalid numeric value "%s" for %s arg of -B.' % (low, name), 1)
            if number > 0x7FFFFFFF:
                raise Invalid("Numeric argument (%s) to big for %s arg of -B." % (low, name), 1)
            result[place] = number
    return tuple(result)
