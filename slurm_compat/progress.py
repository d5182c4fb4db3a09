"""The one live line while nodes come up and files are brought there: on a terminal only, and gone before anything else is said."""

from __future__ import annotations

import asyncio
import contextlib

from sbroker.api import Api, Call, Client
from sbroker.errors import Refused

PATIENCE = 1.0  # seconds of waiting after which it is worth a word
STDERR = "/dev/fd/2"  # written as a file of its own: what is not part of the output is not counted as such when a client asks again
ERASE = "\r\x1b[K"
MORE = " ..."


class Line:
    """`begin` when the wait begins; `erase` before anything else is written, and at its end."""

    def __init__(self, call: Call, client: Client, api: Api) -> None:
        self.call, self.client, self.api = call, client, api
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()  # a question to the client is not given up half asked
        self._wanted = 2 in call.ttys and call.resume[0] == 0  # a client that comes back to its step has that on the terminal
        self._shown = call.resume != (0, 0)  # by the broker before this one, perhaps

    def begin(self, job: int) -> None:
        if self._task is None and self._wanted:
            self._task = asyncio.ensure_future(self._follow(job))

    async def _follow(self, job: int) -> None:
        known = ""
        await asyncio.sleep(PATIENCE)
        with contextlib.suppress(ConnectionError, OSError, Refused):  # nobody is there, the terminal is not to be opened, or the job is gone
            while True:
                known = await self.api.progress(job, known)
                async with self._writing:
                    await self._write(ERASE + self._fitting("%s: %s" % (self.call.name, known)) if known else ERASE)
                    self._shown = bool(known)

    def _fitting(self, text: str) -> str:
        """On one line of the terminal: what does not fit would stay there. No control characters: errors of far hosts are quoted in it."""
        room = max((self.call.cols or 80) - 1 - len(MORE), 0)
        return "".join(letter if letter.isprintable() else " " for letter in text[:room]) + MORE

    async def _write(self, text: str) -> None:
        await self.client.write(STDERR, text.encode("utf-8", "replace"), append=True)

    async def erase(self) -> None:
        """Take the line away and show no more."""
        if not self._wanted:
            return
        async with self._writing:
            if self._task is not None:
                self._task.cancel()
            if self._shown:
                self._shown = False
                with contextlib.suppress(OSError):
                    await self._write(ERASE)
