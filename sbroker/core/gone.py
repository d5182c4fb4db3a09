"""Nothing of a run is left on a node: because its agent says so, or because the machine is not there any more."""

from __future__ import annotations

from sbroker.core import finish, staging
from sbroker.core.draft import Draft
from sbroker.core.state import HOLDING
from sbroker.model import Part
from sbroker.states import JobState, PartState, RunState

RUNNING = (JobState.RUNNING, JobState.SUSPENDED)


def fence(draft: Draft, node: str) -> None:
    """Nothing of the node's runs is left there."""
    for job, run in draft.held(node):
        part = draft.part(job, run, node)
        if part is not None and part.state in HOLDING:
            record = draft.job(job)
            if record is not None and record.run == run and record.state in RUNNING:
                finish.fail_node(draft, record, node, fence=False)
            gone(draft, part, PartState.FENCED)


def gone(draft: Draft, part: Part, how: PartState) -> None:
    """Nothing of a part works any more (EMPTY), or its machine is not there any more (FENCED)."""
    if how is PartState.FENCED:
        staging.gone(draft, part)
    else:
        staging.leave(draft, part)
    run, job = draft.run_of(part.job, part.run), draft.job(part.job)
    if run is None or job is None:
        return
    if job.run == part.run and job.state in RUNNING and run.state in (RunState.PREPARING, RunState.HELD, RunState.STARTED):
        # a part went away while the run needs it
        finish.fail_node(draft, job, part.node, fence=False)
    finish.settle(draft, part.job, part.run)
