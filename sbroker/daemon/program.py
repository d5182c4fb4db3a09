"""The agent's program as nodes elsewhere get it, made when the first of them asks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from pathlib import Path

from sbroker.agent import zipapp
from sbroker.api import FrontEnd


class Program:
    """What `sbroker.transports.ssh` copies to nodes: "pack" for those with the Python `magic`, "pyz" for others."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        self._sources: asyncio.Future[dict[str, bytes]] | None = None
        self._made: dict[str, asyncio.Future[bytes]] = {}
        self.hash, self.magic = "", zipapp.magic()

    async def ready(self) -> None:
        """`hash`, the program's name, is known from here on."""
        if self._sources is None:
            self._sources = asyncio.get_running_loop().run_in_executor(None, self._read)
        await asyncio.shield(self._sources)

    async def data(self, form: str) -> bytes:
        if form not in self._made:
            await self.ready()
            assert self._sources is not None
            make = zipapp.image if form == "pyz" else self._pack
            self._made[form] = asyncio.get_running_loop().run_in_executor(None, make, self._sources.result())
        return await asyncio.shield(self._made[form])

    def _read(self) -> dict[str, bytes]:
        files = zipapp.sources(self._front_end.node_files())
        self.hash = zipapp.digest(files)
        return files

    def _pack(self, files: dict[str, bytes]) -> bytes:
        """Made once for an installation, and kept where its byte code is, if that can be written."""
        kept = Path(zipapp.__file__).parent / "__pycache__" / ("agent-%s-%s.pack" % (self.hash, self.magic))
        with contextlib.suppress(OSError):
            return kept.read_bytes()
        name = self._front_end.node_module()
        front, folder = importlib.import_module(name), os.path.dirname(name.replace(".", "/"))
        data = zipapp.pack(files, [os.path.join(folder, word) for word in getattr(front, "CLIENT", ())], {*zipapp.START, *getattr(front, "START", ())})
        with contextlib.suppress(OSError):
            for old in kept.parent.glob("agent-*-%s.pack" % self.magic):
                old.unlink()
            temporary = kept.with_suffix(".%d" % os.getpid())
            temporary.write_bytes(data)
            temporary.replace(kept)
        return data
