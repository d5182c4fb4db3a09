"""The hosts that other tests stand on are what they say: separate, reachable from the hub alone, and faulty on request."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.doubles.cloudhosts import Cloud, missing
from tests.doubles.kernel import starttime
from tests.doubles.machine import Host

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
ASK = "import sys; print('%d.%d' % sys.version_info[:2])"
SELF = "%d.%d" % tuple(int(part) for part in subprocess.run(
    ["/usr/bin/python3", "-c", ASK], capture_output=True, text=True, check=False).stdout.strip().split(".")) if os.path.exists("/usr/bin/python3") else ""  # fmt: skip


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud("double%d" % os.getpid(), tmp_path / "cloud", owner=os.getpid())
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    yield cloud
    cloud.down()


def ssh(cloud, tmp_path, name, command, user="ubuntu", timeout=10):
    host = cloud.host(name)
    (tmp_path / "known").write_text(cloud.known_hosts())
    argv = ["ssh", "-F", "none", "-i", str(tmp_path / "key"), "-o", "UserKnownHostsFile=%s" % (tmp_path / "known"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2",
            "-p", str(host.port), "%s@%s" % (user, name), command]  # fmt: skip
    return subprocess.run(cloud.inside(argv), capture_output=True, text=True, timeout=timeout, check=False)


def key(tmp_path):
    return [(tmp_path / "key.pub").read_text()]


def test_two_hosts_are_two_machines(cloud, tmp_path):
    cloud.add([Host("a1", keys=key(tmp_path), users={"alice": 2001}, uptime=90000), Host("a2", keys=key(tmp_path), port=2222)])
    said = [ssh(cloud, tmp_path, name, "hostname; cat /proc/sys/kernel/random/boot_id; id -un; echo $HOME; touch mine; ls").stdout.split() for name in ("a1", "a2")]
    assert [words[0] for words in said] == ["a1", "a2"]
    assert said[0][1] != said[1][1]
    assert said[0][2:] == said[1][2:] == ["ubuntu", "/home/ubuntu", "mine"]
    assert ssh(cloud, tmp_path, "a1", "id -u", "alice").stdout == "2001\n"
    assert ssh(cloud, tmp_path, "a1", "id -un", "root").stdout == "root\n"
    assert float(ssh(cloud, tmp_path, "a1", "cat /proc/uptime").stdout.split()[0]) > 90000
    # a process of one is none of the other's, and the hosts reach each other by name
    assert ssh(cloud, tmp_path, "a2", "ps -e | grep -c sshd").stdout.strip() in ("2", "3", "4")
    assert ssh(cloud, tmp_path, "a1", "timeout 5 bash -c 'exec 3<>/dev/tcp/a2/2222; head -c 4 <&3'").stdout == "SSH-"


@pytest.mark.parametrize("python, found, version", [
    ("system", "python3", SELF), ("none", "", ""), ("old", "python3", "3.5"), ("platform", "/usr/libexec/platform-python", SELF)])  # fmt: skip
def test_what_python_it_has(cloud, tmp_path, python, found, version):
    cloud.add([Host("b1", keys=key(tmp_path), python=python, sudo=python != "none")])
    for name in ("python3", "/usr/libexec/platform-python"):
        done = ssh(cloud, tmp_path, "b1", '%s -c "%s"' % (name, ASK))
        assert (done.returncode, done.stdout.strip()) == ((0, version) if name == found else (127, "")), done
    assert ssh(cloud, tmp_path, "b1", "sudo -n id -u").stdout == ("" if python == "none" else "0\n")


def test_a_host_is_cut_frozen_killed_and_started_again(cloud, tmp_path):
    cloud.add([Host("c1", keys=key(tmp_path), disk=True), Host("c2", keys=key(tmp_path))])
    for name in ("c1", "c2"):
        assert ssh(cloud, tmp_path, name, "echo kept > file").returncode == 0
    boot = ssh(cloud, tmp_path, "c1", "cat /proc/sys/kernel/random/boot_id").stdout
    cloud.cut("c1")
    assert ssh(cloud, tmp_path, "c1", "true").returncode == 255
    cloud.heal("c1")
    assert ssh(cloud, tmp_path, "c1", "true").returncode == 0
    cloud.freeze("c1")
    assert ssh(cloud, tmp_path, "c1", "true").returncode == 255
    cloud.thaw("c1")
    assert ssh(cloud, tmp_path, "c1", "true").returncode == 0
    assert cloud.kill("c1", "c2") == 2
    assert [record["alive"] for record in cloud.hosts().values()] == [False, False]
    cloud.boot("c1", "c2")
    assert ssh(cloud, tmp_path, "c1", "cat file").stdout == "kept\n"
    assert ssh(cloud, tmp_path, "c2", "cat file").returncode == 1
    assert ssh(cloud, tmp_path, "c1", "cat /proc/sys/kernel/random/boot_id").stdout != boot


def test_a_set_whose_owner_is_gone_is_swept(tmp_path):
    from tests.doubles.cloudhosts import sweep

    gone = subprocess.Popen(["true"])
    cloud = Cloud("orphan", tmp_path / "orphan", owner=os.getpid())
    cloud.add([Host("d1")])
    pid = cloud.hosts()["d1"]["pid"]
    assert sweep(tmp_path) == 0
    gone.wait()
    (tmp_path / "orphan" / "owner").write_text("%d 1" % gone.pid)
    assert sweep(tmp_path) == 1
    assert not (tmp_path / "orphan").exists()
    assert starttime(pid) is None
