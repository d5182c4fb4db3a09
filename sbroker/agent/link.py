"""The agent's half of the link to the broker, sans-I/O: report journal, epoch, connection, channels.

Nothing here opens a file or a socket. `Journal` says which bytes must be on disk before which report may be sent; `Link` says
which frames to send and what a received frame means; `Channel` keeps one byte stream inside its credit. Cutting a connection,
or killing the process, between any two calls loses no report and repeats none: the property tests/unit/test_agent_link.py checks.
"""

from . import lean

CREDIT = 256 << 10  # bytes that a channel's sender may have outstanding


class Journal:
    """Reports of this node in order, until the broker has them durably.

    `append` → `take` (bytes for the end of the file; fsync them) → `durable` → the report may be sent → `ack` forgets it.
    `origin` is the supervisor's own number of a report within its run; one that was seen before is not taken again.
    The file is lines of JSON; `load` ignores a torn last line, `image` is the compacted file.
    """

    def __init__(self, data=b"", boot=""):
        self.boot = boot
        self.last = 0  # seq of the newest report
        self.acked = 0
        self.reports = []  # [report dict, …] ascending, not acknowledged
        self.marks = {}  # "job.run" → highest origin seen
        self._lines = []  # to be written
        self._written = 0  # seq up to which reports were handed to `take`
        self._durable = 0
        self.size = 0  # bytes in the file, about
        self._other_boot = False
        self._load(data)

    def _load(self, data):
        end = data.rfind(b"\n") + 1
        for line in data[:end].split(b"\n"):
            if not line:
                continue
            try:
                entry = lean.loads(line.decode("utf-8", "surrogatepass"))
            except ValueError:
                continue  # a line torn by a crash, with more written behind it: it was never said to be durable
            self._apply(entry)
        if self._other_boot:
            # a new boot is a new incarnation: its reports are counted from 1
            for number, report in enumerate(self.reports, 1):
                report["seq"] = number
            self.last, self.acked = len(self.reports), 0
        self._written = self._durable = self.last
        self.size = len(data)

    def _apply(self, entry):
        if "boot" in entry:
            self._other_boot = entry["boot"] != self.boot
            self.last = self.acked = entry["last"]
            self.marks = dict(entry["marks"])
            self.reports = []
        elif "ack" in entry:
            self._trim(entry["ack"])
        elif "forget" in entry:
            self.marks.pop(entry["forget"], None)
        else:
            self._note(entry)

    def _note(self, entry):
        origin = entry.pop("origin", 0)
        if origin:
            self.marks[_key(entry["job"], entry["run"])] = origin
        self.last = entry["seq"]
        self.reports.append(entry)

    def append(self, kind, job, run, time, data, origin=0):
        """Take one report; its seq, or 0 when `origin` was seen before. `time`: seconds since the epoch."""
        if origin and origin <= self.marks.get(_key(job, run), 0):
            return 0
        entry = {"seq": self.last + 1, "kind": kind, "job": job, "run": run, "time": time, "data": data}
        self._write(dict(entry, origin=origin) if origin else entry)
        self._note(dict(entry, origin=origin))
        return self.last

    def forget(self, job, run):
        """No supervisor will ask about this run again."""
        if self.marks.pop(_key(job, run), None) is not None:
            self._write({"forget": _key(job, run)})

    def ack(self, seq):
        """The broker has all up to `seq` durably."""
        if seq > self.acked:
            self._trim(min(seq, self._durable))
            self._write({"ack": self.acked})

    def _trim(self, seq):
        self.acked = max(seq, self.acked)
        self.reports = [report for report in self.reports if report["seq"] > self.acked]

    def _write(self, entry):
        self._lines.append(_line(entry))

    @property
    def fresh(self):
        """Whether `take` would give reports, which must be fsynced; the rest may be lost (it only makes us say things again)."""
        return self.last > self._written

    def take(self):
        """Bytes to append to the file (fsync if `fresh`); b"" if nothing is new."""
        data = b"".join(self._lines)
        self._lines = []
        self._written = self.last
        self.size += len(data)
        return data

    def durable(self):
        """What `take` gave last is on disk."""
        self._durable = self._written

    def ready(self, after):
        """Durable reports with seq > `after`, ascending."""
        return [report for report in self.reports if after < report["seq"] <= self._durable]

    def unacked(self, kind):
        """Set of (job, run) with an unacknowledged report of this kind."""
        return {(report["job"], report["run"]) for report in self.reports if report["kind"] == kind}

    def image(self):
        """The whole file anew, smaller; write it beside and rename. Call `durable` when that is on disk."""
        self._lines = []
        self._written = self.last
        head = {"boot": self.boot, "last": self.acked, "marks": self.marks}
        data = _line(head) + b"".join(_line(report) for report in self.reports)
        self.size = len(data)
        return data


