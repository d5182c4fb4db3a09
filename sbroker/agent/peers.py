"""Head and other nodes: the supervisors of one run, connected by the run's key.

The head calls the others when it starts (by then the broker knows that all are there) and calls again while the run lasts, by whatever way
dial.py finds. A node that is called that way is started: from then on it may run tasks for the head. What they say to each other is a
conversation.py: it outlives its connections, so that a network that fails and heals costs time and nothing else. A node that was silent
for longer than `lost_after` is given up for the rest of the run.
"""

import os

from . import lean, resolving
from .conversation import Conversation, Stranger
from .loop import Stream
from .wire import LinkReader, WireError

_RETRY = (0.1, 5.0)  # seconds: first, at most
BEAT = 5.0  # seconds without a word after which one is said; after three times as many without hearing one the connection is dead
_NAMES = 60.0  # seconds for which a resolved name stands


class Peer:
    """The supervisor on another node, connected at the moment or not."""

    def __init__(self, loop, node, life):
        self.loop, self.node, self.conversation = loop, node, Conversation(life)
        self.stream = None
        self.ready = self.met = self.lost = False  # connected; was connected before; given up
        self.way = ""
        self.heard = self.said = loop.now()
        self.silent = loop.now()  # since when it could have answered and did not
        self.tries = 0
        self.dial = self.timer = None
        self._out = []

    def send(self, header, body=b""):
        """It arrives once, when there is a connection, and after all that was sent before."""
        if self.lost:
            return
        data = self.conversation.frame(header, body)
        if self.ready:
            self.write(data)

    def write(self, data):
        """With the others of this turn."""
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self):
        out, self._out = self._out, []
        if self.stream is not None and out:
            self.said = self.loop.now()
            self.stream.write(b"".join(out))

    @property
    def pending(self):
        """Bytes that the other side is not known to have."""
        return self.conversation.pending

    def hang_up(self):
        stream, self.stream, self.ready, self._out = self.stream, None, False, []
        if stream is not None:
            stream.close()


