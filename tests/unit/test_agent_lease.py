"""Leases on a node: what counts as having been heard by the broker, and when a run ends for want of it."""

from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from sbroker.agent import lease
from sbroker.agent.ending import Ending
from sbroker.agent.lease import Attendance
from tests.unit.test_agent_ending import LONG_AFTER_BOOT, Loop

INFO = {"lease": 200, "kill_wait": 30}
SOFT, HARD = 140, 185  # seconds of INFO's


def test_a_run_begins_to_end_early_enough_for_kill_wait():
    assert (lease.soft(INFO), lease.hard(INFO)) == (SOFT, HARD)
    assert SOFT + INFO["kill_wait"] < HARD < INFO["lease"]


def test_it_counts_from_what_the_broker_has_heard_and_not_from_when_we_hear_of_it():
    attendance = Attendance(100.0)
    assert attendance.over(INFO, 100.0) and not attendance.over({"lease": None}, 100.0)
    attendance.greeting(1000.0)
    attendance.answering(1, 1015.0)
    attendance.answering(2, 1030.0)
    attendance.vouched(1)
    assert attendance.at == 1015.0
    attendance.vouched(1)
    attendance.ordered()
    assert attendance.at == 1015.0  # never back
    assert not attendance.over(INFO, 1015.0 + SOFT) and attendance.over(INFO, 1016.0 + SOFT)
    attendance.vouched(7)  # that was never said
    assert attendance.at == 1015.0


def test_an_order_vouches_for_the_hello_of_its_connection():
    attendance = Attendance(100.0)
    attendance.greeting(1000.0)
    attendance.ordered()
    assert attendance.at == 1000.0
    attendance.ordered(1010.0)  # to start what we said that we hold
    assert attendance.at == 1010.0
    attendance.answering(1, 1015.0)
    attendance.greeting(2000.0)  # another connection counts its pings anew
    attendance.vouched(1)
    assert attendance.at == 1010.0


def test_answers_are_not_kept_for_ever():
    attendance = Attendance(0.0)
    attendance.greeting(1.0)
    for number in range(1, 1000):
        attendance.answering(number, float(number))
    attendance.vouched(1)
    assert attendance.at == float("-inf")
    attendance.vouched(999)
    assert attendance.at == 999.0
    assert len(attendance._said) < 20


# --- the supervisor


@pytest.fixture(params=[True, False], ids=["head", "other"])
def sup(request):
    loop, info = Loop(), dict(INFO, job=1, time_limit=-1, spec={})
    calls = SimpleNamespace(signalled=lambda *_: None)
    found = SimpleNamespace(loop=loop, info=info, is_head=request.param, started=True, over=False, empty=False, processes=set(), calls=calls)
    found.everything, found.report, found.announce = list, lambda *_: None, lambda *_: None
    found.node, found.front, found.batch_stderr = "n", SimpleNamespace(notice=lambda *_: b""), lambda *_: None
    found.declare_over = lambda: setattr(found, "over", True)
    found.nothing_left = lambda: None
    return found


@pytest.fixture(autouse=True)
def with_a_child():
    """Something of the run is there, so that its end takes the time it takes."""
    child = subprocess.Popen(["sleep", "60"])
    yield
    child.kill()
    child.wait()


def run_due(loop):
    for timer in loop.due():
        timer.cancel()
        timer.fn()


def test_it_may_not_start_before_it_is_attended(sup):
    ending = Ending(sup)
    assert ending.unattended()
    ending.attended(LONG_AFTER_BOOT - 10)
    assert not ending.unattended()
    sup.loop.time += SOFT
    assert ending.unattended()
    sup.info["lease"] = None
    assert not ending.unattended()


def test_it_ends_on_each_node_when_the_lease_is_all_but_over(sup):
    ending = Ending(sup)
    ending.attended(LONG_AFTER_BOOT)
    ending.arm()
    sup.loop.time += 100
    run_due(sup.loop)
    ending.attended(LONG_AFTER_BOOT + 90)
    sup.loop.time = LONG_AFTER_BOOT + SOFT + 1
    run_due(sup.loop)
    assert ending.why == ""
    sup.loop.time = LONG_AFTER_BOOT + 90 + SOFT + 1
    run_due(sup.loop)
    assert (ending.why, sup.over) == ("unattended", False)  # asked to end
    sup.loop.time += INFO["kill_wait"]
    run_due(sup.loop)
    assert sup.over  # killed


def test_a_machine_that_was_frozen_kills_at_once(sup):
    ending = Ending(sup)
    ending.attended(LONG_AFTER_BOOT)
    ending.arm()
    sup.loop.time += 3600
    run_due(sup.loop)
    assert (ending.why, sup.over) == ("unattended", True)


# --- a supervisor that does not know the time


def test_a_stopped_supervisor_is_killed_beyond_the_lease():
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    loop = Loop()
    info = dict(INFO, user={"uid": os.getuid()})
    record = SimpleNamespace(state="ACTIVE", stream=object(), info=info, peer=child.pid)
    runs = SimpleNamespace(relay=SimpleNamespace(loop=loop), records={(1, 0): record})
    attendance = Attendance(LONG_AFTER_BOOT)  # this agent is new: it gives its broker time
    loop.time += HARD
    lease.look(runs, attendance)
    assert child.poll() is None
    loop.time += lease.LOOK + 1
    run_due(loop)
    assert child.wait(20) == -signal.SIGKILL
