"""Files of nodes that do not share the submit host's: what a run waits for, and what waits for a run's files."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sbroker.api import Target
from sbroker.core.effects import Decision, End, StageIn, StageOut, Start
from sbroker.core.events import Cancel, Fence, Silent, Staged, StagedOut, Submit
from sbroker.core.explain import explain, stuck
from sbroker.core.staging import below, needed
from sbroker.errors import Refused
from sbroker.model import Dependency, DepItem, JobSpec, Node
from sbroker.states import JobState, PartState, Reason, RunState
from tests.unit.core_cluster import ALICE, BOB, Cluster, machines


def apart(**fields: object) -> Cluster:
    """The cluster whose nodes have nothing of the submit host's but /shared."""
    return Cluster(nodes=tuple(replace(node, shared_fs=("/shared",), **fields) for node in machines()), stage_out_grace=600)


def kinds(decision: Decision, kind: type) -> list[str]:
    return [effect.node for effect in decision.effects if type(effect) is kind]


def held(cluster: Cluster, job: int) -> Decision:
    for share in cluster.job(job).nodes:
        decision = cluster.report(share.node, "held", job)
    return decision


def staged(cluster: Cluster, job: int, node: str, error: str = "", final: bool = False) -> Decision:
    return cluster.do(Staged(job=job, run=cluster.job(job).run, node=node, error=error, final=final))


def back(cluster: Cluster, job: int, node: str, error: str = "", note: str = "") -> Decision:
    return cluster.do(StagedOut(job=job, run=cluster.job(job).run, node=node, error=error, note=note))


def begun(cluster: Cluster, **fields: object) -> int:
    """A job that runs, its files staged in."""
    job = cluster.submit(work_dir="/home/alice/p", **fields)
    held(cluster, job)
    for share in cluster.job(job).nodes:
        staged(cluster, job, share.node)
    cluster.report(cluster.job(job).nodes[0].node, "started", job, pid=1)
    return job


def test_a_path_is_shared_by_whole_names() -> None:
    node = Node(name="n", site="s", shared_fs=("/shared/", "/data"))
    assert not needed(JobSpec(name="j", work_dir="/shared/p"), node)
    assert not needed(JobSpec(name="j", work_dir="/data"), node)
    assert needed(JobSpec(name="j", work_dir="/database"), node)
    assert needed(JobSpec(name="j", work_dir="/"), node)
    assert not needed(JobSpec(name="j", work_dir="/x"), Node(name="n", site="s"))
    assert needed(JobSpec(name="j", work_dir="/x"), Node(name="n", site="s", shared_fs=False))
    assert below("/x", "/")


def test_a_run_starts_when_its_files_are_on_all_nodes() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/home/alice/p", nodes_min=2, nodes_max=2, ntasks=2)
    decision = held(cluster, job)
    assert (kinds(decision, StageIn), kinds(decision, Start)) == (["node1", "node2"], [])
    assert cluster.job(job).configuring
    assert kinds(staged(cluster, job, "node2"), Start) == []
    assert kinds(staged(cluster, job, "node2"), Start) == []
    assert kinds(staged(cluster, job, "node1"), Start) == ["node1"]
    assert not cluster.job(job).configuring
    assert kinds(staged(cluster, job, "node1"), Start) == []


def test_a_job_in_a_shared_folder_is_not_staged() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/shared/p")
    assert kinds(held(cluster, job), Start) == ["node1"]
    assert not cluster.job(job).configuring
    cluster.report("node1", "started", job, pid=1)
    cluster.end(job)
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.COMPLETED, False)


def test_an_agent_that_comes_back_is_asked_again() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/home/alice/p")
    held(cluster, job)
    decision = cluster.hello("node1", (job, 0, "HELD"))
    assert (kinds(decision, StageIn), kinds(decision, Start)) == (["node1"], [])
    staged(cluster, job, "node1")
    decision = cluster.hello("node1", (job, 0, "HELD"))
    assert (kinds(decision, StageIn), kinds(decision, Start)) == ([], ["node1"])
    cluster.report("node1", "started", job, pid=1)
    cluster.end(job)
    assert kinds(cluster.hello("node1"), StageOut) == ["node1"]


def test_a_job_completes_until_its_files_are_back() -> None:
    cluster = apart()
    job = begun(cluster, ntasks=8)
    after = cluster.submit(dependency=Dependency(items=(DepItem(kind="afterok", job=job),)))
    cluster.report("node1", "ended", job, code=0, signal=0, why="exit")
    assert kinds(cluster.report("node1", "empty", job), StageOut) == ["node1"]
    record = cluster.job(job)
    assert (record.state, record.completing) == (JobState.COMPLETED, True)
    assert cluster.state.node_used("node1")[0] == 8
    assert cluster.job(after).deps_left is not None
    back(cluster, job, "node1", note="a was changed on both sides")
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason_text) == (JobState.COMPLETED, False, "a was changed on both sides")
    assert cluster.job(after).deps_left is None
    assert cluster.job(after).state is JobState.RUNNING


