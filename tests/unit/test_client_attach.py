"""The thin client in longer conversations: input, signals, terminals, spawned commands, and connections that break."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import BIN, Gone, Server, client, environ, exit_with, grant, open_file, out, phase, read, spawn, u32

from sbroker.agent import wire


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


def take_input(conn, want, window=1 << 20):
    """Collect INPUT of handle 0 up to its end, granting `window` bytes ahead; at most `want` frames."""
    data = b""
    for _ in range(want):
        _, payload = conn.expect(wire.INPUT)
        assert payload[:4] == u32(0)
        assert int.from_bytes(payload[4:12], "big") == len(data)
        if len(payload) == 12:
            return data
        data += payload[12:]
        conn.send(grant(0, len(data), len(data) + window))
    raise AssertionError("no end of input")


def test_input_streams_as_far_as_it_is_granted(path):
    sent, seen = os.urandom(300_000), []

    def script(conn):
        conn.send(grant(0, 0, 1000))
        seen.append(take_input(conn, 10_000, window=1000))
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        assert client(path, "srun", input=sent).returncode == 0
    assert seen == [sent]


def test_nothing_is_read_before_the_first_grant(path):
    def script(conn):
        conn.send(out(b"no input, please"), exit_with(0))
        conn.drain()

    r, w = os.pipe()
    os.write(w, b"mine")
    with Server(path, script):
        client(path, "srun", stdin=r)
    assert os.read(r, 10) == b"mine"
    os.close(r)
    os.close(w)


def test_a_file_given_by_open_streams_too(path, tmp_path):
    (tmp_path / "payload").write_bytes(b"abc" * 1000)
    seen = []

    def script(conn):
        conn.send(open_file(1, 5, os.O_RDONLY, os.fsencode(tmp_path / "payload")), grant(5, 0, 1 << 20))
        data, ended = b"", False
        assert conn.reply()[:2] == (1, 0)
        while not ended:
            payload = conn.expect(wire.INPUT)[1]
            assert payload[:4] == u32(5)
            data, ended = data + payload[12:], len(payload) == 12
        seen.append(data)
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        client(path, "sbcast")
    assert seen == [b"abc" * 1000]


def test_unacknowledged_input_comes_again_after_a_break(path):
    sent, seen = os.urandom(50_000), []

    def first(conn):
        conn.send(phase(1), grant(0, 0, 20_000))
        got = 0
        while got < 20_000:
            got += len(conn.expect(wire.INPUT)[1]) - 12
        conn.send(grant(0, 5_000, 20_000))

    def second(conn):
        assert conn.call["meta"]["resume"] in ("1:1", "1:2")
        data = sent[:5_000] if conn.call["meta"]["resume"] == "1:2" else b""
        conn.send(phase(1), grant(0, len(data), 1 << 20))
        ended = False
        while not ended:
            payload = conn.expect(wire.INPUT)[1]
            offset = int.from_bytes(payload[4:12], "big")
            assert offset <= len(data)
            data, ended = data[:offset] + payload[12:], len(payload) == 12 and offset == len(sent)
        seen.append(data)
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, first, second):
        assert client(path, "srun", input=sent).returncode == 0
    assert seen == [sent]


@pytest.mark.parametrize("stage, size", [(0, 100_000), (1, 100_000), (1, 1_000_000), (1, 1_300_000)])
def test_the_end_of_the_connection_after_the_last_op_is_no_break(path, stage, size):
    """All has come, EXIT too, and the broker hangs up, while standard output does not take it yet: nobody is asked again."""
    text, hung_up = os.urandom(size), threading.Event()

    def script(conn):
        hung_up.set()
        conn.send(*[phase(1)] * stage, grant(0, 0, 100), *[out(text[at : at + 50_000]) for at in range(0, size, 50_000)], out(b"the last\n"), exit_with(5))

    def again(conn):
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script, again) as server, subprocess.Popen([str(BIN / "srun")], env=environ(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert hung_up.wait(20)
        select.select([], [], [], 0.5)  # time to do the wrong thing
        said = b""
        while data := os.read(process.stdout.fileno(), 30_000):
            said += data
            select.select([], [], [], 0.002)  # slower than the broker
        assert said == text + b"the last\n"
        assert process.wait(20) == 5
    assert len(server.calls) == 1


def test_signals_are_told_once_they_are_caught(path):
    def script(conn):
        conn.send(wire.call_frame(wire.CATCH, bytes((signal.SIGINT, signal.SIGUSR1, signal.SIGKILL))))
        conn.send(out(b"ready\n"))
        assert conn.expect(wire.SIGNAL)[1] == bytes((signal.SIGINT,))
        conn.send(out(b"again\n"))
        assert conn.expect(wire.SIGNAL)[1] == bytes((signal.SIGUSR1,))
        conn.send(exit_with(9))
        conn.drain()

    with Server(path, script), subprocess.Popen([str(BIN / "srun")], env=environ(path), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"again\n"
        process.send_signal(signal.SIGUSR1)
        assert process.wait(30) == 9


def test_a_signal_is_told_while_nobody_reads_the_output(path):
    def script(conn):
        conn.send(wire.call_frame(wire.CATCH, bytes((signal.SIGTERM,))), out(b"ready\n"), out(b"x" * 500_000))
        assert conn.expect(wire.SIGNAL)[1] == bytes((signal.SIGTERM,))
        conn.send(exit_with(1))
        conn.drain()

    with Server(path, script), subprocess.Popen([str(BIN / "srun")], env=environ(path), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert len(process.stdout.read()) == 500_000
        assert process.wait(30) == 1


def test_spawn_runs_a_command_and_tells_its_end(path):
    got = []

    def script(conn):
        conn.send(spawn(3, [b"sh", b"-c", b"echo $A; exit 4"], {b"A": b"hello", b"PATH": b"/usr/bin:/bin"}))
        got.extend([conn.reply(), conn.reply()])
        conn.send(spawn(4, [b"no-such-command"], {b"PATH": b"/usr/bin:/bin"}))
        got.append(conn.reply())
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        done = client(path, "salloc")
    assert done.stdout == b"hello\n"
    assert got[0][:2] == (3, 0)
    assert int.from_bytes(got[0][2], "big") > 0
    assert got[1] == (3, 0, u32(4 << 8))
    assert got[2][:2] == (4, 0) or got[2] == (4, 2, b"")


def test_the_spawned_command_can_be_killed(path):
    def script(conn):
        conn.send(spawn(1, [b"sleep", b"100"], {b"PATH": b"/usr/bin:/bin"}))
        assert conn.reply()[1] == 0
        conn.send(wire.call_frame(wire.KILL, bytes((signal.SIGHUP,))))
        assert conn.reply() == (1, 0, u32(signal.SIGHUP))
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        assert client(path, "salloc").returncode == 0


def test_a_command_is_not_spawned_twice_when_the_broker_restarts(path, tmp_path):
    command = spawn(1, [b"sh", b"-c", b"echo once >> log; read line < go"], {b"PATH": b"/usr/bin:/bin"})
    os.mkfifo(tmp_path / "go")
    pids = []

    def first(conn):
        conn.send(out(b"Granted 5\n", 2), command)
        pids.append(conn.reply()[2])

    def second(conn):
        assert conn.call["meta"]["resume"].startswith("0:")
        conn.send(out(b"Granted 5\n", 2), command)
        pids.append(conn.reply()[2])
        (tmp_path / "go").write_bytes(b"\n")
        assert conn.reply() == (1, 0, u32(0))
        conn.send(out(b"Relinquished 5\n", 2), exit_with(0))
        conn.drain()

    with Server(path, first, second):
        done = client(path, "salloc", cwd=tmp_path)
    assert (done.stderr, done.returncode) == (b"Granted 5\nRelinquished 5\n", 0)
    assert (tmp_path / "log").read_bytes() == b"once\n"
    assert pids[0] == pids[1]


class OnTerminal:
    """A command with a terminal of its own, as session leader in the foreground."""

    def __init__(self, argv, env, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(argv[0], argv, env)

    def until(self, mark):
        data = b""
        while mark not in data:
            assert select.select([self.fd], [], [], 30)[0], data
            data += os.read(self.fd, 4096)
        return data

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def raw(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def wait(self):
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return status


def test_terminal_is_raw_for_the_time_it_is_asked(path):
    seen = {}

    def script(conn):
        seen["size"] = conn.call["meta"]["rows"], conn.call["meta"]["cols"], conn.call["meta"]["tty"]
        conn.send(wire.call_frame(wire.TTY, b"\1"), grant(0, 0, 1 << 16))
        seen["window"] = conn.expect(wire.WINDOW)[1]
        conn.send(out(b"ready"))
        seen["input"] = conn.expect(wire.INPUT)[1][12:]
        conn.send(out(b"resize"))
        while seen["window"] != struct.pack(">HH", 50, 132):
            seen["window"] = conn.expect(wire.WINDOW)[1]
        conn.send(wire.call_frame(wire.TTY, b"\0"), out(b"cooked"))
        conn.expect(wire.INPUT)
        conn.send(exit_with(7))
        conn.drain()

    with Server(path, script):
        terminal = OnTerminal([str(BIN / "srun")], environ(path), 24, 80)
        terminal.until(b"ready")
        assert terminal.raw()
        os.write(terminal.fd, b"\x03")
        terminal.until(b"resize")
        terminal.resize(50, 132)
        terminal.until(b"cooked")
        assert not terminal.raw()
        os.write(terminal.fd, b"end\n")
        assert os.waitstatus_to_exitcode(terminal.wait()) == 7
    assert seen["size"] == ("24", "80", "0,1,2")
    assert seen["input"] == b"\x03"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_terminal_is_restored_when_a_signal_ends_it(path, signum):
    def script(conn):
        conn.send(wire.call_frame(wire.TTY, b"\1"))
        conn.expect(wire.WINDOW)
        conn.send(out(b"ready"))
        conn.drain()

    with Server(path, script):
        terminal = OnTerminal([str(BIN / "srun")], environ(path))
        terminal.until(b"ready")
        os.kill(terminal.pid, signum)
        status = os.waitpid(terminal.pid, 0)[1]
        assert os.WTERMSIG(status) == signum
        assert not terminal.raw()
        os.close(terminal.fd)


def cut_script(ops, cuts, front=()):
    """A broker and behind it a party that keeps its ops: each connection gets `front` and PHASE, and then what the client has not
    processed, broken off at the next cut (bytes)."""

    def script(conn):
        at, _, count = conn.call["meta"].get("resume", "0:0").partition(":")
        kept = int(count) if at == "1" else 0
        stream = b"".join([*front, phase(1), *ops[kept:]])
        if cuts:
            conn.send(stream[: cuts.pop(0)])
            return
        conn.send(stream)
        conn.drain()

    return script


FRONT = (wire.call_frame(wire.CATCH, bytes((signal.SIGUSR2,))), read(1, b"/dev/null"))
OUTS = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=40)), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outs=OUTS, cuts=st.lists(st.integers(0, 200), max_size=3), front=st.lists(st.sampled_from(FRONT), max_size=2))
def test_a_stream_cut_anywhere_is_written_once(tmp_path_factory, outs, cuts, front):
    path = tmp_path_factory.mktemp("cut") / "s"
    ops = [out(data, handle) for handle, data in outs] + [exit_with(11)]
    with Server(path, cut_script(ops, list(cuts), front)):
        done = client(path, "srun")
    assert done.stdout == b"".join(data for handle, data in outs if handle == 1)
    assert done.stderr == b"".join(data for handle, data in outs if handle == 2)
    assert done.returncode == 11


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outs=OUTS, cuts=st.lists(st.integers(0, 200), max_size=3), attached=st.booleans())
def test_a_command_run_again_says_nothing_twice(tmp_path_factory, outs, cuts, attached):
    path = tmp_path_factory.mktemp("cut") / "s"
    stream = b"".join(out(data, handle) for handle, data in outs) + exit_with(12)
    if attached:
        stream = wire.call_frame(wire.CATCH, bytes((signal.SIGUSR1,))) + stream
    left = list(cuts)

    def script(conn):
        if left:
            conn.send(stream[: left.pop(0)])
            return
        conn.send(stream)
        conn.drain()

    with Server(path, script) as server:
        done = client(path, "sbatch")
    assert done.stdout == b"".join(data for handle, data in outs if handle == 1)
    assert done.stderr == b"".join(data for handle, data in outs if handle == 2)
    assert done.returncode == 12
    assert len({call["id"] for call in server.calls}) == 1


def test_answers_lost_in_a_break_are_said_again_to_the_party_that_asked(path, tmp_path):
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "front").write_bytes(b"front")
    got = []

    def first(conn):
        conn.send(read(1, b"front"))
        got.append(conn.reply())
        conn.send(phase(1), read(1, b"f"), read(2, b"absent"))
        got.append(conn.reply())

    def second(conn):
        conn.send(read(1, b"front"))
        got.append(conn.reply())
        conn.send(phase(1))
        got.extend([conn.reply(), conn.reply()])
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, first, second) as server:
        client(path, "srun", cwd=tmp_path)
    assert server.calls[1]["meta"]["resume"] == "1:2"
    answers = [(1, 0, b"content"), (2, 2, b"")]
    assert got == [(1, 0, b"front"), answers[0], (1, 0, b"front"), *answers]


def test_input_that_phase_0_had_comes_again_from_its_start(path):
    got = []

    def first(conn):
        conn.send(grant(0, 0, 4))
        assert conn.expect(wire.INPUT)[1][12:] == b"#!/b"
        conn.send(grant(0, 4, 6))
        conn.expect(wire.INPUT)

    def second(conn):
        conn.send(grant(0, 0, 1 << 16))
        got.append(take_input(conn, 10))
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, first, second):
        assert client(path, "sbatch", input=b"#!/bin/sh\ntrue\n").returncode == 0
    assert got == [b"#!/bin/sh\ntrue\n"]


def test_carried_out_ops_are_acknowledged(path):
    acks = []

    def script(conn):
        conn.send(phase(1), *[out(b"%d\n" % i) for i in range(5)])
        while not acks or acks[-1] < 5:
            op, payload = conn.next()
            assert op == wire.ACK
            acks.append(int.from_bytes(payload, "big"))
        conn.send(exit_with(0))
        with pytest.raises(Gone):
            conn.next()

    with Server(path, script):
        client(path, "srun")
    assert acks == sorted(acks)
