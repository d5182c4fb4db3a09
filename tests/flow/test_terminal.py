"""srun --pty as a terminal at the user's: what was typed arrives, what is shown is whole, and the terminal is given back whatever happens."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.system import ROOT, System
from tests.flow.terminal import PATIENCE, Terminal

SLOW_READER = """
import hashlib, os, sys, time, tty
tty.setraw(0)
os.write(1, b'ready\\r\\n')
digest, left = hashlib.sha256(), int(sys.argv[1])
while left:
    data = os.read(0, 5000)
    digest.update(data)
    left -= len(data)
    time.sleep(0.002)
os.write(1, b'sum %s\\r\\n' % digest.hexdigest().encode())
"""
SCREENS = """
import select, sys
n = 0
while not select.select([0], [], [], 0.005)[0]:
    sys.stdout.write('\\x1b[H' + ''.join('\\x1b[%d;1H%06d.%02d \\x1b[3%dmx\\x1b[0m' % (row, n, row, row % 8) for row in range(1, 25)))
    sys.stdout.flush()
    n += 1
sys.stdout.write('screens: %d' % n)
"""
SIZES = """
import os, signal, sys, time
signal.signal(signal.SIGWINCH, lambda *_: None)
print('ready', flush=True)
while os.get_terminal_size(0) != (77, 33):
    time.sleep(0.05)
print('last one', flush=True)
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("terminal"))
    for name, text in (("reader.py", SLOW_READER), ("screens.py", SCREENS), ("sizes.py", SIZES)):
        (made.work / name).write_text(text)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def on(system: System) -> Iterator:
    """`on("srun", …)`: the command on a terminal."""
    opened: list[Terminal] = []

    def start(*argv: str, **options: int) -> Terminal:
        opened.append(Terminal(argv, system.env, system.work, **options))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_a_megabyte_pasted_to_a_slow_reader(on) -> None:
    """Every byte, the ones that terminals treat specially too, in both directions' worst case: nobody reads as fast as it is pasted."""
    data = random.Random(3).randbytes((1 << 20) - 1024) + bytes(range(256)) * 4
    terminal = on("srun", "--pty", "python3", "reader.py", str(len(data)))
    terminal.until("ready")
    terminal.type(data)
    assert terminal.until("sum ([0-9a-f]+)")[1] == hashlib.sha256(data).hexdigest()
    assert terminal.end() == 0
    assert terminal.restored()


def test_a_megabyte_of_lines_echoed_to_a_slow_terminal(system: System, on) -> None:
    """The reader's echo has to go the other way at the same time: neither direction may wait for the other for ever. (As on any terminal
    some of the echo is left out when its reader is slow: the kernel's line discipline does that, at the node.)"""
    lines = b"".join(b"%06d %s\n" % (number, b"abcdefghij" * 6) for number in range(15000))
    terminal = on("srun", "--pty", "sh", "-c", "echo ready; cat > pasted", slow=2000)
    terminal.until("ready")
    terminal.type(lines + b"\x04")
    assert terminal.end() == 0
    assert (system.work / "pasted").read_bytes() == lines
    assert b"000000 abcdefghij" in terminal.shown


def test_every_byte_is_shown_as_it_is(system: System, on) -> None:
    data = bytes(range(256)) * 2000
    (system.work / "bytes").write_bytes(data)
    terminal = on("srun", "--pty", "sh", "-c", "stty raw; cat bytes")
    assert terminal.end() == 0
    assert bytes(terminal.shown).endswith(data)


def test_a_storm_of_window_changes_ends_with_the_last_size(on) -> None:
    terminal = on("srun", "--pty", "python3", "sizes.py")
    terminal.until("ready")
    for number in range(500):
        terminal.resize(20 + number % 50, 60 + number % 90)
    terminal.resize(33, 77)
    terminal.until("last one")
    assert terminal.end() == 0


def test_job_control_in_the_shell_there(on) -> None:
    """Ctrl-Z suspends what the remote shell runs, not srun; fg goes on with it; Ctrl-C ends it and not the shell; Ctrl-\\ as well."""
    terminal = on("srun", "--pty", "bash", "--norc", "-i")
    terminal.type("echo $TERM $(tput colors) u''p\n")
    terminal.until("xterm-256color 256 up\r\n")
    terminal.type("sleep 1000\n")
    terminal.until("sleep 1000\r\n")
    terminal.type("\x1a")
    terminal.until(r"\[1\]\+ +Stopped +sleep 1000")
    assert terminal.process.poll() is None
    terminal.type("fg\n")
    terminal.until(r"fg\r\n.*sleep 1000\r\n")
    terminal.type("\x03")
    terminal.type("echo a''gain\n")
    terminal.until("again\r\n")
    terminal.type("exit 3\n")
    assert terminal.end() == 3
    assert terminal.restored()


@pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
def test_vim(system: System, on) -> None:
    terminal = on("srun", "--pty", "vim", "-u", "NONE", "-i", "NONE", "-n", "edited")
    terminal.until("edited")
    terminal.type("ihello from far away\x1b:set term?\r")
    terminal.until("term=xterm-256color")
    terminal.type(":wq\r")
    assert terminal.end() == 0
    assert (system.work / "edited").read_text() == "hello from far away\n"
    assert terminal.restored()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_client_that_is_signalled_gives_the_terminal_back(system: System, on, signum: int) -> None:
    terminal = on("srun", "--pty", "sh", "-c", "echo up; exec sleep 600")
    terminal.until("up")
    assert terminal.is_raw()
    terminal.process.send_signal(signum)
    assert terminal.end() != 0
    assert terminal.restored()
    system.drain()


def screens(count: int) -> bytes:
    """All that screens.py shows."""
    rows = ["\x1b[%d;1H%%06d.%02d \x1b[3%dmx\x1b[0m" % (row, row, row % 8) for row in range(1, 25)]
    return "".join("\x1b[H" + "".join(row % number for row in rows) for number in range(count)).encode() + b"screens: %d" % count


def undisturbed(terminal: Terminal, *disturbances: Callable[[], Any]) -> None:
    """A terminal with screens.py gets, byte for byte, what the program writes, whatever is done meanwhile."""
    for disturb in disturbances:
        seen = len(terminal.shown)
        _until(lambda seen=seen: len(terminal.shown) > seen + 50000)
        disturb()
    seen = len(terminal.shown)
    _until(lambda: len(terminal.shown) > seen + 50000)
    terminal.type("q")
    assert terminal.end() == 0
    shown = re.sub(rb"\A(srun: [^\r]*\r\n)*", b"", bytes(terminal.shown))
    assert shown == screens(int(shown.rpartition(b" ")[2]))
    assert terminal.restored()


def test_two_brokers_and_an_agent_die_under_a_full_screen_program(system: System, on) -> None:
    """What the terminal gets is, byte for byte, what the program wrote."""
    terminal = on("srun", "-w", "node2", "--pty", "sh", "-c", "stty -echo -icanon; exec python3 screens.py")

    def kill(what: Callable[[], None]) -> None:
        what()
        system.until("sbroker status --json 2>/dev/null | wc -l", "1")

    undisturbed(terminal, lambda: kill(system.kill_broker), lambda: kill(lambda: system.kill_agent("node2")), lambda: kill(system.kill_broker))


def test_typing_goes_on_while_the_broker_is_away(system: System, on) -> None:
    """Keys pressed while nobody is there arrive, in order, once."""
    data = b"".join(b"%05d" % number for number in range(40000))
    terminal = on("srun", "--pty", "python3", "reader.py", str(len(data)))
    terminal.until("ready")
    terminal.type(data[:50000])
    system.kill_broker()
    terminal.type(data[50000:])
    assert terminal.until("sum ([0-9a-f]+)")[1] == hashlib.sha256(data).hexdigest()
    assert terminal.end() == 0


def test_a_lost_node_gives_the_terminal_back(system: System, on) -> None:
    """Agent and supervisor are killed: the step's end is told, and the terminal is as it was."""
    terminal = on("srun", "-w", "node2", "--pty", "sh", "-c", "echo up; exec sleep 600")
    terminal.until("up")
    folder = next((system.home / "spool" / "node2" / "runs").iterdir())
    supervisor = _listener(folder / "srun.sock")
    system.kill_agent("node2")
    os.kill(supervisor, signal.SIGKILL)
    terminal.end()
    assert terminal.restored()
    assert "srun: error: Node failure on node2" in terminal.text
    system.drain()


def _until(true) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _listener(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.open(path.parent, os.O_PATH)
        sock.connect("/proc/self/fd/%d/%s" % (folder, path.name))
        os.close(folder)
        return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def test_ctrl_c_twice_leaves_when_nobody_answers(system: System, on) -> None:
    """A broker that accepts and says nothing: the terminal is raw, so that a signal cannot be typed, and srun has to see to it itself."""
    terminal = on("srun", "--pty", "sh", "-c", "echo up; exec sleep 600")
    terminal.until("up")
    broker = system.status()["pid"]
    with _Deaf(system.home / "sbroker.sock") as deaf:
        os.kill(broker, signal.SIGKILL)
        deaf.called.wait(PATIENCE)
        terminal.type("\x03")
        terminal.until("srun: nobody answers at the moment; Ctrl-C once more leaves")
        terminal.type("\x03")
        assert terminal.end() == -signal.SIGINT
        assert terminal.restored()
    system.ok("scancel --me")  # the step would wait for its client two minutes more
    system.drain()


class _Deaf:
    """Somebody who listens in the broker's place and never answers."""

    def __init__(self, path: Path) -> None:
        self.path, self.called, self.heard = path, threading.Event(), []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path) + ".deaf")
        self.sock.listen()
        os.replace(str(path) + ".deaf", path)  # before the broker dies: nobody has a reason to start another

    def __enter__(self) -> _Deaf:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(self.sock.accept()[0])
            except OSError:
                return
            self.called.set()

    def __exit__(self, *_: object) -> None:
        self.path.unlink()
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for sock in self.heard:
            sock.close()
