"""What this machine has: CPUs and how they lie, memory, disk, GPUs. Read from /proc and /sys, without running anything."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from sbroker.agent import devices
from sbroker.model import Gres, Value


class Machine(Value, frozen=True, kw_only=True):
    cpus: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory: int  # MiB
    tmp: int  # MiB of the file system of /tmp
    gres: tuple[Gres, ...] = ()


@lru_cache(maxsize=1)
def look() -> Machine:
    cpus = sorted(os.sched_getaffinity(0))
    sockets, cores, threads = _topology(cpus)
    disk = os.statvfs("/tmp")
    return Machine(
        cpus=len(cpus),
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        memory=_memory(),
        tmp=disk.f_blocks * disk.f_frsize >> 20,
        gres=gpus(),
    )


def _topology(cpus: list[int], sys: str = "/sys/devices/system/cpu") -> tuple[int, int, int]:
    """Sockets, cores a socket, threads a core of these CPUs; one flat socket where the kernel does not say or they lie unevenly."""
    places: dict[tuple[int, int], int] = {}
    for cpu in cpus:
        try:
            folder = "%s/cpu%d/topology" % (sys, cpu)
            place = int(_text(folder + "/physical_package_id")), int(_text(folder + "/core_id"))
        except (OSError, ValueError):
            return 1, len(cpus), 1
        places[place] = places.get(place, 0) + 1
    sockets = len({package for package, _ in places})
    threads = max(places.values())
    if len(places) % sockets == 0 and len(places) * threads == len(cpus):
        return sockets, len(places) // sockets, threads
    return 1, len(cpus), 1


def _memory() -> int:
    """MiB of RAM, or what the container may use of it."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    found = int(match[1]) >> 10 if match else 1
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(_text(path)) >> 20)
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return max(1, found)


def gpus(root: str = "/") -> tuple[Gres, ...]:
    """Accelerators with their types, as a node's agent reads them."""
    return tuple(Gres(name=name, type=kind, count=count) for name, kind, count in devices.gres(root))


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
