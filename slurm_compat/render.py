"""Output formats: ``%.18i %j`` and ``JobID:8,Name:.10`` compiled once into a function that prints a row.

A width is both least and most, as in Slurm: what is longer is cut (but durations and node lists only at the left margin). What a
column prints stands in `slurm_compat.columns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DEFAULT_LONG_WIDTH = 20  # of a -O field without ":"
_SHORT = re.compile(r"(\.?)(\d*)(.?)(.*)", re.DOTALL)
_LONG = re.compile(r"(\.?)(\d*)(.*)", re.DOTALL)
MAX_WIDTH = 65536  # more is a mistake, or an attack on the broker's memory


class Column:
    """One thing to print. `text(obj, ctx)` → str; `order(obj, ctx)` → what -S compares, None where it cannot sort by it.

    `whole`: never cut when it stands at the right margin. `fit(text, width)`: how to cut what is too long.
    """

    __slots__ = ("fit", "header", "order", "text", "whole")

    def __init__(
        self,
        header: str,
        text: Callable[[Any, Any], str],
        *,
        order: Callable[[Any, Any], Any] | None = None,
        whole: bool = False,
        fit: Callable[[str, int], str] | None = None,
    ) -> None:
        self.header, self.text, self.order, self.whole, self.fit = header, text, order, whole, fit


class Cell:
    """A column with its place in a line. width 0: as long as it is."""

    __slots__ = ("column", "right", "suffix", "width")

    def __init__(self, column: Column | None, width: int, right: bool, suffix: str) -> None:
        self.column, self.width, self.right, self.suffix = column, width, right, suffix

    def spec(self, header: bool = False) -> str:
        """For the % operator."""
        suffix = self.suffix.replace("%", "%%")
        if self.column is None:
            return suffix
        if not self.width:
            return "%s" + suffix
        if self.right and self.column.whole and not header:
            return f"%{self.width}s{suffix}"
        return f"%{'' if self.right else '-'}{self.width}.{self.width}s{suffix}"

    def reader(self) -> Callable[[Any, Any], str]:
        """(obj, ctx) → text of the column, cut by its own rule where it has one."""
        column, width = self.column, self.width
        if column is None:
            raise ValueError("literal text is not read from anything")
        fit, text = column.fit, column.text
        return text if fit is None or not width else lambda obj, ctx: fit(text(obj, ctx), width)


class Layout:
    """A compiled format. `errors` are the type letters or names that it does not know, in order."""

    def __init__(self, cells: list[Cell], errors: list[str]) -> None:
        self.cells, self.errors = cells, errors
        self.columns = [cell.column for cell in cells if cell.column is not None]
        self._texts = tuple(cell.reader() for cell in cells if cell.column is not None)
        self._line = "".join(cell.spec() for cell in cells) + "\n"
        self._head = "".join(cell.spec(header=True) for cell in cells) + "\n"

    def header(self) -> str:
        return self._head % tuple([column.header for column in self.columns])

    def row(self, obj: Any, ctx: Any) -> str:
        return self._line % tuple([text(obj, ctx) for text in self._texts])

    def rows(self, objs: Iterable[Any], ctx: Any) -> str:
        line, texts = self._line, self._texts
        return "".join([line % tuple([text(obj, ctx) for text in texts]) for obj in objs])

    def uses(self, column: Column | None) -> bool:
        return any(mine is column for mine in self.columns)


def compile_short(form: str, table: Mapping[str, Column], *, trailing_bar: bool = True) -> Layout:
    """A -o format. A field with an unknown letter is printed as it was typed. ``%all``: every letter, with "|"."""
    if form == "%all":
        letters = sorted(table, key=lambda letter: (letter.isupper(), letter))
        every = [Cell(table[letter], 0, False, "|") for letter in letters]
        if not trailing_bar:
            every[-1].suffix = ""
        return Layout(every, [])
    cells: list[Cell] = []
    errors: list[str] = []
    first, *fields = form.split("%")
    if first:
        cells.append(Cell(None, 0, False, first))
    for field in fields:
        if not field:
            continue  # "%%" is an empty field to Slurm
        dot, digits, letter, suffix = _SHORT.fullmatch(field).groups()  # type: ignore[union-attr]
        column = table.get(letter)
        if column is None:
            errors.append(letter)
            cells.append(Cell(None, 0, False, "%" + field))
        else:
            cells.append(Cell(column, _width(digits), bool(dot), suffix))
    return Layout(cells, errors)


def compile_long(form: str, table: Mapping[str, Column]) -> Layout:
    """A -O format: ``name[:[.][width][suffix]],…``. An unknown name prints nothing."""
    cells: list[Cell] = []
    errors: list[str] = []
    for field in form.split(","):
        if not field:
            continue
        name, colon, spec = field.partition(":")
        column = table.get(name.lower())
        if column is None:
            errors.append(name)
        elif not colon:
            cells.append(Cell(column, DEFAULT_LONG_WIDTH, False, ""))
        elif re.fullmatch(r"-\d+", spec):
            cells.append(Cell(column, 0, False, " "))  # no width to Slurm, and a blank instead of the suffix
        else:
            dot, digits, suffix = _LONG.fullmatch(spec).groups()  # type: ignore[union-attr]
            cells.append(Cell(column, _width(digits), bool(dot), suffix))
    return Layout(cells, errors)


def _width(digits: str) -> int:
    return min(int(digits), MAX_WIDTH) if digits else 0


class BadSort(ValueError):
    """The letter that one cannot sort by."""


def compile_sort(spec: str, table: Mapping[str, Column], *, strict: bool = True) -> list[tuple[Column, bool]]:
    """``P,t,-p`` → (column, descending), the most important first. Read from the end, as Slurm does: so is the letter of BadSort.

    Not `strict`: letters that one cannot sort by are skipped (squeue -s and sinfo say nothing of them).
    """
    if spec == "cluster":
        return []  # there is one
    keys: list[tuple[Column, bool]] = []
    i = len(spec) - 1
    while i >= 0:
        letter = spec[i]
        if letter in (",+-" if strict else ",+-#"):
            i -= 1
            continue
        descending = i > 0 and spec[i - 1] == "-"
        if i > 0 and spec[i - 1] in "+-":
            i -= 1
        column = table.get(letter)
        if column is not None and column.order is not None:
            keys.append((column, descending))
        elif strict:
            raise BadSort(letter)
        i -= 1
    keys.reverse()
    return keys


def sort_rows(rows: list[Any], keys: list[tuple[Column, bool]], ctx: Any) -> None:
    """Stable, in place."""
    for column, descending in reversed(keys):
        order = column.order
        rows.sort(key=lambda row, order=order: order(row, ctx), reverse=descending)
