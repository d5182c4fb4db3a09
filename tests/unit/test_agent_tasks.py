"""Processes of a run, as they are started."""

from __future__ import annotations

import os
import signal

from sbroker.agent import tasks


def test_a_signal_that_comes_before_the_program_is_not_lost(monkeypatch):
    """The supervisor ignores SIGTERM, and so does its child until it has become the task."""
    child = tasks._child

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        child(*arguments)

    monkeypatch.setattr(tasks, "_child", signalled)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        process = tasks.launch(tasks.Plan(["true"], {}, path="/bin/true"))
        _, status = os.waitpid(process.pid, 0)
        os.kill(os.getpid(), signal.SIGTERM)  # we go on as before
    finally:
        signal.signal(signal.SIGTERM, before)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
