"""Silence, fencing, reboots, and what an agent that comes back is told."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from sbroker.api import Target
from sbroker.core.effects import End, Lose, Prepare, Revoke, Start
from sbroker.core.events import Configure, Fence, Hello, Hold, Requeue, Silent, UpdateNode
from sbroker.core.explain import explain, stuck
from sbroker.core.state import State
from sbroker.model import Node, Partition
from sbroker.states import JobState, NodeState, PartState, Reason, RunState
from tests.unit.core_cluster import ALICE, ROOT, Cluster, gpu, machines, partitions


def silence(cluster: Cluster, node: str) -> None:
    cluster.now += 300
    cluster.do(Silent(node=node, seconds=300))


def test_a_short_silence_means_nothing() -> None:
    cluster = Cluster()
    cluster.begin(cluster.submit())
    cluster.do(Silent(node="node1", seconds=299))
    assert cluster.state.nodes["node1"].state is NodeState.IDLE
    assert cluster.job(1).state is JobState.RUNNING


def test_a_job_of_a_silent_node_waits_until_it_is_fenced() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    silence(cluster, "node1")
    record = cluster.job(job)
    assert cluster.state.nodes["node1"].state is NodeState.DOWN
    assert (record.state, record.completing, record.reason) == (JobState.PENDING, True, Reason.WAITING_FENCE)
    assert record.reason_text == "waiting until node1 is fenced"
    assert cluster.state.node_used("node1")[0] == 1
    cluster.do(Fence(node="node1", proof="boot id changed"))
    assert cluster.job(job).reason is Reason.BEGIN_TIME
    cluster.tick(121)
    record = cluster.job(job)
    assert (record.state, record.run, record.nodes[0].node) == (JobState.RUNNING, 1, "node2")
    assert cluster.state.all_runs[job, 0].state is RunState.LOST
    assert cluster.state.parts[job][0, "node1"].state is PartState.FENCED


def test_a_job_that_may_not_be_requeued_fails() -> None:
    cluster = Cluster()
    job = cluster.submit(requeue=False)
    cluster.begin(job)
    silence(cluster, "node1")
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.NODE_FAIL, True)
    cluster.do(Fence(node="node1", proof="gone"))
    assert not cluster.job(job).completing


def test_a_node_that_comes_back_ends_what_was_given_up() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    silence(cluster, "node1")
    effects = cluster.hello("node1", (job, 0, "ACTIVE")).effects
    assert End(job=job, run=0, node="node1", why="node_fail") in effects
    assert cluster.state.nodes["node1"].state is NodeState.IDLE
    cluster.report("node1", "ended", job, 0, code=0, signal=15, why="node_fail")
    cluster.report("node1", "empty", job, 0)
    cluster.tick(121)
    assert (cluster.job(job).state, cluster.job(job).run) == (JobState.RUNNING, 1)


def test_orders_are_repeated_when_an_agent_says_hello() -> None:
    cluster = Cluster()
    job = cluster.submit(nodes_min=2, nodes_max=2)
    assert Prepare(job=job, run=0, node="node1") in cluster.hello("node1").effects
    cluster.report("node1", "held", job)
    cluster.report("node2", "held", job)
    assert Start(job=job, run=0, node="node1") in cluster.hello("node1", (job, 0, "HELD")).effects
    assert not [effect for effect in cluster.hello("node2", (job, 0, "HELD")).effects if isinstance(effect, Start)]
    cluster.cancel(job)
    assert End(job=job, run=0, node="node2", why="cancel", uid=1001) in cluster.hello("node2", (job, 0, "ACTIVE")).effects


def test_what_somebody_has_to_mend_is_the_nodes_reason_until_it_answers() -> None:
    cluster = Cluster()
    cluster.do(Silent(node="node1", fault="node1: the key of the host is not known"))
    node = cluster.state.nodes["node1"]
    assert (node.state, node.reason) == (NodeState.DOWN, "node1: the key of the host is not known")
    cluster.do(Silent(node="node1", fault="node1 has no Python"))
    assert cluster.state.nodes["node1"].reason == "node1 has no Python"
    cluster.do(Hello(node="node1", incarnation="folder:boot", boot_id="boot"))
    node = cluster.state.nodes["node1"]
    assert (node.state, node.reason, node.fault) == (NodeState.IDLE, "", False)


def test_a_fault_of_the_way_to_a_node_does_not_end_what_runs_there() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.do(Silent(node="node1", fault="node1 does not let us in"))
    assert cluster.state.nodes["node1"].state is NodeState.IDLE
    assert cluster.job(job).state is JobState.RUNNING


def test_a_fault_leaves_an_operators_word_alone() -> None:
    cluster = Cluster()
    cluster.do(UpdateNode(node="node1", who=ROOT, state="drain", reason="disk"))
    cluster.do(Silent(node="node1", fault="node1 has no Python"))
    assert cluster.state.nodes["node1"].reason == "disk"
    cluster.do(UpdateNode(node="node2", who=ROOT, state="down", reason="mine"))
    cluster.do(Silent(node="node2", fault="node2 has no Python"))
    cluster.do(Hello(node="node2", incarnation="folder:boot", boot_id="boot"))
    assert (cluster.state.nodes["node2"].state, cluster.state.nodes["node2"].reason) == (NodeState.DOWN, "mine")


def test_a_job_may_ask_anything_of_nodes_that_have_not_said_how_big_they_are() -> None:
    cluster = Cluster((Node(name="far", site="lab", measured=True),), (Partition(name="debug", default=True, nodes=("far",)),))
    job = cluster.submit(cpus_per_task=12, gres=gpu(2))
    assert cluster.job(job).state is JobState.PENDING
    cluster.do(Hello(node="far", incarnation="folder:boot", boot_id="boot", inventory={"cpus": 12, "memory": 31000, "gres": {"gpu": 2}}))
    cluster.tick(1)
    assert cluster.job(job).nodes[0].node == "far"


def test_a_node_configured_without_a_size_takes_the_machines() -> None:
    bare = Node(name="here", site="local", measured=True)
    cluster = Cluster((bare, *machines()), (Partition(name="debug", default=True, nodes=("here",)),))
    told = {
        "cpus": 12,
        "sockets": 1,
        "cores_per_socket": 12,
        "threads_per_core": 1,
        "memory": 31000,
        "gres": {"gpu": 2},
        "load": 0.5,
        "arch": "x86_64",
    }
    cluster.do(Hello(node="here", incarnation="folder:boot", boot_id="boot", inventory=told))
    node = cluster.state.nodes["here"]
    assert (node.cpus, node.memory, node.load, node.gres) == (12, 31000, 0.5, gpu(2))
    cluster.do(Hello(node="node1", incarnation="folder:boot", boot_id="boot", inventory=told))
    assert (cluster.state.nodes["node1"].cpus, cluster.state.nodes["node1"].arch) == (8, "x86_64")
    cluster.do(Configure(nodes=(bare, *machines()), partitions=(Partition(name="debug", default=True, nodes=("here",)),)))
    assert cluster.state.nodes["here"].cpus == 12


def test_strangers_are_ended() -> None:
    cluster = Cluster()
    effects = cluster.hello("node1", (7, 0, "HELD"), (8, 1, "ACTIVE")).effects
    assert Revoke(job=7, run=0, node="node1") in effects
    assert End(job=8, run=1, node="node1", why="node_fail") in effects


def test_a_new_boot_with_a_new_folder_is_a_fence() -> None:
    cluster = Cluster()
    job = cluster.submit(requeue=False)
    cluster.begin(job)
    cluster.hello("node1", boot="other")
    assert cluster.job(job).state is JobState.RUNNING  # the folder is the same: the agent will tell
    cluster.hello("node1", boot="third", folder="new")
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.NODE_FAIL, False)


def test_a_lost_supervisor_is_never_tried_under_the_same_run() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    cluster.report("node1", "lost", job)
    assert cluster.state.runs[job].state is RunState.LOST
    assert cluster.job(job).completing
    cluster.report("node1", "empty", job, 0)
    cluster.tick(121)
    assert (cluster.job(job).state, cluster.job(job).run, cluster.job(job).restarts) == (JobState.RUNNING, 1, 1)


def leased(*names: str) -> tuple[Node, ...]:
    return tuple(replace(node, lease=200) if node.name in names else node for node in machines())


def test_a_run_that_may_be_run_again_has_the_lease_of_its_nodes() -> None:
    cluster = Cluster(leased("node2"))
    runs = cluster.state.runs
    wide, narrow = cluster.submit(nodes_min=2, nodes_max=2), cluster.submit(nodelist=("node1",))
    single, session = cluster.submit(nodelist=("node2",), requeue=False), cluster.submit(nodelist=("node2",), kind="alloc")
    assert [runs[job].lease for job in (wide, narrow, single, session)] == [200, None, None, None]


def test_a_run_is_fenced_when_its_lease_is_surely_over() -> None:
    cluster = Cluster(leased("node1", "node2"))
    job, once = cluster.submit(nodelist=("node1",)), cluster.submit(nodelist=("node1",), requeue=False)
    cluster.begin(job)
    cluster.begin(once)
    cluster.do(Silent(node="node1", seconds=259))  # not lost yet, by lost_after
    assert cluster.job(job).state is JobState.RUNNING
    cluster.now += 300
    cluster.do(Silent(node="node1", seconds=300))
    assert cluster.state.parts[job][0, "node1"].state is PartState.FENCED
    assert (cluster.job(job).state, cluster.job(job).completing, cluster.job(job).reason) == (JobState.PENDING, False, Reason.BEGIN_TIME)
    assert cluster.state.parts[once][0, "node1"].state is PartState.ACTIVE  # it goes on over there, for all we know
    assert (cluster.job(once).state, cluster.job(once).completing) == (JobState.NODE_FAIL, True)


def test_a_lost_node_alone_does_not_end_a_lease() -> None:
    cluster = Cluster(leased("node1"), lost_after=100)
    job = cluster.submit(nodelist=("node1",))
    cluster.begin(job)
    for seconds, state in ((100, PartState.ACTIVE), (259, PartState.ACTIVE), (260, PartState.FENCED)):
        cluster.do(Silent(node="node1", seconds=seconds))
        assert cluster.state.parts[job][0, "node1"].state is state
    effects = cluster.hello("node1", (job, 0, "ACTIVE")).effects  # its agent was cut off while the supervisor ended the run
    assert End(job=job, run=0, node="node1", why="node_fail") in effects


def lose(cluster: Cluster, job: int) -> None:
    """Its supervisor dies, and what it left is cleared."""
    run = cluster.job(job).run
    cluster.begin(job)
    cluster.report("node1", "lost", job, run)
    cluster.report("node1", "empty", job, run)


def test_steps_of_a_run_that_is_lost_have_ended() -> None:
    for fence in (False, True):
        cluster = Cluster()
        job = cluster.submit()
        cluster.begin(job)
        cluster.report("node1", "step_start", job, step=-5, name="batch", nodes=["node1"])
        if fence:
            silence(cluster, "node1")
            changes = cluster.do(Fence(node="node1", proof="seen")).changes
        else:
            changes = cluster.report("node1", "lost", job).changes
        (step,) = [change.value for change in changes if change.table == "step"]
        assert (step.state, step.end_time) == (JobState.CANCELLED, cluster.now)


def test_a_job_whose_runs_are_lost_again_and_again_is_held() -> None:
    cluster = Cluster(max_requeue=2)
    job = cluster.submit()
    for again in range(2):
        lose(cluster, job)
        assert (cluster.job(job).state, cluster.job(job).held) == (JobState.PENDING, "")
        cluster.tick(121)
        assert (cluster.job(job).state, cluster.job(job).run) == (JobState.RUNNING, again + 1)
    lose(cluster, job)
    record = cluster.job(job)
    assert (record.state, record.held, record.priority) == (JobState.PENDING, "admin", 0)
    assert (record.reason.value, record.reason_text) == ("JobHoldMaxRequeue", "its run was lost 3 times, last on node1")
    cluster.tick(1000)
    assert cluster.job(job).state is JobState.PENDING
    assert cluster.refusal(Hold(target=Target(job=job), who=ALICE, held="")) == "access_denied"
    cluster.hold(job, "", ROOT)
    assert (cluster.job(job).state, cluster.job(job).run, cluster.job(job).restarts) == (JobState.RUNNING, 3, 3)
    lose(cluster, job)  # it is counted anew
    assert (cluster.job(job).state, cluster.job(job).held) == (JobState.PENDING, "")


def test_requeues_that_somebody_asks_for_are_not_counted() -> None:
    cluster = Cluster(max_requeue=1)
    job = cluster.submit()
    lose(cluster, job)
    cluster.tick(121)
    cluster.begin(job)
    cluster.do(Requeue(target=Target(job=job), who=ALICE))
    cluster.report("node1", "empty", job, 1)
    cluster.tick(121)
    lose(cluster, job)
    assert (cluster.job(job).state, cluster.job(job).held) == (JobState.PENDING, "")


def test_a_job_held_for_its_losses_stays_so_when_its_node_is_fenced() -> None:
    cluster = Cluster(max_requeue=0)
    job = cluster.submit()
    cluster.begin(job)
    for _ in range(2):
        cluster.do(Silent(node="node1", seconds=1000))
    assert (cluster.job(job).reason.value, cluster.job(job).completing) == ("JobHoldMaxRequeue", True)
    cluster.do(Fence(node="node1", proof="seen"))
    assert (cluster.job(job).reason.value, cluster.job(job).held, cluster.job(job).completing) == ("JobHoldMaxRequeue", "admin", False)


def test_a_launch_that_is_refused_holds_the_job() -> None:
    cluster = Cluster()
    job = cluster.submit(nodes_min=2, nodes_max=2)
    effects = cluster.report("node2", "refused", job, error="no such user").effects
    assert Revoke(job=job, run=0, node="node1") in effects
    cluster.report("node1", "empty", job, 0)
    record = cluster.job(job)
    assert (record.state, record.reason, record.completing) == (JobState.PENDING, Reason.LAUNCH_FAILED_HELD, False)
    assert "no such user" in record.reason_text
    cluster.hold(job, "", ROOT)
    assert cluster.job(job).state is JobState.RUNNING
    assert cluster.job(job).restarts == 0


def test_an_allocation_whose_launch_is_refused_says_why() -> None:
    cluster = Cluster()
    job = cluster.submit(kind="alloc")
    cluster.report("node1", "refused", job, error="/var/lib: No space left on device", fault="node")
    record = cluster.job(job)
    assert (record.state, record.reason_text) == (JobState.FAILED, "node1: /var/lib: No space left on device")


def test_a_node_that_fails_launch_after_launch_is_drained_and_its_jobs_run_elsewhere() -> None:
    """What is the node's fault costs no job anything: it is neither held nor counted among the requeues that it may have."""
    cluster = Cluster(max_requeue=0)
    job = cluster.submit()
    for run in range(3):
        assert [share.node for share in cluster.job(job).nodes] == ["node1"]
        assert not cluster.state.nodes["node1"].drain
        cluster.report("node1", "refused", job, run, error="/var/lib: No space left on device", fault="node")
    node = cluster.state.nodes["node1"]
    assert (node.drain, node.reason) == (True, "3 launches failed: /var/lib: No space left on device")
    record = cluster.job(job)
    assert (record.state, [share.node for share in record.nodes]) == (JobState.RUNNING, ["node2"])
    assert (record.held, record.requeues, record.restarts) == ("", 0, 0)
    cluster.begin(job)
    cluster.do(UpdateNode(node="node1", who=ROOT, state="resume"))
    assert (cluster.state.nodes["node1"].drain, cluster.state.nodes["node1"].failed_launches) == (False, 0)


