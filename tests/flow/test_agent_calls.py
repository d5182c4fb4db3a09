"""Commands inside a job reach the broker through supervisor and agent; they wait while one of them is away."""

import pytest
from agentlab import wait_for

from sbroker.agent import wire
from sbroker.agent.loop import connect_unix


class Client:
    """What a thin client says at the in-job socket."""

    def __init__(self, lab, job=1):
        self.sock = connect_unix(str(lab.folder / "runs" / f"{job}.0" / "srun.sock"))
        self.sock.settimeout(10)
        self.reader, self.frames = wire.CallReader(), []
        payload = wire.fields(b"1", b"id1", b"squeue", b"/", b"pid=1", b"-h\0", b"A=b\0")
        self.payload = payload
        self.sock.sendall(wire.call_frame(wire.CALL, payload))

    def frame(self):
        while not self.frames:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.frames += self.reader.feed(data)
        return self.frames.pop(0)


@pytest.fixture
def running(lab):
    lab.run("while :; do sleep 0.1; done")
    return lab


def opened(lab):
    return lab.until(lambda: next((frame for frame in lab.frames if frame[0]["op"] == "chan_open"), None))


def test_a_call_goes_to_the_broker_as_the_owner_of_the_run(running):
    client = Client(running)
    header, body = opened(running)
    assert (header["kind"], header["job"], header["run"], header["chan"] % 2) == ("call", 1, 0, 1)
    assert body == client.payload
    running.send({"op": "chan_data", "chan": header["chan"]}, wire.call_frame(wire.OUT, b"\0\0\0\1hello"))
    assert client.frame() == (wire.OUT, b"\0\0\0\1hello")
    client.sock.sendall(wire.call_frame(wire.ACK, b"\0" * 8))
    data = running.until(lambda: next((frame for frame in running.frames if frame[0]["op"] == "chan_data"), None))
    assert data[1] == wire.call_frame(wire.ACK, b"\0" * 8)
    running.send({"op": "chan_data", "chan": header["chan"]}, wire.call_frame(wire.EXIT, b"\0\0\0\3"))
    running.send({"op": "chan_close", "chan": header["chan"], "why": "done"})
    assert client.frame() == (wire.EXIT, b"\0\0\0\3")
    assert client.frame() is None


def test_a_call_waits_for_the_broker(running):
    running.hang_up()
    client = Client(running)
    running.connect()
    assert opened(running)[1] == client.payload


def test_a_call_waits_for_the_agent(running):
    running.kill()
    client = Client(running)
    running.start()
    assert opened(running)[1] == client.payload


def test_a_call_in_flight_is_cut_with_its_link_and_its_client_asks_again(running):
    client = Client(running)
    opened(running)
    running.hang_up()
    assert client.frame() is None
    running.connect()
    again = Client(running)
    assert opened(running)[1] == again.payload


def test_a_client_that_goes_away_closes_its_channel(running):
    client = Client(running)
    header, _ = opened(running)
    client.sock.close()
    closed = running.until(lambda: next((frame for frame in running.frames if frame[0]["op"] == "chan_close"), None))
    assert closed[0]["chan"] == header["chan"]
    assert closed[0]["why"] == "client"


def test_credit_holds_back_a_sender_that_is_too_fast(running):
    client = Client(running)
    header, _ = opened(running)
    blob = wire.call_frame(wire.INPUT, b"x" * (1 << 20))
    client.sock.settimeout(0.2)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += client.sock.send(blob[sent % len(blob) :])
    except TimeoutError:
        assert sent > 256 << 10
    running.settle()
    received = sum(len(body) for frame, body in running.frames if frame["op"] == "chan_data")
    assert received == 256 << 10
    running.send({"op": "chan_credit", "chan": header["chan"], "bytes": 1000})
    running.until(lambda: sum(len(body) for frame, body in running.frames if frame["op"] == "chan_data") == received + 1000)


def test_nonsense_at_the_socket_harms_nobody(running):
    for nonsense in (b"\0\0\0\5C1234", b"\xff" * 16, b"\0\0\0\2\0\0\0\0{}", b'\0\0\0\x0d\0\0\0\0{"op":"peer"}'):
        sock = connect_unix(str(running.folder / "runs" / "1.0" / "srun.sock"))
        sock.sendall(nonsense)
        sock.settimeout(10)
        assert sock.recv(1) == b""
    client = Client(running)
    assert opened(running)[1] == client.payload
    running.order("end", why="cancel", uid=0)
    running.wait("empty")
    wait_for(lambda: client.frame() is None)
