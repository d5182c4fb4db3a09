"""Both sides of a differential test: a real Slurm on loopback, and ours with the same four nodes. Left out, with the reason, where the
real one cannot be started (it needs root and Debian's packages slurmctld, slurmd, slurm-client, munge)."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORACLE = Path(__file__).with_name("slurm-oracle")
CONFIG = """
cluster: oracle
imitate: "22.05"
kill_wait: 5
min_job_age: 3600
max_array_size: 100001
first_job_id: 800  # ids of two digits and more are folded
partitions:
  - {name: debug, default: true, sites: [cpu, gpus], max_time: infinite, def_mem_per_cpu: 1000M}
  - {name: gpu, sites: [gpus], max_time: 2-00:00:00, default_time: 01:00:00, def_mem_per_cpu: 1000M}
sites:
  cpu:  {provider: local, nodes: "node[1-2]", cpus: 8, sockets: 2, cores_per_socket: 4, threads_per_core: 1, memory: 16000M, features: [cpu, intel], weight: 1}
  gpus: {provider: local, nodes: "node[3-4]", cpus: 8, sockets: 2, cores_per_socket: 4, threads_per_core: 1, memory: 16000M, gres: "gpu:a100:4", features: [gpu, a100], weight: 10}
"""
# what names the place, or comes only with an accounting database, which this real one is started without
SITE = re.compile(r"^(SLURM_WORKING_CLUSTER|SLURM_CONF|SLURM_TASK_PID|SLURM_TOPOLOGY|SLURM_SRUN_COMM|SLURM_STEP_LAUNCHER|SLURM_LAUNCH_NODE|SLURM_SUBMIT_DIR|SLURM_JOB_QOS|SBROKER_)")


def fold(text: str) -> list[str]:
    """What must agree: the words, not ids, times, or the order of lines from parallel tasks."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"\b\d+-\d\d:\d\d:\d\d\b|\b\d\d?:\d\d:\d\d\b|\b\d\d?:\d\d\b", "DUR", text)
    # A broker that is not root's can not give its virtual nodes host names of their own.
    text = re.sub(r"\bnode\d\b|\b%s\b" % re.escape(socket.gethostname().partition(".")[0]), "node", text)
    text = re.sub(r"\d{2,}", "N", text)
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if not SITE.match(line))
    return sorted(line for line in lines if line)


class Side:
    """Runs shell lines as the test's plain user with one side's commands first on PATH."""

    def __init__(self, name: str, path: str, env: dict[str, str], home: Path) -> None:
        self.name, self.home = name, home
        self.env = {"PATH": path + ":/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "USER": "alice", "LOGNAME": "alice", "SHELL": "/bin/bash", "LANG": "C.UTF-8", **env}

    def sh(self, line: str, timeout: float = 60) -> tuple[list[str], list[str], int]:
        """Folded standard output and error lines, and the exit code."""
        done = subprocess.run(["bash", "-c", line], cwd=self.home, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=timeout, user="alice", group="alice", extra_groups=[], check=False)  # fmt: skip
        return fold(done.stdout), fold(done.stderr), done.returncode

    def clear(self) -> None:
        self.sh("scancel -u alice")
        end = time.monotonic() + 30
        while self.sh("squeue -h")[0] and time.monotonic() < end:
            time.sleep(0.1)


@pytest.fixture(scope="session")
def user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        pytest.skip("a real Slurm can only be started as root")
    if shutil.which("slurmctld") is None or shutil.which("slurmd") is None or shutil.which("munged") is None:
        pytest.skip("no real Slurm here: Debian's packages slurmctld, slurmd, slurm-client and munge are not installed")
    try:
        return pwd.getpwnam("alice")
    except KeyError:
        subprocess.run(["useradd", "-m", "alice"], check=True)
        return pwd.getpwnam("alice")


@pytest.fixture(scope="session")
def real(user: pwd.struct_passwd) -> Iterator[Side]:
    folder = Path(tempfile.mkdtemp(prefix="sbroker-real-"))  # pytest's own folders are closed to other users
    env = dict(os.environ, ORACLE_DIR=str(folder / "oracle"), ORACLE_PORT=str(27800 + os.getpid() % 500 * 10))
    up = subprocess.run([str(ORACLE), "up", "--conf", "FirstJobId=800"], env=env, capture_output=True, text=True, check=False)
    if up.returncode:
        pytest.fail("the real Slurm does not start: %s" % up.stderr[-500:])
    os.chmod(folder, 0o755)
    home = folder / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    try:
        yield Side("real", str(folder / "oracle" / "bin"), {"SLURM_CONF": str(folder / "oracle" / "etc" / "slurm.conf")}, home)
    finally:
        subprocess.run([str(ORACLE), "down"], env=env, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ours(user: pwd.struct_passwd) -> Iterator[Side]:
    python = ROOT / ".venv" / "bin" / "python3"
    tried = subprocess.run(["bash", "-c", "%s -c 'import msgspec'" % python], cwd="/", user="alice", group="alice", extra_groups=[], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("a plain user cannot run this checkout's .venv (%s): make it with an interpreter that everybody can read" % python)
    folder = Path(tempfile.mkdtemp(prefix="sbroker-ours-"))
    os.chmod(folder, 0o755)
    home, state = folder / "home", folder / "state"
    for path in (home, state):
        path.mkdir()
        os.chown(path, user.pw_uid, user.pw_gid)
    (state / "config.yaml").write_text(CONFIG)
    side = Side("ours", str(ROOT / "bin"), {"SBROKER_HOME": str(state)}, home)
    try:
        yield side
    finally:
        subprocess.run(["bash", "-c", "sbroker down --cancel"], cwd=home, env=side.env, user="alice", group="alice", extra_groups=[], check=False,
                       capture_output=True)  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
