"""A scripted broker for real agents: one agent process, one connection, every report seen."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from sbroker.agent.wire import LinkReader, link_frame

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0  # seconds after which something that should have happened is declared missing


class Lab:
    """`node`'s agent below `folder`, and what a broker would say to it."""

    def __init__(self, folder, node="node1", **settings):
        self.folder, self.node = Path(folder), node
        self.settings = dict({"front": "fakefront", "min_uid": 0, "allow_root_jobs": True}, **settings)
        self.reports, self.hello, self.frames, self.process, self.sock, self.epoch = [], None, [], None, None, 1
        self.command = [os.environ.get("AGENT_PYTHON", sys.executable), "-m", "sbroker.agent"]  # nodes may have an older one
        self.options = []  # more for the agent's command line
        self.seen = 0  # seq of the newest report taken

    # --- processes

    def start(self):
        env = dict(os.environ, PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'flow'}")
        command = [*self.command, "serve", "--dir", str(self.folder), "--node", self.node, *self.options]
        with open(self.folder.parent / f"{self.node}.log", "ab") as log:
            self.process = subprocess.Popen(command, env=env, stderr=log, stdin=subprocess.DEVNULL)
        self.connect()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.sock:
            self.sock.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        while self._kill_what_is_left():
            continue

    def _kill_what_is_left(self):
        """Supervisors go on without an agent, and so do their tasks: both are known by the folder. The number that was there."""
        found, folder = 0, os.fsencode(self.folder)
        for path in Path("/proc").iterdir():
            try:
                of_agent = folder in (path / "cmdline").read_bytes().split(b"\0")
                if of_agent or b"SBROKER_SOCKET=" + folder + b"/" in (path / "environ").read_bytes():
                    os.kill(int(path.name), signal.SIGKILL)
                    found += 1
            except (OSError, ValueError):
                continue  # not a process, or gone
        return found

    # --- the connection

    def connect(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(self.folder / "agent.sock"))
                break
            except OSError:
                self.sock.close()
                assert self.process.poll() is None, "the agent ended"
                assert time.monotonic() < deadline, "the agent does not answer"
                time.sleep(0.01)
        self.reader, self.hello, self.frames = LinkReader(), None, []
        self.send({"op": "hello", "store": "s1", "epoch": self.epoch, "version": "0", "node": self.node, "settings": self.settings})
        self.until(lambda: self.hello or any(header["op"] == "refused" for header, _ in self.frames))
        return self.hello

    def send(self, header, body=b""):
        self.sock.settimeout(PATIENCE)
        self.sock.sendall(link_frame(header, body))

    def hang_up(self):
        """Close the connection; returns when the agent knows."""
        self.sock.shutdown(socket.SHUT_WR)
        self.sock.settimeout(PATIENCE)
        while self.sock.recv(1 << 16):
            continue
        self.sock.close()

    def until(self, condition):
        """Take frames until `condition()`; its value."""
        deadline = time.monotonic() + PATIENCE
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"still waiting; reports so far: {self.kinds()}"
            self.sock.settimeout(0.05)
            try:
                data = self.sock.recv(1 << 18)
            except TimeoutError:
                continue
            assert data, "the agent closed the connection"
            for header, body in self.reader.feed(data):
                self._take(header, body)

    def _take(self, header, body):
        if header["op"] == "hello":
            self.hello = header
        elif header["op"] == "report":
            if header["seq"] > self.seen:  # what was applied before takes no effect again
                assert header["seq"] == self.seen + 1, "a gap in the reports"
                self.seen = header["seq"]
                self.reports.append(header)
            self.send({"op": "ack", "seq": self.seen})
        else:
            self.frames.append((header, body))

    def settle(self):
        """The agent has dealt with all that was sent before (a turn of its loop ends between two answers)."""
        for _ in range(2):
            self.send({"op": "ping", "n": 7})
            answer = self.until(lambda: next((frame for frame in self.frames if frame[0]["op"] == "pong"), None))
            self.frames.remove(answer)

    def kinds(self, job=None):
        return [report["kind"] for report in self.reports if job in (None, report["job"])]

    def wait(self, kind, job=1):
        """The (first) report of this kind for the job."""
        return self.until(lambda: next((report for report in self.reports if report["kind"] == kind and report["job"] == job), None))

    # --- orders

    def info(self, job=1, run=0, **changes):
        me = os.getuid()
        spec = {"name": "t", "work_dir": str(self.folder.parent), "stdout": f"{self.folder.parent}/%j.out", "umask": 0o022}
        spec.update(changes.pop("spec", {}))
        info = {"cluster": "c", "imitate": "22.05", "store": "s1", "job": job, "run": run, "restart_count": 0, "kind": "batch", "name": "t",
                "key": "secret", "head": self.node, "submit_host": "h", "array": None, "user": {
                    "name": "u", "uid": me, "gid": os.getgid(), "group": "g", "groups": [os.getgid()], "home": "/", "shell": "/bin/sh"},
                "spec": spec, "partition": "p", "time_limit": -1, "kill_wait": 1, "bin": None, "settings": {},
                "nodes": [{"node": self.node, "address": "127.0.0.1", "cpus": 1, "mem": 0, "gres": {}, "endpoint": f"unix:{self.folder}"}]}
        info.update(changes)
        return info

    def prepare(self, script="", job=1, run=0, environ=b"", **changes):
        text = b"#!/bin/sh\n" + script.encode()
        env = f"PATH={os.environ['PATH']}".encode() + b"\0" + environ
        info = self.info(job, run, **changes)
        self.send({"op": "prepare", "job": job, "run": run, "info": info, "script_size": len(text), "environ_size": len(env)}, text + env)

    def order(self, op, job=1, run=0, **more):
        self.send(dict({"op": op, "job": job, "run": run}, **more))

    def run(self, script, job=1, **changes):
        """Prepare and start; returns when the run has started."""
        self.prepare(script, job, **changes)
        self.wait("held", job)
        self.order("start", job)
        return self.wait("started", job)

    def output(self, job=1):
        path = self.folder.parent / f"{job}.out"
        return path.read_text() if path.exists() else ""

    def supervisor(self, job=1):
        """Pid of the run's supervisor, as it reported it."""
        return self.wait("started", job)["data"]["pid"]

    def kill_supervisor(self, job=1):
        os.kill(self.supervisor(job), signal.SIGKILL)


def gone(pid):
    """Whether the process is no more (or a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_for(condition):
    """Poll for something outside the link."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
