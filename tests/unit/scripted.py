"""A broker that says what a test tells it to: a Unix socket, a script for each connection, and the real client at the other end."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

from sbroker.agent import wire

BIN = Path(__file__).resolve().parents[2] / "bin"


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def out(data: bytes, handle: int = 1) -> bytes:
    return wire.call_frame(wire.OUT, u32(handle) + data)


def read(number: int, path: bytes, limit: int = 1 << 20) -> bytes:
    return wire.call_frame(wire.READ, u32(number) + limit.to_bytes(8, "big") + path)


def open_file(number: int, handle: int, flags: int, path: bytes, mode: int = 0o666) -> bytes:
    return wire.call_frame(wire.OPEN, u32(number) + u32(handle) + u32(flags) + u32(mode) + path)


def close(handle: int) -> bytes:
    return wire.call_frame(wire.CLOSE, u32(handle))


def grant(handle: int, acked: int, upto: int) -> bytes:
    return wire.call_frame(wire.GRANT, u32(handle) + acked.to_bytes(8, "big") + upto.to_bytes(8, "big"))


def spawn(number: int, argv: list[bytes], env: dict[bytes, bytes]) -> bytes:
    packed = wire.fields(b"".join(arg + b"\0" for arg in argv), b"".join(b"%s=%s\0" % item for item in env.items()))
    return wire.call_frame(wire.SPAWN, u32(number) + packed)


def phase(number: int) -> bytes:
    return wire.call_frame(wire.PHASE, bytes((number,)))


def exit_with(code: int) -> bytes:
    return wire.call_frame(wire.EXIT, code.to_bytes(4, "big", signed=True))


class Gone(Exception):
    """The client closed its end."""


class Conn:
    """One connection of the client, already past its CALL (`call`, as `wire.parse_call` has it)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.reader, self.frames = sock, wire.CallReader(), []
        _, payload = self.expect(wire.CALL)
        self.call = wire.parse_call(payload)

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def next(self) -> tuple[int, bytes]:
        while not self.frames:
            data = self.sock.recv(1 << 16)
            if not data:
                raise Gone
            self.frames += self.reader.feed(data)
        return self.frames.pop(0)

    def expect(self, *ops: int) -> tuple[int, bytes]:
        """The next frame, which must be one of `ops`; ACKs in between are skipped."""
        while True:
            op, payload = self.next()
            if op in ops:
                return op, payload
            assert op == wire.ACK, "unexpected frame %r %r" % (chr(op), payload)

    def reply(self) -> tuple[int, int, bytes]:
        """The next REPLY: (n, errno, data)."""
        _, payload = self.expect(wire.REPLY)
        return int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big", signed=True), payload[8:]

    def drain(self) -> None:
        """Read until the client is gone."""
        try:
            while True:
                self.next()
        except (Gone, ConnectionResetError):
            return


class Server:
    """`scripts`: a function of Conn for each connection in turn; the last one serves all that follow."""

    def __init__(self, path: Path, *scripts) -> None:
        self.path, self.scripts, self.failure, self.calls = str(path), list(scripts), None, []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(16)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(10)
        if self.failure:
            raise self.failure

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            with sock:
                try:
                    conn = Conn(sock)
                    self.calls.append(conn.call)
                    script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                    script(conn)
                except (Gone, BrokenPipeError, ConnectionResetError):
                    continue
                except BaseException as error:  # told by the test's thread
                    self.failure = error
                    return


def environ(path: Path | str, **more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "SBROKER_SOCKET": str(path), **more}


def client(path: Path | str, name: str, *args: str, **options) -> subprocess.CompletedProcess:
    """Run the command NAME against the broker at `path`."""
    env = environ(path, **options.pop("env", {}))
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    return subprocess.run([str(BIN / name), *args], env=env, capture_output=True, timeout=60, check=False, **options)
