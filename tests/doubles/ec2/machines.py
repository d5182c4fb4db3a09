"""The hosts behind the instances: power on, run the user data, power off; and notice those that powered themselves off."""

from __future__ import annotations

import base64
import ipaddress
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.doubles.cloudhosts import Cloud
from tests.doubles.machine import Host

BATCH = 64  # hosts that are started together
WATCH = 0.2  # seconds between looks at what is on
_RUN = "cat >/var/lib/user-data && chmod 700 /var/lib/user-data && exec setsid /var/lib/user-data >/var/log/user-data.log 2>&1"


class Machines:
    """`cloud`: where hosts are made, None: there are none, and instances run when the boot delay is over."""

    def __init__(self, cloud: Cloud | None, delay: float = 0.0) -> None:
        self.cloud, self.delay = cloud, delay
        self.by_address: dict[str, Any] = {}
        self.on_state: Callable[[Any, str], None] = lambda instance, state: None
        self.on_off: Callable[[Any], None] = lambda instance: None
        self._hosts: dict[str, str] = {}  # instance → name of its host, which is on
        self._lock = threading.RLock()
        self._queue: queue.Queue[tuple[Any, float]] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()
        if cloud is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def boot(self, instance: Any) -> None:
        self._queue.put((instance, time.monotonic() + self.delay))

    def off(self, instance: Any) -> None:
        """Pull the plug."""
        with self._lock:
            name = self._hosts.pop(instance.id, None)
            self.by_address.pop(str(instance.private_ip), None)
        if name and self.cloud is not None:
            self.cloud.remove(name)

    def name(self, instance_id: str) -> str:
        return self._hosts[instance_id]

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < BATCH:
                batch.append(self._queue.get())
            time.sleep(max(0.0, max(at for _, at in batch) - time.monotonic()))
            try:
                self._boot([instance for instance, _ in batch if instance._state.name == "pending"])
            except Exception as error:  # the API goes on, these instances stay pending
                print("ec2 double: boot: %r" % error, flush=True)

    def _boot(self, instances: list[Any]) -> None:
        hosts = []
        for instance in instances:
            address = str(instance.private_ip)
            if self.cloud is None or ipaddress.ip_address(address) not in self.cloud.net:
                self.on_state(instance, "running")
                continue
            keys = []
            if instance.key_name:
                material = instance.ec2_backend.key_pairs[instance.key_name].material_public
                keys = [material.decode() if isinstance(material, bytes) else material]
            hosts.append((instance, Host("ip-" + address.replace(".", "-"), ip=address, keys=keys)))
        if not hosts or self.cloud is None:
            return
        self.cloud.add([host for _, host in hosts])
        for instance, host in hosts:
            with self._lock:
                if instance._state.name != "pending":  # it was terminated while it booted
                    self.cloud.remove(host.name)
                    continue
                self._hosts[instance.id], self.by_address[host.ip] = host.name, instance
            self.on_state(instance, "running")
            self._user_data(instance, host)

    def _user_data(self, instance: Any, host: Host) -> None:
        """A script is run as cloud-init runs it: as root, after sshd has come up."""
        script = base64.b64decode(instance.user_data.as_bytes()) if instance.user_data else b""
        if script.startswith(b"#!") and self.cloud is not None:
            null = subprocess.DEVNULL
            process = subprocess.Popen(self.cloud.on(host.name, ["sh", "-c", _RUN]), stdin=subprocess.PIPE, stdout=null, stderr=null)
            assert process.stdin is not None
            process.stdin.write(script)
            process.stdin.close()
            threading.Thread(target=process.wait, daemon=True).start()

    def _watch(self) -> None:
        assert self.cloud is not None
        while True:
            time.sleep(WATCH)
            with self._lock:
                on = dict(self._hosts)
            if not on:
                continue
            alive = {name for name, record in self.cloud.hosts().items() if record["alive"]}
            for instance in list(self.by_address.values()):
                name = on.get(instance.id)
                if name is not None and name not in alive and self._hosts.get(instance.id) == name:
                    self.on_off(instance)
