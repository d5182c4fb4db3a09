"""The event loop and streams of the agent."""

import os
import signal
import socket

import pytest

from sbroker.agent.loop import Loop, Stream, connect_unix, listen_unix, peer_ids


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


def test_timers_fire_in_order_and_a_cancelled_one_does_not(loop):
    seen = []
    loop.call_later(0.02, lambda: (seen.append("late"), loop.stop()))
    loop.call_later(0.01, lambda: seen.append("early"))
    loop.call_later(0.005, lambda: seen.append("never")).cancel()
    loop.call_soon(lambda: seen.append("soon"))
    loop.run()
    assert seen == ["soon", "early", "late"]


def test_a_child_is_told_with_its_status_and_an_unknown_one_as_orphan(loop):
    seen = {}
    loop.on_orphan(lambda pid, status, usage: seen.setdefault("orphan", (pid, os.WEXITSTATUS(status))))
    pids = []
    for code in (3, 4):
        pid = os.fork()
        if pid == 0:
            os._exit(code)
        pids.append(pid)
    loop.on_child(pids[0], lambda status: seen.setdefault("child", os.WEXITSTATUS(status)))
    while len(seen) < 2:
        loop.turn(5)
    assert seen == {"child": 3, "orphan": (pids[1], 4)}


def test_a_signal_is_handled_in_the_loop(loop):
    loop.on_signal(signal.SIGUSR1, loop.stop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()
    loop.on_signal(signal.SIGUSR1, None)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_stream_keeps_what_the_kernel_does_not_take_and_finishes_it(loop):
    ours, theirs = socket.socketpair()
    payload = os.urandom(3 << 20)
    out = Stream(loop, ours, lambda data: None, lambda error: None)
    out.write(payload)
    assert out.pending > 0
    got = bytearray()
    Stream(loop, theirs, got.extend, lambda error: loop.stop())
    out.finish()
    loop.run()
    assert bytes(got) == payload
    assert out.closed


def test_a_paused_stream_reads_nothing_until_it_is_resumed(loop):
    ours, theirs = socket.socketpair()
    got = []
    stream = Stream(loop, ours, got.append, lambda error: loop.stop())
    stream.pause()
    theirs.send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert got == []
    stream.resume()
    theirs.close()
    loop.run()
    assert got == [b"x"]


def test_write_only_streams_tell_of_a_broken_pipe(loop):
    read_end, write_end = os.pipe()
    errors = []
    stream = Stream(loop, write_end, None, errors.append)
    os.close(read_end)
    stream.write(b"x")
    loop.turn(1)
    assert isinstance(errors[0], BrokenPipeError)


def test_after_fork_the_child_has_a_loop_of_its_own(loop):
    ours, theirs = socket.socketpair()
    parent = Stream(loop, ours, lambda data: loop.stop(), lambda error: None)
    pid = os.fork()
    if pid == 0:
        inherited = loop.after_fork()
        loop.call_later(0.01, loop.stop)
        loop.run()
        os._exit(0 if inherited == [parent.fd] else 1)
    status = []
    loop.on_child(pid, lambda value: (status.append(value), theirs.send(b"x")))
    loop.run()  # ends only if the parent's selector is still whole
    assert status == [0]
    parent.close()


def test_unix_sockets_work_below_paths_longer_than_the_kernel_allows(tmp_path):
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    path = str(folder / "a.sock")
    listening = listen_unix(path, 0o600)
    client = connect_unix(path)
    listening.setblocking(True)
    server, _ = listening.accept()
    assert peer_ids(server)[1] == os.getuid()
    assert oct(os.stat(path).st_mode & 0o777) == "0o600"
    for sock in (listening, client, server):
        sock.close()
