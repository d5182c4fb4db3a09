"""The agent of a node on this machine: a process of its own that outlives the broker, behind the Unix socket DIRECTORY/agent.sock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sbroker import paths
from sbroker.providers.base import Endpoint
from sbroker.transports import Streams, Unreachable

PATIENCE = 20.0  # seconds for an agent to answer after its start
_LIMIT = 1 << 20  # bytes of the reader's buffer
Start = Callable[[Endpoint], "subprocess.Popen[bytes] | None"]
_children: dict[str, subprocess.Popen[bytes]] = {}  # by folder: started here; looked after so that a dead one does not stay a zombie


async def open(endpoint: Endpoint, *, start: Start | None = None, program: str | None = None) -> Streams:
    """Connect; if nobody answers, start the agent first.

    `program`: path of the agent's zipapp; None: the module of this installation. `start`: called instead of `start_agent`, where
    another process (root's) has to do it; returns the process, or None if it is none of ours. Unreachable if there is no answer.
    """
    path = os.path.join(endpoint.directory, "agent.sock")
    try:
        return await _connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    except OSError as error:
        raise Unreachable("%s: %s" % (path, error.strerror)) from error
    process = _children.get(endpoint.directory)  # one that was started a moment ago needs its time
    try:
        if process is None or process.poll() is not None:
            process = start(endpoint) if start else start_agent(endpoint, program)
    except OSError as error:
        raise Unreachable("the agent of %s cannot be started: %s" % (endpoint.node, error)) from error
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + PATIENCE, 0.005
    while True:
        await asyncio.sleep(pause)
        # Looked at before the connection is tried: an agent that ends because another one serves the folder is no failure.
        ended = process is not None and process.poll() is not None
        try:
            return await _connect(path)
        except OSError as error:
            if ended or loop.time() > until:
                raise Unreachable(
                    "the agent of %s does not answer: %s" % (endpoint.node, last_words(endpoint) or error.strerror)
                ) from error
        pause = min(pause * 1.5, 0.1)


async def _connect(path: str) -> Streams:
    with paths.socket_address(path) as address:
        return await asyncio.open_unix_connection(address, limit=_LIMIT)


def command(endpoint: Endpoint, program: str | None = None) -> tuple[list[str], dict[str, str]]:
    """What starts the agent: arguments and environment. The environment holds nothing of the one that the broker was started in."""
    environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    argv = [
        sys.executable,
        "-S",
        *(["-I", program] if program else ["-m", "sbroker.agent"]),
        "serve",
        "--dir",
        endpoint.directory,
        "--node",
        endpoint.node,
    ]
    if not program:
        environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    argv += ["--hostname", endpoint.hostname] if endpoint.hostname else []
    return argv + (["--user-namespace"] if endpoint.data.get("user_namespace") else []), environ


def start_agent(endpoint: Endpoint, program: str | None = None, extra: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start the agent in a session of its own, its words in DIRECTORY/agent.log; `extra`: more options. OSError if that cannot be."""
    for directory in [directory for directory, child in _children.items() if child.poll() is not None]:
        del _children[directory]
    os.makedirs(endpoint.directory, exist_ok=True)
    argv, environ = command(endpoint, program)
    log = os.open(_log(endpoint), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            [*argv, *extra], env=environ, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    finally:
        os.close(log)
    _children[endpoint.directory] = child
    return child


def start_early(endpoints: Iterable[Endpoint], extra: Sequence[str] = ()) -> None:
    """Start the agents that were never started here, without waiting: they come up while the broker does other things."""
    for endpoint in endpoints:
        if not os.path.exists(os.path.join(endpoint.directory, "agent.sock")):
            with contextlib.suppress(OSError):  # `open` tries again, and says what is wrong
                start_agent(endpoint, extra=extra)


def end(endpoint: Endpoint) -> None:
    """What the end of a machine means where it is a folder of this one: SIGKILL to its agent, its supervisors and all their children."""
    folder = Path(endpoint.directory)
    roots = {pid for path in (folder / "agent.sock", *folder.glob("runs/*/srun.sock")) if (pid := _listener(path))}
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    left = list(roots)
    while left:
        pid = left.pop()
        found.append(pid)
        left += parents.get(pid, ())
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _listener(path: Path) -> int:
    """Process that listens at a socket, 0 if none does."""
    with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError), paths.socket_address(str(path)) as address:
        one.settimeout(1)
        one.connect(address)
        return struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return 0


def last_words(endpoint: Endpoint) -> str:
    """The last line of the agent's log, "" if there is none."""
    try:
        lines = Path(_log(endpoint)).read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1] if lines else ""


def _log(endpoint: Endpoint) -> str:
    return os.path.join(endpoint.directory, "agent.log")
