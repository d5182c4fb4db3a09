"""The one privileged part of a shared broker: a root process that starts node agents and nothing else.

`sbrokerd` as root forks before it has read any configuration. The child drops to user `sbroker` and is the broker; the parent
keeps root, and on a line of JSON from the child starts (or starts again) the agent of one local node. Names and folders are
checked here, the command line is fixed here: a broker that was taken over can start agents, and cannot choose what they run.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

from sbroker.errors import SbrokerError
from sbroker.paths import SUBMIT_AGENT
from sbroker.providers.base import Endpoint
from sbroker.transports import local

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
USER = "sbroker"


class StarterClient:
    """The broker's side: ask for an agent, wait for the answer. When the starter is gone the broker cannot go on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(10)  # the starter only forks; it answers within milliseconds, or it is gone
        self._sock, self._file = sock, sock.makefile("rb")

    def start(self, endpoint: Endpoint) -> None:
        """OSError with the starter's sentence when the agent cannot be started."""
        self._sock.sendall(json.dumps({"node": endpoint.node, "hostname": endpoint.hostname}).encode() + b"\n")
        answer = self._file.readline()
        if not answer:
            raise OSError("the privileged starter is gone: restart sbrokerd")
        error = json.loads(answer).get("error")
        if error:
            raise OSError("the agent of %s could not be started: %s" % (endpoint.node, error))


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


def split(agents: Path, child_dirs: list[Path], allow_root_jobs: bool) -> socket.socket:
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
    extra = ["--broker-uid", str(user.pw_uid), *(["--allow-root-jobs"] if allow_root_jobs else [])]
    _serve(ours, child, agents, extra)


def _serve(asked: socket.socket, child: int, agents: Path, extra: list[str]) -> NoReturn:
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
            answer = _start(line, agents, extra)
            asked.sendall(json.dumps(answer).encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _start(line: bytes, agents: Path, extra: list[str]) -> dict[str, str]:
    try:
        ask = json.loads(line)
        node, hostname = str(ask["node"]), str(ask["hostname"])
        if node != SUBMIT_AGENT and not all(NAME.fullmatch(name) for name in (node, hostname or node)):
            return {"error": "not a node name: %r" % node}
        local.start_agent(Endpoint(transport="local", node=node, hostname=hostname, directory=str(agents / node)), extra=extra)
    except (OSError, ValueError, KeyError) as error:
        return {"error": str(error)}
    return {}
