"""Supervisors of one run that call each other by TCP: the proof, the hand-over, and what a network that fails and heals does to steps."""

import json
import os
import random
import signal
import socket
import threading
import time

import pytest
from agentlab import gone, wait_for
from proxy import Proxy
from steplab import Cluster

from sbroker.agent import proof
from sbroker.agent.wire import LinkReader, link_frame

FAST = {"beat": 0.3}  # seconds between signs of life


class Remote(Cluster):
    """A cluster whose nodes know each other by TCP only, each through a proxy."""

    def __init__(self, folder, names, **settings):
        Cluster.__init__(self, folder, names, settings=dict(FAST, ports="0", **settings))
        self.proxies = {lab.node: Proxy(lab.hello["inventory"]["port"]) for lab in self.labs}

    def nodes(self, cpus=None):
        return [dict(node, endpoint="tcp:127.0.0.1:%d" % self.proxies[node["node"]].port) for node in Cluster.nodes(self, cpus)]

    def stop(self):
        Cluster.stop(self)
        for proxy in self.proxies.values():
            proxy.close()


@pytest.fixture
def make(tmp_path):
    made = []

    def make(*names, **settings):
        made.append(Remote(tmp_path, names or ("node1", "node2", "node3"), **settings))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture
def three(make):
    return make()


def test_steps_over_tcp(three):
    out = three.run("srun -N3 -n6 -l sh -c 'echo $SLURMD_NODENAME'", cpus=[2, 2, 2])
    assert sorted(out.splitlines()) == ["0: node1", "1: node1", "2: node2", "3: node2", "4: node3", "5: node3"]
    assert three.proxies["node2"].calls >= 1


def test_the_port_is_the_next_agents_too(three):
    lab = three.labs[1]
    port = lab.hello["inventory"]["port"]
    three.allocate(time_limit=-1)
    assert three.ask("-N3", "-n3", "hostname")[2] == 0
    lab.kill()
    lab.start()
    assert lab.hello["inventory"]["port"] == port
    assert three.ask("-N3", "-n3", "hostname")[2] == 0


def test_a_port_that_is_taken_is_given_up(three):
    lab = three.labs[1]
    port = lab.hello["inventory"]["port"]
    lab.kill()
    with socket.create_server(("", port)):
        lab.start()
        assert lab.hello["inventory"]["port"] not in (0, port)


def test_no_port_unless_it_is_asked_for(tmp_path):
    cluster = Cluster(tmp_path, ("node1",))
    try:
        assert cluster.head.hello["inventory"]["port"] == 0
    finally:
        cluster.stop()


def call(lab, *frames, port=None):
    """Say frames to the agent's port; the frames that it answers, and its hanging up as None."""
    with socket.create_connection(("127.0.0.1", port or lab.hello["inventory"]["port"])) as sock:
        sock.settimeout(15)
        reader, answers = LinkReader(), []
        for frame in frames:
            sock.sendall(frame(answers) if callable(frame) else frame)
            data = sock.recv(1 << 16)
            if not data:
                return [*answers, None]
            answers += [header for header, _ in reader.feed(data)]
        return answers


def hello(**changes):
    return link_frame(dict({"op": "peer", "job": 1, "run": 0, "from": "node1", "to": "node2", "nonce": "0" * 64}, **changes))


def test_who_proves_nothing_gets_nowhere(three):
    three.allocate(time_limit=-1)
    other = three.labs[1]
    right = call(other, hello())
    assert right[0]["op"] == "challenge"
    assert right[0]["proof"] == proof.proof("secret", "agent", (1, 0, "node1", "node2"), "0" * 64, right[0]["nonce"])
    for wrong in (hello(job=2), hello(to="node3"), hello(nonce="x"), hello(**{"from": "node3"}), link_frame({"op": "peer"}), b"GET / HTTP/1.0\r\n\r\n" * 9):
        assert call(other, wrong) == [None]
    assert call(other, hello(), link_frame({"op": "proof", "proof": "0" * 64}))[1:] == [None]
    # what the agent has shown is no proof of the head
    assert call(other, hello(), lambda seen: link_frame({"op": "proof", "proof": seen[0]["proof"]}))[1:] == [None]
    assert three.ask("-N3", "-n3", "hostname")[2] == 0


