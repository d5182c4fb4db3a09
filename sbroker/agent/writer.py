"""The receiving end of a batch job's output: a process of the submit host's agent that is the user, and writes where Slurm would.

Link frames over its socket. From the run's supervisor (`spool.py`), by way of the broker:

    {"op": "open", "marks": null, or as in the last "opened" or "durable"}      null: for the first time
    {"op": "data", "stream": n, "offset": o} body                               bytes o… of stream n, each stream in order
    {"op": "end"}                                                               that was all of all streams
and back:
    {"op": "opened", "marks": [[offset, place], …]}       what is durably written of each stream, and where in its file that ends
    {"op": "failed", "error": "PATH: words"}              it cannot be opened, or (after that) not be written any more
    {"op": "durable", "marks": […]}
    {"op": "done"}                                        all is durable

Nothing is kept here between two connections: marks are the sender's to keep. What comes twice after a break is written once: into a file
that is ours from its start by position; into one that others append to as well, by comparing what follows the mark.
"""

import errno
import os
import select
import stat
import time

from .wire import LinkReader, link_frame

_SYNC_BYTES, _SYNC_SECONDS = 4 << 20, 0.5  # written before it is made durable and acknowledged
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATIENCE, _PAUSE = 60.0, 0.5  # seconds that a full disk is waited for, and between two tries


class _Stream:
    """One file. `offset`: bytes of the stream that are in it."""

    def __init__(self, path, append, mark):
        self.append, self.path = append, path
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else 0)
        self.fd = os.open(path, how | (os.O_TRUNC if mark is None and not append else 0), 0o666)
        status = os.fstat(self.fd)
        self.plain = stat.S_ISREG(status.st_mode)
        self.offset, self.place = (0, status.st_size if append else 0) if mark is None else mark
        self._known = b""
        if mark is not None and append and self.plain and status.st_size > self.place:
            with open(path, "rb") as again:  # what may have been written of it after the mark
                again.seek(self.place)
                self._known = again.read(_SYNC_BYTES * 2)

    def write(self, offset, data):
        """Take these bytes of the stream; what is there already is left out."""
        data = data[max(0, self.offset - offset) :]
        if self._known:
            same = next((at for at, pair in enumerate(zip(self._known, data)) if pair[0] != pair[1]), min(len(self._known), len(data)))
            self._known = self._known[same:] if same == len(data) else b""
            self._moved(same)
            data = data[same:]
        view = memoryview(data)
        while view:
            count = self._some(view)
            self._moved(count)
            view = view[count:]

    def _moved(self, count):
        self.offset += count
        self.place += count

    def _some(self, view):
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.append or not self.plain:
                    return os.write(self.fd, view)
                return os.pwrite(self.fd, view, self.offset)
            except OSError as error:
                if error.errno not in _FULL or time.monotonic() > until:
                    raise OSError(error.errno, error.strerror, self.path)
                time.sleep(_PAUSE)

    def sync(self):
        if self.plain:
            os.fdatasync(self.fd)
            if self.append and not self._known:  # else the mark stands before what is still to be compared
                self.place = os.fstat(self.fd).st_size

    @property
    def mark(self):
        return [self.offset, self.place]


class _Writer:
    def __init__(self, sock, files):
        self.sock, self.files = sock, files
        self.streams = []
        self._dirty, self._since = 0, 0.0

    def say(self, header):
        self.sock.sendall(link_frame(header))

    def take(self, header, body):
        """One frame. False when there is nothing more to do."""
        op = header["op"]
        if op == "open":
            marks = header.get("marks") or [None] * len(self.files)
            self.streams = [_Stream(entry["path"], entry["append"], mark) for entry, mark in zip(self.files, marks)]
            self.say({"op": "opened", "marks": [stream.mark for stream in self.streams]})
        elif op == "data":
            self.streams[header["stream"]].write(header["offset"], body)
            if not self._dirty:
                self._since = time.monotonic()
            self._dirty += len(body)
            if self._dirty >= _SYNC_BYTES:
                self.sync()
        elif op == "end":
            for stream in self.streams:
                stream.sync()
            self.say({"op": "done"})
            return False
        return True

    def sync(self):
        self._dirty = 0
        for stream in self.streams:
            stream.sync()
        self.say({"op": "durable", "marks": [stream.mark for stream in self.streams]})

    def wait(self):
        """Until there is something to read."""
        while self._dirty:
            left = self._since + _SYNC_SECONDS - time.monotonic()
            if left > 0 and select.select([self.sock], [], [], left)[0]:
                return
            if left <= 0:
                self.sync()


def run(sock, options):
    """Serve one connection. options: files [{"path", "append"}, …] by stream, umask."""
    os.umask(options.get("umask", 0o022))
    writer, reader = _Writer(sock, options["files"]), LinkReader()
    try:
        while True:
            writer.wait()
            data = sock.recv(1 << 18)
            if not data:
                break
            for header, body in reader.feed(data):
                if not writer.take(header, body):
                    return
    except OSError as error:
        try:
            writer.say({"op": "failed", "error": "%s: %s" % (error.filename or "the output", error.strerror)})
        except OSError:
            return  # the other side is gone: it will ask again
    finally:
        sock.close()
