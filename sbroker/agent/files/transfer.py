"""The frames between two workers (agent/wire.py), one side speaking at a time, so that no pipe is ever full in both directions.

    hello     both, the node first  {v, …}
    rows      a list, compressed: {"op": "rows", "name", "end": bool}, body
    moving    {"bytes", "files"}: what comes now
    pack      {"items": [[sha256, bytes], …]}, body: small contents, one after another
    piece     {"sha", "at", "n": bytes}, body; {…, "zeros": true}: that many zeros, no body; {"sha", "at", "n": 0, "end": true} ends one
              "z": true: the body is compressed
    gone      {"sha"}: the file has another content by now
    sent      that was all
    done      the outcome: whoever says it says nothing more
"""

import json
import os
import select
import zlib

from .. import wire
from .tree import PIECE, pieces

SMALL = 64 << 10  # bytes: what goes into a pack
_PACK = 2000  # … how many of them
_ROWS = 2 << 30  # bytes of one list: some ten million files
_ZEROS = bytes(PIECE)
_SAMPLE = 0.85  # compression pays below this part of the size


class Broken(Exception):
    """The pipe broke, or the other side ended without a word."""


class Failed(Exception):
    """This cannot be done: a sentence for the user. `again`: the same may work later; `final`: never. `told`: the other side said it."""

    def __init__(self, sentence, again=False, told=None, final=False):
        Exception.__init__(self, sentence)
        self.again, self.told, self.final = again, told, final


