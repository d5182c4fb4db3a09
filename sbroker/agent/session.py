"""The beginning of conversations with thin clients at a head's supervisor: srun, sattach, sbcast inside a job or handed over by the broker.

`setup(sup)` prepares a supervisor of any node for steps; `accept(sup, call, caller)` serves one call; `wants(sup, call)` says whether a
call from inside the job is for us. What all sessions share is in stepsession.py, the kinds in stepcalls.py, sattach.py and bcast.py.
"""

from . import wire
from .steps import Steps


def setup(sup):
    """Make `sup` carry steps; call it once, before the run starts."""
    sup.steps = Steps(sup)
    sup.sessions = {}  # request id → Session
    return sup.steps


def wants(sup, call):
    """Whether a call from inside the job concerns this job's steps. One that names another job goes to the broker."""
    from . import stepcalls  # not at the agent's start

    return sup.is_head and stepcalls.job_of(call) in (None, str(sup.info["job"]))


def accept(sup, call, caller):
    """Serve `call` (wire.parse_call) over `caller` (calls.Caller). Answers come through the loop."""
    from . import stepcalls, stepsession

    if not hasattr(sup, "steps"):
        setup(sup)
    phase, _, ops = call["meta"].get("resume", "0:0").partition(":")
    known = sup.sessions.get(call["id"])
    if known is not None:
        return known.resume(caller, int(ops) if phase == "1" else 0)
    made = stepcalls.CLASSES[call["name"]](sup, call)
    sup.sessions[call["id"]] = made
    direct = getattr(caller, "stream", None) is not None
    if direct and phase == "0":
        caller.send(wire.PHASE, b"\x01")
    made.attach(caller)
    if phase == "1" and ops not in ("", "0"):
        made.say(call["name"].encode() + b": " + stepsession.NO_SESSION, 2)
        return made.exit(1)
    made.begin()
