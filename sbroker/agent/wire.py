"""Byte formats of both protocols, sans-I/O: link frames (broker, agents, supervisors) and call frames (thin client).

Link frame:  u32 header length | u32 body length | header (JSON object, UTF-8) | body (raw bytes).
Call frame:  u32 length of what follows | u8 op | payload.            All integers are big-endian.

Call ops, client → server: CALL REPLY INPUT SIGNAL WINDOW ACK; server → client: OUT READ OPEN CLOSE GRANT SPAWN KILL
CATCH TTY PHASE EXIT DIE. ARCHITECTURE.md, "The call protocol", says what each means.
"""

import _struct as struct

from . import lean

MAX_HEADER = 4 << 20
MAX_BODY = 64 << 20
MAX_CALL = 64 << 20

_LINK = struct.Struct(">II")
_CALL = struct.Struct(">IB")

# client → server
CALL, REPLY, INPUT, SIGNAL, WINDOW, ACK = b"CrisWa"
# server → client
OUT, READ, OPEN, CLOSE, GRANT, SPAWN, KILL, CATCH, TTY, PHASE, EXIT, DIE = b"ORFKIPGSTHXZ"


class WireError(ValueError):
    """The peer sent what cannot be a frame: the connection is of no more use."""


def link_frame(header, body=b""):
    """One link frame as bytes. `header` must be a JSON object (dict)."""
    head = lean.dumps(header).encode("utf-8", "surrogatepass")
    if len(head) > MAX_HEADER or len(body) > MAX_BODY:
        raise WireError("frame too large: header %d, body %d bytes" % (len(head), len(body)))
    return b"".join((_LINK.pack(len(head), len(body)), head, body))


class LinkReader:
    """Feed bytes, iterate (header dict, body bytes). What is whole when it comes is copied once."""

    def __init__(self):
        self._buffer = bytearray()  # the beginning of a frame
        self._wanted = 8  # how much of it has to be there before it is looked at

    def feed(self, data):
        """Append `data`; return the list of frames now complete. Raises WireError on a malformed one."""
        if self._buffer:
            self._buffer += data
            data = self._buffer
            if len(data) < self._wanted:
                return []
        frames, at = [], 0
        with memoryview(data) as view:
            while len(view) - at >= 8:
                head, body = _LINK.unpack_from(view, at)
                if head > MAX_HEADER or body > MAX_BODY:
                    raise WireError("frame too large: header %d, body %d bytes" % (head, body))
                end = at + 8 + head + body
                if len(view) < end:
                    self._wanted = end - at
                    break
                try:
                    header = lean.loads(str(view[at + 8 : at + 8 + head], "utf-8", "surrogatepass"))
                except (ValueError, RecursionError) as error:
                    raise WireError("header is not JSON: %s" % error)
                if not isinstance(header, dict):
                    raise WireError("header is not a JSON object")
                frames.append((header, bytes(view[at + 8 + head : end])))
                at = end
            else:
                self._wanted = 8
            if data is not self._buffer:
                self._buffer += view[at:]
                return frames
        del data[:at]
        return frames


def take_frame(buffer, most):
    """Cut one link frame off the beginning of a bytearray: (header, body), or None while it is not whole. WireError for what is none, or has
    more than `most` bytes: of somebody who has proven nothing, no more is kept."""
    if len(buffer) < 8:
        return None
    head, body = _LINK.unpack_from(buffer)
    if 8 + head + body > most:
        raise WireError("frame too large: header %d, body %d bytes" % (head, body))
    if len(buffer) < 8 + head + body:
        return None
    found = LinkReader().feed(bytes(buffer[: 8 + head + body]))
    del buffer[: 8 + head + body]
    return found[0]


def call_frame(op, payload=b""):
    """One call frame as bytes; `op` is an int (one of the names above)."""
    return _CALL.pack(len(payload) + 1, op) + payload


class CallReader:
    """Feed bytes, get the list of (op, payload) now complete."""

    def __init__(self):
        self._buffer = bytearray()

    @property
    def pending(self):
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data):
        if self._buffer:
            self._buffer += data
            data = self._buffer
        frames, at = [], 0
        with memoryview(data) as view:
            while len(view) - at >= 5:
                size, op = _CALL.unpack_from(view, at)
                if not 1 <= size <= MAX_CALL:
                    raise WireError("call frame of %d bytes" % size)
                if len(view) - at - 4 < size:
                    break
                frames.append((op, bytes(view[at + 5 : at + 4 + size])))
                at += 4 + size
            if data is not self._buffer:
                self._buffer += view[at:]
                return frames
        del data[:at]
        return frames


def fields(*parts):
    """Parts (bytes) as u32 length | bytes, concatenated."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def split_fields(payload):
    """The inverse of `fields`."""
    parts, at = [], 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if at + 4 + size > len(payload):
            raise WireError("field runs past the end")
        parts.append(payload[at + 4 : at + 4 + size])
        at += 4 + size
    return parts


def parse_call(payload):
    """The CALL payload as a dict: id, name, cwd, meta (dict str → str), argv (list of bytes), env (dict bytes → bytes).

    Fields: version "1" | request id | name | cwd | meta ("key=value" lines) | argv (without argv[0]), each ended by NUL | env, each ended by NUL.
    A field count of more than seven is allowed (later releases add at the end).
    """
    parts = split_fields(payload)
    if len(parts) < 7 or parts[0] != b"1":
        raise WireError("not a call of version 1")
    meta = dict(line.partition("=")[::2] for line in parts[4].decode("utf-8", "surrogateescape").splitlines() if line)
    argv = parts[5].split(b"\0") if parts[5] else []
    env = {}
    for item in parts[6].split(b"\0"):
        key, sep, value = item.partition(b"=")
        if sep and key:
            env.setdefault(key, value)
    return {"id": parts[1].decode("ascii", "replace"), "name": parts[2].decode("utf-8", "surrogateescape"), "cwd": parts[3],
            "meta": meta, "argv": argv[:-1] if argv and argv[-1] == b"" else argv, "env": env}
