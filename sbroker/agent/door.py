"""The agent's TCP port: heads of runs on other nodes come here, prove that they know the run's key, and are handed to its supervisor.

Who has proven nothing can do nothing: a few bytes of him are kept, for seconds, and there is room for so many; when it is full, the
oldest of the address that has most there makes room.
"""

import _struct as struct
import os
import sys

from . import proof, tcp, wire
from . import sockets as socket
from .lean import OrderedDict
from .loop import Stream, connect_unix, peer_ids
from .rundir import replace

MOST = 128  # callers that have proven nothing
PATIENCE = 5.0  # seconds for the proof
_EARLY = 16 << 10  # bytes kept of a caller
_PAUSE = 1.0  # seconds without callers after there was no descriptor for one
_TRIES, _AGAIN = 20, 0.05  # a supervisor whose queue of callers is full


class Visitor:
    """A caller that has proven nothing."""

    def __init__(self, stream, address):
        self.stream, self.address = stream, address
        self.early = bytearray()
        self.call = self.nonces = self.timer = None


class Door:
    """`find(job, run)`: the Record of a run here, or None. The port is kept in FOLDER/port: the next agent has it again."""

    def __init__(self, loop, folder, node, find):
        self.loop, self.node, self._find = loop, node, find
        self.port = 0
        self._path = os.path.join(folder, "port")
        self._listening = None
        self._visitors = OrderedDict()  # Visitor → None, oldest first
        kept = self._kept()
        if kept:
            self.open("%d-%d" % tuple(kept[1:]) if kept[1] else "0")

    def _kept(self):
        """[port, low, high] of the agent before, or []."""
        try:
            with open(self._path, encoding="ascii") as stream:
                return [int(word) for word in stream.read().split()][:3]
        except (OSError, ValueError):
            return []

    def open(self, text):
        """Listen at one of these ports (see tcp.parse_ports), "" nowhere. What cannot be is said in the log, and the port is 0."""
        try:
            ports = tcp.parse_ports(text) if text else None
        except ValueError as error:
            print(f"sbroker agent: {error}", file=sys.stderr)
            return
        if ports is None:
            return self.close()
        if self.port and (not ports[0] or ports[0] <= self.port <= ports[1]):
            return
        self.close()
        kept = self._kept()
        try:
            self._listening = tcp.listen(ports, kept[0] if kept else 0)
        except OSError as error:
            print(f"sbroker agent: no port for the supervisors of other nodes: {error}", file=sys.stderr)
            return
        self.port = self._listening.getsockname()[1]
        if kept != [self.port, *ports]:
            try:
                replace(self._path, b"%d %d %d\n" % (self.port, ports[0], ports[1]), 0o600)
            except OSError as error:  # a full disk: the next agent has another port
                print(f"sbroker agent: {self._path}: {error.strerror}", file=sys.stderr)
        self._watch()

    def close(self):
        if self._listening is not None:
            self.loop.unwatch(self._listening.fileno())
            self._listening.close()
        self._listening, self.port = None, 0

    def _watch(self):
        if self._listening is not None:
            self.loop.watch(self._listening.fileno(), read=self._accept)

    # --- callers

    def _accept(self):
        try:
            sock, address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:  # no descriptor is left
            self.loop.unwatch(self._listening.fileno())
            self.loop.call_later(_PAUSE, self._watch)
            return
        tcp.tune(sock)
        visitor = Visitor(Stream(self.loop, sock), address[0])
        self._visitors[visitor] = None
        if len(self._visitors) > MOST:
            addresses = [other.address for other in self._visitors]
            worst = max(dict.fromkeys(addresses), key=addresses.count)
            self._dismiss(next(other for other in self._visitors if other.address == worst))
        if visitor.stream.closed:
            return
        visitor.timer = self.loop.call_later(PATIENCE, lambda: self._dismiss(visitor))
        visitor.stream.on_data = lambda data: self._heard(visitor, data)
        visitor.stream.on_close = lambda error: self._dismiss(visitor)
        visitor.stream.resume()

    def _dismiss(self, visitor):
        if visitor.timer is not None:
            visitor.timer.cancel()
        self._visitors.pop(visitor, None)
        visitor.stream.close()

    def _heard(self, visitor, data):
        visitor.early += data
        if len(visitor.early) > _EARLY:
            return self._dismiss(visitor)
        try:
            while not visitor.stream.closed:
                frame = wire.take_frame(visitor.early, _EARLY)
                if frame is None:
                    return
                self._frame(visitor, frame[0])
        except (wire.WireError, KeyError, TypeError, ValueError):
            self._dismiss(visitor)

    def _frame(self, visitor, header):
        if visitor.call is None:
            if header["op"] != "peer" or not proof.is_nonce(header["nonce"]) or header["to"] != self.node:
                raise wire.WireError("not a peer")
            call = (int(header["job"]), int(header["run"]), str(header["from"]), self.node)
            key = self._key(call)
            if not key:
                raise wire.WireError("no such run here")
            visitor.call, visitor.nonces = call, (header["nonce"], proof.nonce())
            shown = proof.proof(key, "agent", call, *visitor.nonces)
            visitor.stream.write(wire.link_frame({"op": "challenge", "nonce": visitor.nonces[1], "proof": shown}))
            return
        key = self._key(visitor.call)
        if header["op"] != "proof" or not key or not proof.same(header["proof"], proof.proof(key, "head", visitor.call, *visitor.nonces)):
            raise wire.WireError("nothing is proven")
        early, record = bytes(visitor.early), self._find(*visitor.call[:2])
        del self._visitors[visitor]
        visitor.timer.cancel()
        sock = socket.socket(fileno=visitor.stream.detach())
        self._hand_over(record, visitor.call, key, sock, early, _TRIES)

    def _key(self, call):
        record = self._find(*call[:2])
        if record is None or record.info is None or call[2] != record.info["head"]:
            return ""
        return record.info["key"]

    def _hand_over(self, record, call, key, sock, early, tries):
        """Give a caller to the run's supervisor: a frame {"op": "peer"} at its socket, and with it the descriptor. What is no supervisor's
        any more is told so."""
        try:
            own = connect_unix(record.dir.file("srun.sock"), waits=False)
        except BlockingIOError:
            if tries:
                self.loop.call_later(_AGAIN, lambda: self._hand_over(record, call, key, sock, early, tries - 1))
            else:
                sock.close()
            return
        except OSError:
            if record.stream is None:
                _tell(sock, wire.link_frame({"op": "gone" if record.state != "HELD" else "wait"}))
            return sock.close()
        try:
            # its owner, and not root: the name may have been made a link to some socket of root's
            if peer_ids(own)[1] == record.info["user"]["uid"]:
                frame = wire.link_frame({"op": "peer", "job": call[0], "run": call[1], "key": key, "node": call[2]}, early)
                own.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", sock.fileno()))])
        except OSError as error:
            print(f"run {call[0]}.{call[1]}: {call[2]} was not handed over: {error}", file=sys.stderr)
        finally:
            own.close()
            sock.close()


def _tell(sock, data):
    try:
        sock.send(data)
    except OSError:
        return  # it is gone, or will ask again
