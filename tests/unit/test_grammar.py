"""Slurm's small languages: tables of recorded answers, and properties that hold for any text."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.grammar import Invalid, array, dependency, gres, memory, numbers, signals, timelimit, when, words

NOW = calendar.timegm((2026, 11, 24, 11, 7, 29, 0, 0, 0))


def moment(text):
    """The UTC time that `text` means at NOW, or the place where it is wrong."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when.parse(text, "begin", NOW, time.gmtime, calendar.timegm)))
    except Invalid as bad:
        return int(bad.lines[0][1].partition("pos=")[2].partition(")")[0]) if len(bad.lines) > 1 else None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-24T11:07:29"),
        ("NOW+1", "2026-11-24T11:07:30"),
        ("now+1minute", "2026-11-24T11:08:29"),
        ("now+2hours", "2026-11-24T13:07:29"),
        ("now+1week", "2026-12-01T11:07:29"),
        ("now-1hour", "2026-11-24T10:07:29"),
        ("now + 1 days", "2026-11-25T11:07:29"),
        ("now+", 3),
        ("now+x", 3),
        ("now 1", 4),
        ("now+1hr", 4),
        ("now+5hoursx", 10),
        ("TODAY", 1),
        ("today", "2026-11-24T00:00:00"),
        ("tomorrow 10:00", "2026-11-25T10:00:00"),
        ("midnight", "2026-11-25T00:00:00"),
        ("noon", "2026-11-24T12:00:00"),
        ("fika", "2026-11-24T15:00:00"),
        ("teatime", "2026-11-24T16:00:00"),
        ("elevenses", 0),
        ("16:00", "2026-11-24T16:00:00"),
        ("4:00 PM", "2026-11-24T16:00:00"),
        ("12:00am", "2026-11-25T00:00:00"),
        ("13:00pm", 5),
        ("4pm", 1),
        ("16", 0),
        ("12", 2),
        ("25:00", 0),
        ("16:60", 3),
        ("00:00", "2026-11-25T00:00:00"),
        ("010130", "2030-01-01T00:00:00"),
        ("0101", "2027-01-01T00:00:00"),
        ("01/02", "2027-01-02T00:00:00"),
        ("1/2/30", "2030-01-02T00:00:00"),
        ("01/02/2030", 8),
        ("13/01", 0),
        ("01.02", "2027-01-02T00:00:00"),
        ("2030-01-02T10:20:30", "2030-01-02T10:20:30"),
        ("2030-01-02 10:20", "2030-01-02T10:20:00"),
        ("2030-01-02T25:00", 11),
        ("2030-13-01", 5),
        ("2030-02-30", "2030-03-02T00:00:00"),
        ("01/02-10:20", "2027-01-02T10:20:00"),
        ("16:00 01/02", "2027-01-02T16:00:00"),
        ("noon tomorrow", "2026-11-25T12:00:00"),
        ("2030-01-02T10", 13),
        ("2030-01", 0),
        ("0", -1),
        ("-1", 2),
        (" 5", 2),
        ("+5", 0),
        ("1.5", "2027-01-05T00:00:00"),
        ("1,2", 1),
        ("", None),
    ],
)
def test_when(text, meant):
    assert moment(text) == meant


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("5", 5),
        ("0", 0),
        ("0:1", 1),
        ("1:60", 2),
        ("00:90", 2),
        ("00:00:30", 1),
        ("1-", 1440),
        ("1-2", 1560),
        ("1-2:3", 1563),
        ("1-2:3:4", 1564),
        ("1-25:00:00", 2940),
        ("10:70:70", 672),
        ("-1", -1),
        ("infinite", -1),
        ("UNLIMITED", -1),
        ("4294967295", -1),
        ("-5", 4294967291),
        ("99999999999", 1215752191),
        ("-", None),
        ("::", None),
        (":5", None),
        ("5:", None),
        ("1:2-3", None),
        ("1-2-3", None),
        ("1:2:3:4", None),
        ("1.5", None),
        ("10m", None),
        ("", None),
        ("+5", None),
        (" 5", None),
        ("-1-1", None),
        ("infin", None),
    ],
)
def test_time_limit(text, minutes):
    assert timelimit.minutes(text) == minutes


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_time_limit_of_any_length_is_rounded_up_to_minutes(days, hours, mins, seconds):
    total = ((days * 24 + hours) * 60 + mins) * 60 + seconds
    assert timelimit.minutes("%d-%d:%d:%d" % (days, hours, mins, seconds)) == (total + 59) // 60


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5", 5),
        ("+5", 5),
        (" 5", 5),
        ("0", 0),
        ("-0", 0),
        ("1K", 1),
        ("1025k", 2),
        ("1M", 1),
        ("3G", 3072),
        ("2gb", 2048),
        ("1T", 1 << 20),
        ("1P", None),
        ("1GiB", None),
        ("1X", None),
        ("1.5G", None),
        ("-1", None),
        ("1 G", None),
        ("", None),
        ("18446744073709551616", None),
    ],
)
def test_memory(text, size):
    assert memory.mebibytes(text) == size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5", (5, 5)),
        ("+5", (5, 5)),
        ("0", (0, 0)),
        ("2-3", (2, 3)),
        ("-3", (1, 3)),
        ("-1", (1, 1)),
        ("2k-4k", (2048, 4096)),
        (" 1- 2", (1, 2)),
        ("2-0", (2, 0)),
        ("1m", (1 << 20, 1 << 20)),
        ("10000000000", (1410065408, 1410065408)),
        ("abc", '"abc" is not a valid node count'),
        ("", '"" is not a valid node count'),
        ("1-2-3", '"2-3" is not a valid node count'),
        ("3-2", "Maximum node count 2 is less than minimum node count 3"),
        ("2-", "Maximum node count -1 is less than minimum node count 2"),
        ("-", "Maximum node count -1 is less than minimum node count 1"),
        ("2147483648", '"2147483648" is not a valid node count'),
    ],
)
def test_nodes(text, found):
    if isinstance(found, str):
        with pytest.raises(Invalid, match="node count") as caught:
            numbers.nodes(text)
        assert str(caught.value) == found
    else:
        assert numbers.nodes(text) == found


