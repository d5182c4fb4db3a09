"""Byte code without columns and docstrings is the same code."""

from __future__ import annotations

import marshal
import traceback
import types
from pathlib import Path

import pytest

from sbroker.agent import slim as made
from sbroker.agent.slim import slim

SOURCES = sorted(Path(made.__file__).parent.glob("*.py"))


def lines(code: types.CodeType) -> dict[int, int | None]:
    """Offset of each instruction → its line."""
    return {at: line for start, end, line in code.co_lines() for at in range(start, end, 2)}


def same(code: types.CodeType, other: types.CodeType) -> None:
    assert (code.co_code, code.co_names, code.co_flags, lines(code)) == (other.co_code, other.co_names, other.co_flags, lines(other))
    for number, (item, its) in enumerate(zip(code.co_consts, other.co_consts)):
        if isinstance(item, types.CodeType):
            same(item, its)
        elif item != its:
            assert number == 0 and isinstance(item, str) and not its


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_instructions_and_lines_are_the_same(path):
    code = compile(path.read_text(), str(path), "exec")
    other = slim(code)
    same(code, other)
    assert len(marshal.dumps(other)) < len(marshal.dumps(code))


def test_a_constant_that_is_used_is_no_docstring():
    source = '"""m"""\ndef f():\n    "both"\n    return "both"\ndef g(x):\n    "doc"\n    return [y for y in x if y == "z"]\nh = lambda: "w"\nclass C:\n    "c"\n'
    names: dict = {}
    exec(slim(compile(source, "x", "exec")), names)
    assert (names["f"](), names["g"](["z"]), names["h"](), names["C"].__doc__) == ("both", ["z"], "w", "c")
    assert not names["g"].__doc__ and not names["__doc__"]
    exec(slim(compile(source, "x", "exec"), docstring=True), names)
    assert names["__doc__"] == "m"


def test_a_traceback_has_its_lines():
    names: dict = {}
    exec(slim(compile("\n" * 300 + "def f():\n\n\n    x = 1\n    return 1 / 0\n", "x", "exec")), names)
    with pytest.raises(ZeroDivisionError) as raised:
        names["f"]()
    assert traceback.extract_tb(raised.value.__traceback__)[-1].lineno == 305
