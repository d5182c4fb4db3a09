"""Leases: a run that may be run again elsewhere ends itself when its broker has not been heard for so long.

The broker may give a silent node's run up for gone when `lease` seconds (and a margin for clocks that differ) have passed since it last
heard that node. So on the node nothing of the run may be left `lease` seconds after the last thing that the broker can have heard. What
we hear says little about that: it may have lain in buffers while this machine was frozen. What counts is what we said ourselves, and when,
once the broker answers that it has heard it and was still the broker then (it has put something on record in between). All by
CLOCK_BOOTTIME of this node.
"""

import _signal as signal

from . import procs
from .rundir import ACTIVE

LOOK = 10.0  # seconds between looks for supervisors that are stopped and do not know the time
_KEPT = 8  # answers to pings that the broker may still vouch for


def _slack(info):
    return min(30.0, info["lease"] / 4)


def soft(info):
    """Seconds unattended after which a run begins to end: KillWait must be over before `hard`."""
    return max(info["lease"] - info.get("kill_wait", 30) - _slack(info), info["lease"] / 4)


def hard(info):
    """Seconds unattended after which nothing of it may go on."""
    return info["lease"] - _slack(info) / 2


class Attendance:
    """What an agent knows of its broker: `at` is when we said the newest thing that it is known to have heard."""

    def __init__(self, now):
        self.began, self.at = now, float("-inf")
        self._said = {}  # number of a ping that we answered (0: our hello) → when

    def greeting(self, now):
        """We say hello on a new connection."""
        self._said = {0: now}

    def answering(self, number, now):
        """We answer a ping."""
        self._said[number] = now
        if len(self._said) > _KEPT + 1:
            del self._said[min(key for key in self._said if key)]

    def ordered(self, held=None):
        """An order to prepare or start a run: it was put on record, and left, after our hello; one to start it, after we said that it is
        held here (at the time `held`)."""
        self.vouched(0)
        if held is not None:
            self.at = max(self.at, held)

    def vouched(self, number):
        """The broker has heard this answer and was the broker afterwards."""
        self.at = max(self.at, self._said.get(number, self.at))

    def over(self, info, now):
        """Whether this run would have to end already."""
        return bool(info and info.get("lease")) and now - self.at > soft(info)


def look(runs, attendance):
    """Kill supervisors that their jobs have stopped beyond the lease, which clears their runs, and look again later."""
    loop = runs.relay.loop
    silent = loop.now() - max(attendance.at, attendance.began)
    for record in runs.records.values():
        if record.state == ACTIVE and record.stream is not None and leased(record) and silent > hard(record.info):
            if procs.stopped(record.peer, record.info["user"]["uid"]):
                procs.signal_all([record.peer], signal.SIGKILL)
    loop.call_later(LOOK, lambda: look(runs, attendance))


def leased(record):
    """Whether the run has a lease."""
    return bool(record.info is not None and record.info.get("lease"))
