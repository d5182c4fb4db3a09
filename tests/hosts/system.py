"""A whole broker whose nodes are hosts with a real sshd. It and all its commands run inside the hosts' hub; pytest stays outside."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from tests.doubles.cloudhosts import Cloud
from tests.flow.system import ROOT, System

CONFIG = """
cluster: hosts
kill_wait: 2
min_job_age: 3600
lost_after: 60
partitions:
  - {name: debug, default: true, sites: [lab], max_time: infinite}
sites:
  lab: {provider: ssh, hosts: "%(hosts)s", user: ubuntu, identity_file: key, known_hosts: known_hosts}
"""
SHARED = CONFIG.replace("user: ubuntu", "user: ubuntu, shared_fs: true")


def make_key(path: Path) -> str:
    """A new key pair; the public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text()


class HostsSystem(System):
    """A personal broker. `config` may use %(hosts)s; the folder of the configuration holds `key` and `known_hosts`, as config.yaml names them."""

    def __init__(self, folder: Path, cloud: Cloud, key: Path, hosts: str, config: str = CONFIG) -> None:
        super().__init__(folder, config % {"hosts": hosts})
        self.work.chmod(0o777)  # jobs run as the login's user there
        self.cloud, self._store = cloud, ""
        self.names: list[str] = []  # for those who ask
        shutil.copy(key, self.home / "key")
        self.know()

    def know(self) -> None:
        """Take over the keys that the hosts have now."""
        (self.home / "known_hosts").write_text(self.cloud.known_hosts())

    def argv(self, line: str) -> list[str]:
        return self.cloud.inside(super().argv(line), self.work)

    def configure(self, text: str) -> None:
        (self.home / "config.yaml").write_text(text)
        self.ok("scontrol reconfigure")

    # ---- nodes

    def agent_folder(self, node: str, base: str = "home/ubuntu/.sbroker", host: str = "") -> Path:
        """The agent's folder on the host (default: of the node's name), as it is seen from here."""
        return Path("/proc/%d/root" % self.cloud.hosts()[host or node]["pid"], base, self.store(), node)

    def store(self) -> str:
        if not self._store:
            self._store = str(self.status()["store"])
        return self._store

    def agent_pid(self, node: str, base: str = "home/ubuntu/.sbroker", host: str = "") -> int:
        """Who listens on the agent's socket there, as the kernel says; 0: nobody."""
        with socket.socket(socket.AF_UNIX) as sock:
            here = os.open(self.agent_folder(node, base, host), os.O_PATH)  # an address holds 107 bytes
            try:
                sock.connect("/proc/self/fd/%d/agent.sock" % here)
            except OSError:
                return 0
            finally:
                os.close(here)
            return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def kill_agent(self, node: str) -> None:
        os.kill(self.agent_pid(node), signal.SIGKILL)

    def on(self, node: str, line: str) -> str:
        """What a shell line prints on the host, as its root, without SSH."""
        done = self.cloud.exec(node, ["sh", "-c", line], capture_output=True, text=True, timeout=30)
        return str(done.stdout)

    def until_there(self, node: str, line: str, wanted: str, seconds: float = 30) -> None:
        """Wait until the line, run on the host, prints `wanted` (stripped)."""
        end = time.monotonic() + seconds
        while (said := self.on(node, line).strip()) != wanted:
            assert time.monotonic() < end, "%s on %s: %r, not %r" % (line, node, said, wanted)
            time.sleep(0.05)

    def reason(self, node: str, wanted: str, seconds: float = 40) -> str:
        """Wait until sinfo -R says something with `wanted` of the node; what it says."""
        end = time.monotonic() + seconds
        while wanted not in (said := self.sh("sinfo -h -R -N -n %s -o '%%N|%%T|%%500E'" % node).stdout):
            assert time.monotonic() < end, "reason of %s: %r" % (node, said)
            time.sleep(0.1)
        return said.strip()

    def idle(self, nodes: str, seconds: float = 60) -> None:
        """Wait until all these are there and free."""
        self.until("sinfo -h -N -n %s -o %%T | sort -u" % nodes, "idle", seconds)


__all__ = ["ROOT", "HostsSystem", "make_key"]
