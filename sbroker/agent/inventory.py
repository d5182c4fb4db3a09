"""What this machine has, as the hello tells it."""

import _struct as struct
import fcntl
import os
import sys

from . import devices, users
from . import sockets as socket
from .loop import boottime

_SIOCGIFADDR = 0x8915
_ADDRESSES = 8  # no more are told


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def pulse():
    """What changes all the time: load (one minute) and free_mem (MiB)."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        return {"load": os.getloadavg()[0], "free_mem": meminfo(stream.read()).get("MemAvailable", 0) >> 10}


def take(now, hostname):
    """The inventory: cpus, sockets, cores_per_socket, threads_per_core, memory, free_mem and tmp (MiB), gres [[name, type or null, count], …], load (one
    minute), arch, os, hostname, boot_time, addresses, user (users.own), python. `now`: seconds since the epoch."""
    cpus = len(os.sched_getaffinity(0))
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        sockets, cores, threads = topology(stream.read(), cpus)
    with open("/proc/meminfo", encoding="ascii") as stream:
        memory = meminfo(stream.read())
    tmp = os.statvfs("/tmp")
    uname = os.uname()
    return {
        "cpus": cpus, "sockets": sockets, "cores_per_socket": cores, "threads_per_core": threads,
        "memory": memory.get("MemTotal", 0) >> 10, "free_mem": memory.get("MemAvailable", 0) >> 10,
        "tmp": tmp.f_blocks * tmp.f_frsize >> 20, "gres": devices.gres(), "load": os.getloadavg()[0],
        "arch": uname.machine, "os": f"{uname.sysname} {uname.release} {uname.version}",
        "hostname": hostname, "boot_time": now - boottime(), "addresses": addresses(),
        "user": users.own(), "python": sys.version.split()[0],
    }


def topology(cpuinfo, cpus):
    """(sockets, cores per socket, threads per core) of /proc/cpuinfo's text; one socket of single-threaded cores where it does not say,
    or says something that does not multiply to the `cpus` we may use."""
    cores = {}  # (socket, core) → logical CPUs
    for block in cpuinfo.split("\n\n"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if "processor" in fields and "physical id" in fields and "core id" in fields:
            key = (fields["physical id"], fields["core id"])
            cores[key] = cores.get(key, 0) + 1
    sockets = len({socket for socket, _core in cores})
    if not cores or len(cores) % sockets or len(set(cores.values())) != 1:
        return 1, cpus, 1
    threads = next(iter(cores.values()))
    if len(cores) * threads != cpus:
        return 1, cpus, 1
    return sockets, len(cores) // sockets, threads


def meminfo(text):
    """/proc/meminfo as {name: KiB}."""
    lines = (line.partition(":") for line in text.splitlines())
    return {key: int(value.split()[0]) for key, _, value in lines if value.split()}


def addresses():
    """This machine's addresses, as others may reach it: first the one of the default route, then those of its interfaces."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # never sent to: UDP only looks up the route
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((far, 9))
                found.append(sock.getsockname()[0])
        except OSError:
            continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("16s24x", name.encode()))
            except OSError:
                continue  # it has none
            found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in dict.fromkeys(found) if not address.startswith(("127.", "169.254.")) and address != "::1"][:_ADDRESSES]
