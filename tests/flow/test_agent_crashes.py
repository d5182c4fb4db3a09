"""SIGKILL of agent, supervisor and connection at every point of a run; Prepare, Start and Revoke in every order."""

import os
import signal
import subprocess
import sys

from agentlab import ROOT, Lab, gone, wait_for


def restart(lab):
    lab.kill()
    lab.start()


def states(lab):
    return {(job, run): state for job, run, state in lab.hello["live"]}


def test_a_held_run_survives_its_agent(lab):
    lab.prepare("echo ran")
    lab.wait("held")
    restart(lab)
    assert states(lab) == {(1, 0): "HELD"}
    lab.order("start")
    lab.wait("empty")
    assert lab.output() == "ran\n"


def test_a_running_run_survives_its_agent_and_is_not_started_twice(lab):
    lab.run("echo ran; while [ ! -e go ]; do sleep 0.05; done; exit 4")
    restart(lab)
    assert states(lab) == {(1, 0): "ACTIVE"}
    lab.order("start")  # the broker does not know whether it was heard
    (lab.folder.parent / "go").touch()
    assert lab.wait("ended")["data"]["code"] == 4
    lab.wait("empty")
    assert lab.output() == "ran\n"
    assert lab.kinds().count("started") == 1


def test_a_run_that_ends_while_the_agent_is_away_is_told_by_its_last_word(lab):
    lab.run("while [ ! -e go ]; do sleep 0.05; done; exit 6")
    pid = lab.supervisor()
    lab.kill()
    (lab.folder.parent / "go").touch()
    wait_for(lambda: gone(pid))
    lab.start()
    assert lab.wait("ended")["data"]["code"] == 6
    lab.wait("empty")
    lab.order("forget")
    wait_for(lambda: not (lab.folder / "runs" / "1.0").exists())


def test_a_cut_connection_loses_no_report(lab):
    lab.run("while [ ! -e go ]; do sleep 0.05; done")
    lab.sock.close()
    (lab.folder.parent / "go").touch()
    lab.connect()
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "step_end", "ended", "empty"]


def test_reports_the_broker_did_not_acknowledge_come_again_from_a_new_agent(lab):
    lab._take = lambda header, body: setattr(lab, "hello", header) if header["op"] == "hello" else lab.frames.append((header, body))
    lab.prepare("exit 0")
    lab.order("start")
    lab.until(lambda: any(header.get("kind") == "empty" for header, _ in lab.frames))
    del lab._take
    restart(lab)
    assert states(lab) == {(1, 0): "ACTIVE"}  # for a broker that has not heard of its end it is not over
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "step_end", "ended", "empty"]
    lab.settle()
    restart(lab)
    assert states(lab) == {}
    assert lab.kinds() == ["held", "started", "step_start", "step_end", "ended", "empty"]


def test_a_killed_supervisor_means_lost_and_nothing_goes_on(lab):
    lab.run("sleep 1000 & echo $! > pids; setsid sleep 1000 & echo $! >> pids; echo ready; wait")
    wait_for(lambda: lab.output() == "ready\n")
    lab.kill_supervisor()
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "lost", "empty"]
    assert all(gone(pid) for pid in (lab.folder.parent / "pids").read_text().split())


def test_a_supervisor_killed_while_the_agent_is_away_is_lost_too(lab):
    lab.run("setsid sleep 1000 & echo $! > pids; echo ready; wait")
    wait_for(lambda: lab.output() == "ready\n")
    pid = lab.supervisor()
    lab.kill()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    lab.start()
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "lost", "empty"]
    assert all(gone(pid) for pid in (lab.folder.parent / "pids").read_text().split())


def test_revoke_comes_first(lab):
    lab.order("revoke")
    lab.wait("empty")
    lab.prepare("echo never")
    assert "revoked" in lab.wait("refused")["data"]["error"]
    lab.order("start")
    lab.until(lambda: lab.kinds().count("refused") == 2)
    assert lab.output() == ""


def test_revoke_of_a_held_run_empties_it(lab):
    lab.prepare("echo never")
    lab.wait("held")
    lab.order("revoke")
    lab.wait("empty")
    lab.order("start")
    lab.wait("refused")
    restart(lab)
    assert states(lab) == {}
    assert lab.output() == ""


def test_revoke_comes_too_late_for_a_run_that_started(lab):
    lab.run("echo ran; while [ ! -e go ]; do sleep 0.05; done")
    lab.order("revoke")
    (lab.folder.parent / "go").touch()
    assert lab.wait("ended")["data"]["why"] == "exit"


def test_orders_are_repeatable(lab):
    for _ in range(3):
        lab.prepare("echo ran; while [ ! -e go ]; do sleep 0.05; done")
    lab.wait("held")
    for _ in range(3):
        lab.order("start")
    lab.wait("started")
    lab.prepare("echo never")
    (lab.folder.parent / "go").touch()
    lab.wait("empty")
    assert lab.output() == "ran\n"
    assert lab.kinds().count("started") == 1
    for _ in range(2):
        lab.order("forget")
        lab.order("end", why="cancel", uid=0)


def test_a_broker_of_an_older_epoch_or_another_store_is_refused(lab):
    lab.epoch = 5
    lab.connect()
    restart(lab)
    old = Lab(lab.folder)
    old.process, old.epoch = lab.process, 4
    old.connect()
    assert old.frames[0][0] == {"op": "refused", "error": "epoch", "epoch": 5}
    lab.prepare("exit 0")
    lab.wait("held")  # and the broker that is there was not disturbed


def test_the_newest_connection_of_a_broker_wins(lab):
    second = Lab(lab.folder)
    second.process = lab.process
    second.connect()
    second.prepare("exit 0")
    second.wait("held")
    assert lab.sock.recv(1) == b""


def test_two_agents_do_not_share_a_folder(lab):
    command = [sys.executable, "-m", "sbroker.agent", "serve", "--dir", str(lab.folder), "--node", "x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=str(ROOT))
    assert done.returncode == 1
    assert "served by another agent" in done.stderr
