"""The report journal and the link, cut at every point: nothing is lost, nothing is repeated."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.agent.link import CREDIT, Channel, Epoch, Journal, Link


class World:
    """A disk, an agent's journal over it, a supervisor that repeats itself until acknowledged, and a broker that applies each seq once."""

    def __init__(self):
        self.written = self.synced = b""  # the file, and how much of it survives a power cut
        self.journal = Journal(b"", "boot")
        self.written = self.synced = self.journal.image()
        self.journal.durable()
        self.link = None
        self.applied = []  # the broker's: origins in order
        self.seen = 0
        self.produced = 0
        self.unacked = []  # the supervisor's

    def produce(self):
        self.produced += 1
        self.unacked.append(self.produced)
        self.journal.append("notice", 1, 0, 0.0, {"n": self.produced}, self.produced)

    def write(self):
        self.written += self.journal.take()

    def sync(self):
        self.write()
        self.synced = self.written
        self.journal.durable()
        durable = {report["data"]["n"] for report in self.journal.ready(0)}
        self.unacked = [number for number in self.unacked if number not in durable and number > 0]

    def compact(self):
        self.written = self.synced = self.journal.image()
        self.journal.durable()
        self.unacked = []

    def crash(self, keep):
        """The process dies; of what was not synced some bytes reached the disk."""
        self.written = self.written[: len(self.synced) + keep] if len(self.written) > len(self.synced) else self.written
        self.synced = self.written
        self.journal = Journal(self.written, "boot")
        self.compact_after_load()
        self.link = None
        for number in self.unacked:
            self.journal.append("notice", 1, 0, 0.0, {"n": number}, number)

    def compact_after_load(self):
        self.written = self.synced = self.journal.image()
        self.journal.durable()

    def connect(self):
        self.link = Link(self.journal)
        hello, _ = self.link.greet({"node": "n"}, [], {})
        assert hello["last_seq"] == self.journal.last

    def send(self, arrive, acknowledge):
        """`arrive` of the outgoing frames reach the broker; then the connection may be cut."""
        if self.link is None:
            return
        frames = self.link.outgoing()
        for header, _ in frames[:arrive]:
            if header["seq"] > self.seen:
                assert header["seq"] == self.seen + 1, "a gap"
                self.seen = header["seq"]
                self.applied.append(header["data"]["n"])
        if len(frames) > arrive:
            self.link = None
        elif acknowledge:
            self.journal.ack(self.seen)


steps = st.lists(
    st.one_of(
        st.just(("produce",)), st.just(("write",)), st.just(("sync",)), st.just(("connect",)), st.just(("compact",)),
        st.tuples(st.just("crash"), st.integers(0, 300)), st.tuples(st.just("send"), st.integers(0, 4), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_cutting_anywhere_loses_nothing_and_repeats_nothing(script):
    world = World()
    for name, *arguments in script:
        getattr(world, name)(*arguments)
    world.sync()
    world.connect()
    world.send(10**6, True)
    assert world.applied == list(range(1, world.produced + 1))
    assert world.journal.reports == []


def test_a_report_seen_before_is_not_taken_again_even_after_its_acknowledgement():
    journal = Journal(b"", "b")
    assert journal.append("held", 1, 0, 0.0, {}, 1) == 1
    journal.take()
    journal.durable()
    journal.ack(1)
    journal = Journal(journal.image(), "b")
    assert journal.append("held", 1, 0, 0.0, {}, 1) == 0
    assert journal.last == 1
    journal.forget(1, 0)
    assert journal.append("held", 1, 0, 0.0, {}, 1) == 2


def test_a_new_boot_counts_what_is_left_from_one():
    journal = Journal(b"", "old")
    for number in (1, 2, 3):
        journal.append("notice", 1, 0, 0.0, {"n": number}, number)
    journal.take()
    journal.durable()
    journal.ack(1)
    journal = Journal(journal.image(), "new")
    assert [(report["seq"], report["data"]["n"]) for report in journal.reports] == [(1, 2), (2, 3)]
    assert journal.last == 2
    assert Journal(journal.image(), "new").reports == journal.reports


def test_the_journal_is_lines_of_json_and_only_whole_ones_count():
    journal = Journal(b"", "b")
    head = journal.image()
    journal.append("held", 1, 0, 0.0, {"text": "caf\udce9"})
    line = journal.take()
    assert json.loads(line)["kind"] == "held"
    assert line.endswith(b"\n")
    for size in range(len(line)):
        assert Journal(head + line[:size], "b").reports == []
    assert len(Journal(head + line, "b").reports) == 1


def test_nothing_is_sent_before_it_is_durable():
    journal = Journal(b"", "b")
    link = Link(journal)
    link.greet({}, [], {})
    journal.append("held", 1, 0, 0.0, {})
    assert link.outgoing() == []
    assert journal.fresh
    journal.take()
    assert link.outgoing() == []
    journal.durable()
    assert [header["seq"] for header, _ in link.outgoing()] == [1]
    assert link.outgoing() == []


def test_the_epoch_only_rises_and_the_store_never_changes():
    epoch = Epoch(b"")
    assert epoch.check("s", 3) == ""
    assert epoch.accept("s", 3)
    assert epoch.accept("s", 3) == b""
    again = Epoch(Epoch(b"").accept("s", 3))
    assert (again.check("s", 2), again.check("other", 9), again.check("s", 4)) == ("epoch", "store", "")


@given(st.lists(st.integers(1, 100_000), max_size=30), st.lists(st.integers(1, 100_000), max_size=30))
def test_a_channel_never_exceeds_its_credit_and_delivers_all(writes, reads):
    sender, receiver = Channel(1), Channel(1)
    wanted, got, outstanding = b"", bytearray(), 0

    def take(frames):
        nonlocal outstanding
        for header, body in frames:
            if header["op"] == "chan_data":
                got.extend(body)
                outstanding += len(body)
                assert outstanding <= CREDIT

    def give(count):
        nonlocal outstanding
        for header, _ in receiver.consumed(count):
            outstanding -= header["bytes"]
            take(sender.credited(header["bytes"]))

    consumed = 0
    for index, size in enumerate(writes):
        data = bytes([index % 256]) * size
        wanted += data
        take(sender.send(data))
        if index < len(reads):
            count = min(reads[index], len(got) - consumed)
            consumed += count
            give(count)
    closing = sender.close("done")
    take(closing)
    while len(got) > consumed:
        count = len(got) - consumed
        consumed += count
        give(count)
        if sender.pending and len(got) == consumed:
            break
    assert bytes(got) == wanted[: len(got)]
    assert len(wanted) - len(got) == sender.pending
    assert sender.pending == 0
