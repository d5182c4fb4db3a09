"""Head and other nodes: the supervisors of one run, connected by the run's key.

The head calls the others when it starts (by then the broker knows that all are there) and calls again while the run lasts. A node that
is called that way is started: from then on it may run tasks for the head. Frames are wire.link_frame; the first is {"op": "peer", job,
run, key, node, at}.
"""

import hmac
import os

from .loop import Stream, connect_unix
from .wire import LinkReader, WireError, link_frame

_RETRY = (0.1, 5.0)  # seconds: first, at most


class Peer:
    """The supervisor on another node."""

    def __init__(self, node, stream):
        self.node, self.stream = node, stream

    def send(self, header, body=b""):
        self.stream.write(link_frame(header, body))

    @property
    def pending(self):
        """Bytes that the connection has not taken yet."""
        return self.stream.pending


class Peers:
    """All connections to other supervisors of the run."""

    def __init__(self, sup):
        self.sup = sup
        self.connected = {}  # node → Peer
        self.handlers = {}  # op → fn(node, header, body)
        self.watchers = []  # fn(node, connected)
        self._tries = {}

    def connect(self):
        """On the head: call every other node."""
        for share in self.sup.info["nodes"]:
            if share["node"] != self.sup.node:
                self._call(share)

    def _call(self, share):
        sup, node = self.sup, share["node"]
        if sup.empty or node in self.connected:
            return
        try:
            sock = connect_unix(self._path(share))
        except OSError:
            return self._again(share)
        stream, reader = Stream(sup.loop, sock), LinkReader()
        info = sup.info
        stream.write(link_frame({"op": "peer", "job": info["job"], "run": info["run"], "key": info["key"], "node": sup.node, "at": sup.at}))
        self._join(node, stream, reader, lambda: self._again(share))

    def _again(self, share):
        tries = self._tries[share["node"]] = self._tries.get(share["node"], -1) + 1
        self.sup.loop.call_later(min(_RETRY[1], _RETRY[0] * 2 ** min(tries, 10)), lambda: self._call(share))

    def _path(self, share):
        """The supervisor's socket on a node: below its agent's folder, which the endpoint names ("unix:FOLDER" or
        "unix:FOLDER/agent.sock")."""
        folder = share["endpoint"][len("unix:") :]
        if folder.endswith("/agent.sock"):
            folder = os.path.dirname(folder)
        return os.path.join(folder, "runs", os.path.basename(self.sup.dir), "srun.sock")

    def accept(self, stream, reader, frames):
        """A caller greeted with op "peer"; True if it is the run's head (by its key) and the run may start here."""
        header, info = frames[0][0], self.sup.info
        same = hmac.compare_digest(str(header.get("key", "")).encode(), info["key"].encode()) and info["key"]
        if not same or header.get("node") != info["head"] or self.sup.is_head or not self.sup.start(header.get("at")):
            return False
        self._join(info["head"], stream, reader, lambda: None)
        for frame in frames[1:]:
            self._frame(info["head"], *frame)
        return True

    def _join(self, node, stream, reader, gone):
        old = self.connected.get(node)
        if old is not None:
            old.stream.close()
        peer = self.connected[node] = Peer(node, stream)

        def data(received):
            try:
                frames = reader.feed(received)
            except WireError:
                stream.close()
                return closed(None)
            for header, body in frames:
                self._frame(node, header, body)

        def closed(_error):
            if self.connected.get(node) is peer:
                del self.connected[node]
                for fn in self.watchers:
                    fn(node, False)
                gone()

        stream.on_data, stream.on_close = data, closed
        stream.resume()
        for fn in self.watchers:
            fn(node, True)

    def _frame(self, node, header, body):
        op = header.get("op")
        if op == "over" and not self.sup.is_head:
            self.sup.ending.over_elsewhere()
        elif op in self.handlers:
            self.handlers[op](node, header, body)

    def tell_all(self, header):
        for peer in self.connected.values():
            peer.send(header)