class Epoch:
    """The highest (store, epoch) that this directory has seen: orders of an older broker are refused."""

    def __init__(self, data=b""):
        stored = lean.loads(data.decode()) if data else {}
        self.store, self.epoch = stored.get("store", ""), stored.get("epoch", 0)

    def check(self, store, epoch):
        """"" if this broker may give orders, else the word for `refused`: "store" or "epoch"."""
        if self.store and store != self.store:
            return "store"
        return "epoch" if epoch < self.epoch else ""

    def accept(self, store, epoch):
        """Bytes to write to the epoch file before anything else is done for this broker, or b"" if it holds them already."""
        if (self.store, self.epoch) == (store, epoch):
            return b""
        self.store, self.epoch = store, epoch
        return lean.dumps({"store": store, "epoch": epoch}).encode() + b"\n"


class Link:
    """One connection from a broker: the greeting and the reports. Frames are (header, body)."""

    def __init__(self, journal):
        self.journal = journal
        self.greeted = False
        self._sent = 0

    def greet(self, identity, live, inventory):
        """The agent's hello, to be sent once after a good hello of the broker's. `identity`: node, incarnation, boot_id, version."""
        self.greeted = True
        self._sent = self.journal.acked
        return (dict(identity, op="hello", live=live, inventory=inventory, last_seq=self.journal.last), b"")

    def outgoing(self):
        """Report frames that are durable and were not sent on this connection."""
        if not self.greeted:
            return []
        reports = self.journal.ready(self._sent)
        if reports:
            self._sent = reports[-1]["seq"]
        return [(dict(report, op="report"), b"") for report in reports]


class Channel:
    """One end of a byte stream inside a link: what may be sent now, and the credit to give back."""

    def __init__(self, number):
        self.number = number
        self._room = CREDIT
        self._queue = bytearray()
        self._owed = 0
        self.closing = None  # reason, once `close` was asked for

    @property
    def pending(self):
        """Bytes written here that the peer has no room for yet."""
        return len(self._queue)

    def send(self, data):
        """Frames to send now; the rest waits for credit."""
        if not self._queue and self.closing is None and len(data) <= self._room:
            self._room -= len(data)
            return [({"op": "chan_data", "chan": self.number}, data)] if data else []
        self._queue += data
        return self._flush()

    def credited(self, count):
        self._room += count
        return self._flush()

    def close(self, why):
        """Frames to send now; chan_close follows when all data has gone."""
        self.closing = why
        return self._flush()

    def consumed(self, count):
        """`count` received bytes were dealt with: frames that give credit back (in halves of the window, not byte by byte)."""
        self._owed += count
        if self._owed < CREDIT // 2:
            return []
        owed, self._owed = self._owed, 0
        return [({"op": "chan_credit", "chan": self.number, "bytes": owed}, b"")]

    def _flush(self):
        frames = []
        if self._queue and self._room > 0:
            with memoryview(self._queue) as view:
                data = bytes(view[: self._room])
            del self._queue[: len(data)]
            self._room -= len(data)
            frames.append(({"op": "chan_data", "chan": self.number}, data))
        if self.closing is not None and not self._queue:
            frames.append(({"op": "chan_close", "chan": self.number, "why": self.closing}, b""))
            self.closing = None
        return frames


def _key(job, run):
    return f"{job}.{run}"


def _line(entry):
    return lean.dumps(entry).encode("utf-8", "surrogatepass") + b"\n"
