"""A job's owner who turns everything he may write in his run's directory against root's agent."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from agentlab import Lab, gone, wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root's agent has more rights than its users"),
]
USER, OTHER = 54321, 54322  # ids that no account has


@pytest.fixture
def lab():
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    (place / "agent").mkdir()
    lab = Lab(place / "agent", min_uid=1000, allow_root_jobs=False)
    lab.start()
    yield lab
    lab.stop()
    shutil.rmtree(place, ignore_errors=True)


def of(lab, uid=USER):
    place = str(lab.folder.parent)
    user = {"name": "u", "uid": uid, "gid": uid, "group": "g", "groups": [uid], "home": place, "shell": "/bin/sh"}
    return {"user": user, "spec": {"work_dir": place, "stdout": place + "/%j.out"}}


def as_user(uid, act):
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forged_description_starts_nothing_as_somebody_else(lab):
    """The record lies in its owner's directory: whom it names is believed only under the agent's seal."""
    lab.prepare("id -u >$HOME/owned", **of(lab))
    lab.wait("held")
    held = lab.folder / "runs" / "1.0" / "held"

    def forge():
        head, _, rest = held.read_bytes().partition(b"\n")
        head = json.loads(head)
        head["info"]["user"].update(uid=0, gid=0, groups=[0])
        os.unlink(held)
        held.write_bytes(json.dumps(head).encode() + b"\n" + rest)

    as_user(USER, forge)
    lab.kill()
    lab.start()
    assert "damaged" in lab.wait("refused")["data"]["error"]
    lab.order("start")
    lab.settle()
    assert lab.output() == ""
    assert "started" not in lab.kinds()


def test_a_run_that_nobody_touched_is_believed_by_the_next_agent(lab):
    lab.prepare("id -u", **of(lab))
    lab.wait("held")
    lab.kill()
    lab.start()
    lab.order("start")
    lab.wait("empty")
    assert lab.output() == f"{USER}\n"


def test_a_link_to_another_users_supervisor_does_not_lead_there(lab):
    lab.run("while [ ! -e go ]; do sleep 0.05; done; exit 3", 1, **of(lab, OTHER))
    lab.run("sleep 60", 2, **of(lab))
    mine = lab.folder / "runs" / "2.0" / "srun.sock"
    lab.kill()

    def link():
        os.unlink(mine)
        os.symlink(lab.folder / "runs" / "1.0" / "srun.sock", mine)

    as_user(USER, link)
    lab.start()
    lab.wait("empty", 2)
    assert lab.kinds(2)[-2:] == ["lost", "empty"]
    assert not gone(lab.supervisor(1))
    (lab.folder.parent / "go").touch()
    assert lab.wait("ended", 1)["data"]["code"] == 3


def test_a_socket_that_never_accepts_does_not_stop_the_agent(lab):
    lab.run("sleep 60", **of(lab))
    path = lab.folder / "runs" / "1.0" / "srun.sock"
    lab.kill()
    pid = os.fork()
    if pid == 0:
        os.setgid(USER)
        os.setuid(USER)
        os.unlink(path)
        deaf = socket.socket(socket.AF_UNIX)
        deaf.bind(str(path))
        deaf.listen(0)
        callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(str(path))
        (lab.folder.parent / "full").touch()
        os.read(os.open("/dev/zero", os.O_RDONLY), 1)
        while True:
            __import__("time").sleep(60)
    wait_for((lab.folder.parent / "full").exists)
    try:
        lab.start()
        lab.wait("empty")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_a_folder_in_the_sockets_place_is_refused(lab):
    lab.prepare("true", **of(lab))
    lab.wait("held")
    as_user(USER, lambda: os.mkdir(lab.folder / "runs" / "1.0" / "srun.sock"))
    lab.order("start")
    assert "srun.sock" in lab.wait("refused")["data"]["error"]
    lab.settle()


def test_a_directory_of_any_depth_is_removed(lab):
    lab.run("cd ${SBROKER_SOCKET%/*}; i=0; while [ $i -lt 3000 ]; do mkdir d; cd d; i=$((i+1)); done", **of(lab))
    lab.wait("empty")
    lab.order("forget")
    lab.settle()
    wait_for(lambda: not (lab.folder / "runs" / "1.0").exists())
