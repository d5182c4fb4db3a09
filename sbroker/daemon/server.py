"""Listens for thin clients and runs one coroutine of the front end for each call."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sbroker.agent import fingerprint, wire
from sbroker.api import Call, FrontEnd
from sbroker.daemon.calls import MALFORMED, Connection, make_call
from sbroker.errors import BrokenOff, SbrokerError
from sbroker.paths import socket_address

FIRST = 30.0  # seconds within which who connects has said what it wants
CHANGED = "sbroker was changed while its broker runs, and the two do not fit: restart it (`sbroker down`, then any command; or restart sbrokerd)"
MOST_HALF = 128 << 20  # bytes of frames that one user has begun and not ended, all connections together

log = logging.getLogger("sbroker.server")


class Server:
    """Accepts calls on the broker's socket, and those that agents relay from inside jobs."""

    def __init__(self, front_end: FrontEnd, make_api: Callable[[Call], Any], operators: frozenset[str], owner: int | None = None) -> None:
        self.front_end, self.make_api, self.operators, self.owner = front_end, make_api, operators, owner
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.AbstractServer | None = None
        self.calls = 0
        files = [getattr(sys.modules[type(thing).__module__.partition(".")[0]], "__file__", None) for thing in (self, front_end)]
        self._folders = [os.path.dirname(file) for file in files if file]
        self._fingerprint = fingerprint.of(self._folders)
        self._half: dict[int, int] = {}  # uid → bytes of unfinished frames
        self._told: set[int] = set()  # uids of which the log says that they have too many
        self._open: Counter[int] = Counter()  # uid → connections
        self._most = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)  # of one user of a shared broker: others must get in

    def changed(self) -> bool:
        """Whether other sources are installed now than this process was started from: parts that it loads late do not fit it then."""
        return fingerprint.of(self._folders) != self._fingerprint

    async def listen(self, path: Path, mode: int) -> None:
        """Bind under another name and rename: whoever finds the socket finds it answering. `mode` is 0600 or 0666."""
        temporary = path.with_name(path.name + ".new")
        temporary.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(str(temporary)) as address:  # the folder's name may be longer than an address holds
            sock.bind(address)
        os.chmod(temporary, mode)
        sock.listen(1024)
        sock.setblocking(False)
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=1 << 20, backlog=1024)
        os.replace(temporary, path)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        _, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if self.owner is None and uid != 0 and self._open[uid] >= self._most:
            if uid not in self._told:
                self._told.add(uid)
                log.warning("uid %d has %d connections: no more are taken until it closes some", uid, self._most)
            writer.transport.abort()
            return
        self._open[uid] += 1
        frames = wire.CallReader()

        async def flush() -> None:
            writer.transport.set_write_buffer_limits(0)
            await writer.drain()

        connection = Connection(writer.write, writer.drain, flush)
        task: asyncio.Task[Any] | None = None
        half = 0
        timer = asyncio.get_running_loop().call_later(FIRST, writer.close)
        try:
            while data := await reader.read(1 << 18):
                for op, payload in frames.feed(data):
                    if task is not None:
                        connection.frame(op, payload)
                    elif op == wire.CALL:
                        timer.cancel()
                        call = make_call(payload, uid, gid, self.operators, owner=self.owner)
                        task = self.start(call, connection, writer)
                self._half[uid] = self._half.get(uid, 0) + frames.pending - half
                half = frames.pending
                if self._half[uid] > MOST_HALF:  # one user's halves of frames must not take the memory of all
                    raise wire.WireError("more than %d bytes of unfinished frames" % MOST_HALF)
        except MALFORMED as error:
            log.warning("uid %d sent what is not a call: %s", uid, error)
        except OSError:
            pass  # the peer went away: the same as an end
        finally:
            timer.cancel()
            self._open[uid] -= 1
            self._half[uid] = self._half.get(uid, 0) - half
            connection.lost()
            if task is None:
                writer.close()

    def start(self, call: Call, connection: Connection, writer: asyncio.StreamWriter | None = None) -> asyncio.Task[Any]:
        """Run the call; close `writer` when it is answered."""
        task = asyncio.get_running_loop().create_task(self._run(call, connection, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, call: Call, connection: Connection, writer: asyncio.StreamWriter | None) -> None:
        self.calls += 1
        api = self.make_api(call)
        api.connection = connection
        connection.mute = call.resume[0] > 0
        try:
            code = await self._front(call)(call, connection, api)
            connection.finish(code)
            await connection.drain()
        except ConnectionError:
            log.debug("%s of %s: its user is gone", call.name, call.user)
        except BrokenOff as error:
            log.info("%s of %s: %s; it will ask again", call.name, call.user, error)
        except SbrokerError as error:
            await self._fail(call, connection, str(error))
        except Exception:
            log.exception("%s %.500s of %s failed", call.name, " ".join(call.argv), call.user)
            await self._fail(call, connection, CHANGED if self.changed() else "an error inside the broker; its log says more (this is a bug, please report it)")
        finally:
            api.close()
            if writer is not None:
                writer.close()

    def _front(self, call: Call) -> Any:
        """Who answers this name: the front end, or our own command."""
        if call.name != "sbroker":
            return self.front_end.run
        from sbroker.cli import broker_side  # brings click along: not for a start

        return broker_side.run

    async def _fail(self, call: Call, connection: Connection, text: str) -> None:
        try:
            await connection.out("%s: error: %s\n" % (call.name, text), fd=2)
            connection.finish(1)
            await connection.drain()
        except ConnectionError:
            log.debug("%s of %s: its user is gone", call.name, call.user)
