"""sacct's --format: fields with widths, and lines of columns or of bars."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from slurm_compat.acct_fields import EXTRA, FIELDS, Text
from slurm_compat.acct_rows import Row
from slurm_compat.timefmt import Times

HELP_COLUMNS, HELP_WIDTH = 4, 19
MAX_WIDTH = 65536  # more is a mistake, or an attack on the broker's memory
_LOWER = {name.lower(): name for name in (*FIELDS, *EXTRA)}


class BadField(ValueError):
    """No field begins so."""


class Column(NamedTuple):
    """`width` negative: to the left."""

    name: str
    width: int
    text: Text


def columns(formats: Iterable[str]) -> list[Column]:
    """Formats, one after the other → columns. Raises BadField."""
    out: list[Column] = []
    for word in (word for text in formats for word in text.split(",")):
        if not word:
            continue
        name, percent, width = word.partition("%")
        if name.lower() == "all":
            out += [_column(full, percent, width) for full in FIELDS]
        else:
            low = name.lower()
            full = _LOWER.get(low) or next((_LOWER[key] for key in _LOWER if key.startswith(low)), "")
            if not full:
                raise BadField(name)
            out.append(_column(full, percent, width))
    return out


def _column(name: str, percent: str, width: str) -> Column:
    usual, text = FIELDS[name] if name in FIELDS else EXTRA[name]
    if not percent:
        return Column(name, usual, text)
    found = re.match(r"[+-]?\d+", width)
    number = int(found[0]) if found else 0
    return Column(name, max(-MAX_WIDTH, min(MAX_WIDTH, number)), text)


def cell(text: str, width: int) -> str:
    """As wide as the column; what is longer ends in "+"."""
    room = abs(width)
    if len(text) > room:
        text = text[: room - 1] + "+" if room > 1 else text[:room]
    return text.ljust(room) if width < 0 else text.rjust(room)


class Printer:
    """Lines. `bar`: None for columns, else what separates fields; `last`: one after the last field, too."""

    def __init__(self, chosen: list[Column], times: Times, bar: str | None = None, *, last: bool = False) -> None:
        self.columns, self.times, self.bar, self.last = chosen, times, bar, last

    def header(self) -> str:
        if self.bar is not None:
            return self._bars([column.name for column in self.columns])
        names = "".join(_title(column) + " " for column in self.columns)
        rule = "".join("-" * abs(column.width) + " " for column in self.columns)
        return f"{names}\n{rule}\n"

    def row(self, row: Row) -> str:
        texts = [column.text(row, self.times) for column in self.columns]
        if self.bar is not None:
            return self._bars(texts)
        return "".join(cell(text, column.width) + " " for text, column in zip(texts, self.columns)) + "\n"

    def _bars(self, texts: list[str]) -> str:
        bar = self.bar or ""
        return bar.join(texts) + (bar if self.last else "") + "\n"


def _title(column: Column) -> str:
    """A name that does not fit is cut without a mark."""
    room = abs(column.width)
    name = column.name[:room]
    return name.ljust(room) if column.width < 0 else name.rjust(room)


def help_text() -> str:
    """The list of --helpformat: Slurm's, and a line of ours."""
    lines = [names[at : at + HELP_COLUMNS] for names in (list(FIELDS), list(EXTRA)) for at in range(0, len(names), HELP_COLUMNS)]
    return "".join(" ".join(name.ljust(HELP_WIDTH) for name in line) + "\n" for line in lines)
