"""Host lists against answers recorded from `scontrol show hostnames|hostlist|hostlistsorted`, and as a codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.hostlist import HostlistError, compress, compress_sorted, expand

HOSTNAMES = [
    ("node[1-3,7],gpu[01-02]", "node1 node2 node3 node7 gpu01 gpu02"),
    ("a[1-2]b[3-4]", "a1b3 a1b4 a2b3 a2b4"),
    ("n[1-2][3-4]", "n13 n14 n23 n24"),
    ("a[1-", "a]"),
    ("n[1,1]", "n1 n1"),
    ("a b", "a b"),
    ("node1,,node2,", "node1 node2"),
    ("node[01-3]", "node01 node02 node03"),
    ("node[1-03]", "node1 node2 node3"),
    ("[1-3]", "1 2 3"),
    ("n[1-]", "n1"),
    ("node]", "node]"),
    ("n99,n[99-100]", "n99 n99 n100"),
]
HOSTLIST = [
    ("node1,node2,node3,node10,x01,x02", "node[1-3,10],x[01-02]", "node[1-3,10],x[01-02]"),
    ("node3,node1,node2", "node[3,1-2]", "node[1-3]"),
    ("n1,n1,n2", "n[1,1-2]", "n[1,1-2]"),
    ("node01,node1,node2", "node[01,1-2]", "node[1-2,01]"),
    ("n1,a1,n2", "n1,a1,n2", "a1,n[1-2]"),
    ("node9,node10,node11", "node[9-11]", "node[9-11]"),
    ("node099,node100", "node[099-100]", "node[099-100]"),
    ("rack1n1,rack1n2,rack2n1", "rack1n[1-2],rack2n1", "rack1n[1-2],rack2n1"),
    ("node,node1", "node,node1", "node,node1"),
    ("node0,node00,node1", "node[0,00,1]", "node[0-1,00]"),
    ("n9,n09,n10,n8", "n[9,09-10,8]", "n[8-9,09-10]"),
    ("n10,n9,b,a1,n1,n01,n02,n2", "n[10,9],b,a1,n[1,01-02,2]", "a1,b,n[1-2,9,01-02,10]"),
    ("5,6,7", "[5-7]", "[5-7]"),
    ("n1a,n2a", "n1a,n2a", "n1a,n2a"),
]
BAD = [
    ("node[3-1]", "Invalid range: `3-1'"),
    ("node[1-2]x", ""),
    ("n[1]]", ""),
    ("n[]", "Invalid range: `'"),
    ("n[1,]", "Invalid range: `'"),
    ("n[1x]", "Invalid range: `1x'"),
    ("n[-1]", "Invalid range: `-1'"),
    ("n[1-2-3]", "Invalid range: `1-2-3'"),
    ("n[1-65537]", "Too many hosts in range `1-65537'"),
]


@pytest.mark.parametrize("text,names", HOSTNAMES)
def test_expand(text, names):
    assert expand(text) == names.split()


@pytest.mark.parametrize("text,kept,in_order", HOSTLIST)
def test_compress(text, kept, in_order):
    assert compress(expand(text)) == kept
    assert compress_sorted(expand(text)) == in_order


@pytest.mark.parametrize("text,detail", BAD)
def test_bad(text, detail):
    with pytest.raises(HostlistError) as error:
        expand(text)
    assert error.value.detail == detail
    assert str(error.value) == "Invalid hostlist: " + text


def test_product_is_bounded():
    with pytest.raises(HostlistError):
        expand("n[1-60000]x[1-60000]")


NAME = st.from_regex(r"\A[a-z][a-z0-9-]{0,6}[0-9]{0,5}\Z")


@given(st.lists(NAME, max_size=40))
def test_round_trip(names):
    assert expand(compress(names)) == names


@given(st.text(alphabet="n12[]-, ", max_size=20))
def test_expand_gives_names_or_one_error(text):
    try:
        names = expand(text)
    except HostlistError:
        return
    assert all("[" not in n and "," not in n for n in names)
