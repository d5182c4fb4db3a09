"""The clocks of a run on each of its nodes, by a loop whose time stands still until the test moves it."""

from types import SimpleNamespace

import pytest

from sbroker.agent.ending import Ending

LONG_AFTER_BOOT = 100000.0


class Loop:
    def __init__(self):
        self.time, self.timers = LONG_AFTER_BOOT, []

    def now(self):
        return self.time

    def call_later(self, seconds, fn):
        timer = SimpleNamespace(at=self.time + seconds, fn=fn)
        timer.cancel = lambda: self.timers.remove(timer) if timer in self.timers else None
        self.timers.append(timer)
        return timer

    def due(self):
        return [timer for timer in self.timers if timer.at <= self.time]


@pytest.fixture(params=[True, False], ids=["head", "other"])
def sup(request):
    loop = Loop()
    info = {"job": 1, "kill_wait": 5, "time_limit": 600, "spec": {"signal": {"signum": 10, "before": 60}}}
    return SimpleNamespace(
        loop=loop, info=info, is_head=request.param, started=True, over=False, processes=set(), everything=list, report=lambda *_: None
    )


def test_a_suspension_ends_no_run_by_its_time_limit(sup):
    ending = Ending(sup)
    ending.arm()
    sup.loop.time += 10
    ending.freeze({"suspend": True})
    sup.loop.timers.clear()
    sup.loop.time += 1000
    ending.freeze({"suspend": False})
    assert sup.loop.due() == [] and ending.why == ""


def test_a_new_time_limit_ends_no_run_at_once(sup):
    ending = Ending(sup)
    ending.arm()
    ending.adjust({"time_limit": 900})
    assert sup.loop.due() == []


def test_the_head_alone_ends_the_run_but_each_node_warns_its_own(sup):
    ending = Ending(sup)
    ending.arm()
    ends = sorted(timer.at - LONG_AFTER_BOOT for timer in sup.loop.timers)
    assert ends == ([540, 600] if sup.is_head else [540])
