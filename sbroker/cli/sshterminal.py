"""A session of paramiko's on this process's standard streams, and its terminal given back whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Any

from sbroker.cli.pipe import write_all

PIECE = 1 << 16
ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def run(channel: Any, command: str, terminal: bool) -> int:
    """Run `command` ("": the login shell) over the open session `channel` (paramiko.Channel); its exit code, 255 if the connection broke."""
    with _raw() if terminal else contextlib.nullcontext():
        if terminal:
            columns, rows = os.get_terminal_size(0)
            channel.get_pty(os.environ.get("TERM", "dumb"), columns, rows)
            signal.signal(signal.SIGWINCH, lambda *_: _resized(channel))
        if command:
            channel.exec_command(command)
        else:
            channel.invoke_shell()
        errors = threading.Thread(target=_copy, args=(channel.recv_stderr, 2), daemon=True)
        errors.start()
        threading.Thread(target=_input, args=(channel,), daemon=True).start()  # it may wait for a key that is never pressed
        _copy(channel.recv, 1)
        errors.join()
        return channel.recv_exit_status() & 255  # -1 when there was none


def _resized(channel: Any) -> None:
    columns, rows = os.get_terminal_size(0)
    with contextlib.suppress(Exception):  # the session may be over: that is for the others to say
        channel.resize_pty(columns, rows)


def _copy(receive: Any, fd: int) -> None:
    with contextlib.suppress(OSError):  # who reads us is gone
        while data := receive(PIECE):
            write_all(fd, data)


def _input(channel: Any) -> None:
    with contextlib.suppress(OSError, EOFError):  # the session is over
        while data := os.read(0, PIECE):
            channel.sendall(data)
        channel.shutdown_write()


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """The terminal in raw mode; as it was at the end, also at the end by a signal."""
    before = termios.tcgetattr(0)
    handlers = {signum: signal.signal(signum, lambda number, _: sys.exit(128 + number)) for signum in ENDING}
    try:
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
