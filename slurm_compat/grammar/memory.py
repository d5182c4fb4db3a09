"""Sizes of memory and disk: a number of MiB, or with K, M, G, T. Standard library, Python 3.6."""

import re

from slurm_compat.grammar import invalid

_FORM = re.compile(r"[ \t]*[+-]?(?P<n>[0-9]+)(?P<u>[kKmMgGtT]?)(?:[bB])?$")


def mebibytes(text):
    """The size in MiB, K rounded up; None if it is none."""
    match = _FORM.match(text)
    if not match or (text[-1:] in "bB" and not match.group("u")):
        return None
    number, unit = int(match.group("n")), match.group("u").lower()
    if ("-" in text and number) or number >= 1 << 63:
        return None
    if unit == "k":
        return (number + 1023) // 1024
    return number * {"": 1, "m": 1, "g": 1 << 10, "t": 1 << 20}[unit]


def size(text, option):
    """The value of --mem, --mem-per-cpu, --mem-per-gpu or --tmp → MiB. Raises Invalid."""
    value = mebibytes(text)
    if value is None:
        raise invalid(option)
    return value