def test_crowds_that_say_nothing_keep_nobody_out(three):
    port = three.labs[1].hello["inventory"]["port"]
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    try:
        three.labs[1].settle()
        assert len(os.listdir("/proc/%d/fd" % three.labs[1].process.pid)) < 200
        out = three.run("srun -N3 -n3 hostname | wc -l")
        assert out.split() == ["3"]
    finally:
        for sock in crowd:
            sock.close()


def test_a_cut_loses_no_line_and_doubles_none(three):
    """Every connection breaks again and again while all tasks write; the tasks run once."""
    script = """srun -N3 -n6 -l sh -c 'echo x >> ran.$SLURM_PROCID; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit $SLURM_PROCID'
echo rc=$?"""
    three.begin(script, cpus=[2, 2, 2])
    for number, proxy in enumerate(three.proxies.values()):
        proxy.every = random.Random(number)
    three.end()
    lines = three.output().splitlines()
    for rank in range(6):
        assert [line for line in lines if line.startswith(f"{rank}: ")] == [f"{rank}: line {number}" for number in range(3000)]
        assert (three.folder / f"ran.{rank}").read_text() == "x\n"
    assert "rc=5" in lines
    assert three.proxies["node2"].calls > 2


def test_input_and_exit_codes_survive_cuts(three):
    three.allocate(time_limit=-1)
    text = "".join("line %d\n" % number for number in range(60_000))
    three.ask("-N3", "-n3", "true")
    process = three.srun("-N3", "-n3", "sh", "-c", "wc; exit $((SLURM_PROCID * 3))", stdin=-1, text=True)

    def cutter():
        for _ in range(12):
            time.sleep(0.05)
            three.proxies[random.choice(("node2", "node3"))].cut()

    thread = threading.Thread(target=cutter)
    thread.start()
    out, err = process.communicate(text, timeout=60)
    thread.join()
    assert [line.split() for line in out.splitlines()] == [["60000", "120000", str(len(text))]] * 3
    assert process.returncode == 6, err


def test_a_network_that_swallows_everything_is_noticed(three):
    three.allocate(time_limit=-1)
    assert three.ask("-N3", "-n3", "true")[2] == 0
    process = three.srun("-N3", "-n3", "-l", "sh", "-c", "sleep 1; echo still here; exit 4", text=True)
    three.proxies["node2"].mute = True
    time.sleep(1.5)
    three.proxies["node2"].mute = False
    out, _ = process.communicate(timeout=60)
    assert sorted(out.splitlines()) == ["0: still here", "1: still here", "2: still here"]
    assert process.returncode == 4


def test_a_supervisor_whose_agent_is_away_is_called_when_there_is_one(three):
    three.allocate(time_limit=-1)
    assert three.ask("-N3", "-n3", "true")[2] == 0
    three.labs[1].kill()
    three.proxies["node2"].cut()
    process = three.srun("-N3", "-n3", "hostname", text=True)
    time.sleep(0.3)
    three.labs[1].start()
    out, _ = process.communicate(timeout=60)
    assert len(out.splitlines()) == 3


