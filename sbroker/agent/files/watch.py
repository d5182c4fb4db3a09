"""What a broker that joins two workers may know of what flows between them: frames are counted and passed by, bodies are not copied."""

import json
import struct

_HEAD = struct.Struct(">II")


class Watch:
    """Feed it every byte that one worker writes. `moved`: bytes of content that have come so far; `done`: its outcome, or None."""

    def __init__(self):
        self.moved, self.done = 0, None
        self._waiting, self._skip = b"", 0

    def feed(self, data):
        """The headers of op "moving" and "done" that are complete now."""
        found = []
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            if self._skip:
                return found
            data = data[passed:]
        buffer, at = self._waiting + data if self._waiting else data, 0
        while len(buffer) - at >= 8:
            head, body = _HEAD.unpack_from(buffer, at)
            if len(buffer) - at - 8 < head:
                break
            found += self._header(buffer[at + 8 : at + 8 + head])
            at += 8 + head + body
            if at > len(buffer):
                self._skip, at = at - len(buffer), len(buffer)
                break
        self._waiting = bytes(buffer[at:])
        return found

    def _header(self, head):
        header = json.loads(bytes(head).decode("utf-8", "surrogatepass"))
        op = header.get("op")
        if op == "piece":
            self.moved += header["n"]
        elif op == "pack":
            self.moved += sum(size for _, size in header["items"])
        elif op == "done":
            self.done = header
        return [header] if op in ("moving", "done") else []