def test_failed_launches_count_only_one_after_the_other() -> None:
    cluster = Cluster()
    for _ in range(4):
        job = cluster.submit(nodelist=("node1",), exclusive=True)
        cluster.report("node1", "refused", job, 0, error="disk", fault="node")
        cluster.begin(job)
        cluster.finish(job)
        assert not cluster.state.nodes["node1"].drain


def test_an_operator_takes_a_node_down_and_up() -> None:
    cluster = Cluster()
    job = cluster.submit()
    cluster.begin(job)
    effects = cluster.do(UpdateNode(node="node1", who=ROOT, state="down", reason="broken")).effects
    assert End(job=job, run=0, node="node1", why="node_fail") in effects
    cluster.hello("node1", (job, 0, "ACTIVE"))
    assert cluster.state.nodes["node1"].state is NodeState.DOWN  # an operator's word stands
    cluster.do(UpdateNode(node="node1", who=ROOT, state="resume"))
    assert (cluster.state.nodes["node1"].state, cluster.state.nodes["node1"].reason) == (NodeState.IDLE, "")
    assert cluster.refusal(UpdateNode(node="node1", who=ROOT, state="resume")) == "invalid_node_state"


def test_nodes_that_are_not_configured_any_more_go_when_they_are_empty() -> None:
    cluster = Cluster()
    job = cluster.submit()
    rest = tuple(node for node in machines() if node.name != "node1")
    cluster.do(Configure(nodes=rest, partitions=partitions()))
    assert cluster.state.nodes["node1"].drain
    cluster.finish(job)
    cluster.do(Configure(nodes=rest, partitions=partitions()))
    assert "node1" not in cluster.state.nodes


