"""Sessions: terminals, a second pair of eyes, files to all nodes, much output, slow readers, and broken connections."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from agentlab import PATIENCE, wait_for
from steplab import Cluster

from sbroker.agent import wire


@pytest.fixture
def one(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.allocate(kill_wait=5)
    yield cluster
    cluster.stop()


class Terminal:
    """A command on a pseudo-terminal of its own, read by a thread."""

    def __init__(self, cluster, *argv, rows=30, cols=100):
        self.master, slave = os.openpty()
        self.resize(rows, cols)
        env = dict(os.environ, SBROKER_SOCKET=str(cluster.socket()), SLURM_JOB_ID="1")
        command = [str(cluster.bin / "srun"), *argv]
        self.process = subprocess.Popen(
            command,
            env=env,
            cwd=cluster.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, pattern):
        wait_for(lambda: re.search(pattern, self.text))

    def end(self):
        code = self.process.wait(PATIENCE)
        self.reader.join(1)
        os.close(self.master)
        return code


def test_a_terminal_with_its_size(one):
    terminal = Terminal(one, "-n2", "--pty", "sh")
    terminal.type("stty size; tty; echo rank=$SLURM_PROCID; echo zero=$0\n")
    terminal.until(r"30 100\r\n/dev/pts/\d+\r\nrank=0")
    terminal.resize(40, 120)
    wait_for(lambda: terminal.type("stty size\n") or time.sleep(0.05) or "40 120" in terminal.text)
    terminal.type("exit 7\n")
    assert terminal.end() == 7
    assert "srun: error: node1: task 0: Exited with exit code 7" in terminal.text


def test_ctrl_c_goes_through_the_terminal(one):
    terminal = Terminal(one, "--pty", "sh", "-c", "trap 'echo got it; exit 4' INT; echo up; while :; do sleep 0.05; done")
    terminal.until("up")
    terminal.type("\x03")
    assert terminal.end() == 4
    assert "got it" in terminal.text


def test_pty_without_a_terminal(one):
    assert one.ask("--pty", "echo", "hi") == (
        "hi\n",
        "srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device\n"
        "srun: error: Not using a pseudo-terminal, disregarding --pty option\n",
        0,
    )


def test_sixteen_megabytes(one):
    process = one.srun("sh", "-c", "head -c 16777216 /dev/zero | tr '\\0' 'x'; echo")
    out, err = process.communicate(timeout=60)
    assert (len(out), err, process.returncode) == (16777217, b"", 0)


def test_a_slow_reader_slows_the_task(one):
    process = one.srun(
        "sh", "-c", "i=0; while [ $i -lt 400 ]; do head -c 100000 /dev/zero | tr '\\0' 'x'; echo; i=$((i+1)); echo $i > count; done"
    )
    seen = -1
    while True:  # until it stands still
        time.sleep(0.5)
        now = (one.folder / "count").read_text() if (one.folder / "count").exists() else ""
        if now and now == seen:
            break
        seen = now
    assert int(seen) < 50  # of 400: what fits into credits and buffers
    supervisor = Path("/proc") / str(one.head.supervisor()) / "status"
    resident = int(re.search(r"VmRSS:\s+(\d+)", supervisor.read_text()).group(1))
    assert resident < 80_000
    out, _ = process.communicate(timeout=60)
    assert len(out) == 400 * 100_001


def test_sattach(one):
    step = one.srun("-n2", "sh", "-c", "read line; echo $line $SLURM_PROCID", stdin=subprocess.PIPE)
    one.head.wait("step_start")
    layout = one.ask("--layout", "1.0", name="sattach")[0]
    assert layout == "Job step layout:\n\t2 tasks, 1 nodes (node1)\n\n\tNode 0 (node1), 2 task(s): 0 1 \n"
    watcher = one.srun("-l", "1.0", name="sattach")
    only = one.srun("--output-filter=1", "1.0", name="sattach")
    wait_for(lambda: one.ask("--layout", "1.0", name="sattach")[0] == layout)
    time.sleep(0.3)  # the two above have asked before the one that answered last; give a busy machine some room
    step.communicate(b"word\n")
    assert sorted(watcher.communicate(timeout=PATIENCE)[0].decode().splitlines()) == ["0: word 0", "1: word 1"]
    assert only.communicate(timeout=PATIENCE)[0] == b"word 1\n"
    assert one.ask("1.7", name="sattach") == ("", "sattach: error: Could not get job step info: Invalid job id specified\n", 1)


def test_sbcast(tmp_path):
    cluster = Cluster(tmp_path, ("node1", "node2"))
    try:
        cluster.allocate()
        source = tmp_path / "tool"
        source.write_bytes(b"#!/bin/sh\necho tool\n" + b"#" * 3_000_000)
        source.chmod(0o755)
        assert cluster.ask("-f", "tool", str(tmp_path / "copy"), name="sbcast") == ("", "", 0)
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o755
        said = cluster.ask("tool", "copy", name="sbcast")
        assert sorted(said[1].splitlines()) == [f"sbcast: error: REQUEST_FILE_BCAST(node{n}): File exists" for n in (1, 2)]
        assert said[2] == 17
        assert cluster.ask("nosuch", "x", name="sbcast") == ("", "sbcast: error: Can't open `nosuch`: No such file or directory\n", 255)
    finally:
        cluster.stop()


class Remote:
    """A client of the broker whose session comes to the agent as a channel."""

    def __init__(self, cluster, argv, number=1, resume=None):
        self.cluster, self.number, self.reader, self.ops, self.out = cluster, number, wire.CallReader(), 0, b""
        meta = "umask=022\npid=1\ntty=" + (f"\nresume=1:{resume}" if resume is not None else "")
        call = wire.fields(
            b"1",
            b"id1",
            b"srun",
            str(cluster.folder).encode(),
            meta.encode(),
            b"".join(a.encode() + b"\0" for a in argv),
            f"PATH={os.environ['PATH']}\0".encode(),
        )
        cluster.head.send({"op": "chan_open", "chan": number, "job": 1, "run": 0, "kind": "session", "uid": 0, "options": {}}, call)

    def take(self, ops=None):
        """Take frames until so many ops came, or EXIT (then its code)."""
        lab = self.cluster.head
        while True:
            lab.until(lambda: any(h.get("chan") == self.number for h, _ in lab.frames))
            for header, body in [f for f in lab.frames if f[0].get("chan") == self.number]:
                lab.frames.remove((header, body))
                if header["op"] != "chan_data":
                    continue
                lab.send({"op": "chan_credit", "chan": self.number, "bytes": len(body)})
                for op, payload in self.reader.feed(body):
                    self.ops += 1
                    if op == wire.OUT:
                        self.out += payload[4:]
                    if op == wire.EXIT:
                        return int.from_bytes(payload, "big", signed=True)
            if ops is not None and self.ops >= ops:
                return None

    def say(self, op, payload):
        self.cluster.head.send({"op": "chan_data", "chan": self.number}, wire.call_frame(op, payload))


def test_a_session_is_resumed(one):
    first = Remote(one, ["sh", "-c", "echo one; read line < gate; echo two"])
    os.mkfifo(one.folder / "gate")
    while b"one" not in first.out:
        first.take(first.ops + 1)
    one.head.send({"op": "chan_close", "chan": 1, "why": "link"})
    (one.folder / "gate").write_text("go\n")
    second = Remote(one, ["sh"], number=2, resume=first.ops)
    assert second.take() == 0
    assert first.out + second.out == b"one\ntwo\n"
    again = Remote(one, ["sh"], number=3, resume=first.ops + second.ops - 1)
    assert (again.take(), again.out) == (0, b"")  # the last op was lost: it is said again


def test_a_client_that_is_gone_for_good(one):
    remote = Remote(one, ["sh", "-c", "echo up; exec sleep 600"])
    while b"up" not in remote.out:
        remote.take(remote.ops + 1)
    one.head.send({"op": "chan_close", "chan": 1, "why": "client"})
    assert one.head.wait("step_end")["data"]["signal"] == signal.SIGKILL


def test_acknowledged_ops_are_forgotten(one):
    remote = Remote(one, ["sh", "-c", "head -c 12000000 /dev/zero | tr '\\0' 'x'"])
    code = None
    while code is None:
        code = remote.take(remote.ops + 1)
        remote.say(wire.ACK, remote.ops.to_bytes(8, "big"))
    assert (code, len(remote.out)) == (0, 12_000_000)


def test_the_program_goes_first(tmp_path):
    cluster = Cluster(tmp_path, ("node1", "node2"))
    try:
        cluster.allocate()
        (tmp_path / "prog").write_text("#!/bin/sh\necho $0\n")
        (tmp_path / "prog").chmod(0o755)
        (tmp_path / "there").mkdir()
        out, err, code = cluster.ask("-n2", f"--bcast={tmp_path}/there/", "./prog")
        assert (sorted(out.splitlines()), err, code) == ([f"{tmp_path}/there/slurm_bcast_1.0_node{n}" for n in (1, 2)], "", 0)
        assert cluster.ask("-n1", f"--bcast={tmp_path}/copy", "./prog") == (
            f"{tmp_path}/copy\n",
            "srun: Warning: can't run 1 processes on 2 nodes, setting nnodes to 1\n",
            0,
        )
        assert cluster.ask("-n2", "--bcast=/nosuch/x", "./prog")[2] == 1
    finally:
        cluster.stop()
