"""A run comes to be."""

from __future__ import annotations

from typing import Literal

from sbroker.core import finish, money, staging
from sbroker.core.draft import Draft
from sbroker.core.effects import Mail, Prepare
from sbroker.core.state import HOLDING
from sbroker.model import Exit, Job, NodeShare, Part, Run
from sbroker.states import JobState, NodeState, Reason


def launch(draft: Draft, job: Job, partition: str, shares: tuple[NodeShare, ...], egress: float = 0.0) -> Job:
    """Give `job` these shares and order its parts; `egress`: USD that moving its files may cost. Invariant 1: no part of an earlier run may be there any more."""
    for part in draft.state.parts.get(job.id, {}).values():
        known = draft.part(part.job, part.run, part.node)
        if known is not None and known.state in HOLDING:
            raise AssertionError("job %d starts while run %d is on %s" % (job.id, part.run, part.node))
    number = job.run + 1
    nodes = [node for node in (draft.node(share.node) for share in shares) if node is not None]
    waits = any(node.state is NodeState.UNKNOWN or staging.needed(job.spec, node) for node in nodes)
    where = draft.partition(partition)
    sites = money.rates(draft, job.spec, where, shares) if where is not None else {}
    job = draft.change(
        job,
        state=JobState.RUNNING,
        partition=partition,
        nodes=shares,
        run=number,
        start_time=draft.now,
        end_time=None,
        reason=Reason.NONE,
        reason_text="",
        exit=Exit(),
        derived_exit=Exit(),
        killed_by=None,
        suspended_secs=0,
        suspend_time=None,
        stage_until=None,
        look=None,
        configuring=waits,
        rate=sum(sites.values()),
        sites=sites,
        egress=egress,
        last_eval=draft.now,
        eligible_time=job.eligible_time if job.eligible_time is not None else draft.now,
    )
    leases = [node.lease for node in (draft.node(share.node) for share in shares) if node is not None and node.lease]
    lease = min(leases) if leases and finish.may_requeue(job) else None
    draft.put_run(Run(job=job.id, run=number, head=shares[0].node, created=draft.now, lease=lease))
    for share in shares:
        node = draft.node(share.node)
        stage: Literal["", "in"] = "in" if node is not None and staging.needed(job.spec, node) else ""
        draft.put_part(Part(job=job.id, run=number, node=share.node, stage=stage))
        draft.effect(Prepare(job=job.id, run=number, node=share.node))
    if "BEGIN" in job.spec.mail_type or "ALL" in job.spec.mail_type:
        draft.effect(Mail(job=job.id, what="BEGIN"))
    return job