def test_a_node_that_does_not_answer_gets_no_new_work_and_is_told_of() -> None:
    cluster = Cluster()
    job = cluster.submit(nodelist=("node1",))
    cluster.begin(job)
    cluster.do(Silent(node="node1", seconds=9))
    assert cluster.state.nodes["node1"].silent is None
    cluster.do(Silent(node="node1", seconds=40))
    cluster.now += 5
    cluster.do(Silent(node="node1", seconds=45))
    node = cluster.state.nodes["node1"]
    assert (node.state, node.silent) == (NodeState.IDLE, 960.0)
    since = "node1 has not answered since %s." % datetime.fromtimestamp(960).strftime("%Y-%m-%dT%H:%M:%S")
    assert explain(cluster.state, cluster.job(job), cluster.now) == ["Job 1 runs on node1.", "How it is there is not known: " + since]
    waits = cluster.submit(nodelist=("node1",))
    assert cluster.job(waits).state is JobState.PENDING
    assert any(line.startswith("node1: not responding since") for line in explain(cluster.state, cluster.job(waits), cluster.now))
    assert cluster.job(cluster.submit()).nodes[0].node == "node2"
    cluster.hello("node1", (job, 0, "ACTIVE"))
    assert cluster.state.nodes["node1"].silent is None
    assert cluster.job(waits).nodes[0].node == "node1"


