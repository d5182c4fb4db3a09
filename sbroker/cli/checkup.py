"""`sbroker doctor`: what a broker needs on this machine, looked at without changing anything but a probe file."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sbroker import paths
from sbroker.cli import ask
from sbroker.errors import ConfigError, SbrokerError

GOOD, NOTE, BAD = "ok", "note", "BAD"
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs", "9p", "fuse.glusterfs"}
HOST_WAIT = 20.0  # seconds for one host
HOSTS_AT_ONCE = 32
LEAST_FREE = 1 << 30  # bytes for spools and database


class Finding(NamedTuple):
    level: str  # GOOD, NOTE (works, but) or BAD (does not work)
    sentence: str


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order in which things are needed."""
    where = paths.shared() if _is_shared(environ) else paths.personal(environ)
    checks: tuple[Callable[[paths.Paths], Iterator[Finding]], ...] = (python, launchers, config, state, broker, names, gpus, hosts)
    return [finding for check in checks for finding in check(where)]


def _is_shared(environ: Mapping[str, str]) -> bool:
    return not environ.get("SBROKER_HOME") and paths.SHARED_CONFIG.exists()


def python(where: paths.Paths) -> Iterator[Finding]:
    yield Finding(GOOD, "Python %d.%d.%d at %s." % (*sys.version_info[:3], sys.executable))


def launchers(where: paths.Paths) -> Iterator[Finding]:
    if not os.access("/bin/bash", os.X_OK):
        yield Finding(BAD, "The commands are launched by /bin/bash, which is not there: install bash.")
    found = shutil.which("sbatch")
    if found is None:
        yield Finding(NOTE, "No sbatch on PATH: add %s to it." % os.path.dirname(sys.executable))
        return
    real = os.path.realpath(found)
    with open(real, "rb") as file:
        ours = b"slurm_compat" in file.read(4096)
    if ours:
        yield Finding(GOOD, "sbatch on PATH is ours: %s." % found)
    else:
        yield Finding(NOTE, "sbatch on PATH is another Slurm's (%s): put %s before it." % (found, os.path.dirname(sys.executable)))


def config(where: paths.Paths) -> Iterator[Finding]:
    from sbroker.config import check

    if not os.path.exists(where.config):
        yield Finding(GOOD, "No %s: this machine is one node in the partition debug." % where.config)
        return
    try:
        check.load(where.config, files=not where.shared or os.geteuid() == 0)  # the keys of a shared broker are not for its users to read
    except (ConfigError, OSError) as error:
        yield Finding(BAD, "The configuration cannot be used: %s" % error)
    else:
        yield Finding(GOOD, "The configuration %s is valid." % where.config)


def state(where: paths.Paths) -> Iterator[Finding]:
    if where.shared and os.geteuid() != 0:
        return  # the folders of a shared broker are not for its users to write
    folder = Path(where.state)
    while not folder.exists():
        folder = folder.parent
    kind = file_system(str(folder))
    if kind in NETWORK_FILE_SYSTEMS:
        unsafe = "%s lies on a network file system (%s), where a database is not safe: set SBROKER_HOME to a local folder."
        yield Finding(BAD, unsafe % (where.state, kind))
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Finding(GOOD, "%s can be written (%s)." % (folder, kind))
    except OSError as error:
        yield Finding(BAD, "%s cannot be written (%s): free space, mend its permissions, or set SBROKER_HOME." % (folder, error.strerror))
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        yield Finding(NOTE, "Only %d MiB are free in %s: job output waits when it is full; free some space." % (free >> 20, folder))


def file_system(path: str) -> str:
    """Type of the file system that `path` is on, as in /proc/self/mountinfo."""
    best, kind, real = -1, "unknown", os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            mount = before.split()[4].replace("\\040", " ")
            if (real == mount or real.startswith(mount.rstrip("/") + "/")) and len(mount) >= best:
                best, kind = len(mount), after.split()[0]
    return kind


