"""The broker's end of the call protocol: one `Connection` a call, which is the `Client` that a command acts through."""

from __future__ import annotations

import asyncio
import os
import pwd
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from sbroker.agent import wire
from sbroker.api import Call

WINDOW = 256 << 10  # bytes of input that the client may send before we take them
MALFORMED = (wire.WireError, ValueError, struct.error, IndexError, asyncio.InvalidStateError)  # what frames of a foreign client may cause
MOST_INPUT = 16 << 20  # bytes of standard input that are kept of one call, whatever its user pipes into it


def make_call(
    payload: bytes, uid: int, gid: int, operators: frozenset[str], job: int | None = None, run: int | None = None, owner: int | None = None
) -> Call:
    """A `Call` from a CALL payload and the identity that the kernel (or the node's agent) vouches for. `owner`: the uid that a personal broker
    belongs to. WireError if malformed."""
    raw = wire.parse_call(payload)
    meta = raw["meta"]
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    limits = {}
    for key, value in meta.items():
        if key.startswith("limit."):
            soft, _, hard = value.partition(":")
            limits[key[6:]] = (int(soft), int(hard))
    phase, _, ops = meta.get("resume", "").partition(":")
    ttys = frozenset(int(fd) for fd in meta.get("tty", "").split(",") if fd)
    return Call(
        id=raw["id"], name=raw["name"], argv=tuple(os.fsdecode(arg) for arg in raw["argv"]),
        env={os.fsdecode(key): os.fsdecode(value) for key, value in raw["env"].items()},
        cwd=os.fsdecode(raw["cwd"]), umask=int(meta.get("umask", "022"), 8), limits=limits, ttys=ttys,
        rows=int(meta.get("rows", 0)), cols=int(meta.get("cols", 0)), pid=int(meta.get("pid", 0)), sid=int(meta.get("sid", 0)),
        host=meta.get("host", ""), uid=uid, gid=gid, user=user, operator=uid == 0 or user in operators, admin=uid in (0, owner) or user in operators, job=job, run=run, raw=payload,
        resume=(int(phase or 0), int(ops or 0)),
    )  # fmt: skip


class _Signals:
    """An endless iterator; not a generator, which could not be given up while it waits."""

    def __init__(self, queue: asyncio.Queue[int]) -> None:
        self._queue = queue

    def __aiter__(self) -> _Signals:
        return self

    async def __anext__(self) -> int:
        return await self._queue.get()

    async def aclose(self) -> None:
        """Nothing is held."""


