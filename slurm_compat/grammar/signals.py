"""--signal, and names of signals. Standard library, Python 3.6."""

import re

from slurm_compat.grammar import invalid

# the names that Slurm knows, with Linux' numbers
NUMBERS = {"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "ALRM": 14, "TERM": 15, "USR1": 10, "USR2": 12, "URG": 23, "CONT": 18,
           "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "XCPU": 24}
NAMES = {number: name for name, number in NUMBERS.items()}
_SPEC = re.compile(r"(?:(?P<flags>[RrBb]{0,2}):)?(?P<sig>[^@:]+)(?:@(?P<before>[0-9]*))?$")


def number(text):
    """A signal's number from its name (with or without SIG, any case) or number; None if it is none."""
    if re.match(r"[ \t]*[+-]?[0-9]+$", text):
        return int(text) & 0xFFFF or None
    name = text.upper()
    return NUMBERS.get(name[3:] if name.startswith("SIG") else name)


def parse(text):
    """--signal=[R][B][:]SIG[@SECONDS] → (signum, seconds before the end, batch only, reservation). Raises Invalid."""
    match = _SPEC.match(text)
    if not match:
        raise invalid("signal")
    flags = (match.group("flags") or "").upper()
    signum = number(match.group("sig"))
    before = match.group("before")
    seconds = 60 if before is None else int(before or 0)
    if signum is None or seconds > 65535 or flags == "BB":
        raise invalid("signal")
    return signum, seconds, "B" in flags, "R" in flags
