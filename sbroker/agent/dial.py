"""One attempt of a head to reach the run's supervisor on another node: by its socket on the same machine, by TCP at every address that
the node may have, or, where that cannot be had, through the broker.

`Dial(...)` ends with one call of `done(stream, rest, way)`: a connection on which the conversation begins, the bytes that came with it, and
"unix", "tcp" or "broker"; or `done(None, b"", why)`, why being "gone" (the node's agent proved who it is, and has no such run any more),
"away" (it was not reached), or "unknown" (the broker, who alone could say more, is away).
"""

import os

from . import proof, tcp, wire
from .loop import Stream, connect_unix

STAGGER = 0.3  # seconds until the next address is tried beside one that has not answered
TCP_PATIENCE = 3.0  # seconds for all of TCP
BROKER_PATIENCE = 10.0  # seconds for the broker's way; then TCP is tried again
_EARLY = 64 << 10


class Dial:
    """sup: the head's Supervisor; share: the node's entry in info["nodes"]; addresses: to try, best first."""

    def __init__(self, sup, share, addresses, done):
        self.sup, self.loop, self.share, self.node = sup, sup.loop, share, share["node"]
        self._done, self._left = done, list(addresses)
        self._calls = []  # of TCP
        self._timers = []
        self._channel = None
        endpoint = share["endpoint"]
        if endpoint.startswith("unix:"):
            self._timers.append(self.loop.call_later(0, lambda: self._unix(endpoint[len("unix:") :])))
            return
        self._port = int(endpoint.rpartition(":")[2] or 0) if endpoint.startswith("tcp:") else 0
        if not self._port or not self._left:
            self._timers.append(self.loop.call_later(0, self._broker))
            return
        self._timers.append(self.loop.call_later(TCP_PATIENCE, self._broker))
        self._next()

    def cancel(self):
        """No more of it; `done` is not called."""
        for timer in self._timers:
            timer.cancel()
        for call in self._calls:
            call.close()
        self._calls, self._timers = [], []
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _end(self, stream, rest, way):
        self.cancel()
        self._done(stream, rest, way)

    # --- the same machine

    def _unix(self, folder):
        """The supervisor's socket below its agent's folder ("unix:FOLDER" or "unix:FOLDER/agent.sock")."""
        if folder.endswith("/agent.sock"):
            folder = os.path.dirname(folder)
        info = self.sup.info
        try:
            sock = connect_unix(os.path.join(folder, "runs", os.path.basename(self.sup.dir), "srun.sock"), waits=False)
        except OSError:
            return self._end(None, b"", "away")
        stream = Stream(self.loop, sock)
        stream.write(wire.link_frame({"op": "peer", "job": info["job"], "run": info["run"], "key": info["key"], "node": self.sup.node}))
        self._end(stream, b"", "unix")

    # --- TCP

    def _next(self):
        """Try one more address."""
        if not self._left:
            if all(call.closed for call in self._calls):
                self._broker()
            return
        self._calls.append(_Call(self, self._left.pop(0), self._port))
        if self._left:
            self._timers.append(self.loop.call_later(STAGGER, self._next))

    def failed(self, call, why):
        """A call came to nothing."""
        if why == "gone":
            return self._end(None, b"", "gone")
        self._next()

    def answered(self, call, stream, rest):
        self._calls.remove(call)
        self._end(stream, rest, "tcp")

    # --- through the broker

    def _broker(self):
        for timer in self._timers:
            timer.cancel()
        for call in self._calls:
            call.close()
        if self.sup.agent is None:
            return self._end(None, b"", "unknown")
        self._timers = [self.loop.call_later(BROKER_PATIENCE, lambda: self._end(None, b"", "unknown"))]
        channel = self._channel = self.sup.calls.open_peer(self.node)

        def data(received):
            self._channel = None
            channel.pause()
            self._end(channel, received, "broker")

        def closed(_error):
            self._channel = None
            self._end(None, b"", {"away": "away", "gone": "gone"}.get(channel.why, "unknown"))

        channel.on_data, channel.on_close = data, closed
        channel.resume()


class _Call:
    """One TCP connection until both sides have shown that they know the key."""

    def __init__(self, dial, address, port):
        self.dial, self.closed = dial, False
        self._stream, self._early = None, bytearray()
        info = dial.sup.info
        self._names = (info["job"], info["run"], dial.sup.node, dial.node)
        self._nonce = proof.nonce()
        self._give_up = tcp.connect(dial.loop, address, port, self._connected)

    def close(self):
        self.closed = True
        self._give_up()
        if self._stream is not None:
            self._stream.close()

    def _fail(self, why="away"):
        if not self.closed:
            self.close()
            self.dial.failed(self, why)

    def _connected(self, sock):
        if sock is None:
            return self._fail()
        self._stream = Stream(self.dial.loop, sock, self._data, lambda error: self._fail())
        job, run, ours, node = self._names
        self._stream.write(wire.link_frame({"op": "peer", "job": job, "run": run, "from": ours, "to": node, "nonce": self._nonce}))

    def _data(self, data):
        self._early += data
        try:
            frame = wire.take_frame(self._early, _EARLY)
            if frame is None:
                return
            header, key = frame[0], self.dial.sup.info["key"]
            if header["op"] != "challenge" or not proof.is_nonce(header["nonce"]) or not key:
                raise wire.WireError("no challenge")
            nonces = (self._nonce, header["nonce"])
            if not proof.same(header["proof"], proof.proof(key, "agent", self._names, *nonces)):
                raise wire.WireError("it does not know the run's key")
        except (wire.WireError, KeyError, TypeError):
            return self._fail()
        stream = self._stream
        stream.pause()
        stream.write(wire.link_frame({"op": "proof", "proof": proof.proof(key, "head", self._names, *nonces)}))
        self.closed = True
        self.dial.answered(self, stream, bytes(self._early))
