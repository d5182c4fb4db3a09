"""What the listing commands share: their output, their refusals, users by name, lists with commas, --help and --version."""

from __future__ import annotations

import asyncio
import contextlib
import pwd
from collections.abc import Callable
from typing import Any

from sbroker.api import Api, Call, Client
from slurm_compat import getopt, optable
from slurm_compat.releases import version


class Stop(Exception):
    """The command ends here: `err` (whole lines) to standard error, `out` before it to standard output."""

    def __init__(self, err: str = "", code: int = 1, out: str = "") -> None:
        super().__init__(err)
        self.err, self.code, self.out = err, code, out


def words(text: str) -> list[str]:
    """The items of a list with commas; empty ones dropped."""
    return [word for word in text.split(",") if word]


def user_id(name: str) -> int | None:
    """The uid of a user name or number of this host; None if there is no such user."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    if name.isdigit():
        with contextlib.suppress(KeyError, OverflowError):
            return pwd.getpwuid(int(name)).pw_uid
    return None


def leading_number(text: str) -> int:
    """The number that text begins with, 0 without one: as C's atoi reads it."""
    text = text.lstrip()
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text)
    digits = body[: len(body) - len(body.lstrip("0123456789"))]
    return sign * int(digits[:18]) if digits else 0


def own_cluster(command: str, wanted: str, cluster: str) -> None:
    """Stop unless every name of --clusters is ours (or "all")."""
    for name in words(wanted):
        if name not in (cluster, "all"):
            raise Stop(
                f"{command}: error: No cluster '{name}' known by database.\n"
                f"{command}: error: '{name}' can't be reached now, or it is an invalid entry for --cluster.  "
                "Use 'sacctmgr list clusters' to see available clusters.\n"
            )


def refuse(command: str, options: dict[str, Any]) -> None:
    """Stop at the first option that the table refuses."""
    for row in optable.options(command):
        if row.cls == optable.REFUSED and row.canonical in options:
            raise Stop(f"{command}: error: --{row.canonical}: {row.note}\n")


def help_text(command: str) -> str:
    """--help, from the option table."""
    lines = [f"Usage: {command} [OPTIONS]"]
    for row in optable.options(command):
        if row.canonical != row.name or row.cls == optable.REFUSED:
            continue
        short = f"-{row.short}, " if row.short else "    "
        value = {"required": f"={row.field}", "optional": f"[={row.field}]"}.get(row.arg, "")
        note = f"  ({row.note})" if row.note else ""
        lines.append(f"  {short}--{row.name}{value}{note}")
    return "\n".join(lines) + "\n"


async def start(call: Call, client: Client, api: Api, usage: str) -> getopt.Raw | int:
    """Parse the command line; the exit code instead when that was all (--help, --version, a bad option)."""
    try:
        raw = getopt.parse(call.name, list(call.argv), call.env)
    except getopt.BadOption as bad:
        await client.out(bad.text, 2)
        return bad.code
    if "version" in raw.options:
        await client.out(version(getattr(api.config, "imitate", "22.05")) + "\n")
        return 0
    if "help" in raw.options or "usage" in raw.options:
        await client.out(help_text(call.name) if "help" in raw.options else usage)
        return 0
    return raw


async def say(client: Client, out: str, err: str) -> None:
    if out:
        await client.out(out)
    if err:
        await client.out(err, 2)


async def listing(client: Client, draw: Callable[[], tuple[str, str, int]], iterate: int | None) -> int:
    """Print what `draw` gives (out, err, code) once, or every `iterate` seconds until the user is gone."""
    while True:
        out, err, code = draw()
        await say(client, out, err)
        if iterate is None:
            return code
        gone = asyncio.ensure_future(client.gone())
        try:
            done, _ = await asyncio.wait({gone}, timeout=iterate)
        finally:
            gone.cancel()
        if done:
            return code
        await client.out("\n")
