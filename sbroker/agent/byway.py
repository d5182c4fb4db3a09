"""The way between two supervisors that leads through their agents and the broker, where they cannot reach each other: a channel of kind
"peer", which looks like a Stream to its user."""

from .link import Channel


class Byway:
    """One end. `tell(frames)`: hands link frames to the agent; `forget()`: called when it is closed. `why`: of the chan_close that ended it."""

    def __init__(self, number, tell, forget):
        self.channel, self._tell, self._forget = Channel(number), tell, forget
        self.on_data = self.on_close = self.on_drain = None
        self.why, self.closed = None, False
        self._early, self._paused = [], True

    @property
    def pending(self):
        """Bytes that the other side has given no room for yet."""
        return self.channel.pending

    def write(self, data):
        if not self.closed and data:
            self._tell(self.channel.send(data))

    def pause(self):
        self._paused = True

    def resume(self):
        self._paused = False
        while self._early and not self._paused and self.on_data is not None:
            self._give(self._early.pop(0))

    def close(self):
        if not self.closed:
            self.closed = True
            self._forget()
            self._tell([({"op": "chan_close", "chan": self.channel.number, "why": "done"}, b"")])

    def _give(self, data):
        self._tell(self.channel.consumed(len(data)))
        self.on_data(data)

    # --- from the agent

    def frame(self, op, header, body):
        if self.closed:
            return
        if op == "chan_data":
            if self._paused or self.on_data is None:
                self._early.append(body)
            else:
                self._give(body)
        elif op == "chan_credit":
            before = self.channel.pending
            self._tell(self.channel.credited(header["bytes"]))
            if before and not self.channel.pending and self.on_drain is not None:
                self.on_drain()
        else:
            self.lost(header.get("why"))

    def lost(self, why):
        """It was closed by the other side, or the link below it broke."""
        if not self.closed:
            self.why, self.closed = why, True
            self._forget()
            if self.on_close is not None:
                self.on_close(None)
