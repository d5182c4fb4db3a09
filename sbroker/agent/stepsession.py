"""What all conversations with thin clients at a supervisor share: the numbered ops, questions and their answers, coming and going.

The ops of a session are counted from 1 and kept until the client acknowledged them, so that a client whose connection broke goes on
where it was; a session nobody comes back to is treated as if the client had died.
"""


from . import wire
from .lean import deque

KEEP = 120.0  # seconds that a session waits for a client whose connection broke
_BOUND = 8 << 20  # bytes of unacknowledged ops; beyond it a client that acknowledges is waited for, one that never does cannot resume
ROOM = 256 << 10  # bytes on their way to the client before output is held back
NO_SESSION = b"error: The connection to the step was lost and cannot be resumed\n"


class Session:
    """One thin client's. Each kind has its own beginning, and makes something of what the client and the step say."""

    def __init__(self, sup, call):
        self.sup, self.id = sup, call["id"]
        self.call = decoded(call)
        self.caller = None
        self.broadcast = None  # a file that is being sent to the nodes
        self.options = {}
        self.ended = False
        self._ops: deque = deque()  # (number, op, payload) not acknowledged
        self._size = 0
        self._number = self._acked = 0
        self._acks = False  # whether this client acknowledges at all
        self._asked = 0
        self._answers = {}  # question number → fn(errno, data)
        self._several = set()  # questions that get more than one answer
        self._timer = None

    # --- the client's connection

    @property
    def direct(self):
        """Whether the client is inside the job, at its own socket."""
        return getattr(self.caller, "stream", None) is not None

    def attach(self, caller):
        self.caller = caller
        self.options = caller.options or self.options
        caller.on_close = self._closed
        caller.on_drain = self._drained
        caller.on_signalled = self.signalled
        caller.on_frame = self._frame
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self, caller, ops):
        """The client came back after `ops` ops."""
        old, self.caller = self.caller, None
        if old is not None:
            old.on_close = old.on_frame = old.on_drain = None
            old.close()
        self._acknowledged(ops)
        if self._ops and self._ops[0][0] != ops + 1:
            caller.send(wire.OUT, b"\0\0\0\2" + self.call["name"].encode() + b": " + NO_SESSION)
            caller.send(wire.EXIT, (1).to_bytes(4, "big", signed=True))
            caller.close()
            return self._gone()
        self.attach(caller)
        for _number, op, payload in list(self._ops):
            caller.send(op, payload)
        if self.ended:
            caller.close()
        self._drained()

    def _closed(self):
        caller, self.caller = self.caller, None
        why = getattr(caller, "why", None)
        lost = why == "link" or (why is None and getattr(caller, "stream", None) is None and self.sup.agent is None)
        if self.ended and not lost:
            return self._forget()
        if not lost:
            return self._gone()
        self._timer = self.sup.loop.call_later(KEEP, self._gone)

    def _gone(self):
        """Nobody will read any more."""
        self._forget()
        if not self.ended:
            self.ended = True
            self.client_gone()

    def _forget(self):
        self.sup.sessions.pop(self.id, None)
        self._ops.clear()

    def _frame(self, op, payload):
        """One frame of the client. What goes wrong in one session must not take the run with it: it is told and ends that session."""
        try:
            self._handle(op, payload)
        except Exception as error:
            import traceback

            self.sup.report("notice", {"text": "session %s: %s" % (self.call["name"], traceback.format_exc())})
            self.say("%s: fatal: internal error: %s\n" % (self.call["name"], error), 2)
            self.exit(1)
            self.client_gone()

    def _handle(self, op, payload):
        if op == wire.ACK:
            self._acks = True
            self._acknowledged(int.from_bytes(payload[:8], "big"))
            self._drained()
        elif op == wire.REPLY:
            number = int.from_bytes(payload[:4], "big")
            answer = self._answers.get(number)
            if number not in self._several:
                self._answers.pop(number, None)
            if answer is not None:
                answer(int.from_bytes(payload[4:8], "big", signed=True), payload[8:])
        elif self.ended:
            return
        elif op == wire.INPUT:
            self.input(int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:12], "big"), payload[12:])
        elif op == wire.SIGNAL:
            self.signal(payload[0])
        elif op == wire.WINDOW:
            self.window(int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big"))

    def _acknowledged(self, number):
        self._acked = max(self._acked, number)
        while self._ops and self._ops[0][0] <= number:
            self._size -= len(self._ops.popleft()[2])

    def _drained(self):
        if not self.ended and self.has_room():
            self.drained()

    # --- what sessions use

    def send(self, op, payload=b""):
        self._number += 1
        if not (self.caller is not None and getattr(self.caller, "stream", None) is not None):
            # behind a channel a client may come back; at the socket in the job it is there or dead
            self._ops.append((self._number, op, payload))
            self._size += len(payload)
            while self._size > _BOUND and not self._acks and len(self._ops) > 1:
                self._size -= len(self._ops.popleft()[2])
        if self.caller is not None:
            self.caller.send(op, payload)

    def has_room(self):
        """Whether more output may be sent now."""
        return self.caller is not None and self.caller.pending < ROOM and (not self._acks or self._size < _BOUND)

    def ask(self, op, payload, answer, several=False):
        """Send a question; `answer(errno, data)` is called with its REPLY, or, with `several`, with each one until `settled(number)`."""
        self._asked += 1
        self._answers[self._asked] = answer
        if several:
            self._several.add(self._asked)
        self.send(op, self._asked.to_bytes(4, "big") + payload)
        return self._asked

    def settled(self, number):
        """No more replies are expected to this question."""
        self._several.discard(number)
        self._answers.pop(number, None)

    def read(self, path, answer, limit=16 << 20):
        """Read a file on the client's side, as the user."""
        self.ask(wire.READ, limit.to_bytes(8, "big") + path.encode("utf-8", "surrogateescape"), answer)

    def open(self, handle, flags, path, answer):
        self.ask(
            wire.OPEN,
            handle.to_bytes(4, "big") + flags.to_bytes(4, "big") + (0o666).to_bytes(4, "big") + path.encode("utf-8", "surrogateescape"),
            answer,
        )

    def say(self, data, handle=1):
        if data:
            self.send(wire.OUT, handle.to_bytes(4, "big") + (data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")))

    def grant(self, handle, acked, upto):
        self.send(wire.GRANT, handle.to_bytes(4, "big") + acked.to_bytes(8, "big") + upto.to_bytes(8, "big"))

    def exit(self, code):
        """The last op."""
        if self.ended:
            return
        self.ended = True
        self.send(wire.EXIT, code.to_bytes(4, "big", signed=True))
        if self.caller is not None and getattr(self.caller, "stream", None) is None:
            self._timer = self.sup.loop.call_later(KEEP, self._forget)
            self.caller.close()
        # at the socket in the job it is the client that closes, when it has carried out everything

    # --- what a kind of session makes of it

    def begin(self):
        """Start what the call asks for; each kind has its own."""
        raise TypeError(f"a session of the kind {type(self).__name__} has no beginning")

    def client_gone(self):
        """The client died, or did not come back."""

    def drained(self):
        """There is room for output again."""

    def input(self, handle, offset, data):
        """Bytes of the input `handle` from `offset` on; empty at its end."""

    def signal(self, signum):
        """The client got a signal that it was told to catch."""

    def signalled(self, signums):
        """The client is about to get these signals from the run's supervisor."""

    def window(self, rows, cols):
        """The user's terminal has a new size."""


def decoded(call):
    """wire.parse_call's dict with argv, env and cwd as str (surrogates for bytes that are not UTF-8)."""

    def text(data):
        return data.decode("utf-8", "surrogateescape")

    return dict(
        call,
        cwd=text(call["cwd"]),
        argv=[text(word) for word in call["argv"]],
        env={text(key): text(value) for key, value in call["env"].items()},
    )


def limits_of(meta):
    """The client's resource limits, as JobSpec.limits."""
    found = {}
    for key, value in meta.items():
        if key.startswith("limit."):
            soft, _, hard = value.partition(":")
            found[key[6:]] = (int(soft), int(hard))
    return found