def test_a_requeued_job_waits_for_its_files() -> None:
    cluster = apart()
    job = begun(cluster)
    cluster.report("node1", "lost", job)
    cluster.report("node1", "empty", job)
    cluster.tick(200)
    assert (cluster.job(job).state, cluster.job(job).completing, cluster.job(job).run) == (JobState.PENDING, True, 0)
    back(cluster, job, "node1")
    cluster.tick()
    assert (cluster.job(job).state, cluster.job(job).run) == (JobState.RUNNING, 1)


def test_what_cannot_be_staged_now_is_held_and_what_never_can_fails() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/home/alice/p", nodes_min=2, nodes_max=2, ntasks=2)
    held(cluster, job)
    decision = staged(cluster, job, "node2", "the disk is full")
    assert sorted(kinds(decision, End)) == ["node1", "node2"]
    record = cluster.job(job)
    assert (record.state, record.held, record.reason) == (JobState.PENDING, "user", Reason.LAUNCH_FAILED_HELD)
    assert record.reason_text == "launch failed requeued held: node2: the disk is full"
    for node in ("node1", "node2"):
        assert kinds(cluster.report(node, "empty", job), StageOut) == []
    assert not cluster.job(job).completing
    other = cluster.submit(work_dir="/home/alice/p")
    held(cluster, other)
    staged(cluster, other, "node1", "11 GB are more than stage_limit", final=True)
    record = cluster.job(other)
    assert (record.state, record.reason, record.reason_text) == (JobState.FAILED, Reason.FAIL_LAUNCH, "node1: 11 GB are more than stage_limit")
    assert record.exit.code == 1


def test_a_job_cancelled_while_it_is_staged_never_starts() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/home/alice/p")
    held(cluster, job)
    cluster.cancel(job)
    assert kinds(staged(cluster, job, "node1"), Start) == []
    cluster.report("node1", "empty", job)
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.CANCELLED, False)
    assert cluster.state.parts[job][0, "node1"].state is PartState.EMPTY


def test_files_that_do_not_come_back_keep_the_node_for_the_grace() -> None:
    cluster = apart()
    job = begun(cluster)
    cluster.end(job)
    back(cluster, job, "node1", "/home is full")
    record = cluster.job(job)
    assert (record.completing, record.reason_text, record.stage_until) == (True, "node1: /home is full", cluster.now + 600)
    cluster.tick(599)
    back(cluster, job, "node1", "/home is full")
    assert cluster.job(job).completing
    cluster.tick(1)
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason) == (JobState.FAILED, False, Reason.STAGE_OUT_FAIL)
    assert (record.reason_text, record.exit.code) == ("node1: /home is full", 1)
    assert cluster.state.node_used("node1")[0] == 0


def test_the_grace_of_a_site_counts_before_the_clusters() -> None:
    cluster = apart(stage_out_grace=5)
    job = begun(cluster)
    cluster.end(job)
    back(cluster, job, "node1", "/home is full")
    cluster.tick(5)
    assert cluster.job(job).reason is Reason.STAGE_OUT_FAIL


def test_a_lease_that_is_over_says_nothing_of_files_that_wait() -> None:
    cluster = apart(lease=200)
    job = begun(cluster)
    assert cluster.state.runs[job].lease == 200
    cluster.report("node1", "ended", job, code=0)
    cluster.report("node1", "empty", job)
    cluster.do(Silent(node="node1", seconds=300))
    assert cluster.state.parts[job][0, "node1"].state is PartState.LEAVING
    cluster.hello("node1")
    back(cluster, job, "node1")
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.COMPLETED, False)


def test_a_silent_node_with_files_is_waited_for_and_one_that_is_gone_is_not() -> None:
    cluster = apart()
    job = begun(cluster)
    cluster.end(job)
    cluster.do(Silent(node="node1", seconds=300))
    assert cluster.job(job).stage_until == cluster.now + 600
    cluster.hello("node1")
    assert (cluster.job(job).stage_until, cluster.job(job).reason_text) == (None, "")
    cluster.do(Fence(node="node1", proof="machine gone"))
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason) == (JobState.FAILED, False, Reason.STAGE_OUT_FAIL)
    assert record.reason_text == "node1 is gone, and with it files of the job"
    assert cluster.state.runs[job].state is RunState.ENDED