def broker(where: paths.Paths) -> Iterator[Finding]:
    try:
        with ask.connect(where.socket) as sock:
            yield Finding(GOOD, "The broker answers at %s: pid %d." % (where.socket, ask.broker_pid(sock)))
    except ask.NoBroker:
        if where.shared:
            silent = "The shared broker does not answer at %s: run `systemctl start sbrokerd` and look at its journal."
            yield Finding(BAD, silent % where.socket)
        else:
            yield Finding(GOOD, "No broker runs yet: the first command starts it.")
    except SbrokerError as error:
        yield Finding(BAD, "%s Ask the administrator of this host." % error)


def names(where: paths.Paths) -> Iterator[Finding]:
    name = socket.gethostname()
    try:
        address = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        unknown = "The name of this machine, %s, does not resolve: add it to /etc/hosts, or rendezvous of multi-node jobs fail."
        yield Finding(NOTE, unknown % name)
    else:
        yield Finding(GOOD, "%s resolves to %s." % (name, address))
    lost = [node for node in virtual_nodes(where) if not _resolves(node)] if os.geteuid() != 0 and not where.shared else []
    if lost:
        unknown = "Only root's broker can give virtual nodes names that resolve: add lines like `127.0.1.1 %s` to /etc/hosts, or what connects to %s fails."
        yield Finding(NOTE, unknown % (lost[0], ", ".join(lost)))


def virtual_nodes(where: paths.Paths) -> list[str]:
    """The names of this machine's virtual nodes, of a configuration that is good."""
    return [end.node for end in _endpoints(where) if _nameless(end)]


def _endpoints(where: paths.Paths) -> list[Any]:
    """How the machines are reached that a good configuration has already."""
    from sbroker.clock import SystemClock
    from sbroker.config import check
    from sbroker.daemon.places import endpoints

    if not os.path.exists(where.config):
        return []
    try:
        return list(endpoints(check.load(where.config), where, "", SystemClock()).values())
    except (ConfigError, OSError):
        return []  # `config` says so


def hosts(where: paths.Paths) -> Iterator[Finding]:
    """Log into each host that is reached by SSH, as the broker does; nothing is started there."""
    ends = [end for end in _endpoints(where) if end.transport == "ssh"]
    if not ends:
        return
    if where.shared and os.geteuid() != 0:
        yield Finding(NOTE, "%d hosts are reached by SSH with the shared broker's own key: root's `sbroker doctor` looks at them." % len(ends))
        return
    said = asyncio.run(_logins(ends))
    good = [release for release, error in said if not error]
    if good:
        yield Finding(GOOD, "%d of %d hosts that are reached by SSH let us in and have a Python (%s)." % (len(good), len(ends), ", ".join(sorted(set(good)))))
    for _, error in said:
        if error:
            yield Finding(BAD, error + ".")


async def _logins(ends: list[Any]) -> list[tuple[str, str]]:
    """Of each: (release of its Python, "") or ("", why not). None takes longer than HOST_WAIT, some at once."""
    from sbroker.transports import Unreachable, ssh

    room = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def one(end: Any) -> tuple[str, str]:
        async with room:
            try:
                return await asyncio.wait_for(ssh.look(end), HOST_WAIT), ""
            except Unreachable as error:
                return "", str(error)
            except asyncio.TimeoutError:
                return "", "%s does not answer within %d seconds" % (end.node, HOST_WAIT)

    return list(await asyncio.gather(*map(one, ends)))


def _nameless(end: Any) -> bool:
    """A virtual node to which this user's broker gives no host name."""
    return end.transport == "local" and end.hostname == end.node and not end.data.get("user_namespace")


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except OSError:
        return False


def gpus(where: paths.Paths) -> Iterator[Finding]:
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if not devices:
        yield Finding(GOOD, "No NVIDIA devices here: this machine has no GPUs to give.")
    elif shutil.which("nvidia-smi") is None:
        untyped = "%d NVIDIA devices but no nvidia-smi: their type is unknown; set `gres` of the site in %s."
        yield Finding(NOTE, untyped % (len(devices), where.config))
    else:
        yield Finding(GOOD, "%d NVIDIA devices." % len(devices))
