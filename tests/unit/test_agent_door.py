"""The pieces of a supervisor's call: proofs, ports, names, and channels that the broker joins."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent import proof, resolving, tcp
from sbroker.agent.byway import Byway
from sbroker.agent.link import CREDIT, Channel
from sbroker.agent.loop import Loop
from sbroker.agent.wire import WireError, link_frame, take_frame

CALL = (1, 0, "n1", "n2")


@given(st.sampled_from(["key", "side", "job", "run", "from", "to", "ours", "theirs"]))
def test_a_proof_is_of_one_call_only(change):
    args = {"key": "k", "side": "head", "job": 1, "run": 0, "from": "n1", "to": "n2", "ours": "a", "theirs": "b"}

    def made(args):
        return proof.proof(args["key"], args["side"], (args["job"], args["run"], args["from"], args["to"]), args["ours"], args["theirs"])

    other = dict(args, **{change: 7 if change in ("job", "run") else "other"})
    assert not proof.same(made(other), made(args)) and proof.same(made(args), made(dict(args)))


def test_names_cannot_be_shifted_between_the_fields_of_a_proof():
    assert proof.proof("k", "head", (1, 0, "ab", "c"), "x", "y") != proof.proof("k", "head", (1, 0, "a", "bc"), "x", "y")
    assert not proof.same(None, "x") and not proof.same(7, "x")
    assert proof.is_nonce(proof.nonce()) and not proof.is_nonce("g" * 64) and not proof.is_nonce(None)


@given(st.binary(max_size=40), st.integers(0, 30))
def test_a_frame_is_taken_when_it_is_whole(body, cut):
    whole = link_frame({"op": "x"}, body)
    buffer = bytearray(whole[: max(len(whole) - 1 - cut, 0)])
    assert take_frame(buffer, 1000) is None
    buffer = bytearray(whole + b"rest")
    assert take_frame(buffer, 1000) == ({"op": "x"}, body) and buffer == b"rest"


def test_a_frame_that_says_it_is_large_is_refused_at_once():
    with pytest.raises(WireError):
        take_frame(bytearray(link_frame({"op": "x"}, b"y" * 2000)[:8]), 1000)


@pytest.mark.parametrize("text", ["", "x", "5-4", "-1", "1-70000", "0-5"])
def test_what_is_no_range_of_ports(text):
    with pytest.raises(ValueError, match=r"invalid literal|no range"):
        tcp.parse_ports(text)


def test_a_range_is_searched_for_a_free_port():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="no port is free"):
            tcp.listen((port, port))
        with tcp.listen((0, 0), wish=port) as found:
            assert found.getsockname()[1] != port
    with tcp.listen(tcp.parse_ports(str(port))) as found:
        assert found.getsockname()[1] == port


def test_names_are_resolved_without_waiting(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.1.2.3 one two # three\n\n10.1.2.4 one\n")
    assert resolving.hosts_file(str(hosts)) == {"localhost": ["127.0.0.1"], "one": ["10.1.2.3", "10.1.2.4"], "two": ["10.1.2.3"]}
    assert resolving.hosts_file(str(tmp_path / "none")) == {}
    loop, found, ended = Loop(), [], []
    try:
        resolving.addresses(loop, ["127.0.0.1", "::1", "no.such.name.invalid", os.uname().nodename], found.append, lambda: ended.append(1))
        assert not found, "it answers in a turn of its own"
        for _ in range(500):
            if found and ended:
                break
            loop.turn(0.02)
    finally:
        loop.close()
    assert found[0]["127.0.0.1"] == ["127.0.0.1"] and found[0]["::1"] == ["::1"]
    assert "no.such.name.invalid" not in found[0]


def joined():
    """Two Byways whose frames go straight to each other."""
    ends = []

    def lead(index):
        def tell(frames):
            for header, body in frames:
                ends[not index].frame(header["op"], header, body)

        return tell

    ends += [Byway(7, lead(0), lambda: None), Byway(7, lead(1), lambda: None)]
    return ends


def test_a_byway_is_a_stream():
    one, two = joined()
    got = []
    one.write(b"early")
    two.on_data = got.append
    assert got == []
    two.resume()
    for _ in range(100):
        one.write(b"x" * 10_000)
    assert b"".join(got) == b"early" + b"x" * 1_000_000 and one.pending == 0


def test_a_byway_gives_no_credit_for_what_is_not_taken():
    one, two = joined()
    drained = []
    one.on_drain = lambda: drained.append(1)
    one.write(b"x" * (3 * CREDIT))
    assert one.pending == 2 * CREDIT and drained == []
    got = []
    two.on_data = lambda data: got.append(len(data))
    two.resume()
    assert sum(got) == 3 * CREDIT and one.pending == 0 and drained


def test_a_byway_that_breaks_is_told_of_once():
    one, two = joined()
    ends = []
    two.on_data, two.on_close = print, ends.append
    one.close()
    two.lost("link")
    assert ends == [None] and two.why == "done" and two.closed
    one.write(b"into the void")


def test_credit_is_what_the_broker_s_side_counts_too():
    from sbroker.daemon import channels

    assert channels.CREDIT == CREDIT == Channel(1)._room
