"""A run on two nodes: the head calls the other, and both are empty in the end."""

import os
import signal

import pytest
from agentlab import Lab, gone, wait_for


@pytest.fixture
def labs(tmp_path):
    found = []
    for name in ("node1", "node2"):
        folder = tmp_path / name / "agent"
        folder.mkdir(parents=True)
        lab = Lab(folder, name)
        lab.start()
        found.append(lab)
    yield found
    for lab in found:
        lab.stop()


def hold(labs, script, **changes):
    nodes = [{"node": lab.node, "address": "127.0.0.1", "cpus": 1, "mem": 0, "gres": {}, "endpoint": f"unix:{lab.folder}"} for lab in labs]
    for lab in labs:
        lab.prepare(script, head="node1", nodes=nodes, **changes)
    for lab in labs:
        lab.wait("held")


def live(lab):
    lab.connect()
    return [state for _job, _run, state in lab.hello["live"]]


def test_the_other_node_is_started_by_the_head_and_empty_after_it(labs):
    head, other = labs
    hold(labs, "while [ ! -e go ]; do sleep 0.05; done")
    assert live(other) == ["HELD"]
    head.order("start")
    head.wait("started")
    wait_for(lambda: live(other) == ["ACTIVE"])
    (head.folder.parent / "go").touch()
    head.wait("empty")
    other.settle()
    assert other.kinds() == ["held"], "it must not say that it is empty before the broker knows that the run has ended"
    other.order("end", why="exit")
    other.wait("empty")
    assert head.kinds() == ["held", "started", "step_start", "step_end", "ended", "empty"]
    assert other.kinds() == ["held", "empty"]


def test_a_held_run_is_revoked_on_both(labs):
    hold(labs, "echo never")
    for lab in labs:
        lab.order("revoke")
        lab.wait("empty")


def test_a_held_supervisor_that_was_killed_is_replaced(labs):
    head, other = labs
    hold(labs, "while [ ! -e go ]; do sleep 0.05; done")
    pid = supervisor(other)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    head.order("start")
    wait_for(lambda: live(other) == ["ACTIVE"])
    (head.folder.parent / "go").touch()
    head.wait("ended")
    other.order("end", why="exit")
    other.wait("empty")
    assert other.kinds() == ["held", "empty"]


def test_an_agent_that_died_before_it_forked_is_made_good_by_the_next(labs):
    """The run is held on the other node, and nobody is there whom the head could call: it would wait for ever."""
    head, other = labs
    hold(labs, "while [ ! -e go ]; do sleep 0.05; done")
    pid = supervisor(other)
    other.kill()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    other.start()
    head.order("start")
    wait_for(lambda: live(other) == ["ACTIVE"])
    (head.folder.parent / "go").touch()
    head.wait("ended")
    other.order("end", why="exit")
    other.wait("empty")


def test_the_other_nodes_agent_is_replaced_while_the_run_goes_on(labs):
    head, other = labs
    hold(labs, "while [ ! -e go ]; do sleep 0.05; done")
    head.order("start")
    wait_for(lambda: live(other) == ["ACTIVE"])
    other.kill()
    other.start()
    assert [state for _job, _run, state in other.hello["live"]] == ["ACTIVE"]
    (head.folder.parent / "go").touch()
    head.wait("ended")
    other.order("end", why="exit")
    other.wait("empty")


def test_only_the_run_s_head_is_heard_as_peer(labs):
    from sbroker.agent.loop import connect_unix
    from sbroker.agent.wire import link_frame

    _, other = labs
    hold(labs, "echo never")
    for key, node in (("wrong", "node1"), ("secret", "node7"), ("", "node1")):
        sock = connect_unix(str(other.folder / "runs" / "1.0" / "srun.sock"))
        sock.sendall(link_frame({"op": "peer", "job": 1, "run": 0, "key": key, "node": node}))
        sock.settimeout(10)
        assert sock.recv(1) == b""
    assert live(other) == ["HELD"]


def supervisor(lab):
    """The child of the lab's agent."""
    with open(f"/proc/{lab.process.pid}/task/{lab.process.pid}/children") as stream:
        (pid,) = stream.read().split()
    return int(pid)


def test_a_suspended_run_with_a_time_limit_goes_on_everywhere(labs):
    head, other = labs
    hold(labs, "while [ ! -e go ]; do sleep 0.05; done", time_limit=600)
    head.order("start")
    wait_for(lambda: live(other) == ["ACTIVE"])
    for suspend in (True, False):
        for lab in labs:
            lab.order("freeze", suspend=suspend)
        head.wait("suspended" if suspend else "resumed")
        other.settle()
    for lab in labs:
        lab.order("adjust", time_limit=900)
    (head.folder.parent / "go").touch()
    assert head.wait("ended")["data"]["why"] == "exit"
    other.settle()
    assert other.kinds() == ["held"], "it ended by itself"
    other.order("end", why="exit")
    other.wait("empty")


def test_an_agent_answers_with_its_load_and_free_memory(labs):
    labs[0].send({"op": "ping", "n": 3})
    pong = labs[0].until(lambda: next((header for header, _ in labs[0].frames if header["op"] == "pong"), None))
    assert pong["n"] == 3 and pong["load"] >= 0 and pong["free_mem"] > 0