def test_a_site_that_takes_no_files_gets_no_job_that_needs_them() -> None:
    nodes = tuple(replace(node, shared_fs=("/shared",), stage=node.name != "node1") for node in machines())
    cluster = Cluster(nodes=nodes)
    job = cluster.submit(work_dir="/home/alice/p")
    assert [share.node for share in cluster.job(job).nodes] == ["node2"]
    shared = cluster.submit(work_dir="/shared/p")
    assert [share.node for share in cluster.job(shared).nodes] == ["node1"]
    waits = cluster.submit(work_dir="/home/alice/p", nodes_min=4, nodes_max=4, ntasks=4, hold=True)
    assert any("node1: does not share /home/alice/p, and its site does not let files be staged" in line for line in explain(cluster.state, cluster.job(waits), cluster.now))
    assert cluster.refusal(Submit(spec=JobSpec(name="j", work_dir="/home/alice/p", nodelist=("node1",)), who=ALICE)) == "policy"
    none = Cluster(nodes=tuple(replace(node, shared_fs=False, stage=False) for node in machines()))
    assert none.refusal(Submit(spec=JobSpec(name="j", work_dir="/home/alice/p"), who=ALICE)) == "policy"


def test_explain_tells_of_files_on_their_way() -> None:
    cluster = apart()
    job = cluster.submit(work_dir="/home/alice/p")
    held(cluster, job)
    assert "Its files are being brought to node1: it starts when they are there." in explain(cluster.state, cluster.job(job), cluster.now)
    staged(cluster, job, "node1")
    cluster.report("node1", "started", job, pid=1)
    cluster.end(job)
    assert "Its files are being brought back from node1: it is not over before." in explain(cluster.state, cluster.job(job), cluster.now)


def test_a_grace_that_is_over_is_over_though_another_node_still_works() -> None:
    cluster = apart()
    job = begun(cluster, nodes_min=2, nodes_max=2, ntasks=2)
    cluster.report("node1", "ended", job, code=0, signal=0, why="exit")
    cluster.report("node1", "empty", job)
    back(cluster, job, "node1", "/home is full")
    cluster.tick(600)
    record = cluster.job(job)
    assert (record.completing, record.stage_until, job in cluster.state.due_of) == (True, None, False)
    cluster.report("node2", "empty", job)
    back(cluster, job, "node2")
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason, record.reason_text) == (JobState.FAILED, False, Reason.STAGE_OUT_FAIL, "node1: /home is full")


def test_what_can_never_come_back_is_lost_at_once() -> None:
    cluster = apart()
    job = begun(cluster, ntasks=8)
    after = cluster.submit(dependency=Dependency(items=(DepItem(kind="afterany", job=job),)))
    cluster.report("node1", "ended", job, code=0, signal=0, why="exit")
    cluster.report("node1", "empty", job)
    cluster.do(StagedOut(job=job, run=0, node="node1", error="1 TB is more than stage_limit", final=True))
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason) == (JobState.FAILED, False, Reason.STAGE_OUT_FAIL)
    assert record.reason_text == "node1: 1 TB is more than stage_limit"
    assert cluster.job(after).state is JobState.RUNNING and cluster.job(after).nodes[0].node == "node1"


def test_who_cancels_a_completing_job_does_not_wait_for_its_files() -> None:
    cluster = apart()
    job = begun(cluster, nodes_min=2, nodes_max=2, ntasks=2)
    cluster.report("node1", "ended", job, code=0, signal=0, why="exit")
    cluster.report("node1", "empty", job)
    with pytest.raises(Refused):
        cluster.do(Cancel(targets=(Target(job=job),), who=BOB))
    cluster.do(Cancel(targets=(Target(job=job),), who=ALICE))
    assert cluster.job(job).completing  # node2 has not ended yet
    cluster.report("node2", "empty", job)
    back(cluster, job, "node2")
    record = cluster.job(job)
    assert (record.state, record.completing, record.reason) == (JobState.FAILED, False, Reason.STAGE_OUT_FAIL)
    assert record.reason_text.startswith("node1: cancelled while the files were brought back")
    with pytest.raises(Refused):
        cluster.do(Cancel(targets=(Target(job=job),), who=ALICE))


def test_files_that_do_not_come_back_are_a_reason_to_stop_waiting() -> None:
    cluster = apart()
    job = begun(cluster)
    cluster.cancel(job)
    cluster.report("node1", "ended", job, why="cancel")
    cluster.report("node1", "empty", job)
    assert stuck(cluster.state, cluster.job(job)) == ""
    back(cluster, job, "node1", "No space left on device on the submit host")
    said = stuck(cluster.state, cluster.job(job))
    assert said.startswith("Files of job 1 do not come back: node1: No space left") and said.endswith("scancel 1")


def test_a_job_cancelled_twice_is_over() -> None:
    cluster = apart()
    job = begun(cluster)
    cluster.do(Cancel(targets=(Target(job=job),), who=ALICE))
    cluster.report("node1", "ended", job, why="cancel")
    assert kinds(cluster.report("node1", "empty", job), StageOut) == ["node1"]
    cluster.do(Cancel(targets=(Target(job=job),), who=ALICE))
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.CANCELLED, False)