class Peers:
    """All connections to other supervisors of the run."""

    def __init__(self, sup):
        self.sup = sup
        self.life = os.urandom(8).hex()
        self.known = {}  # node → Peer
        self.connected = {}  # those that were met and are not given up
        self.handlers = {}  # op → fn(node, header, body)
        self.watchers = []  # fn(node, met): it was met for the first time, or is given up
        self._names = {}  # name → (addresses, until)
        self._beat = float(sup.settings.get("beat", BEAT))
        self._ticking = False

    def _peer(self, node):
        if node not in self.known:
            self.known[node] = Peer(self.sup.loop, node, self.life)
            if not self._ticking:
                self._ticking = True
                self.sup.loop.call_later(self._beat, self._tick)
        return self.known[node]

    # --- the head calls

    def connect(self):
        """On the head: call every other node."""
        shares = [share for share in self.sup.info["nodes"] if share["node"] != self.sup.node]
        by_name = [share for share in shares if not share["endpoint"].startswith("unix:")]
        for share in shares:
            if share not in by_name:
                self._call(share)
        if by_name:
            self._resolve(by_name, lambda: [self._call(share) for share in by_name])

    def _resolve(self, shares, then):
        """Have the names of these nodes looked up where that is not known, or not any more."""
        now = self.sup.loop.now()
        names = {name for share in shares for name in _names(share) if self._names.get(name, ((), 0))[1] <= now}
        if not names:
            return then()

        def done(found):
            for name in names:
                self._names[name] = (found.get(name, []), now + _NAMES)
            if not self.sup.empty:
                then()

        resolving.addresses(self.sup.loop, sorted(names), done, self.sup.ending.child_ended)

    def _call(self, share):
        sup, peer = self.sup, self._peer(share["node"])
        if sup.empty or peer.lost or peer.dial is not None or peer.stream is not None:
            return
        found = [address for name in _names(share) for address in self._names.get(name, ((), 0))[0]]
        from .dial import Dial  # not at the agent's start

        peer.dial = Dial(sup, share, list(dict.fromkeys(found)), lambda stream, rest, way: self._dialled(share, peer, stream, rest, way))

    def _dialled(self, share, peer, stream, rest, way):
        peer.dial = None
        if stream is not None:
            peer.way = way
            return self._join(peer, stream, LinkReader(), rest)
        now = self.sup.loop.now()
        if way == "unknown" and peer.way in ("", "broker"):
            peer.silent = now  # nobody could say more than that: it proves nothing
        if way == "gone" or now - peer.silent > float(self.sup.settings.get("lost_after", 300)):
            return self._give_up(peer)
        self._again(share, peer)

    def _again(self, share, peer):
        seconds = min(_RETRY[1], _RETRY[0] * 2 ** min(peer.tries, 10)) * (0.75 + os.urandom(1)[0] / 512)
        peer.tries += 1

        def again():
            peer.timer = None
            if share["endpoint"].startswith("unix:"):
                self._call(share)
            else:
                self._resolve([share], lambda: self._call(share))

        if peer.timer is None and not self.sup.empty:
            peer.timer = self.sup.loop.call_later(seconds, again)

    def _give_up(self, peer):
        """The node is lost to this run."""
        if peer.lost:
            return
        peer.lost = True
        peer.hang_up()
        for waiting in (peer.dial, peer.timer):
            if waiting is not None:
                waiting.cancel()
        self.connected.pop(peer.node, None)
        for fn in list(self.watchers):
            fn(peer.node, False)

    def lose(self, node):
        """The broker knows that this node is lost to the run."""
        if self.sup.is_head and node in {share["node"] for share in self.sup.info["nodes"]} - {self.sup.node}:
            self._give_up(self._peer(node))

    # --- the others are called

    def accept(self, stream, reader, frames, handed=None):
        """A caller greeted with op "peer"; True if it is the run's head (by its key) and the run may start here. `handed`: the descriptor
        that came with it, if the head called the agent, which gives it to us; the body is what it has said since."""
        (header, body), info = frames[0], self.sup.info
        same = lean.same_digest(str(header.get("key", "")).encode(), info["key"].encode()) and info["key"]
        if not same or header.get("node") != info["head"] or self.sup.is_head or not self.sup.start():
            return False
        peer = self._peer(info["head"])
        if handed is None:
            self._join(peer, stream, reader, b"", frames[1:])
        else:
            stream.close()
            self._join(peer, Stream(self.sup.loop, handed), LinkReader(), body)
        return True

    def accept_byway(self, stream, options):
        """The head's call came through the broker, which knows who it is."""
        if options.get("from") != self.sup.info["head"] or self.sup.is_head or not self.sup.start():
            return stream.close()
        self._join(self._peer(self.sup.info["head"]), stream, LinkReader(), b"")

    # --- connections

    def _join(self, peer, stream, reader, rest, frames=()):
        peer.hang_up()
        peer.stream, peer.heard = stream, self.sup.loop.now()

        def data(received):
            peer.heard = self.sup.loop.now()
            try:
                for header, body in reader.feed(received):
                    if peer.stream is stream:
                        self._received(peer, header, body)
            except WireError as error:
                self._broken(peer, stream, error)

        stream.on_data, stream.on_close = data, lambda error: self._broken(peer, stream, error)
        stream.write(peer.conversation.greeting())
        try:
            for header, body in frames:
                self._received(peer, header, body)
        except WireError as error:
            return self._broken(peer, stream, error)
        stream.resume()
        if rest and peer.stream is stream:
            data(rest)

    def _received(self, peer, header, body):
        op = header.get("op")
        if not peer.ready:
            if op == "gone":
                return self._give_up(peer)
            if op != "attach":
                raise WireError("a connection begins with attach")
            again = peer.conversation.attach(header)
            peer.ready, peer.tries = True, 0
            for data in again:
                peer.write(data)
            if not peer.met:
                peer.met = True
                self.connected[peer.node] = peer
                for fn in list(self.watchers):
                    fn(peer.node, True)
        elif peer.conversation.receive(header, len(body)):
            if peer.conversation.overdue:
                peer.write(peer.conversation.beat())
            self._frame(peer.node, header, body)

    def _broken(self, peer, stream, error):
        if peer.stream is not stream:
            return
        if peer.ready:
            peer.silent = self.sup.loop.now()
        peer.hang_up()
        if isinstance(error, Stranger) and self.sup.is_head:
            return self._give_up(peer)  # a supervisor that took another's place knows nothing of its tasks
        if self.sup.is_head and not peer.lost:
            self._again(next(share for share in self.sup.info["nodes"] if share["node"] == peer.node), peer)

    def _tick(self):
        """Say something where nothing was said; notice who says nothing."""
        now = self.sup.loop.now()
        for peer in list(self.known.values()):
            if peer.stream is None:
                continue
            if now - peer.heard > 3 * self._beat:
                self._broken(peer, peer.stream, None)
            elif peer.ready and (peer.conversation.owes or now - peer.said >= self._beat / 2):
                peer.write(peer.conversation.beat())
        if not self.sup.empty:
            self.sup.loop.call_later(self._beat, self._tick)

    def _frame(self, node, header, body):
        op = header.get("op")
        if op == "over" and not self.sup.is_head:
            self.sup.ending.over_elsewhere()
        elif op in self.handlers:
            self.handlers[op](node, header, body)

    def tell_all(self, header):
        for peer in self.connected.values():
            peer.send(header)


def _names(share):
    """What a node may be called by, best first: its name, as this machine knows it, what the broker calls it by, and what it says itself."""
    endpoint = share["endpoint"]
    address = endpoint[len("tcp:") :].rpartition(":")[0].strip("[]") if endpoint.startswith("tcp:") else ""
    return [name for name in dict.fromkeys([share["node"], address, share.get("address") or "", *share.get("addresses", ())]) if name]
