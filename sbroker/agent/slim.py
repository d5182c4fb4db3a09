"""Byte code without what nobody reads on a node: docstrings, and in which column of a line an instruction stands (it makes the half of a compressed
program). Tracebacks have their lines as before. For the broker, which packs the agent's program."""

import opcode
import sys
from types import CodeType

_OPTIMIZED, _HAS_DOCSTRING = 0x1, 0x4000000  # of co_flags; the second from Python 3.13 on
_NO_COLUMNS, _NO_LINE = 13, 15  # kinds of entries of a location table (Objects/locations.md, from 3.11 on)


def slim(code, docstring=False):
    """The same code, and all that is inside. `docstring`: the outermost keeps its own."""
    consts = [slim(item) if isinstance(item, CodeType) else item for item in code.co_consts]
    if not docstring and _docstring_only(code):
        consts[0] = None if code.co_flags & _OPTIMIZED else ""
    changed = {"co_consts": tuple(consts)}
    if sys.version_info >= (3, 11):
        changed["co_linetable"] = _lines(code)
    return code.replace(**changed)


def _docstring_only(code):
    """Whether the first constant is the docstring, and nothing else."""
    if not code.co_consts or not isinstance(code.co_consts[0], str):
        return False
    uses = sum(1 for op, arg in zip(code.co_code[::2], code.co_code[1::2]) if arg == 0 and op in opcode.hasconst)
    if code.co_name == "<module>":
        return code.co_names[:1] == ("__doc__",) and uses == 1
    function = code.co_flags & _OPTIMIZED and not code.co_name.startswith("<")
    if sys.version_info >= (3, 13):
        function = function and code.co_flags & _HAS_DOCSTRING
    return bool(function) and uses == 0


def _lines(code):
    """The location table with lines alone."""
    table, before = bytearray(), code.co_firstlineno
    for start, end, line in code.co_lines():
        units = (end - start) // 2
        while units > 0:
            kind = _NO_LINE if line is None else _NO_COLUMNS
            table.append(0x80 | kind << 3 | min(units, 8) - 1)
            units -= 8
            if line is None:
                continue
            step, before = line - before, line
            number = step << 1 if step >= 0 else -step << 1 | 1
            while number > 63:
                table.append(0x40 | number & 63)
                number >>= 6
            table.append(number)
    return bytes(table)