@pytest.mark.parametrize(
    ("text", "tasks", "limit"),
    [
        ("1-3", (1, 2, 3), None),
        ("3,1,2", (1, 2, 3), None),
        ("1-9:3", (1, 4, 7), None),
        ("1-3,7%2", (1, 2, 3, 7), 2),
        ("[1-3%2]", (1, 2, 3), 2),
        ("1-3, 5", (1, 2, 3, 5), None),
        ("1,,2", (1, 2), None),
        ("01-03", (1, 2, 3), None),
        ("1-5%", (1, 2, 3, 4, 5), None),
        ("%2", (0,), 2),
        ("1-5%0", (1, 2, 3, 4, 5), None),
        ("", (), None),
        (",", (), None),
    ],
)
def test_array(text, tasks, limit):
    assert array.parse(text) == (tasks, limit)


@pytest.mark.parametrize("text", ["abc", "1-", "5-1", "1-5:0", "-1", "1:3", "1-2-3", "0x3", "1-3:1:2", "0-99999999999"])
def test_bad_array(text):
    with pytest.raises(array.BadArray):
        array.parse(text)


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=50), st.integers(1, 9))
def test_array_of_any_list(indices, limit):
    assert array.parse(",".join(map(str, indices)) + "%%%d" % limit) == (tuple(sorted(indices)), limit)


@pytest.mark.parametrize(
    ("text", "items", "either"),
    [
        ("1", [("afterany", 1, None, 0)], False),
        ("afterok:1:2,AFTERANY:3", [("afterok", 1, None, 0), ("afterok", 2, None, 0), ("afterany", 3, None, 0)], False),
        ("after:1+5", [("after", 1, None, 300)], False),
        ("aftercorr:9_3", [("aftercorr", 9, 3, 0)], False),
        ("afterok:1_*", [("afterok", 1, None, 0)], False),
        ("singleton", [("singleton", 0, None, 0)], False),
        ("afterok:1?afterok:2", [("afterok", 1, None, 0), ("afterok", 2, None, 0)], True),
        ("", [], False),
        ("0", [], False),
    ],
)
def test_dependency(text, items, either):
    assert dependency.parse(text) == (items, either)


