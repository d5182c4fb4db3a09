"""Ask a broker from Python: the call protocol as far as a command without terminal, signals and input needs it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import sys

from sbroker import paths
from sbroker.agent import wire
from sbroker.errors import SbrokerError

PEERCRED = struct.Struct("iII")  # pid, uid, gid


class NoBroker(SbrokerError):
    """No broker runs."""


def whom() -> str:
    """The socket of the broker that this user's commands ask (the rule of slurm_compat/client.py; nothing is started)."""
    given = os.environ.get("SBROKER_SOCKET")
    if given and os.path.exists(given):
        return given
    if not os.environ.get("SBROKER_HOME") and paths.SHARED_CONFIG.exists():
        return paths.shared().socket
    return paths.personal(os.environ).socket


def connect(path: str) -> socket.socket:
    """NoBroker if nobody listens there."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        with paths.socket_address(path) as address:
            sock.connect(address)
    except PermissionError as error:
        sock.close()
        raise SbrokerError("You may not use the socket %s: %s." % (path, error.strerror)) from error
    except OSError as error:
        sock.close()
        raise NoBroker("No broker runs at %s." % path) from error
    return sock


def broker_pid(sock: socket.socket) -> int:
    """The process that listens at the other end, as the kernel says."""
    return PEERCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEERCRED.size))[0]


def request(name: str, argv: list[str]) -> bytes:
    """The CALL frame of this process."""
    umask = os.umask(0o077)
    os.umask(umask)
    meta = ["umask=%o" % umask, "pid=%d" % os.getpid(), "sid=%d" % os.getsid(0), "host=" + os.uname().nodename, "tty="]
    env = b"".join(b"%s=%s\0" % item for item in os.environb.items())
    arguments = b"".join(os.fsencode(arg) + b"\0" for arg in argv)
    identity = (b"1", secrets.token_hex(16).encode(), name.encode(), os.getcwdb())
    return wire.call_frame(wire.CALL, wire.fields(*identity, "\n".join(meta).encode(), arguments, env))


def relay(name: str, argv: list[str]) -> int:
    """Run the command on the broker's side; what it says goes to our standard output and error. Returns its exit code."""
    reader = wire.CallReader()
    with connect(whom()) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):  # said below
        sock.sendall(request(name, argv))
        while data := sock.recv(1 << 18):
            for op, payload in reader.feed(data):
                if op == wire.EXIT:
                    return int.from_bytes(payload[:4], "big", signed=True)
                _carry_out(sock, op, payload)
    raise SbrokerError("The broker broke off; its log says why.")


def answer(name: str, argv: list[str]) -> str:
    """What the command prints. SbrokerError with what it says when it fails."""
    reader = wire.CallReader()
    said = {1: b"", 2: b""}
    with connect(whom()) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):  # said below
        sock.sendall(request(name, argv))
        while data := sock.recv(1 << 18):
            for op, payload in reader.feed(data):
                if op == wire.OUT:
                    said[payload[3]] += payload[4:]
                elif op == wire.EXIT and payload[:4] == b"\0\0\0\0":
                    return said[1].decode()
                elif op == wire.EXIT:
                    raise SbrokerError(said[2].decode(errors="replace").strip().removeprefix("%s: error: " % name))
    raise SbrokerError("The broker broke off; its log says why.")


def _carry_out(sock: socket.socket, op: int, payload: bytes) -> None:
    if op == wire.OUT:
        stream = sys.stderr if payload[:4] == b"\0\0\0\2" else sys.stdout
        stream.buffer.write(payload[4:])
        stream.flush()
    elif op == wire.READ:
        try:
            data, errno = _read(os.fsdecode(payload[12:]), int.from_bytes(payload[4:12], "big")), 0
        except OSError as error:
            data, errno = b"", error.errno or 5
        sock.sendall(wire.call_frame(wire.REPLY, payload[:4] + errno.to_bytes(4, "big") + data))
    elif op not in (wire.GRANT, wire.CATCH):
        raise SbrokerError("The broker asks for more than `sbroker` can do (%s)." % chr(op))


def _read(path: str, limit: int) -> bytes:
    if not path:
        return sys.stdin.buffer.read(limit + 1)
    with open(path, "rb") as file:
        return file.read(limit + 1)
