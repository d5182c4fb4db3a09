"""sattach's part in the broker: which steps there are."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from submit_fakes import FakeApi, FakeClient, call_of

from sbroker.model import Job, JobSpec, Step
from sbroker.states import JobState
from slurm_compat.commands import sattach

NO_STEP, ENDED, PENDING = (
    "sattach: error: Could not get job step info: %s\n" % why
    for why in ("Invalid job id specified", "Job/step already completing or completed", "Job is pending execution")
)


@pytest.mark.parametrize(("state", "step", "err", "code"), [
    (JobState.RUNNING, "7.0", "", 3), (JobState.RUNNING, "7.1", NO_STEP, 1), (JobState.COMPLETED, "7.0", ENDED, 1),
    (JobState.RUNNING, "8.0", NO_STEP, 1), (JobState.PENDING, "7.0", PENDING, 1),
])  # fmt: skip
def test_only_a_step_that_runs(state, step, err, code):
    call, client = call_of("sattach", [step]), FakeClient()
    api = FakeApi(call, returns=3)
    api.view.jobs[7] = msgspec.structs.replace(Job(id=7, user="alice", uid=1001, gid=1001, spec=JobSpec(name="x")), state=state)
    api.view.steps = {7: {0: Step(job=7, run=0, step=0)}}
    assert asyncio.run(sattach.run(call, client, api)) == code
    assert client.texts[2] == err