class Pipe:
    """Frames over a blocking stream socket."""

    def __init__(self, sock, compress=True):
        self.sock, self._compress = sock, compress
        self._reader, self._frames = wire.LinkReader(), []
        self.moved = 0  # bytes of content, as they are in files

    def send(self, header, body=b""):
        try:
            self.sock.sendall(wire.link_frame(header, body))
        except OSError:
            raise Broken()

    def receive(self, *ops):
        """The next frame, (header, body), whose op must be one of `ops`. Failed if the other side gave up, Broken, or ValueError."""
        while not self._frames:
            self._frames = self._reader.feed(self._data())[::-1]
        header, body = self._frames.pop()
        if header.get("op") == "done" and "done" not in ops:
            if header.get("error"):
                raise Failed(header["error"], bool(header.get("again")), header, bool(header.get("final")))
            raise Broken()
        if header.get("op") not in ops:
            raise ValueError("unexpected frame %r" % (header.get("op"),))
        return header, body

    def drain(self):
        """Pass by all that the other side still sends, up to its outcome."""
        while True:
            for header, _ in self._frames[::-1] or self._reader.feed(self._data()):
                if header.get("op") == "done":
                    return
            self._frames = []

    def _data(self):
        try:
            data = self.sock.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            raise Broken()
        return data

    def listen(self):
        """While we speak the other side is silent: if it is not, it has given up."""
        if self._frames or select.select([self.sock], [], [], 0)[0]:
            self.receive()

    # --- lists

    def send_rows(self, name, rows):
        packer, waiting = zlib.compressobj(1), b""
        for at in range(0, len(rows), 500):
            data = json.dumps(rows[at : at + 500], separators=(",", ":"))[1:-1].encode("ascii") + b"\n"
            waiting += packer.compress(data)
            while len(waiting) > PIECE:
                self.send({"op": "rows", "name": name, "end": False}, waiting[:PIECE])
                waiting = waiting[PIECE:]
        waiting += packer.flush()
        while len(waiting) > PIECE:
            self.send({"op": "rows", "name": name, "end": False}, waiting[:PIECE])
            waiting = waiting[PIECE:]
        self.send({"op": "rows", "name": name, "end": True}, waiting)

    def receive_rows(self, name):
        opener, rows, rest, size = zlib.decompressobj(), [], b"", 0
        while True:
            header, body = self.receive("rows")
            if header.get("name") != name:
                raise ValueError("rows of %r instead of %r" % (header.get("name"), name))
            data = opener.decompress(body, _ROWS - size)
            size += len(data)
            if opener.unconsumed_tail:
                raise ValueError("rows of more than %d bytes" % _ROWS)
            pieces = (rest + data).split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                rows.extend(json.loads("[" + piece.decode("ascii") + "]"))
            if header["end"]:
                return rows

    # --- content

    def _squeezed(self, body):
        """(header's part, body): compressed where the pipe is slower than we are, and it pays. {} if it was not tried, {"z": bool} else."""
        if not self._compress or len(body) < 512 or select.select([], [self.sock], [], 0)[1]:
            return {}, body
        small = zlib.compress(body, 1)
        return ({"z": True}, small) if len(small) < _SAMPLE * len(body) else ({"z": False}, body)

    def send_contents(self, wants, opened):
        """Send what is wanted: [[sha256, size, offset], …]. `opened(sha256)` → descriptor to be closed by us, or None."""
        self.send({"op": "moving", "bytes": sum(size - at for _, size, at in wants), "files": len(wants)})
        pack, packed = [], 0
        for content, size, at in wants:
            fd = opened(content)
            if fd is None:
                self.send({"op": "gone", "sha": content})
                continue
            try:
                if at == 0 and size <= SMALL:
                    data = _read(fd, size)
                    if len(data) != size:
                        self.send({"op": "gone", "sha": content})
                        continue
                    if packed + size > PIECE or len(pack) >= _PACK:
                        self._send_pack(pack)
                        pack, packed = [], 0
                    pack.append((content, data))
                    packed += size
                else:
                    self._send_pieces(fd, content, size, at)
            finally:
                os.close(fd)
        if pack:
            self._send_pack(pack)
        self.send({"op": "sent"})

    def _send_pack(self, pack):
        self.listen()
        extra, body = self._squeezed(b"".join(data for _, data in pack))
        self.moved += sum(len(data) for _, data in pack)
        self.send(dict({"op": "pack", "items": [[content, len(data)] for content, data in pack]}, **extra), body)

    def _send_pieces(self, fd, content, size, at):
        worth = True
        for data in pieces(fd, size, at):
            self.listen()
            if data == _ZEROS[: len(data)]:
                extra, body = {"zeros": True}, b""
            else:
                extra, body = self._squeezed(data) if worth else ({}, data)
                worth = extra.get("z", worth)  # a file whose beginning cannot be compressed is not tried again
            self.send(dict({"op": "piece", "sha": content, "at": at, "n": len(data)}, **extra), body)
            at += len(data)
            self.moved += len(data)
        if at < size:
            return self.send({"op": "gone", "sha": content})
        self.send({"op": "piece", "sha": content, "at": at, "n": 0, "end": True})

    def receive_contents(self, store, wants):
        """Take what was asked for into a cas.Store. Returns the contents (a set) that did not come: the files changed meanwhile."""
        sizes = {content: size for content, size, _ in wants}
        self.receive("moving")
        try:
            while True:
                header, body = self.receive("pack", "piece", "gone", "sent")
                if header.get("z"):
                    body = zlib.decompressobj().decompress(body, PIECE)
                elif header.get("zeros"):
                    body = _ZEROS[: header["n"]]
                if header["op"] == "sent":
                    return {content for content in sizes if content not in store.ready}
                if header["op"] == "pack":
                    at = 0
                    for content, size in header["items"]:
                        if content in sizes:
                            store.whole(content, body[at : at + size])
                        at += size
                    self.moved += at
                elif header["op"] == "gone":
                    store.pause()
                    if header["sha"] in sizes:
                        store.drop(header["sha"])
                elif header["sha"] not in sizes:
                    raise ValueError("content that was not asked for")
                elif header.get("end"):
                    store.finish(header["sha"], sizes[header["sha"]])
                else:
                    store.piece(header["sha"], header["at"], body)
                    self.moved += len(body)
        finally:
            store.pause()


def _read(fd, size):
    data = b""
    while len(data) < size:
        piece = os.pread(fd, size - len(data), len(data))
        if not piece:
            break
        data += piece
    return data
