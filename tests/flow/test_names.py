"""Names of virtual nodes without root: a site's `hostnames: true` gives them in user namespaces, where the kernel lets us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.system import ROOT

SCRIPT = """
import socket, sys
sys.path.insert(0, %r)
from sbroker.agent.namespaces import Names
names = Names(%r)
names.enter("virtual1")
names.add({"virtual2": "127.0.1.2"})
print(socket.gethostname(), socket.gethostbyname("virtual2"))
"""


def test_a_plain_user_gets_names_in_a_user_namespace(tmp_path: Path) -> None:
    """The host's own name and /etc/hosts stay as they are."""
    before = Path("/etc/hosts").read_bytes(), os.uname().nodename
    other = {"user": 64007, "group": 64007, "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        os.chmod(tmp_path, 0o777)
        for parent in list(tmp_path.parents)[:3]:
            os.chmod(parent, parent.stat().st_mode & 0o7777 | 0o055)  # the last may be /tmp
    python = "/usr/bin/python3" if other else sys.executable
    if subprocess.run(["unshare", "-U", "true"], capture_output=True, check=False, cwd="/", **other).returncode:
        pytest.skip("the kernel lets plain users make no user namespaces here")
    source = tmp_path / "code"
    source.mkdir()
    subprocess.run(["cp", "-r", str(ROOT / "sbroker"), str(source)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(source)], check=True)
    done = subprocess.run([python, "-c", SCRIPT % (str(source), str(tmp_path))], capture_output=True, text=True, check=False, cwd="/", **other)
    assert (done.stdout, done.stderr) == ("virtual1 127.0.1.2\n", "")
    assert (Path("/etc/hosts").read_bytes(), os.uname().nodename) == before


LEARN = """
import os, socket, sys
sys.path.insert(0, %r)
from sbroker.agent.loop import Loop
from sbroker.agent.namespaces import Names
loop, names, done = Loop(), Names(%r), []
def learn(told):
    names.learn(loop, told, lambda: done.append(1))
    while not done:
        loop.turn(0.1)
    done.clear()
before = os.readlink("/proc/self/ns/mnt")
learn({"localhost": ["192.0.2.9"]})
print(os.readlink("/proc/self/ns/mnt") == before, names.active)
learn({"nowhere.invalid": ["alias.invalid", "192.0.2.7"], "localhost": ["192.0.2.9"], "other.invalid": ["no.address.invalid"]})
print(os.readlink("/proc/self/ns/mnt") == before, socket.gethostbyname("nowhere.invalid"), socket.gethostbyname("localhost"))
learn({"nowhere.invalid": ["192.0.2.8"]})
print(socket.gethostbyname("nowhere.invalid"))
names.learn(loop, {"nowhere.invalid": ["192.0.2.8"]}, lambda: print("at once"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has namespaces without asking")
def test_names_that_do_not_resolve_are_made_to_in_a_namespace_of_the_agent_s_own(tmp_path: Path) -> None:
    """The host's file stays as it is; a node whose names resolve is left without a namespace."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel gives no mount namespaces here")
    before = Path("/etc/hosts").read_bytes()
    done = subprocess.run([sys.executable, "-c", LEARN % (str(ROOT), str(tmp_path))], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout.splitlines(), done.stderr) == (["True False", "False 192.0.2.7 127.0.0.1", "192.0.2.8", "at once"], "")
    assert Path("/etc/hosts").read_bytes() == before
