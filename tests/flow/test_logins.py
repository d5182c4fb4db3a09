"""sbroker ssh, ssh-config and ssh-proxy with the real ssh, scp, sftp and sshd, through a whole personal broker."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System
from tests.flow.terminal import Terminal

NEEDED = ("/usr/sbin/sshd", shutil.which("ssh") or "/usr/bin/ssh")


class Inside(System):
    """A system with one allocation on node1 and node2, and a configuration for ssh."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.job = self.sh("salloc --no-shell -N2 -w node[1-2] 2>&1").stdout.split()[-1]
        (self.work / "cfg").write_text(self.ok("sbroker ssh-config"))

    def ssh(self, line: str) -> subprocess.CompletedProcess[str]:
        return self.sh("ssh -F cfg -o BatchMode=yes " + line)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    for program in NEEDED:
        if not os.access(program, os.X_OK):
            pytest.skip("%s is not installed" % program)
    made = Inside(tmp_path_factory.mktemp("logins % and blank"))
    try:
        yield made
    finally:
        made.close()


def test_ssh_is_inside_the_job(inside: Inside) -> None:
    """The node's name, the job's variables, its process tree; the command's exit code."""
    done = inside.ssh("node2 'hostname; echo $SLURM_JOB_ID $SLURMD_NODENAME $SLURM_NODEID $SLURM_JOB_NODELIST; srun -n1 -w node1 -N1 hostname; exit 7'")
    assert (done.stdout, done.returncode) == ("node2\n%s node2 1 node[1-2]\nnode1\n" % inside.job, 7), done.stderr


def test_standard_streams_stay_apart_and_whole(inside: Inside) -> None:
    data = bytes(range(256)) * 4096
    (inside.work / "data").write_bytes(data)
    done = inside.ssh("node1 'cat; echo no >&2' < data > back 2> err; cat err")
    assert (inside.work / "back").read_bytes() == data
    assert done.stdout == "no\n"


def test_files_by_scp_and_sftp(inside: Inside) -> None:
    data = os.urandom(3 << 20)
    (inside.work / "up").write_bytes(data)
    folder = shlex.quote(str(inside.work))
    inside.ok("scp -q -F cfg up node1:%s/there" % folder)
    inside.ok("scp -q -F cfg node2:%s/there back" % folder)
    inside.ok("echo 'put up %s/sent' | sftp -q -F cfg -b - node2 >/dev/null" % str(inside.work).replace(" ", "\\ "))
    assert [(inside.work / name).read_bytes() == data for name in ("there", "back", "sent")] == [True] * 3


