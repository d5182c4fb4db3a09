"""A whole personal broker for a test: real launchers, client, broker, agents and supervisors in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
CONFIG = """
cluster: system
kill_wait: 2
min_job_age: 3600
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
  - {name: gpu, sites: [cards], max_time: 2-00:00:00, default_time: 01:00:00}
sites:
  here: {provider: local, nodes: "node[1-2]", cpus: 4, memory: 4000M}
  cards: {provider: local, nodes: "gpu1", cpus: 4, memory: 4000M, gres: "gpu:a100:2"}
"""


class System:
    """`folder` holds everything: state in folder/home, the user's files in folder/work."""

    def __init__(self, folder: Path, config: str | None = None) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        (self.home / "config.yaml").write_text(config or CONFIG)
        self.env = {"PATH": "%s:/usr/local/bin:/usr/bin:/bin" % BIN, "HOME": str(self.work), "USER": "tester", "SBROKER_HOME": str(self.home), "LANG": "C.UTF-8"}

    def argv(self, line: str) -> list[str]:
        """What runs one shell line; tests/hosts put something before it."""
        return ["bash", "-c", line]

    def sh(self, line: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """One shell line as the user types it."""
        return subprocess.run(self.argv(line), cwd=self.work, env=dict(self.env, **env), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)  # fmt: skip

    def ok(self, line: str, **env: str) -> str:
        """Its standard output; it must have succeeded, and said nothing on standard error."""
        done = self.sh(line, **env)
        assert (done.returncode, done.stderr) == (0, ""), (line, done)
        return done.stdout

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.argv(line), cwd=self.work, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def until(self, line: str, wanted: str, seconds: float = 30) -> None:
        """Wait until the line prints `wanted` (stripped)."""
        end = time.monotonic() + seconds
        while (said := self.sh(line).stdout.strip()) != wanted:
            assert time.monotonic() < end, "%s: %r, not %r after %g s" % (line, said, wanted, seconds)
            time.sleep(0.05)

    def drain(self, seconds: float = 60) -> None:
        """Wait until the queue is empty."""
        self.until("squeue -h -o %i", "", seconds)

    def status(self) -> dict:
        return json.loads(self.ok("sbroker status --json"))

    def kill_broker(self) -> None:
        os.kill(self.status()["pid"], signal.SIGKILL)

    def agent_pid(self, node: str) -> int:
        """Whoever listens on the agent's socket, as the kernel says."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.home / "spool" / node / "agent.sock"))
            return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def kill_agent(self, node: str) -> None:
        os.kill(self.agent_pid(node), signal.SIGKILL)

    def close(self) -> None:
        self.sh("sbroker down --cancel")
