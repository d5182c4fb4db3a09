"""The one privileged part of a shared broker: a root process that starts node agents and nothing else.

`sbrokerd` as root forks before it has read any configuration. The child drops to user `sbroker` and is the broker; the parent
keeps root, and on a line of JSON from the child starts (or starts again) the agent of one local node. Names and folders are
checked here, the command line is fixed here: a broker that was taken over can start agents, and cannot choose what they run.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from sbroker.errors import SbrokerError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
USER = "sbroker"


class StarterClient:
    """The broker's side: ask for an agent, wait for the answer. When the starter is gone the broker cannot go on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()

    async def start(self, node: str, hostname: str, hosts: list[str]) -> None:
        """OSError with the starter's sentence when the agent cannot be started."""
        async with self._lock:
            if self._streams is None:
                self._streams = await asyncio.open_connection(sock=self._sock)
            reader, writer = self._streams
            writer.write(json.dumps({"node": node, "hostname": hostname, "hosts": hosts}).encode() + b"\n")
            await writer.drain()
            answer = await reader.readline()
        if not answer:
            raise OSError("the privileged starter is gone: restart sbrokerd")
        error = json.loads(answer).get("error")
        if error:
            raise OSError("the agent of %s could not be started: %s" % (node, error))


def service_user() -> pwd.struct_passwd:
    """The account of the shared broker, made when missing, as a package's post-install would."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--home-dir", "/var/lib/sbroker", "--shell", "/usr/sbin/nologin", USER],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            return pwd.getpwnam(USER)
        except KeyError:
            raise SbrokerError("there is no user %s and it could not be made (%s): add a system user of that name" % (USER, made.stderr.strip())) from None


def agent_command(directory: Path, node: str, hostname: str, front: str, options: list[str]) -> list[str]:
    """The command line of a node's agent, run by this very interpreter from this very installation."""
    root = str(Path(__file__).resolve().parents[2])
    code = "import sys; sys.path.insert(0, %r); from sbroker.agent.__main__ import main; sys.exit(main(sys.argv[1:]))" % root
    return [sys.executable, "-I", "-c", code, "serve", "--dir", str(directory), "--node", node, "--hostname", hostname, "--front", front, *options]


def start_agent(command: list[str], log: Path) -> None:
    """Start it detached in a session of its own; it outlives us."""
    with log.open("ab") as out:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/", close_fds=True)


def split(agents: Path, front: str, options: list[str], child_dirs: list[Path]) -> socket.socket:
    """Fork. Returns in the child, as user `sbroker`, with the socket to ask on; the parent never returns."""
    user = service_user()
    for path in child_dirs:
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(0o755)
    agents.mkdir(parents=True, exist_ok=True)
    agents.chmod(0o755)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        ours.close()
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.environ["HOME"] = user.pw_dir
        return theirs
    theirs.close()
    _serve(ours, child, agents, front, [*options, "--broker-uid", str(user.pw_uid)])


def _serve(asked: socket.socket, child: int, agents: Path, front: str, options: list[str]) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda got, frame: os.kill(child, got))
    # An agent's exit is not ours to wait for; the child's status is asked for by pid at the end.
    buffer = b""
    while True:
        data = asked.recv(65536)
        if not data:
            break
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            answer = _start(line, agents, front, options)
            asked.sendall(json.dumps(answer).encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _start(line: bytes, agents: Path, front: str, options: list[str]) -> dict[str, str]:
    try:
        ask = json.loads(line)
        node, hostname, hosts = str(ask["node"]), str(ask["hostname"]), [str(name) for name in ask.get("hosts", ())]
        if not all(NAME.fullmatch(name) for name in (node, hostname, *hosts)):
            return {"error": "not a node name: %r" % node}
        directory = agents / node
        directory.mkdir(mode=0o755, exist_ok=True)
        extra = ["--hosts", ",".join(hosts)] if hosts else []
        start_agent(agent_command(directory, node, hostname, front, options + extra), agents / (node + ".log"))
    except (OSError, ValueError, KeyError) as error:
        return {"error": str(error)}
    return {}
