"""What two supervisors of a run say to each other, over however many connections: every frame arrives once, and in order. Sans-I/O.

A frame has a number `n`, and is kept until the other side has it; every frame says with `a` what was received so far. A connection
begins with {"op": "attach", life, got}, from both sides: `life` is the same as long as the process is, and what the other has not got is
sent again. {"op": "beat", a} has no number: it is said when there was nothing else to say, and it acknowledges.
"""


from .lean import deque
from .wire import WireError, link_frame

_ACK_FRAMES, _ACK_BYTES = 64, 64 << 10  # received and not acknowledged: more than that is acknowledged at once


class Stranger(WireError):
    """Another process than before answers: nothing more can come of this conversation."""


class Conversation:
    """One side. `life`: a random word that names this process."""

    def __init__(self, life):
        self.life = life
        self.other = None  # the other side's life, once known
        self.pending = 0  # bytes that the other side is not known to have
        self._kept = deque()  # (number, frame), ascending
        self._sent = self._got = self._told = 0
        self._owed = 0  # bytes received since we last said what we got

    # --- what to send

    def greeting(self):
        """The first frame of a connection."""
        self._said()
        return link_frame({"op": "attach", "life": self.life, "got": self._got})

    def frame(self, header, body=b""):
        """Number a frame and keep it; its bytes, for the connection that there is, if there is one."""
        self._sent += 1
        data = link_frame(dict(header, n=self._sent, a=self._got), body)
        self._said()
        self._kept.append((self._sent, data))
        self.pending += len(data)
        return data

    def beat(self):
        """A sign of life, and an acknowledgement."""
        self._said()
        return link_frame({"op": "beat", "a": self._got})

    def _said(self):
        self._told, self._owed = self._got, 0

    @property
    def owes(self):
        """Whether there is something to acknowledge."""
        return self._told < self._got

    @property
    def overdue(self):
        """Whether it should be acknowledged now."""
        return self._got - self._told >= _ACK_FRAMES or self._owed >= _ACK_BYTES

    # --- what was received

    def attach(self, header):
        """The other side's greeting: the frames (bytes) to send again. Stranger if it is another process than before,
        WireError if it says what cannot be."""
        life, got = header.get("life"), header.get("got")
        if not isinstance(life, str) or not life or self.other not in (None, life):
            raise Stranger("another process answers")
        self._acknowledged(got)
        if self._kept and self._kept[0][0] != got + 1:
            raise WireError("frames are missing")
        self.other = life
        return [data for _number, data in self._kept]

    def receive(self, header, size=0):
        """Whether this frame is to be acted upon (else it was seen before, or says nothing). `size`: bytes of its body. WireError for
        one that cannot be next."""
        self._acknowledged(header.get("a"))
        if header.get("op") == "beat":
            return False
        number = header.get("n")
        if not isinstance(number, int) or number > self._got + 1:
            raise WireError("a frame is missing")
        self._owed += size + 1
        if number <= self._got:
            return False
        self._got = number
        return True

    def _acknowledged(self, number):
        if not isinstance(number, int) or number > self._sent:
            raise WireError("acknowledges what was never said")
        while self._kept and self._kept[0][0] <= number:
            self.pending -= len(self._kept.popleft()[1])
