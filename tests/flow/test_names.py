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
        for parent in list(tmp_path.parents)[:2]:
            os.chmod(parent, 0o755)
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
