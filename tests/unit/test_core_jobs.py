"""Lives of jobs as the real one was seen to lead them: states, reasons, exit codes, requeues, arrays, dependencies."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sbroker.api import Placement, Target
from sbroker.core.effects import Forget, Prepare, Start, Wake
from sbroker.core.events import Cancel, Hold, Requeue, Submit, Suspend, UpdateJob, UpdateNode, UpdatePartition
from sbroker.model import INFINITE, Dependency, DepItem, Exit, JobSpec, Partition
from sbroker.states import JobState, Reason, RunState
from tests.unit.core_cluster import ALICE, BOB, ROOT, Cluster, gpu


def dep(*items: tuple[Any, ...], any: bool = False) -> Dependency:
    return Dependency(items=tuple(DepItem(kind=item[0], job=item[1], task=item[2] if len(item) > 2 else None) for item in items), any=any)


def fill(cluster: Cluster) -> int:
    """A job that has all nodes."""
    return cluster.submit(name="hog", nodes_min=4, nodes_max=4, exclusive="node", time_limit=1800)


# -- the way of one job


def test_a_job_goes_from_submission_to_its_end() -> None:
    cluster = Cluster()
    decision = cluster.do(Submit(spec=JobSpec(name="job"), who=ALICE))
    assert decision.answer == [1]
    assert Prepare(job=1, run=0, node="node1") in decision.effects
    assert cluster.job(1).state is JobState.RUNNING
    assert cluster.state.runs[1].state is RunState.PREPARING
    assert cluster.report("node1", "held", 1).effects[0] == Start(job=1, run=0, node="node1")
    cluster.report("node1", "started", 1, pid=4)
    assert cluster.state.runs[1].state is RunState.STARTED
    cluster.now += 5
    cluster.report("node1", "ended", 1, code=0, signal=0, why="exit")
    job = cluster.job(1)
    assert job.state is JobState.COMPLETED
    assert job.completing
    assert job.end_time == 1005.0
    assert cluster.state.node_used("node1")[0] == 1
    effects = cluster.report("node1", "empty", 1).effects
    assert Forget(job=1, run=0, node="node1") in effects
    assert Wake(at=1305.0) in effects
    assert not cluster.job(1).completing
    assert cluster.state.node_used("node1") == (0, 0, {})
    assert list(cluster.state.node_jobs("node1")) == []


def test_all_parts_are_held_before_the_head_starts() -> None:
    cluster = Cluster()
    cluster.submit(nodes_min=2, nodes_max=2)
    assert not [effect for effect in cluster.report("node1", "held", 1).effects if isinstance(effect, Start)]
    assert Start(job=1, run=0, node="node1") in cluster.report("node2", "held", 1).effects


@pytest.mark.parametrize(
    ("code", "signal", "why", "state", "reason"),
    [
        (0, 0, "exit", JobState.COMPLETED, Reason.NONE),
        (3, 0, "exit", JobState.FAILED, Reason.NON_ZERO_EXIT),
        (0, 9, "exit", JobState.FAILED, Reason.FAIL_LAUNCH),
        (0, 53, "launch", JobState.FAILED, Reason.FAIL_LAUNCH),
        (0, 9, "time_limit", JobState.TIMEOUT, Reason.TIME_LIMIT),
        (0, 125, "oom", JobState.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
    ],
)
def test_how_a_run_ended(code: int, signal: int, why: str, state: JobState, reason: Reason) -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.end(job, code, signal, why)
    record = cluster.job(job)
    assert (record.state, record.reason, record.exit) == (state, reason, Exit(code=code, signal=signal))


def test_a_report_takes_effect_once() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.seqs["node1"] -= 1
    assert cluster.report("node1", "started", job).changes == []


def test_the_same_request_is_the_same_job() -> None:
    cluster = Cluster()
    event = Submit(spec=JobSpec(name="job"), who=ALICE, request_id="abc")
    assert cluster.do(event).answer == [1]
    again = cluster.do(event)
    assert again.answer == [1]
    assert again.changes == []


def test_ended_jobs_leave_after_min_job_age() -> None:
    cluster = Cluster(min_job_age=60)
    job = cluster.submit()
    cluster.finish(job)
    cluster.tick(59)
    assert job in cluster.state.jobs
    cluster.tick(1)
    assert job not in cluster.state.jobs
    assert not cluster.state.all_runs
    assert not cluster.state.parts


# -- cancel, requeue, hold


def test_cancelling_a_running_job() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.now += 3
    cluster.cancel(job)
    record = cluster.job(job)
    assert record.state is JobState.CANCELLED
    assert record.completing
    assert record.killed_by == 1001
    assert record.end_time == 1003.0
    cluster.now += 5
    cluster.end(job, 0, 9, "cancel")
    record = cluster.job(job)
    assert (record.exit, record.completing, record.end_time) == (Exit(signal=9), False, 1003.0)
    assert cluster.refusal(Cancel(targets=(Target(job=job),), who=ALICE)) == "already_done"


def test_a_run_that_is_not_held_everywhere_is_revoked() -> None:
    cluster = Cluster()
    job = cluster.submit(nodes_min=2, nodes_max=2)
    cluster.report("node1", "held", job)
    cluster.cancel(job)
    assert cluster.state.runs[job].state is RunState.REVOKED
    assert cluster.job(job).completing
    cluster.report("node1", "empty", job)
    assert cluster.job(job).completing
    cluster.report("node2", "refused", job, error="the run was revoked first")
    assert not cluster.job(job).completing


def test_only_the_owner_and_operators_cancel() -> None:
    cluster = Cluster()
    job = cluster.submit()
    event = Cancel(targets=(Target(job=job),), who=BOB)
    assert cluster.refusal(event) == "access_denied"
    assert cluster.refusal(Cancel(targets=(Target(job=99),), who=ALICE)) == "invalid_job_id"
    cluster.do(Cancel(targets=(Target(job=job), Target(job=99)), who=ROOT))
    assert cluster.job(job).state is JobState.CANCELLED


def test_a_signal_to_a_pending_job_is_told_to_come_back() -> None:
    cluster = Cluster()
    job = cluster.submit(hold=True)
    assert cluster.refusal(Cancel(targets=(Target(job=job),), who=ALICE, signal=10)) == "job_pending"


def test_a_requeued_job_waits_two_minutes() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    priority = cluster.job(job).priority
    cluster.do(Requeue(target=Target(job=job), who=ALICE))
    record = cluster.job(job)
    assert (record.state, record.completing, record.restarts, record.priority) == (JobState.PENDING, True, 1, priority)
    cluster.end(job, 0, 15, "requeue")
    record = cluster.job(job)
    assert (record.completing, record.nodes, record.reason, record.begin) == (False, (), Reason.BEGIN_TIME, 1121.0)
    cluster.tick(121)
    assert cluster.job(job).state is JobState.RUNNING
    assert cluster.job(job).run == 1


def test_releasing_a_requeued_job_ends_its_wait() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.finish(job)
    cluster.do(Requeue(target=Target(job=job), who=ALICE))
    assert cluster.job(job).state is JobState.PENDING
    cluster.hold(job, "")
    assert cluster.job(job).state is JobState.RUNNING


def test_requeuehold() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.do(Requeue(target=Target(job=job), who=ALICE, hold=True))
    cluster.end(job, 0, 15, "requeue")
    record = cluster.job(job)
    assert (record.reason, record.priority, record.restarts) == (Reason.REQUEUE_HOLD, 0, 1)
    cluster.hold(job, "")
    assert cluster.job(job).reason is Reason.BEGIN_TIME


def test_what_may_not_be_requeued() -> None:
    cluster = Cluster()
    assert cluster.refusal(Requeue(target=Target(job=cluster.submit(requeue=False)), who=ALICE)) == "disabled"
    assert cluster.refusal(Requeue(target=Target(job=cluster.submit(kind="alloc")), who=ALICE)) == "batch_only"
    assert cluster.refusal(Requeue(target=Target(job=cluster.submit(hold=True)), who=ALICE)) == "job_pending"


def test_holds_of_user_and_operator() -> None:
    cluster = Cluster()
    fill(cluster)
    job = cluster.submit()
    cluster.hold(job)
    assert (cluster.job(job).reason, cluster.job(job).priority) == (Reason.HELD_USER, 0)
    assert Wake(at=1001.0) in cluster.hold(job, "").effects
    assert cluster.job(job).reason is Reason.NONE
    cluster.tick(1)
    assert cluster.job(job).reason is Reason.RESOURCES
    cluster.hold(job, "user", ROOT)
    assert cluster.job(job).reason is Reason.HELD_USER
    cluster.hold(job, "admin", ROOT)
    cluster.hold(job, "user")  # the user's own does not take the operator's away
    assert cluster.job(job).reason is Reason.HELD_ADMIN
    assert cluster.refusal(Hold(target=Target(job=job), who=ALICE, held="")) == "access_denied"
    cluster.hold(job, "", ROOT)
    assert cluster.job(job).priority > 0


def test_a_suspension_keeps_the_reason() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    for hold, reason in (("", Reason.NONE), ("user", Reason.HELD_USER)):
        if hold:
            cluster.hold(job, hold)
        for suspend, state in ((True, JobState.SUSPENDED), (False, JobState.RUNNING)):
            cluster.do(Suspend(target=Target(job=job), who=ROOT, suspend=suspend))
            assert (cluster.job(job).state, cluster.job(job).reason) == (state, reason)


def test_suspended_jobs_give_their_cpus_back() -> None:
    cluster = Cluster()
    hog = fill(cluster)
    cluster.begin(hog)
    assert cluster.refusal(Suspend(target=Target(job=hog), who=ALICE)) == "access_denied"
    cluster.do(Suspend(target=Target(job=hog), who=ROOT))
    cluster.now += 10
    assert cluster.state.node_used("node1")[0] == 0
    cluster.do(Suspend(target=Target(job=hog), who=ROOT, suspend=False))
    assert cluster.job(hog).suspended_secs == 10
    assert cluster.state.node_used("node1")[0] == 8


# -- reasons


def test_reasons_of_waiting_jobs() -> None:
    cluster = Cluster()
    hog = fill(cluster)
    expected = {
        cluster.submit(ntasks=1): "Resources",
        cluster.submit(ntasks=1): "Priority",
        cluster.submit(ntasks=2): "Priority",
        cluster.submit(dependency=dep(("afterok", hog))): "Dependency",
        cluster.submit(hold=True): "JobHeldUser",
        cluster.submit(begin=5000.0): "BeginTime",
        cluster.submit(nodelist=("node1",)): "Priority",
        cluster.submit(partitions=("gpu",), time_limit=3 * 86400): "PartitionTimeLimit",
        cluster.submit(partitions=("gpu",), nodes_min=3, nodes_max=3): "PartitionNodeLimit",
        cluster.submit(nodes_min=99, nodes_max=99): "PartitionConfig",
        cluster.submit(ntasks=33): "PartitionConfig",
        cluster.submit(nodes_min=5, nodes_max=5): "PartitionNodeLimit",
        cluster.submit(array="1-10", array_tasks=tuple(range(1, 11)), array_limit=2): "Priority",
        cluster.submit(dependency=dep(("afterok", 999999))): "Priority",
        cluster.submit(name="sg", dependency=dep(("singleton", 0))): "Priority",
        cluster.submit(name="sg", dependency=dep(("singleton", 0))): "Dependency",
    }
    assert {key: why for key, why in cluster.reasons().items() if key != hog} == expected


def test_priorities_count_down_and_nice_takes_off() -> None:
    cluster = Cluster()
    first, second = cluster.submit(hold=True), cluster.submit()
    third = cluster.submit(nice=1000)
    priorities = [cluster.job(key).priority for key in (first, second, third)]
    assert priorities == [0, 4294901759, 4294901758 - 1000]


def test_a_partition_that_is_down_holds_its_jobs() -> None:
    cluster = Cluster()
    cluster.do(UpdatePartition(name="debug", who=ROOT, fields={"state": "DOWN"}))
    job = cluster.submit()
    assert cluster.job(job).reason is Reason.PARTITION_DOWN
    cluster.do(UpdatePartition(name="debug", who=ROOT, fields={"state": "UP"}))
    assert cluster.job(job).state is JobState.RUNNING


def test_a_node_asked_for_that_is_drained() -> None:
    cluster = Cluster()
    cluster.do(UpdateNode(node="node1", who=ROOT, state="drain", reason="x"))
    job = cluster.submit(nodelist=("node1",))
    assert (cluster.job(job).reason, cluster.job(job).reason_text) == (Reason.REQ_NODE_NOT_AVAIL, "ReqNodeNotAvail, UnavailableNodes:node1")
    cluster.do(UpdateNode(node="node1", who=ROOT, state="resume"))
    assert cluster.job(job).state is JobState.RUNNING


def test_a_short_job_goes_first_where_it_delays_nobody() -> None:
    cluster = Cluster()
    cluster.submit(nodes_min=3, nodes_max=3, exclusive="node", time_limit=600)
    wide = cluster.submit(nodes_min=4, nodes_max=4, exclusive="node", time_limit=600)
    assert cluster.state.estimate(wide) == 1600.0
    late = cluster.submit(time_limit=900)
    short = cluster.submit(time_limit=300)
    assert cluster.job(late).reason is Reason.PRIORITY
    assert cluster.job(short).state is JobState.RUNNING


def test_deadlines() -> None:
    cluster = Cluster()
    assert cluster.job(cluster.submit(deadline=1300.0, time_limit=600)).state is JobState.DEADLINE
    fill(cluster)
    job = cluster.submit(deadline=1300.0, time_limit=60)
    cluster.tick(240)
    assert (cluster.job(job).state, cluster.job(job).reason) == (JobState.DEADLINE, Reason.DEADLINE)


# -- submissions that are refused, and --test-only


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"partitions": ("nosuch",)}, "invalid_partition"),
        ({"partitions": ("debug", "nosuch")}, "invalid_partition"),
        ({"nodelist": ("nosuch",)}, "invalid_node_name"),
        ({"exclude": ("nosuch",)}, "invalid_node_name"),
        ({"nodelist": ("node1",), "exclude": ("node1",)}, "invalid_node_name"),
        ({"constraint": "nosuch"}, "invalid_feature"),
        ({"constraint": "cpu&"}, "invalid_feature"),
        ({"licenses": "foo"}, "invalid_licenses"),
        ({"reservation": "nosuch"}, "invalid_reservation"),
        ({"nice": -5}, "invalid_nice"),
        ({"time_min": 600, "time_limit": 300}, "invalid_time_min"),
        ({"nodes_min": 0, "nodes_max": 0}, "invalid_node_count"),
        ({"array": "0-200000", "array_tasks": (0, 200000)}, "invalid_array"),
        ({"cpus_per_task": 9}, "too_many_cpus"),
        ({"nodes_min": 1, "nodes_max": 1, "ntasks": 9}, "node_config"),
        ({"ntasks_per_node": 9}, "too_many_cpus"),
        ({"mincpus": 9}, "too_many_cpus"),
        ({"mem_per_node": 17000}, "memory"),
        ({"mem_per_cpu": 1 << 20}, "memory"),
        ({"tmp": 10}, "tmp_disk"),
        ({"threads_per_core": 2}, "sockets"),
        ({"gres": gpu(99)}, "node_config"),
        ({"gres": gpu(1, "bogus")}, "node_config"),
        ({"gpus": gpu(9)}, "node_config"),
        ({"ntasks": 2, "gpus_per_task": gpu(5)}, "node_config"),
        ({"partitions": ("gpu",), "nodelist": ("node1",)}, "node_config"),
        ({"constraint": "cpu", "gres": gpu(1)}, "node_config"),
        ({"constraint": "cpu&gpu"}, "node_config"),
        ({"constraint": "cpu", "nodes_min": 3, "nodes_max": 3}, "node_config"),
        ({"exclude": ("node1", "node2", "node3", "node4")}, "node_config"),
        ({"begin": 3000.0, "deadline": 2000.0}, "deadline_passed"),
    ],
)
def test_refusals(fields: dict[str, Any], code: str) -> None:
    assert Cluster().refusal(Submit(spec=JobSpec(name="x", **fields), who=ALICE)) == code


@pytest.mark.parametrize("fields", [{"cpus_per_task": 9}, {"mem_per_node": 1 << 20}, {"gres": gpu(99)}, {"nodes_min": 0, "nodes_max": 0}])
def test_a_held_job_is_not_asked_whether_it_could_run(fields: dict[str, Any]) -> None:
    cluster = Cluster()
    assert cluster.job(cluster.submit(hold=True, **fields)).reason is Reason.HELD_USER


def test_defaults_of_partition_and_user() -> None:
    cluster = Cluster()
    plain, timed = cluster.job(cluster.submit()), cluster.job(cluster.submit(partitions=("gpu",)))
    assert (plain.account, plain.qos, plain.time_limit, plain.partition) == ("lab", "normal", INFINITE, "debug")
    assert (timed.time_limit, timed.nodes[0].mem) == (3600, 1000)


def test_accounts_and_qos_that_nobody_knows() -> None:
    cluster = Cluster()
    job = cluster.job(cluster.submit(hold=True, account="nosuch", qos="nosuch"))
    assert (job.account, job.qos) == ("lab", "")
    assert cluster.job(cluster.submit(hold=True, account="other")).account == "other"


def test_rehearsal_changes_nothing() -> None:
    cluster = Cluster()
    decision = cluster.do(Submit(spec=JobSpec(name="x", nodes_min=4, nodes_max=4, exclusive="node"), who=ALICE, test=True))
    assert isinstance(decision.answer, Placement)
    assert decision.changes == []
    assert (decision.answer.cpus, decision.answer.start, len(decision.answer.nodes)) == (32, 1000.0, 4)
    fill(cluster)
    later = cluster.do(Submit(spec=JobSpec(name="x"), who=ALICE, test=True)).answer
    assert isinstance(later, Placement)
    assert later.start == 2800.0


def test_updates_and_who_may_make_them() -> None:
    cluster = Cluster()
    job = cluster.submit(time_limit=600)
    change = lambda who, **fields: UpdateJob(target=Target(job=job), who=who, changes=fields)
    assert cluster.refusal(change(ALICE, time_limit=1200)) == "access_denied"
    assert cluster.refusal(change(ALICE, partitions=("gpu",))) == "not_pending"
    assert cluster.refusal(change(BOB, name="mine")) == "access_denied"
    assert cluster.refusal(change(ALICE, bogus=1)) == "invalid_update"
    cluster.do(change(ALICE, time_limit=300))
    cluster.do(change(ROOT, time_limit=1200))
    cluster.do(change(ALICE, name="new"))
    assert (cluster.job(job).time_limit, cluster.job(job).spec.name) == (1200, "new")
    cluster.finish(job)
    assert cluster.refusal(change(ALICE, time_limit=60)) == "job_finished"


def test_a_partition_of_a_group():
    only = Partition(name="debug", default=True, nodes=("node1",), allow_groups=("ml",))
    cluster = Cluster(parts=(only,))
    assert cluster.refusal(Submit(spec=JobSpec(name="job"), who=ALICE)) == "group"
    cluster.submit(who=msgspec.structs.replace(ALICE, groups=("alice", "ml")))
