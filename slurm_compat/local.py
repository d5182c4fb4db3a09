"""--help and --usage without a broker: the same command functions, with a client that only collects what is said.

Loaded by reach.py when no broker answers; needs the interpreter and the packages of the broker.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from sbroker.api import Api, Call, Client
from slurm_compat.frontend import FrontEnd


class Collector:
    """As much of `sbroker.api.Client` as a help text needs."""

    def __init__(self) -> None:
        self.said = {1: "", 2: ""}

    async def out(self, data: str | bytes, fd: int = 1) -> None:
        self.said[fd] += data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


def answer(name: str, args: list[str], imitate: str) -> tuple[str, str, int]:
    """(standard output, standard error, exit code) of the command."""
    client: Any = Collector()
    api = SimpleNamespace(config=SimpleNamespace(imitate=imitate))
    call = Call(id="local", name=name, argv=tuple(args), env={}, cwd="/")
    code = asyncio.run(FrontEnd().run(call, cast(Client, client), cast(Api, api)))
    return client.said[1], client.said[2], code
