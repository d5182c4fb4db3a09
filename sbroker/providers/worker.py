"""A provider in a process of its own: no SDK is imported in the broker, no call can hang it, and it sees no credentials but its own.

The broker's side is `Worker`, the other side ``python -m sbroker.providers.worker``. Requests and answers are JSON, one a line, over pipes:
first {kind, settings, site, …}, then {call, args} → {result} or {error: [class, sentence]}.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sbroker import errors
from sbroker.clock import SystemClock
from sbroker.config.units import hook
from sbroker.providers import base, find

T = TypeVar("T")
_LIMIT = 64 << 20  # bytes of one answer
_PASSED = (
    "HOME",
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)
_ERRORS: dict[str, type[errors.SbrokerError]] = {
    kind.__name__: kind for kind in (errors.NoCapacity, errors.QuotaExceeded, errors.AuthRefused, errors.Unsatisfiable, base.ProviderError)
}


class Worker:
    """The methods of `base.Provider` as coroutines. One call at a time; the process starts with the first and lives until `close`.

    A call that takes longer than `patience` seconds kills the process and raises ProviderError: whether it was done is unknown.
    """

    def __init__(self, settings: base.SiteSettings, context: base.Context, environ: Mapping[str, str], *, patience: float = 120.0) -> None:
        self.settings, self.context, self.patience = settings, context, patience
        self._environ = environ
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def offers(self, ask: base.Ask) -> list[base.Offer]:
        return await self._call("offers", list[base.Offer], ask)

    async def create(self, order: base.Order) -> None:
        await self._call("create", type(None), order)

    async def list(self) -> base.Listing:
        return await self._call("list", base.Listing)

    async def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        await self._call("terminate", type(None), token, ids)

    async def close(self) -> None:
        """End the process; the next call starts another."""
        async with self._lock:
            await self._end()

    async def _call(self, name: str, kind: type[T], *args: Any) -> T:
        async with self._lock:
            try:
                answer = await asyncio.wait_for(self._exchange({"call": name, "args": args}), self.patience)
            except asyncio.TimeoutError as error:
                await self._end()
                raise base.ProviderError("the site %s did not answer %s within %g s" % (self.context.site, name, self.patience)) from error
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                await self._end()
                raise base.ProviderError(
                    "the site %s gave no answer to %s: %s" % (self.context.site, name, error or type(error).__name__)
                ) from error
            except asyncio.CancelledError:
                await self._end()  # the answer would be taken for that of the next call
                raise
        if "error" in answer:
            found, sentence = answer["error"]
            raise _ERRORS.get(found, base.ProviderError)(sentence)
        try:
            return msgspec.convert(answer.get("result"), kind)
        except msgspec.ValidationError as error:
            raise base.ProviderError("the site %s answered %s with something else: %s" % (self.context.site, name, error)) from error

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = await self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_line(request))
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("its process ended")
        return msgspec.json.decode(line, type=dict[str, Any])

    async def _start(self) -> asyncio.subprocess.Process:
        found = find(self.settings.provider)
        wanted = (*_PASSED, *(found.environ if found else ()))
        environ = {name: self._environ[name] for name in wanted if name in self._environ}
        environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sbroker.providers.worker",
            env=environ,
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LIMIT,
            start_new_session=True,
        )
        assert process.stdin is not None
        context = self.context
        process.stdin.write(_line({"settings": self.settings, "site": context.site, "spool": context.spool, "store_id": context.store_id}))
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=int) + b"\n"  # sizes and times are numbers of types of their own


def serve(requests: Any, answers: Any) -> None:
    """The worker's side: answer requests (lines of a binary file) until there are no more."""
    head = msgspec.json.decode(requests.readline())
    found = find(head["settings"]["provider"])
    if found is None:
        raise SystemExit("there is no provider of the kind %s" % head["settings"]["provider"])
    settings = msgspec.convert(head["settings"], found.Settings, dec_hook=hook)
    provider = found(settings, base.Context(site=head["site"], spool=head["spool"], store_id=head["store_id"], clock=SystemClock()))
    for line in requests:
        answers.write(_line(_answer(provider, msgspec.json.decode(line))))
        answers.flush()
    provider.close()


def _answer(provider: base.Provider, request: dict[str, Any]) -> dict[str, Any]:
    args = request["args"]
    try:
        result: Any = None
        match request["call"]:
            case "offers":
                result = list(provider.offers(msgspec.convert(args[0], base.Ask)))
            case "create":
                provider.create(msgspec.convert(args[0], base.Order))
            case "list":
                result = provider.list()
            case "terminate":
                provider.terminate(args[0], None if args[1] is None else tuple(args[1]))
            case other:
                raise base.ProviderError("there is no call %s" % other)
        return {"result": result}
    except errors.SbrokerError as error:
        return {"error": [type(error).__name__, str(error)]}


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
