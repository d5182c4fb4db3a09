"""Supervisors that serve one run after the other."""

import os
import signal
from pathlib import Path

from agentlab import gone, wait_for

STARTED = ["held", "started", "step_start"]


def children(lab):
    return [int(pid) for pid in Path(f"/proc/{lab.process.pid}/task/{lab.process.pid}/children").read_text().split()]


def spare(lab):
    """Run a job to its end; the pid of its supervisor, which has nothing more to do."""
    lab.run("exit 0")
    lab.wait("empty")
    lab.settle()
    assert children(lab) == [lab.supervisor()]
    return lab.supervisor()


def test_a_plain_runs_supervisor_takes_the_next_run_and_knows_nothing_of_the_first(lab):
    first = spare(lab)
    lab.run("echo $JOB; umask; ulimit -n; exit 3", job=2, spec={"umask": 0o77, "limits": {"NOFILE": [99, 99]}})
    lab.run("echo $JOB; umask", job=3)
    assert lab.wait("ended", 2)["data"]["code"] == 3
    assert lab.wait("ended", 3)["data"]["code"] == 0
    lab.wait("empty", 2)
    lab.wait("empty", 3)
    assert lab.supervisor(2) == first
    assert lab.output(2) == "2\n0077\n99\n"
    assert lab.output(3) == "3\n0022\n"


def test_a_spare_that_was_killed_is_not_missed(lab):
    os.kill(spare(lab), signal.SIGKILL)
    lab.run("exit 5", job=2)
    assert lab.wait("ended", 2)["data"]["code"] == 5


def test_a_spare_killed_with_its_next_run_in_hand_costs_nothing(lab):
    pid = spare(lab)
    os.kill(pid, signal.SIGSTOP)
    lab.prepare("exit 5", 2)
    lab.order("start", 2)
    lab.wait("held", 2)
    os.kill(pid, signal.SIGKILL)
    assert lab.wait("ended", 2)["data"]["code"] == 5
    assert lab.kinds(2)[:3] == STARTED


def test_spares_end_with_their_agent(lab):
    pid = spare(lab)
    lab.kill()
    wait_for(lambda: gone(pid))
    lab.start()


def test_an_agent_killed_while_a_spare_takes_a_run_does_not_lose_it(lab):
    pid = spare(lab)
    os.kill(pid, signal.SIGSTOP)
    lab.prepare("echo ran", 2)
    lab.order("start", 2)
    lab.wait("held", 2)
    lab.settle()
    lab.kill()
    os.kill(pid, signal.SIGCONT)
    lab.start()
    lab.order("start", 2)
    lab.wait("empty", 2)
    assert lab.output(2) == "ran\n"
    assert lab.kinds(2).count("started") == 1


def test_a_run_with_visitors_has_a_supervisor_of_its_own(lab):
    lab.run("while [ ! -e go ]; do sleep 0.05; done")
    from sbroker.agent.loop import connect_unix

    sock = connect_unix(str(lab.folder / "runs" / "1.0" / "srun.sock"))
    sock.sendall(b"\0\0\0\1C")
    assert sock.recv(1) == b""
    (lab.folder.parent / "go").touch()
    lab.wait("empty")
    wait_for(lambda: gone(lab.supervisor()))
