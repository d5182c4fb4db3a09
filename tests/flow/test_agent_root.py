"""What only root's agent does: become the user, keep users apart, give a virtual node its own name."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from agentlab import Lab

from sbroker.agent import kernel

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root becomes another user")]
USER, OTHER, EXTRA = 54321, 54322, 54400  # ids that no account has


def may_unshare():
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUTS | kernel.CLONE_NEWNS)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def lab():
    """An agent in a folder that users can reach (pytest's own are closed), and room for a job's output."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "agent").mkdir()
    (place / "home").mkdir()
    os.chown(place / "home", USER, USER)
    lab = Lab(place / "agent", min_uid=1000, allow_root_jobs=False)
    lab.start()
    yield lab
    lab.stop()
    shutil.rmtree(place)


def users_job(lab, uid=USER, **changes):
    home = str(lab.folder.parent / "home")
    user = {"name": "u", "uid": uid, "gid": uid, "group": "g", "groups": [uid, EXTRA], "home": home, "shell": "/bin/sh"}
    return dict({"user": user, "spec": {"work_dir": home, "stdout": home + "/%j.out"}}, **changes)


def output(lab, job=1):
    return (lab.folder.parent / "home" / f"{job}.out").read_text()


def test_a_job_runs_as_its_user_with_all_groups_and_no_way_back(lab):
    lab.run("id -u; id -g; id -G; touch made; grep CapEff /proc/self/status", **users_job(lab))
    lab.wait("empty")
    assert output(lab) == f"{USER}\n{USER}\n{USER} {EXTRA}\nCapEff:\t0000000000000000\n"
    assert (lab.folder.parent / "home" / "made").stat().st_uid == USER


def test_nobody_else_reads_a_run(lab):
    lab.run("while :; do sleep 0.1; done", **users_job(lab))
    folder = lab.folder / "runs" / "1.0"
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (USER, 0o700)
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir() if path.is_file()} == {0}

    def look(uid, command):
        script = f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.execvp('sh', ['sh', '-c', {command!r}])"
        return subprocess.run(["python3", "-c", script], capture_output=True).returncode

    assert look(USER, f"cat {folder}/started {folder}/slurm_script") == 0
    assert look(OTHER, f"cat {folder}/started") != 0
    assert look(OTHER, f"ls {lab.folder}/runs") != 0
    assert look(USER, f"ls {lab.folder}/runs || cat {lab.folder}/journal") != 0
    supervisor = lab.supervisor()
    assert Path(f"/proc/{supervisor}/status").read_text().split("Uid:")[1].split()[:3] == [str(USER)] * 3
    assert look(USER, f"cat /proc/{supervisor}/environ") != 0  # a fork of root's agent: its memory is not the user's to read
    lab.order("end", why="cancel", uid=0)
    lab.wait("empty")
    lab.order("forget")
    lab.settle()
    assert not folder.exists()


def test_root_and_system_users_are_refused(lab):
    for job, uid in ((1, 0), (2, 2)):
        lab.prepare("id", job, **users_job(lab, uid))
        assert "may run jobs here" in lab.wait("refused", job)["data"]["error"] or uid == 0
    assert not list((lab.folder / "runs").iterdir())


def test_files_are_opened_as_the_user(lab):
    lab.run("id", **users_job(lab, spec={"stdout": str(lab.folder / "forbidden")}))
    ended = lab.wait("ended")["data"]
    assert (ended["why"], ended["signal"]) == ("launch", 53)
    lab.wait("empty")


def test_a_user_who_kills_the_supervisor_loses_the_run_and_nothing_is_left(lab):
    lab.run("setsid sleep 1000 & kill -9 -1", **users_job(lab))
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "step_start", "lost", "empty"]


def test_a_run_survives_roots_agent(lab):
    lab.run("while [ ! -e go ]; do sleep 0.05; done; exit 4", **users_job(lab))
    lab.kill()
    lab.start()
    assert lab.hello["live"] == [[1, 0, "ACTIVE"]]
    (lab.folder.parent / "home" / "go").touch()
    assert lab.wait("ended")["data"]["code"] == 4
    lab.wait("empty")


@pytest.mark.skipif(os.geteuid() == 0 and not may_unshare(), reason="this kernel lets nobody make namespaces")
def test_a_virtual_node_has_its_own_name_and_knows_the_others(lab):
    before = Path("/etc/hosts").read_text()
    lab.kill()
    lab.options = ["--hostname", "node1"]
    lab.settings["hosts"] = {"node1": "127.0.0.11", "node2": "127.0.0.12"}
    lab.start()
    assert lab.hello["inventory"]["hostname"] == "node1"
    lab.run("hostname; getent hosts node2 | tr -s ' '", **users_job(lab))
    lab.wait("empty")
    assert output(lab) == "node1\n127.0.0.12 node2\n"
    assert Path("/etc/hosts").read_text() == before
    assert os.uname().nodename != "node1"


def test_a_supervisor_never_serves_another_user(lab):
    lab.run("exit 0", **users_job(lab))
    lab.wait("empty")
    lab.settle()
    (lab.folder.parent / "home").chmod(0o777)
    lab.run("id -u", job=2, **users_job(lab, OTHER))
    lab.wait("empty", 2)
    assert output(lab, 2) == f"{OTHER}\n"
    assert lab.supervisor(1) != lab.supervisor(2)


def fill(fd):
    while True:
        os.write(fd, b"x" * 4096)


def test_a_full_disk_still_takes_endings_and_no_new_run(lab):
    place = lab.folder.parent / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=True)
    small = Lab(place / "agent")
    small.folder.mkdir()
    try:
        small.start()
        small.run("while [ ! -e go ]; do sleep 0.05; done; exit 3", spec={"stdout": "/dev/null"})
        filler = os.open(str(place / "filler"), os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        os.close(filler)
        os.symlink("/", place / "go")  # a link needs no block
        assert small.wait("ended")["data"]["code"] == 3
        small.wait("empty")
        small.prepare("exit 0", 2)
        assert re.search("full|No space", small.wait("refused", 2)["data"]["error"])
        (place / "filler").unlink()
        small.run("exit 0", 3, spec={"stdout": "/dev/null"})
        small.wait("empty", 3)
    finally:
        small.stop()
        subprocess.run(["umount", "-l", str(place)], check=True)
