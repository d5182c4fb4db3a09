"""A node whose agent is no root: jobs run as its own user, of one submitter at a time, and it is wiped between two."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from agentlab import Lab, gone, wait_for

from sbroker.agent.wire import LinkReader, link_frame

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the agent runs as a user of its own")]
AGENT = 54331  # an id that no account has: whatever of it lies about is this test's
ALICE = {"name": "alice", "uid": 6001, "gid": 6001, "group": "alice", "groups": [6001], "home": "/home/alice", "shell": "/bin/sh"}
BOB = dict(ALICE, name="bob", uid=6002, gid=6002, group="bob", groups=[6002])


@pytest.fixture
def lab():
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    for name in ("agent", "out"):
        (place / name).mkdir()
        os.chown(place / name, AGENT, AGENT)
    made = Lab(place / "agent", become="none", allow_root_jobs=False, min_uid=1000)
    python = os.environ.get("AGENT_PYTHON") or os.path.realpath(sys.executable)
    made.command = ["setpriv", "--reuid", str(AGENT), "--regid", str(AGENT), "--clear-groups", python, "-S", "-m", "sbroker.agent"]
    made.start()
    yield made
    made.stop()
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        for path in Path(folder).iterdir():
            if path.lstat().st_uid == AGENT:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(place)


def of(lab, owner, **changes):
    out = str(lab.folder.parent / "out")
    return dict({"user": owner, "spec": {"work_dir": out, "stdout": out + "/%j.out"}}, **changes)


def output(lab, job):
    return (lab.folder.parent / "out" / f"{job}.out").read_text()


def ended(lab, job):
    lab.wait("empty", job)
    lab.order("forget", job)
    lab.settle()


def leave_things(lab, job=1):
    """A job of Alice's that leaves a process, files and a replica; the process's pid."""
    lab.run("id -u; mkdir -p /tmp/left.%d/a/b; touch /tmp/left.%d/a/b/c /dev/shm/left.%d; chmod 0 /tmp/left.%d/a\n"
            % (AGENT, AGENT, AGENT, AGENT) + "(setsid sleep 1000 >/dev/null 2>&1 & echo $! >pid)\n", job, **of(lab, ALICE))
    wait_for(lambda: (lab.folder.parent / "out" / "pid").exists() and (lab.folder.parent / "out" / "pid").read_text())
    for name in ("files", "files/alice", "files/alice/home"):
        (lab.folder / name).mkdir(exist_ok=True)
        os.chown(lab.folder / name, AGENT, AGENT)
    return int((lab.folder.parent / "out" / "pid").read_text())


def left():
    return [path for path in (Path("/tmp/left.%d" % AGENT), Path("/dev/shm/left.%d" % AGENT)) if path.exists()]


def test_everybodys_jobs_run_as_the_agents_user(lab):
    lab.run("id -u; id -G", **of(lab, ALICE))
    ended(lab, 1)
    assert output(lab, 1) == "%d\n%d\n" % (AGENT, AGENT)


def test_the_next_submitter_finds_nothing(lab):
    pid = leave_things(lab)
    ended(lab, 1)
    assert gone(pid) and len(left()) == 2
    lab.prepare("ls /tmp/left.%d /dev/shm/left.%d" % (AGENT, AGENT), 2, **of(lab, BOB))
    lab.wait("held", 2)
    assert left() == [] and not (lab.folder / "files" / "alice").exists()


def test_the_same_one_finds_all(lab):
    leave_things(lab)
    ended(lab, 1)
    lab.prepare("true", 2, **of(lab, ALICE))
    lab.wait("held", 2)
    assert len(left()) == 2 and (lab.folder / "files" / "alice").exists()


def test_what_a_lost_run_left_is_killed_first(lab):
    """Its supervisor was killed with the agent: nobody else knows of the process."""
    lab.run("exec >/dev/null 2>&1; setsid sleep 1000 & echo $! >pid; wait", **of(lab, ALICE))
    wait_for(lambda: (lab.folder.parent / "out" / "pid").exists() and (lab.folder.parent / "out" / "pid").read_text())
    pid = int((lab.folder.parent / "out" / "pid").read_text())
    lab.kill()
    lab.kill_supervisor()
    lab.start()
    ended(lab, 1)
    lab.prepare("true", 2, **of(lab, BOB))
    lab.wait("held", 2)
    assert gone(pid)


def test_while_one_is_there_another_is_refused(lab):
    lab.run("sleep 1000", **of(lab, ALICE))
    lab.prepare("true", 2, **of(lab, BOB))
    assert lab.wait("refused", 2)["data"]["error"] == "this node still has a run of alice, and serves one user at a time"
    lab.prepare("true", 3, **of(lab, ALICE))
    lab.wait("held", 3)


def test_all_that_wait_for_the_wipe_are_held_after_it(lab):
    leave_things(lab)
    ended(lab, 1)
    for job in (2, 3):
        lab.prepare("true", job, **of(lab, BOB))
    lab.prepare("true", 4, **of(lab, ALICE))
    lab.wait("held", 2)
    lab.wait("held", 3)
    assert "one user at a time" in lab.wait("refused", 4)["data"]["error"] and left() == []


def test_a_run_that_is_revoked_during_the_wipe_is_not_held(lab):
    leave_things(lab)
    ended(lab, 1)
    lab.prepare("true", 2, **of(lab, BOB))
    lab.order("revoke", 2)
    lab.wait("empty", 2)
    lab.prepare("true", 3, **of(lab, BOB))
    lab.wait("held", 3)
    assert "held" not in lab.kinds(2)


def test_a_wipe_that_cannot_be_refuses(lab):
    leave_things(lab)
    ended(lab, 1)
    stuck = Path("/tmp/left.%d/a" % AGENT)
    os.chown(stuck, 0, 0)  # somebody else's, in the tenant's folder: it cannot be removed by him, or by us
    try:
        lab.prepare("true", 2, **of(lab, BOB))
        said = lab.wait("refused", 2)["data"]["error"]
        assert said.startswith("this node cannot be wiped after alice: ") and "left.%d" % AGENT in said
    finally:
        os.chown(stuck, AGENT, AGENT)
    lab.prepare("true", 3, **of(lab, BOB))
    lab.wait("held", 3)


def test_whose_turn_it_is_outlives_the_agent(lab):
    leave_things(lab)
    ended(lab, 1)
    lab.kill()
    lab.start()
    lab.prepare("true", 2, **of(lab, BOB))
    lab.wait("held", 2)
    assert left() == []


def files(lab, number, do, owner):
    """One side of an exchange, at the node; the frames that come."""
    options = {"user": owner, "owner": owner["name"], "side": "node", "do": do, "job": "1", "node": "node1", "roots": []}
    lab.send({"op": "chan_open", "chan": number, "kind": "files", "job": 1, "run": 0, "uid": 0, "options": options})
    hello = {"op": "hello", "v": 1, "roots": [{"path": "/home/alice/p", "what": "tree"}]}
    lab.send({"op": "chan_data", "chan": number}, link_frame(hello) + link_frame({"op": "done", "error": ""}))
    lab.until(lambda: any(header["op"] == "chan_close" and header["chan"] == number for header, _ in lab.frames))
    reader, said = LinkReader(), [frame for frame in lab.frames if frame[0].get("chan") == number]
    return said[-1][0], [header for header, body in said if header["op"] == "chan_data" for header, _ in reader.feed(body)]


def test_what_was_there_before_the_node_was_installed_anew_is_gone(lab):
    """Nobody has been here: what is to be fetched is gone for good, and nothing more is to be brought for a job that is not here."""
    end, said = files(lab, 2, "out", ALICE)
    assert end["why"] == "done", end
    assert (said[-1]["error"], said[-1]["final"]) == ("the files on node1 are gone, nothing of them can be brought back", True)
    end, said = files(lab, 4, "in", ALICE)
    assert (end["why"], end["error"]) == ("refused", "this node was installed anew since the job came here, and knows nothing of it")
    lab.run("true", **of(lab, BOB))
    ended(lab, 1)
    end, said = files(lab, 6, "out", ALICE)
    assert (end["why"], end["error"]) == ("refused", "this node serves one user at a time, and that is bob now")