def test_an_operator_may_say_that_a_silent_node_is_off() -> None:
    """What nobody can ask is asked of who stands before it: nothing of a run is left there then."""
    cluster = Cluster()
    job = cluster.submit(nodelist=("node1",), requeue=False)
    cluster.begin(job)
    cluster.cancel(job)
    assert stuck(cluster.state, cluster.job(job)) == ""
    cluster.do(Silent(node="node1", seconds=40))
    assert stuck(cluster.state, cluster.job(job)).startswith("Job 1 may still be on node1, which has not answered since")
    assert "scontrol update nodename=node1 state=down" in stuck(cluster.state, cluster.job(job))
    assert cluster.job(job).completing
    cluster.do(UpdateNode(node="node1", who=ROOT, state="down", reason="off"))
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.CANCELLED, False)
    assert cluster.state.parts[job][0, "node1"].state is PartState.FENCED
    assert End(job=job, run=0, node="node1", why="node_fail") in cluster.hello("node1", (job, 0, "ACTIVE")).effects


def test_a_node_that_answers_is_asked_itself() -> None:
    cluster = Cluster()
    job = cluster.submit(requeue=False)
    cluster.begin(job)
    cluster.do(UpdateNode(node="node1", who=ROOT, state="down", reason="mine"))
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.NODE_FAIL, True)
    assert cluster.state.parts[job][0, "node1"].state is PartState.ACTIVE


