"""A command on a pseudo-terminal of its own, as a user's terminal emulator would hold it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 60.0


class Terminal:
    """Runs `argv`; a thread reads all that it shows into `shown`. `slow`: bytes a read, with a pause after each, for a slow terminal."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, rows: int = 30, cols: int = 100, slow: int = 0) -> None:
        self.master, self.slave = os.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        self.slow = slow
        self.shown = bytearray()
        self.process = subprocess.Popen(
            list(argv), env={"TERM": "xterm-256color", **env}, cwd=cwd, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self._stop = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._stop:
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                self.shown += os.read(self.master, self.slow or 1 << 16)
            except OSError:
                return
            if self.slow:
                time.sleep(0.001)

    @property
    def text(self) -> str:
        return self.shown.decode(errors="replace")

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, data: str | bytes) -> None:
        """All of it, as fast as it is taken."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        while view:
            view = view[os.write(self.master, view[:4096]) :]

    def until(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < end, "%r is not in %r" % (pattern, self.text[-2000:])
            if self.process.poll() is not None and self._done():
                found = re.search(pattern, self.text)  # its last words may have come meanwhile
                assert found is not None, "%r is not in %r, and that was all" % (pattern, self.text[-2000:])
                return found
            time.sleep(0.01)
        return found

    def _done(self) -> bool:
        """The command has ended, and what it left to read was read."""
        time.sleep(0.3)
        return not select.select([self.master], [], [], 0)[0]

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def end(self, seconds: float = PATIENCE) -> int:
        """Its exit code, negative for a signal, once it has ended and all that it showed was read."""
        code = self.process.wait(seconds)
        end = time.monotonic() + PATIENCE
        while select.select([self.master], [], [], 0.1)[0]:
            assert time.monotonic() < end, "the terminal shows without end"
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._stop = True
        self._reader.join()
        os.close(self.master)
        os.close(self.slave)