def lose_node2(cluster, *options, job=1, env=None):
    """A step over all nodes that loses one; (what srun said, its exit code)."""
    process = cluster.srun(*options, "sh", "-c", "echo $PPID > pid.$SLURM_PROCID; sleep 3", job=job, text=True, env=env)
    pids = [cluster.folder / f"pid.{rank}" for rank in range(3)]
    wait_for(lambda: all(path.exists() and path.read_text().strip() for path in pids))
    pid = int(pids[1].read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    _out, err = process.communicate(timeout=60)
    cluster.labs[1].wait("lost", job)
    return err, process.returncode


def test_a_supervisor_that_is_gone_takes_the_step_and_the_job_with_it(three):
    """As the real one says it in a job that lost a node."""
    three.allocate(time_limit=-1)
    assert three.ask("-N3", "-n3", "true")[2] == 0
    err, code = lose_node2(three, "-N3", "-n3")
    lines = err.splitlines()
    assert lines[0] == "srun: error: Node failure on node2"
    assert lines[1] == "srun: Job step aborted: Waiting up to 3 seconds for job step to finish."
    assert lines[2].startswith("slurmstepd-node1: error: *** STEP 1.1 ON node1 CANCELLED AT ")
    assert lines[2].endswith(" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***")
    assert sorted(lines[3:]) == ["srun: error: node1: task 0: Terminated", "srun: error: node3: task 2: Terminated"]
    assert code == 143
    assert three.head.wait("ended")["data"]["why"] == "node_fail"


def test_a_job_may_go_on_without_a_node(three):
    three.allocate(time_limit=-1, spec={"no_kill": True})
    assert three.ask("-N3", "-n3", "true")[2] == 0
    err, code = lose_node2(three, "-N3", "-n3")
    lines = err.splitlines()
    assert lines[0] == "srun: error: Node failure on node2"
    assert sorted(lines[1:3]) == ["srun: error: node1: task 0: Killed", "srun: error: node3: task 2: Killed"]
    assert lines[3:] == ["srun: Force Terminated StepId=1.1"]
    assert code == 137
    assert three.ask("-N2", "-n2", "sh", "-c", "echo $SLURMD_NODENAME")[0].split() in (["node1", "node3"], ["node3", "node1"])
    assert three.ask("-N3", "-n3", "hostname")[1:] == ("srun: error: Unable to create step for job 1: Requested node configuration is not available\n", 1)


def test_a_step_may_go_on_without_a_node(three):
    three.allocate(time_limit=-1, spec={"no_kill": True})
    assert three.ask("-N3", "-n3", "true")[2] == 0
    assert lose_node2(three, "--no-kill", "-N3", "-n3") == ("srun: error: Node failure on node2\n", 0)


def test_a_node_that_stays_away_is_lost_to_the_run(make):
    cluster = make("node1", "node2", lost_after=1)
    cluster.allocate(time_limit=-1)
    assert cluster.ask("-N2", "-n2", "true")[2] == 0
    process = cluster.srun("-N2", "-n2", "sleep", "100", text=True)
    time.sleep(0.5)
    cluster.proxies["node2"].down = True
    cluster.proxies["node2"].cut()
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.startswith("srun: error: Node failure on node2\n")


def test_what_is_kept_of_the_port(three):
    assert json.loads("[%s]" % (three.labs[0].folder / "port").read_text().replace(" ", ","))[1:] == [0, 0]


def test_a_large_file_waits_for_the_slowest_node(three, tmp_path):
    """sbcast through a network that takes nothing for a while: the head keeps a few megabytes of it, and no more."""
    three.allocate(time_limit=-1)
    assert three.ask("-N3", "-n3", "true")[2] == 0
    data = os.urandom(1 << 20) * 48
    (three.folder / "big").write_bytes(data)
    supervisor = three.head.supervisor()
    before = resident(supervisor)
    three.proxies["node3"].mute = True
    process = three.srun("-f", "big", str(tmp_path / "copy"), name="sbcast")
    time.sleep(0.8)
    grown = resident(supervisor) - before
    three.proxies["node3"].mute = False
    assert process.wait(60) == 0
    assert (tmp_path / "copy").read_bytes() == data
    assert grown < 32 << 10, f"{grown} KiB"


def resident(pid):
    """KiB."""
    with open(f"/proc/{pid}/status") as stream:
        return int(next(line for line in stream if line.startswith("VmRSS")).split()[1])
