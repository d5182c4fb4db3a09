"""The frame codec: whatever the pieces that bytes arrive in, the same frames come out; what is no frame is refused, and at once."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent import wire

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
headers = st.dictionaries(st.text(max_size=8), values, max_size=4)
link_frames = st.lists(st.tuples(headers, st.binary(max_size=300)), max_size=5)
call_frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=5)
cuts = st.lists(st.integers(1, 40), max_size=60)


def fed(reader, data, sizes):
    """What the reader makes of the data in pieces of these sizes, then the rest."""
    frames, at = [], 0
    for size in sizes:
        frames += reader.feed(data[at : at + size])
        at += size
    return frames + reader.feed(data[at:])


@given(link_frames, cuts)
def test_link_frames_in_any_pieces(frames, sizes):
    data = b"".join(wire.link_frame(header, body) for header, body in frames)
    assert fed(wire.LinkReader(), data, sizes) == frames


@given(call_frames, cuts)
def test_call_frames_in_any_pieces(frames, sizes):
    data = b"".join(wire.call_frame(op, payload) for op, payload in frames)
    assert fed(wire.CallReader(), data, sizes) == frames


@given(st.lists(st.tuples(headers, st.binary(max_size=60)), min_size=1, max_size=3))
def test_split_at_every_byte_a_frame_comes_with_its_last_one(frames):
    parts = [wire.link_frame(header, body) for header, body in frames]
    data, ends, end = b"".join(parts), set(), 0
    for part in parts:
        end += len(part)
        ends.add(end)
    for cut in range(len(data) + 1):
        reader = wire.LinkReader()
        before = reader.feed(data[:cut])
        assert len(before) == len([end for end in ends if end <= cut])
        assert before + reader.feed(data[cut:]) == frames
    reader = wire.LinkReader()
    assert [len(reader.feed(bytes([byte]))) for byte in data] == [int(at + 1 in ends) for at in range(len(data))]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_too_large_is_refused_by_the_eight_bytes_that_say_so(head, body):
    """A peer cannot make us wait for, or keep, what would never be taken."""
    reader = wire.LinkReader()
    if head > wire.MAX_HEADER or body > wire.MAX_BODY:
        with pytest.raises(wire.WireError, match="too large"):
            reader.feed(struct.pack(">II", head, body))
    elif head:
        assert reader.feed(struct.pack(">II", head, body)) == []


def test_the_largest_is_taken_and_one_more_byte_is_not_sent():
    body = bytes(wire.MAX_BODY)
    assert wire.LinkReader().feed(wire.link_frame({"op": "x"}, body)) == [({"op": "x"}, body)]
    with pytest.raises(wire.WireError):
        wire.link_frame({"op": "x"}, body + b"1")
    with pytest.raises(wire.WireError):
        wire.link_frame({"op": "x" * wire.MAX_HEADER})


@given(st.binary(max_size=200), cuts)
def test_garbage_gives_frames_or_a_refusal_and_nothing_else(data, sizes):
    for reader in (wire.LinkReader(), wire.CallReader()):
        try:
            frames = fed(reader, data, sizes)
        except wire.WireError:
            continue
        for first, second in frames:
            assert isinstance(first, dict | int)
            assert isinstance(second, bytes)


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=20))
def test_a_header_that_is_no_object_is_refused(head, body):
    data = struct.pack(">II", len(head), len(body)) + head + body
    try:
        frames = wire.LinkReader().feed(data)
    except wire.WireError:
        return
    assert len(frames) == 1  # it was an object after all
    assert frames[0][1] == body


@given(link_frames, st.data())
def test_cut_and_joined_to_another_stream_no_foreign_frame_comes_out_of_the_first(frames, data):
    """What a broken connection left is thrown away with its reader: the next connection's reader starts clean."""
    stream = b"".join(wire.link_frame(header, body) for header, body in frames)
    cut = data.draw(st.integers(0, len(stream)))
    first, second = wire.LinkReader(), wire.LinkReader()
    got = first.feed(stream[:cut])
    assert got == frames[: len(got)]
    assert second.feed(stream) == frames


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 500))
def test_fields_come_back_and_torn_ones_do_not(parts, cut):
    data = wire.fields(*parts)
    assert wire.split_fields(data) == parts
    if cut < len(data):
        try:
            assert wire.split_fields(data[:cut]) == parts[: len(wire.split_fields(data[:cut]))]
        except wire.WireError:
            pass
