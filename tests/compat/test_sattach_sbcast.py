"""sattach's and sbcast's part in the broker: which steps and jobs there are."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from submit_fakes import FakeApi, FakeClient, call_of

from sbroker.model import Job, JobSpec, Step
from sbroker.states import JobState
from slurm_compat.commands import sattach, sbcast

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


USAGE = "Usage: sattach [options] <jobid.stepid>\n"
NO_ID = USAGE, "sattach: error: Failed to parse stepid from command line options\n"
TOO_MANY = USAGE, "sattach: error: too many parameters\n"


@pytest.mark.parametrize(("words", "said"), [
    ([], TOO_MANY), (["1.0", "2.0"], TOO_MANY), (["1"], NO_ID), ([""], NO_ID), (["1."], ("", "sattach: fatal: Bad step specified: 1\n")),
    (["1.y"], ("", "sattach: fatal: Bad step specified: 1\n")), (["x.1"], ("", NO_STEP)), (["1.batch"], ("", NO_STEP)),
])  # fmt: skip
def test_what_names_no_step(words, said):
    call, client = call_of("sattach", words), FakeClient()
    api = FakeApi(call)
    api.view.steps = {}
    assert asyncio.run(sattach.run(call, client, api)) == 1
    assert (client.texts[1], client.texts[2]) == said


@pytest.mark.parametrize(("words", "err", "code"), [
    (["--jobid=9", "there", "/tmp/x"], "sbcast: error: Slurm job 9 lookup error: Invalid job id specified\n", 255),
    (["--jobid=x", "there", "/tmp/x"], "sbcast: error: Slurm job 0 lookup error: Invalid job id specified\n", 255),
    (["--jobid=9", "nosuch", "/tmp/x"], "sbcast: error: Can't open `nosuch`: No such file or directory\n", 255),
])  # fmt: skip
def test_sbcast_looks_at_the_file_first(words, err, code):
    call, client = call_of("sbcast", words), FakeClient({"there": b"data"})
    assert asyncio.run(sbcast.run(call, client, FakeApi(call))) == code
    assert client.texts[2] == err
