"""Time limits: [days-]hours:minutes:seconds and its shorter forms. Standard library, Python 3.6."""

import re

from slurm_compat.grammar import invalid

UNLIMITED = -1
_FORM = re.compile(r"(?:(?P<d>[0-9]+)-(?P<dh>[0-9]*)(?::(?P<dm>[0-9]+)(?::(?P<ds>[0-9]+))?)?"
                   r"|(?P<h>[0-9]+):(?P<hm>[0-9]+):(?P<hs>[0-9]+)|(?P<m>-?[0-9]+)(?::(?P<ms>[0-9]+))?)$")
_CLAMP = (1 << 63) - 1


def _number(text):
    return min(int(text), _CLAMP) if text else 0


def minutes(text):
    """A time limit → whole minutes, rounded up, kept to 32 bits as Slurm does; UNLIMITED; None if it is none."""
    if text.lower() in ("infinite", "unlimited", "-1"):
        return UNLIMITED
    match = _FORM.match(text)
    if not match:
        return None
    got = match.groupdict()
    if got["d"] is not None:
        seconds = ((_number(got["d"]) * 24 + _number(got["dh"])) * 60 + _number(got["dm"])) * 60 + _number(got["ds"])
    elif got["h"] is not None:
        seconds = (_number(got["h"]) * 60 + _number(got["hm"])) * 60 + _number(got["hs"])
    else:
        if got["m"].startswith("-") and got["ms"]:
            return None
        seconds = int(got["m"]) * 60 + _number(got["ms"])
    count = ((seconds + 59) // 60) & 0xFFFFFFFF
    return UNLIMITED if count >= 0xFFFFFFFE else count


def limit(text, option):
    """The value of --time or --time-min → seconds (a multiple of 60), or UNLIMITED (0 means that, too). Raises Invalid."""
    count = minutes(text)
    if count is None:
        raise invalid(option)
    return UNLIMITED if count in (0, UNLIMITED) else count * 60


def delay(text, option):
    """The value of --delay-boot → seconds. Raises Invalid."""
    count = minutes(text)
    if count is None:
        raise invalid(option)
    return UNLIMITED if count == UNLIMITED else count * 60
