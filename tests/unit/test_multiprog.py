"""The file of srun --multi-prog, as 22.05.8 reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.multiprog import MultiProgError, parse


def test_ranks_and_offsets():
    text = "# comment\n0 echo zero %t %o\n1-2 echo mid %t %o\n3 bash -c 'echo three $X'\n"
    assert parse(text, 4, "mp.conf") == [
        ["echo", "zero", "0", "0"],
        ["echo", "mid", "1", "0"],
        ["echo", "mid", "2", "1"],
        ["bash", "-c", "echo three $X"],
    ]
    assert parse("0-1 echo t%t\n* rest %o\n", 4, "mp", ["--more"])[2:] == [["rest", "0", "--more"], ["rest", "1", "--more"]]


def test_quotes():
    assert parse("0 a \"b  c\" 'd e' $HOME \\x %% %x  f\n", 1, "mp") == [["a", '"b', 'c"', "d e", "$HOME", "x", "", "", "f"]]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("0 echo zero\n", ["Configuration file F invalid, no record for task id 1"]),
        ("0-1 hostname\n2\n", ["Invalid task id, 2 >= ntasks", "Line 2 of configuration file F invalid"]),
        ("0 echo a\n0 echo b\n", ["Duplicate record for task 0", "Line 2 of configuration file F invalid"]),
        ("x echo\n", ["Invalid task range specification (x)", "Line 1 of configuration file F invalid"]),
        ("5 echo\n0 echo k\n", ["Invalid task id, 5 >= ntasks", "Line 1 of configuration file F invalid"]),
        ("0-1\n", ["Line 1 of configuration file F invalid"]),
    ],
)
def test_errors(text, lines):
    with pytest.raises(MultiProgError) as bad:
        parse(text, 2, "F")
    assert list(bad.value.lines) == lines


@given(st.text(alphabet="01,-* \\'\"%to#ab\n\t", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse(text, 2, "F")
    except MultiProgError:
        return
    assert len(found) == 2
