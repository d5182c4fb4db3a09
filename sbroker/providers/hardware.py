"""What this machine has: CPUs and how they lie, memory, disk, GPUs. Read from /proc and /sys, without running anything."""

from __future__ import annotations

import glob
import os
import re
from functools import lru_cache

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


def gpus(proc: str = "/proc/driver/nvidia/gpus", dev: str = "/dev") -> tuple[Gres, ...]:
    """GPUs by what the driver tells of their models, else by their device files (without a type)."""
    models: dict[str | None, int] = {}
    for path in sorted(glob.glob(proc + "/*/information")):
        match = re.search(r"^Model:\s+(.+)$", _text(path), re.MULTILINE)
        kind = gpu_type(match[1]) if match else None
        models[kind] = models.get(kind, 0) + 1
    if not models:
        count = sum(1 for path in glob.glob(dev + "/nvidia*") if re.fullmatch(r"nvidia\d+", os.path.basename(path)))
        models = {None: count} if count else {}
    return tuple(Gres(name="gpu", type=kind, count=count) for kind, count in models.items())


def gpu_type(model: str) -> str:
    """``NVIDIA A100-SXM4-40GB`` → a100; ``Tesla T4`` → t4; ``NVIDIA GeForce RTX 3090`` → rtx_3090."""
    words = [word for word in re.split(r"[\s_]+", model.strip()) if word.lower() not in ("nvidia", "tesla", "geforce", "quadro")] or [""]
    if not words[0]:
        return "gpu"
    if words[0].upper() in ("RTX", "GTX", "TITAN") and len(words) > 1:
        return "_".join(words[:2]).lower()
    return words[0].split("-")[0].lower()


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
