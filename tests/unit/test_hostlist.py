"""Host names in short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker import hostlist


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("node1", ["node1"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("gpu[08-10]", ["gpu08", "gpu09", "gpu10"]),
        ("gpu[01,03-04,7]x", ["gpu01x", "gpu03x", "gpu04x", "gpu7x"]),
        ("a,b[1-2],c-d.example.org", ["a", "b1", "b2", "c-d.example.org"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("[9-11]", ["9", "10", "11"]),
    ],
)
def test_expand(pattern, hosts):
    assert hostlist.expand(pattern) == hosts


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ",",
        "a,",
        ",a",
        "a,,b",
        "node[",
        "node]",
        "node[1",
        "node[1-]",
        "node[-1]",
        "node[2-1]",
        "node[a-b]",
        "node[]",
        "node[1-3",
        "n[1-2],n1",
        "n[1,1]",
        "a b",
        "n[1-99999999]",
        "n[1-1000]m[1-1000]",
        "n[[1]]",
        "naïve",
        "n[1-٣]",
    ],
)
def test_what_is_no_list_of_hosts(pattern):
    with pytest.raises(ValueError, match=r"\S"):
        hostlist.expand(pattern)


@pytest.mark.parametrize(
    ("hosts", "pattern"),
    [
        (["n1", "n2", "n3", "n5"], "n[1-3,5]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["n9", "n10"], "n[9-10]"),
        (["n1"], "n1"),
        (["a", "b"], "a,b"),
        ([], ""),
        (["n1", "m2", "n2"], "n1,m2,n2"),
        (["n1", "n01"], "n[1,01]"),
        (["n99", "n100", "n0100"], "n[99-100,0100]"),
        (["n01", "n2"], "n[01,2]"),
    ],
)
def test_fold(hosts, pattern):
    assert hostlist.fold(hosts) == pattern


NAMES = st.builds(
    lambda prefix, number, width: prefix + (str(number).zfill(width) if number is not None else ""),
    st.sampled_from(["n", "gpu", "a-b", "r1c"]),
    st.none() | st.integers(0, 120),
    st.integers(1, 4),
)


@given(st.lists(NAMES, unique=True, min_size=1, max_size=40))
def test_expand_undoes_fold(hosts):
    assert hostlist.expand(hostlist.fold(hosts)) == hosts


@given(st.text("n12[]-, .x", max_size=12))
def test_any_text_is_expanded_or_refused(text):
    try:
        hosts = hostlist.expand(text)
    except ValueError:
        return
    assert hosts
    assert len(set(hosts)) == len(hosts)