def wide(cluster: Cluster, **fields: object) -> int:
    job = cluster.submit(nodes_min=2, nodes_max=2, no_kill=True, requeue=False, **fields)
    cluster.begin(job)
    return job


def test_a_job_that_is_not_to_be_killed_goes_on_without_a_node() -> None:
    cluster = Cluster()
    job = wide(cluster)
    silence(cluster, "node2")
    assert not [effect for effect in cluster.hello("node1", (job, 0, "ACTIVE")).effects if isinstance(effect, Lose)]
    assert (cluster.job(job).state, cluster.state.nodes["node2"].state) == (JobState.RUNNING, NodeState.DOWN)
    assert not [effect for effect in cluster.hello("node2", (job, 0, "ACTIVE")).effects if isinstance(effect, End)]
    assert Lose(job=job, run=0, node="node1", lost="node2") in cluster.do(Fence(node="node2", proof="gone")).effects
    assert (cluster.job(job).state, cluster.state.node_used("node2")[0]) == (JobState.RUNNING, 0)
    cluster.report("node1", "ended", job, code=0, signal=0, why="exit")
    cluster.report("node1", "empty", job)
    assert (cluster.job(job).state, cluster.job(job).completing) == (JobState.COMPLETED, False)


def test_an_operator_takes_a_node_from_a_job_that_is_not_to_be_killed() -> None:
    cluster = Cluster()
    job = wide(cluster)
    down = UpdateNode(node="node2", who=ROOT, state="down", reason="mine")
    effects, lost = cluster.do(down).effects, Lose(job=job, run=0, node="node1", lost="node2")
    assert End(job=job, run=0, node="node2", why="node_fail") in effects and lost in effects
    assert lost in cluster.hello("node1", (job, 0, "ACTIVE")).effects
    assert End(job=job, run=0, node="node2", why="node_fail") in cluster.hello("node2", (job, 0, "ACTIVE")).effects
    cluster.report("node2", "empty", job)
    assert (cluster.job(job).state, cluster.state.node_used("node2")[0]) == (JobState.RUNNING, 0)


