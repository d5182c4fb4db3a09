"""What a supervisor says is checked before it is believed.

A supervisor runs as the job's owner, and so does everything else of the job: it may be killed, its socket replaced, its last words
forged. What comes from there may only concern its own run, and must never be such that the agent's journal or the broker's store
could not take it: a report that cannot be applied would be sent again for ever, and with it the node stand still. The broker checks
once more what agents send, for journals that were written before.
"""

OWN = ("started", "step_start", "step_end", "ending", "ended", "empty", "suspended", "resumed", "notice")  # what a supervisor may say
KINDS = OWN + ("held", "refused", "lost")
STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "DEADLINE")
TEXT = 1 << 16  # characters kept of a text; a header has room for many of them
_NODES = 1 << 16
_INT = 1 << 53  # what JSON readers and databases keep exactly
_STEP = 1 << 31


def _int(value, limit=_INT):
    """ValueError for what is no whole number within ±limit; a missing one is 0."""
    if value is None:
        return 0
    if not isinstance(value, int) or not -limit < value < limit:
        raise ValueError("not a number that is taken: %.60r" % (value,))
    return int(value)


def _text(value):
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("not a text: %.60r" % (value,))
    return value[:TEXT]


def _counts(value):
    """{name: whole number}, as of usage or an exit."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 64:
        raise ValueError("not counts: %.60r" % (value,))
    return {_text(key): _int(number) for key, number in value.items()}


def _gres(value):
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 1024:
        raise ValueError("not gres: %.60r" % (value,))
    return {_text(key): len(count) if isinstance(count, list) else _int(count) for key, count in value.items()}


def _names(value):
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or len(value) > _NODES:
        raise ValueError("not names: %.60r" % (value,))
    return [_text(name) for name in value]


def _state(value):
    if value not in STATES:
        raise ValueError("not a step's end: %.60r" % (value,))
    return value


def _step(value):
    if value is None:
        raise ValueError("no step is named")
    return _int(value, _STEP)


_FIELDS = {
    "step": _step,
    "name": _text,
    "nodes": _names,
    "ntasks": _int,
    "cpus": _int,
    "mem": _int,
    "gres": _gres,
    "submit_line": _text,
    "srun_host": _text,
    "srun_pid": _int,
    "code": _int,
    "signal": _int,
    "state": _state,
    "usage": _counts,
    "pid": _int,
    "why": _text,
    "error": _text,
    "fault": _text,
    "derived": _counts,
    "text": _text,
    "preempted_at": _int,
}


def data_of(kind, data):
    """The data of a report, no more than is known and within bounds. ValueError if it cannot be taken."""
    if not isinstance(data, dict):
        raise ValueError("a report without data")
    if kind in ("step_start", "step_end") and "step" not in data:
        raise ValueError("no step is named")
    return {key: _FIELDS[key](value) for key, value in data.items() if key in _FIELDS}


def time_of(value):
    """Seconds since the epoch. ValueError for what is no time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_INT < value < _INT:
        raise ValueError("not a time: %.60r" % (value,))
    return float(value)


def report(number, kind, when, data):
    """[number, kind, time, data] of a supervisor's report, checked. ValueError if it is none."""
    if kind not in OWN:
        raise ValueError("not a supervisor's report: %.60r" % (kind,))
    if _int(number) < 1:
        raise ValueError("a report without number")
    return [int(number), kind, time_of(when), data_of(kind, data)]
