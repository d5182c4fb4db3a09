"""Interactive runs that nobody uses: the look at them, with a clock and GPUs by script."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sbroker.agent import errand, idle


class Loop:
    def __init__(self):
        self.time, self.timers = 0.0, []

    def now(self):
        return self.time

    def call_later(self, seconds, fn):
        self.timers.append((self.time + seconds, fn))

    def run(self, until):
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= until:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.time = timer[0]
            timer[1]()
        self.time = until


class Ending:
    def __init__(self, loop):
        self.loop, self.why, self.frozen, self.at = loop, "", None, None

    def begin(self, why):
        self.why, self.at = why, self.loop.now()


def run(gres=None, step=None):
    loop = Loop()
    steps = SimpleNamespace(steps={} if step is None else {0: step}, traffic=float("-inf"))
    return SimpleNamespace(loop=loop, share={"gres": gres or {}}, over=False, ending=Ending(loop), steps=steps, info={"job": 7})


def shell(pty=True):
    heard = []
    return SimpleNamespace(request={"pty": pty}, listeners=[SimpleNamespace(say=lambda data, handle: heard.append(data))], heard=heard)


def test_ends_when_the_terminal_was_still_for_so_long():
    step = shell()
    sup = run(step=step)
    idle.Idle(sup, 600)
    sup.loop.run(500)
    sup.steps.traffic = 500.0
    sup.loop.run(1099)
    assert sup.ending.why == "" and not step.heard
    sup.loop.run(1101)
    assert (sup.ending.why, sup.ending.at) == ("idle", 1100)
    assert b"not used for 600 s (idle_timeout)" in step.heard[0]


def test_a_step_without_a_terminal_is_use():
    step = shell(pty=False)
    sup = run(step=step)
    idle.Idle(sup, 600)
    sup.loop.run(5000)
    assert sup.ending.why == ""
    sup.steps.steps.clear()
    sup.loop.run(6000)
    assert sup.ending.why == "idle"


def test_a_suspended_run_is_not_idle():
    sup = run()
    sup.ending.frozen = 0.0
    idle.Idle(sup, 600)
    sup.loop.run(5000)
    assert sup.ending.why == ""


def test_a_run_that_is_over_is_left_alone():
    sup = run()
    idle.Idle(sup, 600)
    sup.ending.why = "cancel"
    sup.loop.run(5000)
    assert (sup.ending.why, sup.loop.timers) == ("cancel", [])


@pytest.mark.parametrize(("said", "ends"), [("0, 0\n1, 35\n", False), ("0, 99\n1, 0\n", True), ("", True), ("1, [N/A]\n", True)])
def test_gpus_at_work_are_use(monkeypatch, said, ends):
    """Those of the run: index 1. Without nvidia-smi nothing is known of them."""
    monkeypatch.setattr(errand, "command", lambda loop, argv, env, then, patience: then(said.encode()))
    sup = run({"gpu:a100": [1]})
    idle.Idle(sup, 600)
    sup.loop.run(3000)
    assert sup.ending.why == ("idle" if ends else "")


def test_what_is_typed_while_gpus_are_asked_counts(monkeypatch):
    asked = []
    monkeypatch.setattr(errand, "command", lambda loop, argv, env, then, patience: asked.append(then))
    sup = run({"gpu:a100": [0]})
    idle.Idle(sup, 600)
    sup.loop.time = 600.0
    sup.steps.traffic = 600.0
    asked.pop()(b"")
    asked_before = list(asked)
    idle.Idle(sup, 600)
    assert sup.ending.why == "" and not asked_before
