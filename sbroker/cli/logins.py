"""`sbroker ssh`, `ssh-proxy` and `ssh-config`, on the user's side: a shell inside a running job's node, and what other tools need for it."""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import shutil
import socket
import sys
import threading

from sbroker.cli import ask, pipe, sshkeys
from sbroker.cli.ssh_side import NO_LOGIN, NO_SSHD
from sbroker.errors import SbrokerError

FIRST_BYTES = 90.0  # seconds that a node may take to greet: it may just be coming up


def proxy(node: str, job: str, place: str) -> int:
    """ssh's ProxyCommand: standard input and output are the connection."""
    with sshkeys.held(sshkeys.Path(place) if place else sshkeys.folder(os.environ)) as keys:
        return pipe.run(node, job, keys.public, keys.host.encode(), 0, 1)


def config(nodes: tuple[str, ...], job: str) -> str:
    """Host blocks for ~/.ssh/config."""
    users: dict[str, str] = json.loads(ask.answer("sbroker", ["ssh-users"]))
    unknown = [node for node in nodes if node not in users]
    if unknown:
        raise SbrokerError("there is no node %s" % unknown[0])
    place = sshkeys.folder(os.environ)
    by_user: dict[str, list[str]] = {}
    for node in nodes or tuple(users):
        by_user.setdefault(users[node], []).append(node)
    return "\n".join([_HEAD, *(_block(names, user, place, job) for user, names in by_user.items())])


_HEAD = """\
# Nodes where you have a running job, for ssh, scp, sftp, rsync, VS Code … Made by `sbroker ssh-config`; write it to a file and put
# `Include FILE` at the top of ~/.ssh/config. Make it anew when nodes are added."""


def _block(names: list[str], user: str, place: sshkeys.Path, job: str) -> str:
    command = [_program(), "ssh-proxy", "--keys", str(place), *(["--jobid", job] if job != "-" else [])]
    if os.environ.get("SBROKER_HOME"):
        command = ["env", "SBROKER_HOME=" + os.path.abspath(os.environ["SBROKER_HOME"]), *command]
    return "\n".join([
        "Host " + " ".join(names),
        "    User " + user,
        "    ProxyCommand %s %%n" % " ".join(shlex.quote(word).replace("%", "%%") for word in command),
        "    HostKeyAlias " + sshkeys.ALIAS,
        '    IdentityFile "%s"' % _escaped(place / sshkeys.IDENTITY),
        "    IdentitiesOnly yes",
        '    UserKnownHostsFile "%s"' % _escaped(place / sshkeys.KNOWN),
        "    GlobalKnownHostsFile /dev/null",
        "    StrictHostKeyChecking yes",
        "    UpdateHostKeys no",
        "    CheckHostIP no",
        "    PreferredAuthentications publickey",
        "",
    ])  # fmt: skip


def _escaped(path: sshkeys.Path) -> str:
    return str(path).replace("%", "%%")


def _program() -> str:
    """How ssh finds us again, whatever PATH it has."""
    return os.path.abspath(sys.argv[0]) if os.access(sys.argv[0], os.X_OK) else shutil.which("sbroker") or "sbroker"


def login(node: str, command: tuple[str, ...], job: str, terminal: bool | None) -> int:
    """A shell, or one command, on `node`; its exit code. `terminal`: whether it gets one; None as ssh decides."""
    found = json.loads(ask.answer("sbroker", ["ssh-where", node, job]))
    wants_terminal = not command if terminal is None else terminal
    number = str(found["job"])
    keys = sshkeys.fresh()
    ours, theirs = socket.socketpair()
    ends: list[int] = []
    carrier = threading.Thread(target=lambda: ends.append(_carry(node, number, keys, theirs)), daemon=True)
    carrier.start()
    try:
        code = _converse(ours, found["user"], keys, " ".join(command), wants_terminal and os.isatty(0))
    except NoSession as error:
        carrier.join(5)
        if ends == [NO_SSHD]:
            return _by_srun(node, number, command, wants_terminal and os.isatty(0))
        if not ends or ends == [0]:  # else it has been said
            raise SbrokerError("node %s: %s" % (node, error)) from error
        return NO_LOGIN
    return code


class NoSession(SbrokerError):
    """The other end did not let us in."""


def _carry(node: str, job: str, keys: sshkeys.Keys, end: socket.socket) -> int:
    try:
        return pipe.run(node, job, keys.public, keys.host.encode(), end.fileno(), end.fileno())
    except SbrokerError as error:
        print("sbroker: error: %s" % error, file=sys.stderr)
        return NO_LOGIN
    finally:
        end.close()


def _converse(sock: socket.socket, user: str, keys: sshkeys.Keys, command: str, terminal: bool) -> int:
    import paramiko

    from sbroker.cli import sshterminal

    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is an exception, and said once
    transport = paramiko.Transport(sock)
    transport.banner_timeout = FIRST_BYTES
    try:
        transport.start_client(timeout=FIRST_BYTES)
        if keys.known.split()[1:3] != [transport.get_remote_server_key().get_name(), transport.get_remote_server_key().get_base64()]:
            raise NoSession("somebody else answered in place of our sshd")
        transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key(io.StringIO(keys.identity)))
        channel = transport.open_session(timeout=FIRST_BYTES)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise NoSession(str(error) or "the connection was closed") from error
    try:
        return sshterminal.run(channel, command, terminal)
    finally:
        transport.close()


def _by_srun(node: str, job: str, command: tuple[str, ...], terminal: bool) -> int:
    """Without sshd there: the same place by a step of the job."""
    print("sbroker: going in by srun --jobid=%s --overlap instead" % job, file=sys.stderr)
    line = ["srun", "--jobid=" + job, "--overlap", "-Q", "-N1", "-n1", "-w", node, *(["--pty"] if terminal else [])]
    program = os.path.join(os.path.dirname(_program()), "srun")
    shell = ["sh", "-c", " ".join(command)] if command else ["sh", "-c", 'exec "${SHELL:-/bin/sh}" -l']
    os.execvp(program if os.access(program, os.X_OK) else "srun", line + shell)
