"""Values to JSON text and back, also when a string holds bytes that are not UTF-8 (as surrogates)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from sbroker import model

TYPES: dict[str, type] = {
    "job": model.Job,
    "run": model.Run,
    "part": model.Part,
    "step": model.Step,
    "node": model.Node,
    "partition": model.Partition,
    "group": model.Group,
    "machine": model.Machine,
    "spec": model.JobSpec,
}
_encode = msgspec.json.Encoder().encode
_decoders: dict[str, Callable[[str], Any]] = {table: msgspec.json.Decoder(kind).decode for table, kind in TYPES.items()}


def dump(value: Any) -> str:
    """`value` as JSON text that any database takes."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # msgspec writes UTF-8 only; json writes a lone surrogate as \udcXX
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))


def parse(table: str, text: str) -> Any:
    """The value of a row of `table`. msgspec.ValidationError if it does not fit."""
    try:
        return _decoders[table](text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), TYPES[table])


def plain(text: str) -> str:
    """`text` as a column for queries: what a database refuses (lone surrogates, NUL) is written as an escape."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def dump_rest(tasks: tuple[int, ...]) -> str:
    """Ascending array task ids without gaps as "first-last", in constant time; "" when there are gaps or none."""
    return "%d-%d" % (tasks[0], tasks[-1]) if tasks and tasks[-1] - tasks[0] + 1 == len(tasks) else ""


def parse_rest(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last) + 1))
