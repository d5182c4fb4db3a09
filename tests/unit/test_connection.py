"""The broker's end of a call: what its user sends is bounded, and garbage ends that call alone."""

import asyncio
import struct
from types import SimpleNamespace

import pytest

from sbroker.agent import wire
from sbroker.daemon import api, daemon, server
from sbroker.daemon.calls import MALFORMED, MOST_INPUT, WINDOW, Connection
from sbroker.states import RunState


def run(scene):
    asyncio.run(scene())


def connection():
    sent = bytearray()

    async def drain():
        return None

    return Connection(sent.extend, drain), sent


def granted(sent):
    """The offset up to which the client may send."""
    return max([struct.unpack_from(">IQQ", payload)[2] for op, payload in wire.CallReader().feed(bytes(sent)) if op == wire.GRANT], default=0)


def give(client, offset, data):
    client.frame(wire.INPUT, struct.pack(">IQ", 0, offset) + data)


def test_an_endless_input_is_taken_up_to_a_bound():
    async def scene():
        client, sent = connection()
        asked = asyncio.ensure_future(client.stdin())
        at = 0
        for _ in range(10000):
            await asyncio.sleep(0)
            if asked.done():
                break
            count = min(granted(sent) - at, 1 << 16)
            assert count, "the client is held back though the input is wanted"
            give(client, at, b"x" * count)
            at += count
        assert len(asked.result()) == at
        assert at <= MOST_INPUT + WINDOW

    run(scene)


def test_input_that_was_not_granted_is_no_input():
    async def scene():
        client, _ = connection()
        with pytest.raises(wire.WireError):
            give(client, 0, b"x" * (WINDOW + 1))

    run(scene)


def test_lines_that_were_taken_are_not_kept():
    async def scene():
        client, sent = connection()
        lines, at = client.lines(), 0
        for number in range(200):
            task = asyncio.ensure_future(lines.__anext__())
            await asyncio.sleep(0)
            data = b"%d" % number + b"x" * 60000 + b"\n"
            assert granted(sent) >= at + len(data)
            give(client, at, data)
            at += len(data)
            assert await task == data[:-1]
            assert len(client._stdin) <= len(data)
        give(client, at, b"last")
        give(client, at + 4, b"")
        assert [line async for line in lines] == [b"last"]

    run(scene)


def test_several_lines_at_once_and_an_input_without_end_of_line():
    async def scene():
        client, _ = connection()
        give(client, 0, b"a\n\nb\nc")
        give(client, 6, b"")
        assert [line async for line in client.lines()] == [b"a", b"", b"b", b"c"]

    run(scene)


@pytest.mark.parametrize("frame", [(wire.REPLY, b""), (wire.SIGNAL, b""), (wire.INPUT, b"\0")])
def test_garbage_is_malformed(frame):
    async def scene():
        client, _ = connection()
        with pytest.raises(MALFORMED):
            client.frame(*frame)

    run(scene)


@pytest.mark.parametrize("data", [b"\xff" * 64, wire.call_frame(wire.SIGNAL, b"")])
def test_garbage_from_a_job_closes_its_channel_and_not_the_link(data):
    """An exception in a channel's data would break the link of the node, and with it the calls of all other jobs there."""

    class Channel:
        why, link = None, SimpleNamespace(node="n1")

        def send(self, data):
            return None

        async def drain(self):
            return None

        def took(self, count):
            raise AssertionError("taken")

        def close(self, why):
            self.why = why

    class Server:
        operators = frozenset()

        def start(self, call, client):
            self.client = client
            return asyncio.get_running_loop().create_future()

    async def scene():
        broker = daemon.Daemon.__new__(daemon.Daemon)
        broker.server, channel = Server(), Channel()
        job = type("Job", (), {"uid": 0, "gid": 0, "id": 7})()
        payload = wire.fields(b"1", b"id", b"squeue", b"/", b"", b"", b"")
        broker.call_from_job(channel, job, 0, payload)
        channel.on_data(data)
        assert channel.why is not None
        assert broker.server.client.is_gone

    run(scene)


def test_halves_of_frames_are_bounded_and_silence_is_cut(monkeypatch, tmp_path):
    """Anybody on the host may connect to a shared broker: without a call he gets little memory, and not for ever."""

    async def scene():
        monkeypatch.setattr(server, "MOST_HALF", 1 << 20)
        monkeypatch.setattr(server, "FIRST", 0.2)
        broker = server.Server(None, None, frozenset())
        path = tmp_path / "s"
        await broker.listen(path, 0o600)
        silent, _ = await asyncio.open_unix_connection(str(path))
        pairs = [await asyncio.open_unix_connection(str(path)) for _ in range(4)]
        ended = 0
        for reader, writer in pairs:
            writer.write((8 << 20).to_bytes(4, "big") + b"C" + b"x" * (400 << 10))
        for reader, writer in pairs:
            ended += await reader.read() == b""  # the third breaks the bound; the others' time is over soon
            writer.close()
        assert (ended, await silent.read()) == (4, b"")
        await asyncio.sleep(0.05)
        assert not any(broker._half.values())
        broker.close()

    run(scene)


def test_a_broker_that_goes_down_leaves_a_session_to_the_next_one():
    """The client comes back to it: its step must not be told that its user is gone."""

    class Channel:
        closed = ()

        def close(self, why):
            self.closed = (*self.closed, why)

        def send(self, data):
            return None

    async def scene():
        channel = Channel()
        client, _ = connection()
        link = type("Link", (), {"channel": lambda self, *args: channel})()

        async def ready(node, wait):
            return link

        session = api.BrokerApi.__new__(api.BrokerApi)
        session._daemon = SimpleNamespace(ready_link=ready, sources=SimpleNamespace(part=lambda call: None), staging=SimpleNamespace(of=lambda job: ()))
        session._mine = lambda job: SimpleNamespace(run=0, id=7)
        session._owned = 7
        runs = {7: type("Run", (), {"head": "n1", "state": RunState.STARTED})()}
        call = type("Call", (), {"resume": (0, 0), "uid": 0, "raw": b""})()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(api.BrokerApi, "view", type("View", (), {"runs": runs})(), raising=False)
            task = asyncio.ensure_future(session.session(call, client, 7, {}))
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert channel.closed[0] == "link"

    run(scene)