def test_a_port_is_forwarded(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        threading.Thread(target=lambda: server.accept()[0].sendall(b"through\n"), daemon=True).start()
        line = "-o ExitOnForwardFailure=yes -L %d:127.0.0.1:%d node2 'echo up; read line; echo $line'" % (port, server.getsockname()[1])
        tunnel = subprocess.Popen(["bash", "-c", "exec ssh -F cfg " + line], cwd=inside.work, env=inside.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert tunnel.stdout is not None
        assert tunnel.stdout.readline() == b"up\n"  # ssh listens before it asks for its command
        with socket.create_connection(("127.0.0.1", port)) as sock:
            assert sock.makefile("rb").readline() == b"through\n"
        assert tunnel.communicate(b"end\n", timeout=60)[0] == b"end\n"


def test_a_terminal_by_ssh_and_by_sbroker_ssh(inside: Inside) -> None:
    """Size at the start and on change, the user's TERM, the exit code, the terminal given back."""
    for argv in (["ssh", "-F", "cfg", "-t", "node1", "sh"], ["sbroker", "ssh", "-t", "node1", "sh"]):
        terminal = Terminal(argv, inside.env, inside.work)
        try:
            terminal.type("stty size; echo term=$TERM job=$SLURM_JOB_ID\n")
            terminal.until(r"30 100\r\nterm=xterm-256color job=%s\r\n" % inside.job)
            terminal.resize(41, 123)
            terminal.type("while test \"$(stty size)\" != '41 123'; do sleep 0.1; done; echo s''een\n")
            terminal.until("seen")
            terminal.type("sleep 100\n")
            terminal.until("sleep 100\r\n")
            terminal.type("\x03exit 6\n")
            assert terminal.end() == 6
            assert terminal.restored()
        finally:
            terminal.close()


def test_sbroker_ssh_in_pipes(inside: Inside) -> None:
    assert inside.sh("head -c 3000000 /dev/zero | sbroker ssh node2 'wc -c; echo $SLURMD_NODENAME >&2; exit 3'").returncode == 3
    done = inside.sh("head -c 3000000 /dev/zero | sbroker ssh node2 'wc -c; echo $SLURMD_NODENAME >&2'")
    assert (done.stdout, done.stderr) == ("3000000\n", "node2\n")


def test_who_has_no_job_there_stays_out(inside: Inside) -> None:
    done = inside.ssh("gpu1 true")
    assert (done.returncode, "no running job of yours on gpu1" in done.stderr) == (255, True)
    assert inside.sh("sbroker ssh gpu1 true").stderr == "sbroker: error: no running job of yours on gpu1\n"
    assert inside.sh("sbroker ssh --jobid=%s gpu1 true" % inside.job).stderr == "sbroker: error: job %s does not run on gpu1\n" % inside.job
    assert inside.sh("sbroker ssh nowhere true").stderr == "sbroker: error: there is no node nowhere\n"
    assert inside.sh("sbroker ssh-config nowhere").stderr == "sbroker: error: there is no node nowhere\n"


def test_the_end_of_the_job_is_the_end_of_the_login(inside: Inside) -> None:
    job = inside.sh("salloc --no-shell -N1 -w gpu1 -p gpu --gres=gpu:1 2>&1").stdout.split()[-1]
    login = inside.start("ssh -F cfg gpu1 'echo $CUDA_VISIBLE_DEVICES; echo $$ > pid-%s; exec sleep 600'" % job)
    inside.until("cat %s/pid-%s 2>/dev/null | wc -l" % (Path.home(), job), "1")
    pid = int((Path.home() / ("pid-" + job)).read_text())
    (Path.home() / ("pid-" + job)).unlink()
    inside.ok("scancel " + job)
    out, _ = login.communicate(timeout=60)
    assert (out, login.returncode) == ("0\n", 255)
    inside.until("squeue -h -j %s" % job, "")
    assert not Path("/proc/%d" % pid).exists()


def test_nothing_secret_is_left(inside: Inside) -> None:
    """Keys are in the user's own folder only, readable by nobody else; a node's copies go with the connection."""
    inside.ssh("node1 true")
    folder = inside.home / "ssh"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    inside.until("ls -d home/spool/*/runs/*/login-* 2>/dev/null || ls -d ../home/spool/*/runs/*/login-* 2>/dev/null | wc -l", "0")


@pytest.mark.skipif(os.geteuid() != 0, reason="hides sshd in a mount namespace: root alone may")
def test_a_node_without_sshd_is_entered_by_srun(tmp_path: Path) -> None:
    system = System(tmp_path)
    try:
        hidden = system.sh("unshare -m bash -c 'mount --bind /dev/null /usr/sbin/sshd && sbroker up'")
        if hidden.returncode:
            pytest.skip("no mount namespaces here: " + hidden.stderr)
        job = system.sh("salloc --no-shell -N2 2>&1").stdout.split()[-1]
        done = system.sh("sbroker ssh node2 'hostname; echo $SLURM_JOB_ID; exit 5'")
        assert (done.stdout, done.returncode) == ("node2\n%s\n" % job, 5)
        assert done.stderr.splitlines()[:2] == [
            "sbroker: error: there is no sshd on node node2",
            "sbroker: going in by srun --jobid=%s --overlap instead" % job,
        ]
        terminal = Terminal(["sbroker", "ssh", "node1"], system.env, system.work)
        terminal.type("stty size; exit 4\n")
        terminal.until("30 100")
        assert terminal.end() == 4
        assert terminal.restored()
        terminal.close()
    finally:
        system.close()
