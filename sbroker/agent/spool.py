"""A batch job's output on its way from a node that does not share the submit host's files: pipe → spool files → channel → `writer.py`.

What the script writes is appended to segments in the run's folder and sent with its offset; what the writer says is durable is dropped.
A connection that breaks is made anew from the last mark: with agent, broker or writer gone the job goes on until `_MOST` bytes wait, and
is then held back by its pipe. The run is not empty here before the writer has all.
"""

import os

from . import lean
from .link import Channel
from .rundir import write
from .wire import LinkReader, WireError, link_frame

MARKS = "output.marks"  # in the run's folder: what the writer has, as it said it last
_PIECE = 64 << 10
_SEGMENT = 8 << 20  # bytes of one spool file
_MOST = 64 << 20  # bytes that may wait of one stream
_RETRY = (0.1, 5.0)  # seconds: first, at most
_WINDOW = 256 << 10


class _Stream:
    """One of the script's outputs, spooled in files NAME.0, NAME.1, … of the run's folder."""

    def __init__(self, loop, path, changed):
        self.loop, self.path, self.changed = loop, path, changed
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.written = self.sent = self.durable = 0
        self.over = False  # the run is: what is in the pipe now is the last of it
        self.lost = False  # the writer cannot write: what comes is read and dropped
        self._left = b""  # what the disk had no room for
        self._reading = self._out = -1
        self._open_segment = self._read_segment = -1
        self.watch()

    @property
    def ended(self):
        """All that ever came has been taken from the pipe."""
        return self.read_end < 0 and not self._left

    @property
    def full(self):
        return bool(self._left) or (not self.lost and self.written - self.durable >= _MOST)

    def restore(self, offset):
        """Go on with what another process has spooled, of which the writer has all below `offset`; nothing more comes."""
        self.close_write_end()
        number = offset // _SEGMENT
        self.written = self.sent = self.durable = offset
        while os.path.exists(self._name(number)):
            self.written = max(self.written, number * _SEGMENT + os.stat(self._name(number)).st_size)
            number += 1

    def watch(self):
        if self.read_end >= 0:
            self.loop.watch(self.read_end, None if self.full else self._readable)
            if self.over and not self.full:
                self.loop.call_soon(self._drain)

    def _drain(self):
        """The run's processes are gone. Some other may have the pipe open for ever: nobody waits for it."""
        while self.read_end >= 0 and not self.full:
            self._readable()

    def _readable(self):
        try:
            data = os.read(self.read_end, _PIECE)
        except BlockingIOError:
            if not self.over:
                return
            data = b""
        if data:
            self.add(data)
        else:
            self.loop.unwatch(self.read_end)
            os.close(self.read_end)
            self.read_end = -1
            self.changed()

    def close_write_end(self):
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def add(self, data):
        """Bytes of the stream, in order."""
        if self.lost:
            return
        if not self._left:
            data = data[self._append(data) :]
        self._left += data
        if self._left:
            self.loop.call_later(1.0, self._retry)
        self.watch()
        self.changed()

    def _append(self, data):
        """Into the spool, as far as there is room; the number of bytes."""
        number = self.written // _SEGMENT
        try:
            if number != self._open_segment:
                self._close_out()
                self._out = os.open(self._name(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
                self._open_segment = number
            done = os.write(self._out, data[: _SEGMENT - self.written % _SEGMENT])
        except OSError:
            return 0
        self.written += done
        return done + (self._append(data[done:]) if done < len(data) else 0)

    def _retry(self):
        left, self._left = self._left, b""
        if left:
            self.add(left)

    def _name(self, number):
        return "%s.%d" % (self.path, number)

    def next(self):
        """(offset, bytes) to send, or None."""
        if self.lost or self.sent >= self.written:
            return None
        number = self.sent // _SEGMENT
        if number != self._read_segment:
            self._close_reading()
            self._reading = os.open(self._name(number), os.O_RDONLY | os.O_NOFOLLOW)
            self._read_segment = number
        at = self.sent
        room = min(_PIECE, self.written - at, _SEGMENT - at % _SEGMENT)
        data = os.pread(self._reading, room, at % _SEGMENT)
        if not data:
            raise OSError("the spool %s was cut short" % self._name(number))
        self.sent += len(data)
        return at, data

    def kept(self, offset):
        """The writer has all below `offset`."""
        old, self.durable = self.durable, max(self.durable, min(offset, self.written))
        for number in range(old // _SEGMENT, self.durable // _SEGMENT):
            self._remove(number)
        self.watch()

    def again(self, offset):
        """Send from there on."""
        self.sent = offset

    def drop(self):
        """Nobody will have it."""
        self.lost, self._left = True, b""
        self.durable = self.sent = self.written
        self.watch()

    def close(self):
        self.close_write_end()
        self._close_out()
        self._close_reading()
        for number in range(self.durable // _SEGMENT, self.written // _SEGMENT + 1):
            self._remove(number)

    def _remove(self, number):
        try:
            os.unlink(self._name(number))
        except OSError:
            return  # never made, or gone

    def _close_out(self):
        if self._out >= 0:
            os.close(self._out)
        self._out = self._open_segment = -1

    def _close_reading(self):
        if self._reading >= 0:
            os.close(self._reading)
        self._reading = self._read_segment = -1


class Spool:
    """The output of the batch script of one supervisor. `count`: 1 stream for both, or 2. `left`: the marks of one that is gone, whose rest
    this is."""

    def __init__(self, sup, count, left=None):
        self.sup = sup
        sup.plain = False
        self.streams = [_Stream(sup.loop, sup.rundir.file("output%d" % (number + 1)), self._changed) for number in range(count)]
        self._channel = None
        self._number = 0
        self._opened = False  # the writer has its files open
        self._marks = left
        for stream, (offset, _) in zip(self.streams, left or ()):
            stream.restore(offset)
        self._then = None
        self._error = None
        self._finished = None  # called when all is durable, once the run is over
        self._tries = 0
        self._asked = self._soon = self._retrying = False

    # --- what the batch script's code uses

    def open(self, then):
        """`then(None)` when the files are open where the user expects them, or `then(sentence)` when they cannot be."""
        self._then = then
        self._connect()

    def say(self, text):
        """Bytes into the script's standard error."""
        self.streams[-1].add(text)

    def close_write_ends(self):
        """The script has them now; when it and all its children are gone, that was all."""
        for stream in self.streams:
            stream.close_write_end()

    def finish(self, then):
        """True when all output is where it belongs; else `then()` is called once it is."""
        for stream in self.streams:
            stream.close_write_end()
            stream.over = True
            stream.watch()
        if self._done():
            for stream in self.streams:
                stream.close()
            self._keep(None)
            return True
        self._finished = then
        self._changed()
        return False

    def _done(self):
        return all(stream.lost for stream in self.streams) or (self._asked and self._error == "")

    # --- the channel

    @property
    def number(self):
        """Name of our channel at the agent."""
        return "o%d" % self._number

    def _connect(self):
        if self.sup.agent is None or self._channel is not None or self._retrying:
            return  # `agent_came` comes back to it
        self._number += 1
        self._channel, self._reader, self._opened, self._asked = Channel(self.number), LinkReader(), False, False
        info = self.sup.info
        self.sup.tell({"op": "chan_open", "chan": self.number, "job": info["job"], "run": info["run"], "kind": "output",
                       "uid": info["user"]["uid"], "options": {}})  # fmt: skip
        self._send({"op": "open", "marks": self._marks})

    def _send(self, header, body=b""):
        self.sup.calls.tell_all(self._channel.send(link_frame(header, body)))

    def agent_came(self):
        if self._then is not None or self._marks is not None:
            self._connect()

    def agent_gone(self):
        self._channel = None

    def frame(self, op, header, body):
        """A frame of our channel."""
        if self._channel is None:
            return
        if op == "chan_data":
            self.sup.calls.tell_all(self._channel.consumed(len(body)))
            try:
                for inner, _ in self._reader.feed(body):
                    self._said(inner)
            except (WireError, KeyError, TypeError, ValueError):
                self._broke(True)
        elif op == "chan_credit":
            self.sup.calls.tell_all(self._channel.credited(header["bytes"]))
            self._changed()
        elif op == "chan_close":
            self._broke(False)

    def _broke(self, tell):
        if tell:
            self.sup.calls.tell_all(self._channel.close("link"))
        self._channel, self._retrying = None, True
        wait = min(_RETRY[1], _RETRY[0] * 2 ** min(self._tries, 10))
        self._tries += 1
        self.sup.loop.call_later(wait, self._reconnect)

    def _reconnect(self):
        self._retrying = False
        if not self._done():
            self._connect()

    def _said(self, header):
        op = header["op"]
        if op == "failed":
            return self._failed(str(header["error"]))
        if op in ("opened", "durable"):
            marks = [[int(offset), int(place)] for offset, place in header["marks"]]
            if len(marks) != len(self.streams):
                raise ValueError("not our streams")
            self._marks, self._tries = marks, 0
            self._keep(marks)
            for stream, (offset, _) in zip(self.streams, marks):
                stream.kept(offset)
        if op == "opened":
            for stream, (offset, _) in zip(self.streams, self._marks):
                stream.again(offset)
            self._opened = True
            self._answer(None)
        elif op == "done":
            self._error = ""
            for stream in self.streams:
                stream.kept(stream.written)
        self._changed()

    def _keep(self, marks):
        """Have the marks in the run's folder, for whoever goes on when this process is killed; None: nobody has to."""
        path = self.sup.rundir.file(MARKS)
        try:
            if marks is None:
                os.unlink(path)
            else:
                write(path + ".new", lean.dumps(marks).encode(), 0o600)
                os.rename(path + ".new", path)
        except OSError:
            return  # a full disk: what is sent again from the marks before is found equal

    def _failed(self, error):
        """Before the script began this is what it failed of; after that its output goes nowhere, and the job goes on."""
        for stream in self.streams:
            stream.drop()
        if self._then is None:
            self.sup.report("notice", {"text": "the job's output is lost from here on: " + error})
        self._answer(error)
        self._changed()

    def _answer(self, error):
        then, self._then = self._then, None
        if then is not None:
            then(error)

    # --- the flow

    def _changed(self):
        """Something came, or there is room: with all the rest of this turn."""
        if not self._soon:
            self._soon = True
            self.sup.loop.call_soon(self._pump)

    def _pump(self):
        self._soon = False
        if self._channel is not None and self._opened:
            for number, stream in enumerate(self.streams):
                while self._channel.pending < _WINDOW:
                    try:
                        piece = stream.next()
                    except OSError as error:
                        return self._failed("%s: %s" % (error.filename or stream.path, error.strerror or error))
                    if piece is None:
                        break
                    self._send({"op": "data", "stream": number, "offset": piece[0]}, piece[1])
            over = self._finished is not None and all(stream.ended and stream.sent == stream.written for stream in self.streams)
            if over and not self._asked:
                self._asked = True
                self._send({"op": "end"})
        if self._finished is not None and self._done():
            then, self._finished = self._finished, None
            then()
