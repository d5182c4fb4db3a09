"""Thin clients at a supervisor: commands inside the job by its socket, sessions and logins handed over by the broker as channels.

Both are a `Caller` to the steps' code. What is not a step command is passed on to the broker, bytes as they are, and waits while the
broker or the agent is away; a call that was cut is closed, and the client asks again by itself.
"""


from . import lean, wire
from .byway import Byway
from .link import Channel
from .loop import peer_ids

STEP_COMMANDS = ("srun", "sattach", "sbcast")
_HIGH = 1 << 18  # bytes on their way to the broker before we stop reading the client


class Caller:
    """A thin client; `write(bytes)` reaches it. Set `on_frame(op, payload)`, `on_close()` (it is gone), `on_drain()` (`pending` is back to 0) and `on_signalled(signums)`
    (its process is about to get these from us)."""

    def __init__(self, uid, write, options=None):
        self.uid, self.write, self.options = uid, write, options or {}
        self.on_frame = self.on_close = self.on_drain = self.on_signalled = None
        self.why = None  # chan_close's, when a channel ended
        self._early = []

    def send(self, op, payload=b""):
        """One call frame to the client (op: an int of wire)."""
        self.write(wire.call_frame(op, payload))

    def deliver(self, frames):
        """Frames from the client; kept until somebody has set `on_frame`."""
        self._early += frames
        while self._early and self.on_frame is not None:
            self.on_frame(*self._early.pop(0))

    def gone(self):
        if self.on_close is not None:
            self.on_close()


class Local(Caller):
    """At the in-job socket."""

    def __init__(self, uid, stream):
        Caller.__init__(self, uid, stream.write)
        self.stream, self.pid = stream, peer_ids(stream.fd)[0]
        self.pause, self.resume = stream.pause, stream.resume
        stream.on_drain = lambda: self.on_drain and self.on_drain()

    @property
    def pending(self):
        return self.stream.pending

    def close(self):
        """After EXIT or DIE: what was sent still arrives."""
        self.stream.finish()


class Remote(Caller):
    """Behind a channel that the broker opened."""

    def __init__(self, calls, number, uid, options):
        self.calls, self.channel, self._held = calls, Channel(number), None
        Caller.__init__(self, uid, lambda data: calls.tell_all(self.channel.send(data)), options)

    @property
    def pending(self):
        return self.channel.pending

    def pause(self):
        """No more credit for what comes from now on."""
        self._held = self._held or 0

    def resume(self):
        held, self._held = self._held, None
        if held:
            self.calls.tell_all(self.channel.consumed(held))

    def received(self, count):
        if self._held is not None:
            self._held += count
        else:
            self.calls.tell_all(self.channel.consumed(count))

    def close(self):
        self.calls.tell_all(self.channel.close("done"))