def test_a_job_without_its_head_ends_whatever_it_asked_for() -> None:
    cluster = Cluster()
    job = wide(cluster)
    silence(cluster, "node1")
    assert cluster.job(job).state is JobState.NODE_FAIL


def test_a_supervisor_that_was_killed_is_a_lost_node() -> None:
    cluster = Cluster()
    job = wide(cluster)
    cluster.report("node2", "lost", job)
    cluster.report("node2", "empty", job)
    assert cluster.job(job).state is JobState.RUNNING
    cluster.report("node1", "lost", job)
    cluster.report("node1", "empty", job)
    assert cluster.job(job).state is JobState.NODE_FAIL


def test_explanations_are_sentences() -> None:
    cluster = Cluster()
    cluster.submit(nodes_min=4, nodes_max=4, exclusive="node", time_limit=1800)
    job = cluster.job(cluster.submit(constraint="cpu", ntasks=2))
    said = explain(cluster.state, job, cluster.now)
    assert "node[1-2]: in use by job 1." in said
    assert "node[3-4]: has not the features cpu." in said
    assert any(sentence.startswith("It is expected to start at") for sentence in said)
    job = cluster.job(cluster.submit(partitions=("gpu",), time_limit=3 * 86400))
    assert explain(cluster.state, job, cluster.now) == ["Not in partition gpu: the job's time limit is over the partition's."]


def test_a_state_is_what_its_rows_are() -> None:
    from sbroker.core.effects import Put

    cluster = Cluster()
    first = cluster.submit(ntasks=8)
    cluster.submit(array="1-9", array_tasks=tuple(range(1, 10)), ntasks=8)
    cluster.begin(first)
    rows = [Put("job", key, job) for key, job in cluster.state.jobs.items()]
    rows += [Put("run", key, run) for key, run in cluster.state.all_runs.items()]
    rows += [Put("part", (job, *key), part) for job, parts in cluster.state.parts.items() for key, part in parts.items()]
    rows += [Put("node", key, node) for key, node in cluster.state.nodes.items()]
    rows += [Put("partition", key, partition) for key, partition in cluster.state.partitions.items()]
    again = State.load(rows, cluster.state.settings)
    assert again.jobs == cluster.state.jobs
    assert again.runs == cluster.state.runs
    assert again.use == cluster.state.use
    assert again.array_active == cluster.state.array_active
    assert again.dues == cluster.state.dues


def test_load_and_free_memory_are_told_without_a_decision() -> None:
    cluster = Cluster()
    version = cluster.state.version
    cluster.state.pulse("node1", 0.5, 1000)
    cluster.state.pulse("gone", 0.5, 1000)
    node = cluster.state.nodes["node1"]
    assert (node.load, node.free_mem, cluster.state.version) == (0.5, 1000, version)
    assert "gone" not in cluster.state.nodes
