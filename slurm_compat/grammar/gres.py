"""--gres and --gpus*: lists of name[:type][:count]. Standard library, Python 3.6."""

import re

from slurm_compat.grammar import Invalid

_COUNT = re.compile(r"\+?([0-9]+)([kKmMgGtTpP]?)$")
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}

BAD_GRES = "Invalid generic resource (gres) specification"
BAD_TRES = "Invalid Trackable RESource (TRES) specification"


def bad_gres(before=()):
    """Slurm's refusal of a generic resource, after the lines that say why."""
    return Invalid(BAD_GRES, 1, before=tuple(("error", line) for line in before))


class BadTres(ValueError):
    """Refused at submission (Slurm: "… submission failed: Invalid Trackable RESource (TRES) specification")."""


def count(text):
    """A count with K, M, G, T or P (powers of 1024); None if it is none."""
    match = _COUNT.match(text)
    return int(match.group(1)) * _SCALE[match.group(2).lower()] if match else None


def parse_gres(text, known):
    """--gres → list of (name, type or None, count), nothing for a count of 0. `known`: names that the cluster has.

    Raises Invalid for what Slurm calls an invalid generic resource, BadTres for what it refuses a little later.
    """
    if text in ("", "none", "NONE"):
        return []
    found = []
    for item in text.split(","):
        if item.startswith("gres:"):
            item = item[5:]
        if not item:
            raise BadTres(text)
        name, _, rest = item.partition(":")
        if name == "craynetwork" and "craynetwork" not in known:
            continue
        if name not in known or (item != name and not rest):
            raise bad_gres()
        kind, number = None, 1
        if rest:
            kind, number = _rest(rest)
        if number:
            found.append((name, kind, number))
    return found


def _rest(rest):
    """What follows the name: type, count, or both."""
    first, colon, second = rest.replace("=", ":", 1).partition(":")
    if not first or (colon and (not second or ":" in second)):
        raise bad_gres()
    if colon:
        number = count(second)
        if number is None:
            raise bad_gres()
        return first, number
    number = count(first)
    if number is not None:
        return None, number
    if first[0].isdecimal():  # "1x"
        raise BadTres(rest)
    return first, 1


def parse_gpus(text):
    """--gpus, --gpus-per-node, -socket, -task: [type:]count, … → list of ("gpu", type or None, count). Raises Invalid."""
    if text in ("", "none"):
        return []
    found = []
    for item in text.split(","):
        first, colon, second = item.replace("=", ":", 1).partition(":")
        if colon:
            number = count(second)
            if not first or number is None or ":" in second:
                raise bad_gres()
            kind = first
        else:
            number, kind = count(first), None
            if number is None:
                if not first or (first[0].isdecimal()):
                    raise bad_gres()
                number, kind = 1, first
        if number:
            found.append(("gpu", kind, number))
    return found


def total(found):
    """Devices in a parsed list."""
    return sum(number for _name, _kind, number in found)
