"""The bad network does what it says, under its seed, and without faults it is no network at all."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.doubles.proxy import KINDS, Faults, running

DATA = bytes(range(256)) * 400


@pytest.fixture
def echo(tmp_path):
    """A server that sends back what it gets."""
    path = str(tmp_path / "echo.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield path
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def ask(path: str) -> bytes:
    """What comes back of DATA, until the end of the connection."""
    got = bytearray()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)

        def send():
            try:
                sock.sendall(DATA)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        try:
            while data := sock.recv(1 << 16):
                got += data
        except ConnectionError:
            pass
        sender.join()
    return bytes(got)


def test_without_faults_all_arrives(tmp_path, echo):
    with running(str(tmp_path / "proxy"), echo, Faults()) as proxy:
        assert ask(str(tmp_path / "proxy")) == DATA
        assert proxy.connections == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_arrives_is_a_prefix(tmp_path, echo, kind):
    faults = Faults(seed=3, mean=20000, kinds=(kind,), freeze=0.01)
    with running(str(tmp_path / "proxy"), echo, faults) as proxy:
        got = [ask(str(tmp_path / "proxy")) for _ in range(3)]
        assert all(DATA.startswith(one) for one in got)
        assert faults.counted[kind] >= 3 or kind in ("freeze", "delay", "chop")
        if kind in ("freeze", "delay", "chop"):
            assert got == [DATA] * 3
        else:
            assert got != [DATA] * 3
        proxy.calm = True
        assert ask(str(tmp_path / "proxy")) == DATA
