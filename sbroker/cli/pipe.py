"""A byte pipe through the broker to an sshd inside a running job: what `sbroker ssh-proxy` and `sbroker ssh` stand on."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading

from sbroker.agent import wire
from sbroker.cli import ask
from sbroker.cli.ssh_side import HOST_KEY, NO_LOGIN

READ_SIZE = 1 << 16


def run(node: str, job: str, authorized: str, host_key: bytes, source: int, sink: int) -> int:
    """Carry bytes from the descriptor `source` to the node's sshd and back to `sink` until one side ends; the exit code.

    authorized: the public key that may enter; host_key: the private key that sshd shows. What keeps it from a connection is said on
    standard error. ask.NoBroker if nobody answers."""
    with ask.connect(ask.whom()) as sock:
        sock.sendall(ask.request("sbroker", ["ssh-proxy", node, job, authorized]))
        return _Pipe(sock, host_key, source, sink).run()


class _Pipe:
    """Two threads, one a direction: each waits for one thing at a time, and neither can hold up the other."""

    def __init__(self, sock: socket.socket, host_key: bytes, source: int, sink: int) -> None:
        self.sock, self.host_key, self.source, self.sink = sock, host_key, source, sink
        self.granted = threading.Condition()
        self.upto = 0
        self.sending = threading.Lock()

    def run(self) -> int:
        threading.Thread(target=self._up, daemon=True).start()  # it may wait for input that never comes
        reader = wire.CallReader()
        try:
            while data := self.sock.recv(1 << 18):
                for op, payload in reader.feed(data):
                    if op == wire.EXIT:
                        return int.from_bytes(payload[:4], "big", signed=True)
                    self._carry_out(op, payload)
        except ConnectionError:
            pass  # said below
        except BrokenPipeError:
            return 0  # nobody reads us any more
        print("sbroker: error: the broker broke off; its log says why", file=sys.stderr)
        return NO_LOGIN

    def _carry_out(self, op: int, payload: bytes) -> None:
        if op == wire.OUT:
            write_all(2 if payload[:4] == b"\0\0\0\2" else self.sink, payload[4:])
        elif op == wire.GRANT:
            with self.granted:
                self.upto = max(self.upto, struct.unpack_from(">Q", payload, 12)[0])
                self.granted.notify()
        elif op == wire.READ:
            known = payload[12:] == HOST_KEY.encode()
            self._send(wire.REPLY, payload[:4] + (0 if known else 2).to_bytes(4, "big") + (self.host_key if known else b""))

    def _send(self, op: int, payload: bytes) -> None:
        with self.sending:
            self.sock.sendall(wire.call_frame(op, payload))

    def _up(self) -> None:
        offset = 0
        try:
            while True:
                with self.granted:
                    while self.upto <= offset:
                        self.granted.wait()
                    room = self.upto - offset
                try:
                    data = os.read(self.source, min(READ_SIZE, room))
                except OSError:
                    data = b""  # a descriptor that broke has no more to say
                self._send(wire.INPUT, struct.pack(">IQ", 0, offset) + data)
                offset += len(data)
                if not data:
                    return
        except OSError:
            return  # the broker is gone: the other thread says so


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