class Calls:
    """All thin clients of one supervisor."""

    def __init__(self, sup):
        self.sup = sup
        self.path = sup.rundir.file("srun.sock")
        self._remotes = {}  # channel → (Remote, CallReader)
        self._inside = set()  # Locals that have a session
        self._relays = {}  # our channel → (Channel, Stream)
        self._logins = {}  # channel → Login
        self._byways = {}  # channel → Byway to another supervisor of the run
        self._waiting = []  # [channel, payload, uid] not handed to an agent yet
        self._next = 0

    def tell_all(self, frames):
        for header, body in frames:
            self.sup.tell(header, body)

    # --- inside the job

    def came(self, stream, early):
        """A thin client at the run's socket; `early`: what it has said so far."""
        caller, reader, raw = Local(self.sup.info["user"]["uid"], stream), wire.CallReader(), bytearray()
        stream.on_data = lambda data: self._first(caller, reader, raw, data)
        self._first(caller, reader, raw, early)

    def _first(self, caller, reader, raw, data):
        """The first frame must be the CALL. `raw`: all that came so far."""
        raw += data
        try:
            frames = reader.feed(data)
            if not frames:
                return
            op, payload = frames[0]
            if op != wire.CALL:
                raise wire.WireError("a call begins with CALL")
            call = wire.parse_call(payload)
        except wire.WireError:
            return caller.stream.close()
        if self._wants(call):
            caller.stream.on_data = lambda data: self._feed(caller, reader, data)
            caller.stream.on_close = lambda error: caller.gone()
            self._inside.add(caller)
            self._session(call, caller)
            caller.deliver(frames[1:])
        else:
            self._relay(caller.stream, payload, bytes(raw[len(wire.call_frame(op, payload)) :]))

    def _wants(self, call):
        session = session_code()
        wants = getattr(session, "wants", None)
        if session is None or call["name"] not in STEP_COMMANDS:
            return False
        return wants is None or wants(self.sup, call)

    def _feed(self, caller, reader, data):
        try:
            caller.deliver(reader.feed(data))
        except wire.WireError:
            caller.stream.close()
            caller.gone()

    def inside(self, pids):
        """The clients in the job that have a session and whose process is among `pids`."""
        self._inside = {caller for caller in self._inside if not caller.stream.closed}
        return [caller for caller in self._inside if caller.pid in pids]

    def signalled(self, pids, signums):
        """Processes of the run are about to be signalled: clients among them will tell of it."""
        for caller in self.inside(pids):
            if caller.on_signalled is not None:
                caller.on_signalled(signums)

    def _session(self, call, caller):
        session_code().accept(self.sup, call, caller)

    # --- to the broker

    def _relay(self, stream, payload, rest):
        self._next += 1
        number, owed = f"c{self._next}", [0]
        channel = Channel(number)
        self._relays[number] = (channel, stream, owed)

        def drained():
            count, owed[0] = owed[0], 0
            self.tell_all(channel.consumed(count))

        stream.on_drain = drained
        stream.on_data = lambda data: self._upward(channel, stream, data)
        stream.on_close = lambda error: self._client_gone(number)
        self._waiting.append((number, payload))
        if rest:
            self._upward(channel, stream, rest)
        self._open_waiting()

    def _open_waiting(self):
        if self.sup.agent is None:
            return
        waiting, self._waiting = self._waiting, []
        info = self.sup.info
        for number, payload in waiting:
            self.sup.tell({"op": "chan_open", "chan": number, "job": info["job"], "run": info["run"], "kind": "call",
                           "uid": info["user"]["uid"], "options": {}}, payload)

    def _upward(self, channel, stream, data):
        frames = channel.send(data)
        if channel.pending > _HIGH:
            stream.pause()
        self.tell_all(frames)

    def _client_gone(self, number):
        if self._relays.pop(number, None) is not None:
            opened = len(self._waiting)
            self._waiting = [entry for entry in self._waiting if entry[0] != number]
            if len(self._waiting) == opened:
                self.sup.tell({"op": "chan_close", "chan": number, "why": "client"})

    # --- to the other supervisors of the run, through the broker

    def open_peer(self, node):
        """A Byway to the run's supervisor on `node`; an agent must be connected."""
        self._next += 1
        number, info = f"p{self._next}", self.sup.info
        self.sup.tell({"op": "chan_open", "chan": number, "job": info["job"], "run": info["run"], "kind": "peer",
                       "uid": info["user"]["uid"], "options": {"to": node}})  # fmt: skip
        return self._byway(number)

    def _byway(self, number):
        byway = self._byways[number] = Byway(number, self.tell_all, lambda: self._byways.pop(number, None))
        return byway

    def agent_came(self):
        self._open_waiting()

    def agent_gone(self):
        """Channels do not outlive their link: clients of the broker ask again, sessions are resumed by their client."""
        waiting = {number for number, _payload in self._waiting}
        for number in [number for number in self._relays if number not in waiting]:
            self._relays.pop(number)[1].close()
        for number in list(self._remotes):
            remote = self._remotes.pop(number)[0]
            remote.why = "link"
            remote.gone()
        for number in list(self._logins):
            self._logins[number].cut()
        for byway in list(self._byways.values()):
            byway.lost("link")

    # --- frames from the agent

    def frame(self, op, header, body):
        number = header.get("chan")
        if op == "chan_open" and header.get("kind") == "peer":
            self.sup.peers_link.accept_byway(self._byway(number), header.get("options") or {})
        elif op == "chan_open":
            self._opened(number, header, body)
        elif number in self._byways:
            self._byways[number].frame(op, header, body)
        elif number in self._relays:
            self._downward(op, number, header, body)
        elif number in self._logins:
            self._logins[number].frame(op, header, body)
        elif number in self._remotes:
            remote, reader = self._remotes[number]
            if op == "chan_data":
                remote.received(len(body))
                try:
                    remote.deliver(reader.feed(body))
                except wire.WireError:
                    remote.close()
            elif op == "chan_credit":
                before = remote.pending
                self.tell_all(remote.channel.credited(header["bytes"]))
                if before and not remote.pending and remote.on_drain is not None:
                    remote.on_drain()
            elif op == "chan_close":
                del self._remotes[number]
                remote.why = header.get("why")
                remote.gone()

    def _opened(self, number, header, body):
        if header.get("kind") == "ssh":
            from .login import Login  # not at the agent's start

            made = self._logins[number] = Login(self, number, lambda number: self._logins.pop(number, None))
            return made.begin(body)
        remote = Remote(self, number, header.get("uid", 0), header.get("options"))
        try:
            call = wire.parse_call(body)
        except wire.WireError:
            call = None
        if call is None or session_code() is None or not self.sup.is_head:
            return self.tell_all(remote.channel.close("done"))
        self._remotes[number] = (remote, wire.CallReader())
        self._session(call, remote)

    def _downward(self, op, number, header, body):
        channel, stream, owed = self._relays[number]
        if op == "chan_data":
            stream.write(body)
            if stream.pending:
                owed[0] += len(body)  # credit when the client has taken it
            else:
                self.tell_all(channel.consumed(len(body)))
        elif op == "chan_credit":
            self.tell_all(channel.credited(header["bytes"]))
            if not channel.pending:
                stream.resume()
        elif op == "chan_close":
            del self._relays[number]
            stream.finish() if header.get("why") == "done" else stream.close()


def session_code():
    """The steps' module, or None where the agent was built without it."""
    name = __package__ + ".session"
    try:
        return lean.module(name)
    except ImportError as error:
        if error.name != name:
            raise
        return None
