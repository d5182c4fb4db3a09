"""Formats: how fields are told apart, padded and cut. What Slurm printed stands in tests/compat; here are the odd corners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.render import BadSort, Column, compile_long, compile_short, compile_sort, sort_rows

TABLE = {
    "i": Column("ID", lambda row, c: row["i"], order=lambda row, c: int(row["i"])),
    "j": Column("NAME", lambda row, c: row["j"], order=lambda row, c: row["j"]),
    "l": Column("LIMIT", lambda row, c: "3-00:00:00", whole=True),
    "p": Column("PART", lambda row, c: "debug*", fit=lambda text, width: text if len(text) <= width else text[: width - 1] + "*"),
}
NAMES = {"id": TABLE["i"], "name": TABLE["j"]}
ROW = {"i": "104", "j": "averyveryverylongjobname"}


@pytest.mark.parametrize(
    ("form", "line", "errors"),
    [
        ("%i", "104", []),
        ("%.i|", "104|", []),
        ("%5i|", "104  |", []),
        ("%.5i|", "  104|", []),
        ("%.2i|%2i|", "10|10|", []),
        ("%05i|", "104  |", []),
        ("a%ib%jc", "a104baveryveryverylongjobnamec", []),
        ("%", "", []),
        ("%%", "", []),
        ("a%%ib", "a104b", []),
        ("%i%", "104", []),
        ("%5.i|", "%5.i|", ["."]),
        ("%5", "%5", [""]),
        ("%-5i|", "%-5i|", ["-"]),
        ("%#i", "%#i", ["#"]),
        ("%i %!%?x %i", "104 %!%?x 104", ["!", "?"]),
        ("abc", "abc", []),
        ("", "", []),
        ("%.5l|%5l|", "3-00:00:00|3-00:|", []),
        ("%i 5%i", "104 5104", []),
        ("%3p|%9p|", "de*|debug*   |", []),
    ],
)
def test_short(form, line, errors):
    layout = compile_short(form, TABLE)
    assert (layout.row(ROW, None), layout.errors) == (line + "\n", errors)


@pytest.mark.parametrize(
    ("form", "line", "errors"),
    [
        ("id", "104" + " " * 17, []),
        ("ID,name", "104" + " " * 17 + "averyveryverylongjob", []),
        ("id,,name", "104" + " " * 17 + "averyveryverylongjob", []),
        ("id, name", "104" + " " * 17, [" name"]),
        ("id:5,", "104  ", []),
        ("id:5:6", "104  :6", []),
        ("id: |,name:|", "104 |averyveryverylongjobname|", []),
        ("id:.5xyz", "  104xyz", []),
        ("id:-12", "104 ", []),
        ("id:0", "104", []),
        ("id,bogus", "104" + " " * 17, ["bogus"]),
        ("", "", []),
    ],
)
def test_long(form, line, errors):
    layout = compile_long(form, NAMES)
    assert (layout.row(ROW, None), layout.errors) == (line + "\n", errors)


def test_everything():
    assert compile_short("%all", {"a": TABLE["i"], "B": TABLE["j"]}).header() == "ID|NAME|\n"
    assert compile_short("%all", {"a": TABLE["i"], "B": TABLE["j"]}, trailing_bar=False).header() == "ID|NAME\n"
    assert compile_short("%all ", {"a": TABLE["i"]}).header() == "IDll \n"


def test_sort():
    rows = [{"i": "2", "j": "b"}, {"i": "10", "j": "a"}, {"i": "9", "j": "b"}]
    sort_rows(rows, compile_sort("j,-i", TABLE), None)
    assert [row["i"] for row in rows] == ["10", "9", "2"]
    sort_rows(rows, compile_sort("+-i", TABLE), None)
    assert [row["i"] for row in rows] == ["10", "9", "2"]
    assert compile_sort("cluster", TABLE) == []


@pytest.mark.parametrize(("spec", "letter"), [("bogus", "s"), ("l", "l"), ("i,x", "x"), ("#i", "#")])
def test_what_one_cannot_sort_by(spec, letter):
    with pytest.raises(BadSort, match=letter):
        compile_sort(spec, TABLE)


@given(st.text(alphabet="%.ij!59 |#-", max_size=30))
def test_any_format_prints_a_line(form):
    layout = compile_short(form, TABLE)
    assert layout.row(ROW, None).endswith("\n")
    assert layout.header().count("\n") == 1


@given(st.text(alphabet="id,:.5 name", max_size=30))
def test_any_long_format_prints_a_line(form):
    assert compile_long(form, NAMES).row(ROW, None).endswith("\n")