@pytest.mark.parametrize(
    "text",
    [
        "bogus",
        "afterok",
        "afterok:",
        "afterok:abc",
        "bogus:1",
        "singleton:1",
        "1:2",
        "afterok:1,",
        "?afterok:1",
        "after:1+x",
        "afterok:0",
        "none",
        "expand:1",
    ],
)
def test_bad_dependency(text):
    with pytest.raises(dependency.BadDependency):
        dependency.parse(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu", [("gpu", None, 1)]),
        ("gpu:2", [("gpu", None, 2)]),
        ("gpu:a100", [("gpu", "a100", 1)]),
        ("gpu:a100:2,gpu:v100:1", [("gpu", "a100", 2), ("gpu", "v100", 1)]),
        ("gpu:1K", [("gpu", None, 1024)]),
        ("gres:gpu:2", [("gpu", None, 2)]),
        ("gpu:0", []),
        ("none", []),
        ("gpu:-1", [("gpu", "-1", 1)]),
        ("gpu:a100=2", [("gpu", "a100", 2)]),
    ],
)
def test_gres(text, found):
    assert gres.parse_gres(text, {"gpu"}) == found


@pytest.mark.parametrize("text", ["bogus:1", "GPU:1", "gpu:", "gpu:x:y:z", "gpu:1:", "gpu::1", "gpu=2", " gpu:1"])
def test_bad_gres(text):
    with pytest.raises(Invalid):
        gres.parse_gres(text, {"gpu"})


@pytest.mark.parametrize(
    ("text", "found"), [("2", [("gpu", None, 2)]), ("a100:2", [("gpu", "a100", 2)]), ("a100", [("gpu", "a100", 1)]), ("0", [])]
)
def test_gpus(text, found):
    assert gres.parse_gpus(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("USR1", (10, 60, False, False)),
        ("SIGUSR1@30", (10, 30, False, False)),
        ("B:usr1@30", (10, 30, True, False)),
        ("10", (10, 60, False, False)),
        ("BR:INT@1", (2, 1, True, True)),
        ("USR1@", (10, 0, False, False)),
        (":USR1", (10, 60, False, False)),
        ("USR1@65535", (10, 65535, False, False)),
    ],
)
def test_signal(text, found):
    assert signals.parse(text) == found


@pytest.mark.parametrize("text", ["bogus", "", "0", "B:", "USR1@70000", "USR1@-1", "B:USR1@abc", "@60", "10:20", "BB:USR1", "PIPE"])
def test_bad_signal(text):
    with pytest.raises(Invalid):
        signals.parse(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("*", "block"),
        ("*:*:*", "block:cyclic:cyclic"),
        ("BLOCK", "block"),
        ("block:", "block"),
        ("plane=4", "plane=4"),
        ("block:fcyclic:cyclic,Pack", "block:fcyclic:cyclic,pack"),
        ("nopack", "nopack"),
        ("arbitrary", "arbitrary"),
    ],
)
def test_distribution(text, normal):
    assert words.distribution(text) == normal


@pytest.mark.parametrize(
    "text", ["bogus", "blo", "block:x", "plane", "plane=0", "plane=2,pack", "arbitrary:block", "fcyclic", "block,pack,nopack", ""]
)
def test_bad_distribution(text):
    with pytest.raises(Invalid):
        words.distribution(text)


PARSERS = {
    "when": lambda text: when.parse(text, "begin", NOW, time.gmtime, calendar.timegm),
    "time": lambda text: timelimit.limit(text, "time"),
    "memory": lambda text: memory.size(text, "mem"),
    "nodes": numbers.nodes,
    "sockets": numbers.sockets,
    "count": lambda text: numbers.positive(text, "-n"),
    "array": array.parse,
    "dependency": dependency.parse,
    "gres": lambda text: gres.parse_gres(text, {"gpu"}),
    "gpus": gres.parse_gpus,
    "signal": signals.parse,
    "distribution": words.distribution,
    "mail": words.mail_types,
    "propagate": words.propagate,
    "cpu": words.cpu_freq,
    "gpu-bind": words.gpu_bind,
    "gpu-freq": words.gpu_freq,
    "mem-bind": words.mem_bind,
    "profile": words.profile,
}
REFUSALS = (Invalid, array.BadArray, dependency.BadDependency, gres.BadTres)


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.one_of(st.text(max_size=20), st.text("0123456789-:+.,@%=/TKMGkmg_* abnowtdfPp", max_size=20)))
def test_any_text_is_parsed_or_refused(name, text):
    try:
        PARSERS[name](text)
    except REFUSALS:
        return


@pytest.mark.parametrize("text", ["now+99999999999999999days", "now+9999999999999weeks", "now-99999999999999999days"])
def test_a_moment_that_no_calendar_has_is_no_time(text):
    with pytest.raises(Invalid, match="Invalid --begin specification"):
        when.parse(text, "begin", NOW, time.localtime, time.mktime)
