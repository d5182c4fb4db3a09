"""A bad network under a seed: a proxy (TCP or Unix socket) that cuts, truncates, half-closes, freezes, delays and chops what it carries.

What happens depends on the seed and on the bytes that pass, not on the clock: each connection draws, for each direction, after how many bytes
which fault comes. `calm` lets everything through, `cut` ends all connections now.

  python -m tests.doubles.proxy --listen 10.200.0.1:2201 --to n1:22 --seed 7 --mean 20000        (SIGUSR1: calm, SIGUSR2: cut)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

KINDS = ("cut", "reset", "truncate", "half", "freeze", "delay", "chop")
_CHUNK = 1 << 16


@dataclass
class Faults:
    """`mean`: bytes between two faults of one direction, on average (0: none). `freeze`: the longest stand-still, in seconds."""

    seed: int = 0
    mean: int = 0
    kinds: tuple[str, ...] = KINDS
    freeze: float = 0.3
    counted: Counter[str] = field(default_factory=Counter)


def _address(text: str) -> tuple[str, int] | str:
    """host:port, or the path of a Unix socket."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if port.isdigit() and "/" not in text else text


class Proxy:
    def __init__(self, listen: str, to: str, faults: Faults) -> None:
        self.listen, self.to, self.faults = _address(listen), _address(to), faults
        self.calm = False
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if isinstance(self.listen, str):
            self._server = await asyncio.start_unix_server(self._serve, self.listen)
        else:
            self._server = await asyncio.start_server(self._serve, *self.listen)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number, self.connections = self.connections, self.connections + 1
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if isinstance(self.to, str):
                there_reader, there = await asyncio.open_unix_connection(self.to)
            else:
                there_reader, there = await asyncio.open_connection(*self.to)
            self._open.add(there)
            ways = ((reader, there, "up"), (there_reader, writer, "down"))
            await asyncio.gather(*(self._carry(*way, random.Random("%d %d %s" % (self.faults.seed, number, way[2]))) for way in ways))
            for open_end in (writer, there):  # what was written goes out first: an abort would take it back
                open_end.close()
                await open_end.wait_closed()
        except (OSError, _Cut, asyncio.CancelledError):
            pass  # a broken connection is what this is for
        finally:
            for end in (writer, there):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str, dice: random.Random) -> None:
        faults = self.faults
        due = self._next(dice)
        while data := await source.read(_CHUNK):
            while data:
                if self.calm or due is None:
                    piece, data = data, b""
                else:
                    piece, data = data[:due], data[due:]
                    due -= len(piece)
                if piece:
                    sink.write(piece)
                    await sink.drain()
                if due == 0 and not self.calm:
                    kind = dice.choice(faults.kinds)
                    faults.counted[kind] += 1
                    data = await self._fault(kind, data, sink, dice)
                    due = self._next(dice)
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()

    def _next(self, dice: random.Random) -> int | None:
        return max(1, int(dice.expovariate(1 / self.faults.mean))) if self.faults.mean else None

    async def _fault(self, kind: str, data: bytes, sink: asyncio.StreamWriter, dice: random.Random) -> bytes:
        """Do it; what is still to be carried of `data`."""
        if kind == "cut":
            raise _Cut
        if kind == "reset":
            sock = sink.get_extra_info("socket")
            if sock.family != socket.AF_UNIX:  # linger 0: the peer gets ECONNRESET
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _Cut
        if kind == "truncate":  # some of the bytes arrive, the others never
            sink.write(data[: dice.randrange(len(data) + 1)])
            with contextlib.suppress(OSError, RuntimeError):
                await sink.drain()
                sink.write_eof()
            await asyncio.sleep(0.01)  # aborting at once would take back what was written
            raise _Cut
        if kind == "half":  # one end hears the end of the stream, and may still speak
            sink.write_eof()
            await asyncio.sleep(dice.uniform(0, self.faults.freeze))
            raise _Cut
        if kind == "freeze":
            await asyncio.sleep(dice.uniform(0, self.faults.freeze))
        elif kind == "delay":
            for size in (len(data) // 3, len(data) // 3):
                sink.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0.01)
        else:  # chop: the reader sees single bytes
            while data and dice.random() < 0.99:
                sink.write(data[:1])
                data = data[1:]
                await sink.drain()
                await asyncio.sleep(0)
        return data


class _Cut(Exception):
    """This connection ends here."""


@contextlib.contextmanager
def running(listen: str, to: str, faults: Faults) -> Iterator[Proxy]:
    """A proxy in a thread of its own."""
    proxy = Proxy(listen, to, faults)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(10)

    do(proxy.start())
    try:
        yield proxy
    finally:
        do(proxy.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _main(options: argparse.Namespace) -> None:
    proxy = Proxy(options.listen, options.to, Faults(options.seed, options.mean, tuple(options.kinds.split(","))))
    await proxy.start()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(proxy, "calm", True))
    loop.add_signal_handler(signal.SIGUSR2, proxy.cut)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    await proxy.stop()
    print(" ".join("%s=%d" % item for item in sorted(proxy.faults.counted.items())), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, help="HOST:PORT or the path of a Unix socket")
    parser.add_argument("--to", required=True)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--mean", type=int, default=0, help="bytes between two faults of one direction, on average; 0: none")
    parser.add_argument("--kinds", default=",".join(KINDS))
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
