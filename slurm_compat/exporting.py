"""Which environment a batch job is shipped with: --export, --export-file, --get-user-env."""

from __future__ import annotations

from collections.abc import Mapping


def split_names(text: str) -> list[str]:
    """Items of an --export list: commas within quotes do not separate, the quotes stay."""
    items, item, quote = [], "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        if char == "," and not quote:
            items.append(item)
            item = ""
        else:
            item += char
    items.append(item)
    return [item for item in items if item]


def exported(env: Mapping[str, str], export: str | None) -> tuple[dict[str, str], bool]:
    """The variables to ship, and whether the node has to add those of a login (`--get-user-env`).

    None and ALL: everything. NONE and NIL: SLURM_* only. A list: SLURM_*, and what it names; with ALL in it, everything, and its
    values for what is not set.
    """
    if export is None or export.upper() == "ALL":
        return dict(env), False
    shipped = {name: value for name, value in env.items() if name.startswith("SLURM_")}
    if export.upper() in ("NONE", "NIL"):
        return shipped, True
    items = split_names(export)
    if "ALL" in items:
        shipped = dict(env)
    for item in items:
        name, equals, value = item.partition("=")
        if equals:
            shipped.setdefault(name, value)
        elif name in env and name != "ALL":
            shipped[name] = env[name]
    return shipped, True


def from_file(data: bytes) -> dict[str, str]:
    """--export-file: NAME=value, each ended by NUL."""
    found = {}
    for item in data.decode("utf-8", "surrogateescape").split("\0"):
        name, equals, value = item.partition("=")
        if equals and name:
            found[name] = value
    return found


def packed(env: Mapping[str, str]) -> bytes:
    """KEY=value, each ended by NUL: what `Api.submit` takes."""
    return "".join("%s=%s\0" % item for item in env.items()).encode("utf-8", "surrogateescape")
