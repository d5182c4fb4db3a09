"""One byte stream to the agent of a node, whatever lies between: a file for each way, named by `Endpoint.transport`."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from sbroker.errors import SbrokerError
from sbroker.providers.base import Endpoint

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Unreachable(SbrokerError, ConnectionError):
    """The agent of a node does not answer; the text says why. Try again later: it proves nothing about its runs."""


class Faulty(Unreachable):
    """The agent cannot be had before somebody mends something: a key, an account, a missing Python. The text says what."""


async def open(endpoint: Endpoint, **options: Any) -> Streams:
    """Connect to the agent at `endpoint`, started there if need be. Unreachable if that does not work now.

    `options` go to the transport's own `open`.
    """
    return await importlib.import_module("%s.%s" % (__name__, endpoint.transport)).open(endpoint, **options)
