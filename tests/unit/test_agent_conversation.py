"""What two supervisors say to each other arrives once and in order, wherever connections break between them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.agent.conversation import Conversation, Stranger
from sbroker.agent.wire import LinkReader, WireError


class Side:
    """A Conversation, the bytes that are on their way to it, and what it was told."""

    def __init__(self, life):
        self.talk, self.heard, self.said = Conversation(life), [], []
        self.way, self.reader, self.attached = bytearray(), None, False

    def connect(self, other):
        self.reader, self.attached = LinkReader(), False
        other.way[:] = self.talk.greeting()

    def say(self, other, text):
        self.said.append(text)
        data = self.talk.frame({"op": "x", "text": text}, text.encode() * 3)
        if self.attached:
            other.way += data

    def take(self, other, count):
        """`count` bytes arrive."""
        data = bytes(self.way[:count])
        del self.way[:count]
        for header, body in self.reader.feed(data):
            if not self.attached:
                for again in self.talk.attach(header):
                    other.way += again
                self.attached = True
            elif self.talk.receive(header, len(body)):
                assert body == header["text"].encode() * 3
                self.heard.append(header["text"])
            if self.talk.overdue:
                other.way += self.talk.beat()


STEP = st.one_of(
    st.tuples(st.just("say"), st.booleans(), st.text("ab", max_size=4)),
    st.tuples(st.just("take"), st.booleans(), st.integers(1, 400)),
    st.tuples(st.just("beat"), st.booleans(), st.none()),
    st.tuples(st.just("cut"), st.booleans(), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=120))
def test_each_frame_arrives_once_and_in_order(steps):
    sides = [Side("one"), Side("two")]

    def connect():
        sides[0].connect(sides[1])
        sides[1].connect(sides[0])

    connect()
    for what, which, value in steps:
        side, other = sides[which], sides[not which]
        if what == "say":
            side.say(other, value)
        elif what == "take":
            side.take(other, value)
        elif what == "beat" and side.attached:
            other.way += side.talk.beat()
        elif what == "cut":
            connect()
        for one, two in (sides, sides[::-1]):
            assert two.heard == one.said[: len(two.heard)]
    connect()
    while sides[0].way or sides[1].way:
        for side, other in (sides, sides[::-1]):
            side.take(other, 1 << 20)
    for side, other in (sides, sides[::-1]):
        assert other.heard == side.said
        other.way += side.talk.beat()
    for side, other in (sides, sides[::-1]):
        side.take(other, 1 << 20)
        assert side.talk.pending == 0, "nothing is kept that has arrived"


def test_another_process_is_a_stranger():
    one = Conversation("one")
    one.attach({"op": "attach", "life": "two", "got": 0})
    with pytest.raises(Stranger):
        one.attach({"op": "attach", "life": "three", "got": 0})


@pytest.mark.parametrize("header", [{"life": "two"}, {"life": "two", "got": 4}, {"life": "two", "got": "x"}])
def test_what_cannot_be_is_an_error(header):
    one = Conversation("one")
    one.frame({"op": "x"})
    with pytest.raises(WireError):
        one.attach(header)


@pytest.mark.parametrize("header", [{"n": 2, "a": 0}, {"n": 1, "a": 1}, {"n": "1", "a": 0}, {"n": 1}])
def test_a_gap_is_an_error(header):
    one = Conversation("one")
    one.attach({"life": "two", "got": 0})
    with pytest.raises(WireError):
        one.receive(dict(header, op="x"))


def test_a_side_that_forgot_what_it_acknowledged_is_an_error():
    one = Conversation("one")
    for _ in range(3):
        one.frame({"op": "x"})
    one.attach({"life": "two", "got": 2})
    with pytest.raises(WireError):
        one.attach({"life": "two", "got": 1})