class Connection:
    """Implements `sbroker.api.Client`. `send(bytes)` and `drain()` lead to the client; `frame` takes what it sends. `flush()`: wait until
    nothing of what was sent is in this process any more, where that can be told."""

    def __init__(self, send: Callable[[bytes], None], drain: Callable[[], Any], flush: Callable[[], Any] | None = None) -> None:
        self._send, self._drain, self.flush = send, drain, flush or drain
        self._next = 0
        self._replies: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._signals: asyncio.Queue[int] = asyncio.Queue()
        self._stdin = bytearray()
        self._taken = self._granted = 0  # offsets: of what `_stdin` begins with, and up to which the client may send
        self._more = asyncio.Event()  # set whenever input or its end has come
        self._stdin_end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.passthrough: Callable[[bytes], None] | None = None  # set while a session has the client
        self.mute = False  # the client comes back to a session: it has read what came before

    # ---- from the client

    def frame(self, op: int, payload: bytes) -> None:
        if self.passthrough is not None:
            self.passthrough(wire.call_frame(op, payload))
        elif op == wire.REPLY:
            number, code = struct.unpack_from(">Ii", payload)
            data = payload[8:]
            if number in self._replies:
                self._replies.pop(number).set_result((code, data))
            elif number in self._exits:
                self._exits.pop(number).set_result(struct.unpack(">I", data)[0])
        elif op == wire.SIGNAL:
            self._signals.put_nowait(payload[0])
        elif op == wire.INPUT:
            self._input(payload)

    def _input(self, payload: bytes) -> None:
        handle, offset = struct.unpack_from(">IQ", payload)
        if handle != 0 or offset != self._taken + len(self._stdin):
            return  # what a resumed client sends twice
        if offset + len(payload) - 12 > self._granted + WINDOW:
            raise wire.WireError("input that was not granted")
        if len(payload) == 12:
            if not self._stdin_end.done():
                self._stdin_end.set_result(None)
            self._more.set()
            return
        self._stdin += payload[12:]
        self._more.set()
        if self._granted - offset < 2 * WINDOW:
            self._grant()

    def _grant(self) -> None:
        """Let the client send on, unless enough is here that nobody has taken."""
        end = self._taken + len(self._stdin)
        if len(self._stdin) < MOST_INPUT and end + WINDOW > self._granted:
            self._granted = end + WINDOW
            self._op(wire.GRANT, struct.pack(">IQQ", 0, end, self._granted))

    def lost(self) -> None:
        """The connection is gone."""
        if not self._gone.done():
            self._gone.set_result(None)
        error = ConnectionError("the user's side is gone")
        waiting: list[asyncio.Future[Any]] = [*self._replies.values(), *self._exits.values(), self._stdin_end]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # it may be that nobody waits
        self._more.set()

    # ---- to the client

    def _op(self, op: int, payload: bytes = b"") -> None:
        if self._gone.done():
            raise ConnectionError("the user's side is gone")
        self._send(wire.call_frame(op, payload))

    async def _ask(self, op: int, rest: bytes) -> bytes:
        self._next += 1
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._replies[self._next] = future
        self._op(op, struct.pack(">I", self._next) + rest)
        code, data = await future
        if code:
            raise OSError(code, os.strerror(code))
        return data

    async def out(self, data: str | bytes, fd: int = 1, *, anew: bool = False) -> None:
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        if self.mute and not anew:
            return
        for at in range(0, len(data), 1 << 20):
            self._op(wire.OUT, struct.pack(">I", fd) + data[at : at + (1 << 20)])
            await self._drain()

    async def read(self, path: str, limit: int = 64 << 20) -> bytes:
        return await self._ask(wire.READ, struct.pack(">Q", min(limit, wire.MAX_CALL - 4096)) + os.fsencode(path))

    async def write(self, path: str, data: bytes, *, append: bool = False, mode: int = 0o666) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        await self._ask(wire.OPEN, struct.pack(">III", 3, flags, mode) + os.fsencode(path))
        for at in range(0, len(data), 1 << 20):
            self._op(wire.OUT, struct.pack(">I", 3) + data[at : at + (1 << 20)])
            await self._drain()
        self._op(wire.CLOSE, struct.pack(">I", 3))

    async def stdin(self) -> bytes:
        self._grant()
        while not self._stdin_end.done() and len(self._stdin) < MOST_INPUT:
            self._more.clear()
            await self._more.wait()
        if self._stdin_end.done():
            self._stdin_end.result()  # ConnectionError when the user went away
        return bytes(self._stdin)

    async def lines(self) -> AsyncIterator[bytes]:
        while True:
            self._grant()
            self._more.clear()
            ended = self._stdin_end.done()
            whole = len(self._stdin) if ended or len(self._stdin) >= MOST_INPUT else self._stdin.rfind(b"\n") + 1
            lines = bytes(self._stdin[:whole]).split(b"\n")
            del self._stdin[:whole]  # what is taken here is not kept
            self._taken += whole
            for line in lines if lines[-1] else lines[:-1]:
                yield line
            if ended:
                self._stdin_end.result()  # ConnectionError when the user went away
                return
            if not whole:
                await self._more.wait()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Standard input as it comes, in pieces of any size; nothing of it is kept. ConnectionError when the user is gone."""
        while True:
            self._grant()
            self._more.clear()
            ended, data = self._stdin_end.done(), bytes(self._stdin)
            self._stdin.clear()
            self._taken += len(data)
            if data:
                yield data
            if ended:
                self._stdin_end.result()
                return
            if not data:
                await self._more.wait()

    async def spawn(self, argv: list[str], env: Mapping[str, str]) -> int:
        args = b"".join(os.fsencode(arg) + b"\0" for arg in argv)
        variables = b"".join(os.fsencode(key) + b"=" + os.fsencode(value) + b"\0" for key, value in env.items())
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        number = self._next + 1
        self._exits[number] = ended  # before asking: both replies may come in one read
        try:
            await self._ask(wire.SPAWN, wire.fields(args, variables))
        except OSError:
            self._exits.pop(number, None)
            raise
        return await ended

    async def kill(self, signum: int) -> None:
        self._op(wire.KILL, bytes([signum]))

    async def catch(self, signums: Iterable[int]) -> None:
        self._op(wire.CATCH, bytes(signums))

    def signals(self) -> AsyncIterator[int]:
        return _Signals(self._signals)

    async def gone(self) -> None:
        await asyncio.shield(self._gone)

    @property
    def is_gone(self) -> bool:
        return self._gone.done()

    def finish(self, code: int) -> None:
        """Tell the client its exit code: the last op."""
        if not self._gone.done():
            self._send(wire.call_frame(wire.EXIT, struct.pack(">i", code)))

    def raw(self, data: bytes) -> None:
        """Frames of a session, as they are."""
        if not self._gone.done():
            self._send(data)

    async def drain(self) -> None:
        await self._drain()

    def phase(self, number: int) -> None:
        self._op(wire.PHASE, bytes([number]))
        self.mute = False
