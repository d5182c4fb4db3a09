"""The agent's zipapp, made once when the first node elsewhere asks for it."""

from __future__ import annotations

import asyncio
import hashlib

from sbroker.agent import zipapp
from sbroker.api import FrontEnd

HASH = 16  # digits of the program's name


class Program:
    """What `sbroker.transports.ssh` copies to nodes. `hash` is known once `data` was asked for."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        self._made: asyncio.Future[bytes] | None = None
        self.hash = ""

    async def data(self) -> bytes:
        if self._made is None:
            self._made = asyncio.get_running_loop().run_in_executor(None, self._make)
        return await asyncio.shield(self._made)

    def _make(self) -> bytes:
        data = zipapp.image(self._front_end.node_files())
        self.hash = hashlib.sha256(data).hexdigest()[:HASH]
        return data
