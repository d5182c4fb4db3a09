"""Users, environment and software on hosts with a real sshd: as the login's own user, and as who submitted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.cloudhosts import Cloud
from tests.hosts.system import CONFIG, HostsSystem

ALICE = 6001
SHARED = CONFIG.replace("user: ubuntu", "shared_fs: true, user: ubuntu")
SOFTWARE = SHARED.replace("shared_fs: true", "shared_fs: true, env: {SITE: lab}, setup: 'export SET=$SITE.$USER'")


def environ(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class Alices(HostsSystem):
    """A personal broker of `alice` (uid 6001, groups alice and ml 6100), whom only its own view of this machine knows."""

    def __init__(self, folder: Path, cloud: Cloud, key: Path, hosts: str, config: str) -> None:
        self.etc = folder / "etc"
        self.etc.mkdir()
        for name, line in (("passwd", "alice:x:%d:%d:Alice:/home/alice:/bin/bash" % (ALICE, ALICE)), ("group", "alice:x:%d:\nml:x:6100:alice" % ALICE)):
            (self.etc / name).write_text(Path("/etc", name).read_text() + line + "\n")
        super().__init__(folder, cloud, key, hosts, config)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, ALICE, ALICE)
        self.env["USER"] = "alice"

    def argv(self, line: str) -> list[str]:
        become = 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec setpriv --reuid=%d --regid=%d --init-groups "$@"' % (ALICE, ALICE)
        return self.cloud.inside(["unshare", "-m", "sh", "-c", become, "-", str(self.etc), "bash", "-c", line], self.work)


class Place:
    """Where Alice works: a folder that is on the hosts made for it, too, and that she can reach (pytest's own are closed)."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.made: list[Alices] = []
        self.path = Path(tempfile.mkdtemp(prefix="alice."))
        self.path.chmod(0o755)

    def host(self, name: str, *bind: str, **options: object) -> str:
        return str(self.hub.extra(name, bind=["%s:%s:rw" % (self.path, self.path), *bind], **options))

    def system(self, hosts: str, config: str) -> Alices:
        folder = self.path / hosts
        folder.mkdir()
        self.made.append(Alices(folder, self.hub.cloud, self.hub.key, hosts, config))
        self.made[-1].idle(hosts, 30)
        return self.made[-1]


@pytest.fixture
def alice(hub: Any) -> Iterator[Place]:
    closed = [str(path) for path in Path(__file__).parents if not path.stat().st_mode & 0o001]
    if closed:
        pytest.skip("other users cannot read this checkout: %s is closed" % closed[0])
    place = Place(hub)
    try:
        yield place
    finally:
        for one in place.made:
            one.close()
        shutil.rmtree(place.path)


def test_as_the_logins_user(make_system):
    system = make_system("n1", SOFTWARE)
    system.env.update(LD_SECRET="no", AWS_SECRET_ACCESS_KEY="no", MY="mine")
    system.idle("n1")
    found = environ(system.ok("srun -D /tmp env"))
    assert (found["USER"], found["LOGNAME"], found["HOME"]) == ("ubuntu", "ubuntu", "/home/ubuntu")
    assert (found["MY"], found["SITE"], found["SET"], found["SLURM_JOB_USER"]) == ("mine", "lab", "lab.ubuntu", "root")
    assert not {"LD_SECRET", "AWS_SECRET_ACCESS_KEY", "SBROKER_HOME"} & set(found)
    assert system.ok("srun -D /tmp id -un") == "ubuntu\n"
    assert system.ok("srun -D /tmp sh -c 'command -v squeue'").startswith("/home/ubuntu/.sbroker/")


@pytest.mark.parametrize(("become", "base"), [("user: ubuntu, become: sudo", "var/lib/sbroker"), ("user: root, become: root", "var/lib/sbroker")])
def test_as_who_submitted_with_an_account_that_is_made(alice, become, base):
    name = alice.host("acc" + become.rpartition(" ")[2])
    system = alice.system(name, SHARED.replace("user: ubuntu", become))
    assert system.ok("srun sh -c 'id -un; id -u; id -G; echo $HOME; echo $USER'") == "alice\n6001\n6001\n/home/alice\nalice\n"
    assert system.on(name, "getent passwd alice").strip() == "alice:x:6001:6001:made by sbroker for its jobs:/home/alice:/bin/bash"
    assert system.on(name, "passwd -S alice").split()[1] == "L"
    # a group of both sides is his there, too
    system.on(name, "groupadd -g 6100 ml; groupadd -g 6101 other")
    assert system.ok("srun id -G") == "6001 6100\n"
    # who is somebody else there gets nothing
    system.on(name, "usermod -u 6999 alice")
    done = system.sh("sbatch -o /dev/null --wrap true")
    number = done.stdout.split()[-1]
    system.until("squeue -h -j %s -o %%r" % number, "launch failed requeued held: %s: alice has uid 6999 here, and 6001 where the job was submitted" % name)
    system.ok("scancel %s" % number)


def test_a_home_is_made_for_its_owner_alone(alice):
    name = alice.host("homes")
    system = alice.system(name, SHARED.replace("user: ubuntu", "user: root"))
    assert system.ok("srun -D /tmp sh -c 'cd; stat -c %a:%U:%G .; pwd'") == "700:alice:alice\n/home/alice\n"


def test_login_shells_keep_the_commands(alice):
    """/etc/profile of these hosts sets PATH anew."""
    name = alice.host("profile")
    system = alice.system(name, SHARED.replace("user: ubuntu", "user: root"))
    (system.work / "job.sh").write_text("#!/bin/bash -l\nsrun -n1 echo hello\nsh -lc 'squeue -h -o %T'\nbash -lc 'command -v sbatch'\n")
    system.ok("sbatch -W -o out job.sh")
    said = (system.work / "out").read_text().splitlines()
    assert said[:2] == ["hello", "RUNNING"] and said[2].startswith("/var/lib/sbroker/")
    assert "SBROKER_ENV" in system.on(name, "cat /etc/profile.d/zz-sbroker.sh")
    assert system.on(name, "sh -lc 'echo $PATH'") == system.on(name, "rm /etc/profile.d/zz-sbroker.sh; sh -lc 'echo $PATH'")


def test_commands_run_by_an_interpreter_that_is_in_nobodys_path(alice):
    real = os.path.realpath("/usr/bin/python3")
    name = alice.host("bare", "%s:/srv/odd/snake" % real, python="none")
    system = alice.system(name, SHARED.replace("user: ubuntu", "user: root, python: /srv/odd/snake"))
    assert system.ok("srun sh -c 'squeue -h -o %T; sbatch --parsable -o /dev/null --wrap true >/dev/null && echo submitted'") == "RUNNING\nsubmitted\n"


def test_nothing_secret_is_where_others_can_read_it(alice):
    """argv of every process, logs, and files that others may read, while a job runs that knows a secret."""
    name = alice.host("secrets")
    system = alice.system(name, SHARED.replace("user: ubuntu", "user: ubuntu, become: sudo"))
    system.env["PASSPHRASE"] = "open-sesame"
    (system.work / "job.sh").write_text("#!/bin/sh\n# rumpelstilzchen\nsrun sleep 1000\n")
    (system.work / "job.sh").chmod(0o600)
    os.chown(system.work / "job.sh", ALICE, ALICE)
    number = system.ok("sbatch --parsable job.sh").strip()
    system.until("squeue -h -s -j %s -o %%i" % number, "%s.0\n%s.batch" % (number, number))
    agent = system.agent_folder(name, "var/lib/sbroker")
    key = next((line for line in (agent / "runs" / ("%s.0" % number) / "started").read_bytes().split(b'"') if len(line) == 64 and b" " not in line), b"")
    secrets = [b"open-sesame", b"rumpelstilzchen", (agent / "secret").read_bytes(), (system.home / "secret").read_bytes(), (system.home / "key").read_bytes()[60:120]]
    secrets += [key] if key else []
    assert len(secrets) == 6
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = path.read_bytes()
        except OSError:
            continue
        assert not [secret for secret in secrets if secret in said], (path, said)
    host = Path("/proc/%d/root" % system.cloud.hosts()[name]["pid"])
    checked = 0
    for top in (system.home, host / "var/lib/sbroker"):
        for folder, folders, names in os.walk(top):
            if not os.stat(folder).st_mode & 0o001:
                folders.clear()  # nobody else gets further
                continue
            for each in names:
                path = os.path.join(folder, each)
                if not os.path.isfile(path) or os.path.islink(path):
                    continue
                if each.endswith(".log") or os.stat(path).st_mode & 0o044:
                    checked += 1
                    data = Path(path).read_bytes()
                    assert not [secret for secret in secrets if secret in data], path
    for log in [*system.home.rglob("*.log"), *(host / "var/lib/sbroker").rglob("*.log")]:
        assert not [secret for secret in secrets if secret in log.read_bytes()], log
    assert checked > 0
    run = agent / "runs" / ("%s.0" % number)
    assert run.stat().st_mode & 0o777 == 0o700 and run.stat().st_uid == ALICE
    assert system.on(name, "setpriv --reuid 6002 --regid 6002 --clear-groups ls %s 2>&1 || echo closed" % str(run).split("/root", 1)[1]).endswith("closed\n")
    system.ok("scancel %s" % number)


def test_the_owner_of_a_personal_broker_is_its_operator(alice):
    system = alice.system("n2", SHARED)
    system.ok("scontrol update nodename=n2 state=drain reason=mine")
    assert system.ok("sinfo -h -n n2 -o %T") == "drained\n"
    system.ok("scontrol update nodename=n2 state=resume")
    system.idle("n2")




@pytest.mark.parametrize("become", ["user: root", "user: ubuntu, become: sudo", "user: ubuntu"])
def test_files_are_brought_to_who_submitted_and_to_nobody_else(alice, become):
    name = alice.hub.extra("own" + str(len(become)), bind=[])
    system = alice.system(name, CONFIG.replace("user: ubuntu", become))
    (system.work / "in").write_text("secret\n")
    (system.work / "in").chmod(0o600)
    os.chown(system.work / "in", ALICE, ALICE)
    system.work.chmod(0o700)
    system.ok("sbatch -W -o out --wrap 'cat in; id -un; pwd; stat -c %U:%a in .; echo made > made; chmod 640 made; srun -n1 cat made'")
    said = (system.work / "out").read_text().split()
    who = "ubuntu" if become == "user: ubuntu" else "alice"
    assert said[:2] == ["secret", who]
    assert said[3:] == [who + ":600", who + ":700", "made"]
    made = system.work / "made"
    assert (made.stat().st_uid, made.stat().st_gid, made.stat().st_mode & 0o777) == (ALICE, ALICE, 0o640)
    assert (system.work / "out").stat().st_uid == ALICE
    assert system.on(name, "runuser -u nobody -- cat %s/in 2>&1" % said[2]).endswith("Permission denied\n")
