"""sattach at the head's supervisor: one more pair of eyes (and hands) on a running step."""

from . import stdio
from .stepsession import Session

INPUT_WINDOW = 64 << 10
NO_STEP = "sattach: error: Could not get job step info: Invalid job id specified\n"


class Sattach(Session):
    """Listens to a step until it ends; its own end does not touch the step."""

    def __init__(self, sup, call):
        Session.__init__(self, sup, call)
        self.wish = self.step = self.labels = None
        self._received = 0

    def begin(self):
        sup = self.sup
        self.wish = wish = sup.front.parse_sattach(self.call, sup.info.get("imitate", "22.05"))
        if "refuse" in wish:
            self.say(wish["refuse"]["out"], 1)
            self.say(wish["refuse"]["err"], 2)
            return self.exit(wish["refuse"]["code"])
        self.step = sup.steps.steps.get(wish["step"]) if wish["job"] == sup.info["job"] else None
        if self.step is None:
            self.say(NO_STEP, 2)
            return self.exit(1)
        if wish["layout"]:
            self.say(sup.front.layout_text(self.step.layout))
            return self.exit(0)
        if wish["label"]:
            self.labels = stdio.Labels(self.step.request["ntasks"])
        self.step.listeners.append(self)
        self.grant(0, 0, INPUT_WINDOW)

    # --- from the step

    def started(self, node, ranks):
        """Nothing to say: it runs already."""

    def output(self, _node, rank, fd, data):
        only = self.wish["output" if fd == stdio.STDOUT else "error"]
        if not self.ended and only in (None, rank):
            self.say(self.labels.mark(rank, fd, data) if self.labels else data, fd)

    def exited(self, node, ranks, status):
        """srun tells of it in its way; this is sattach's."""
        if self.ended or not status:
            return
        front = self.sup.front
        code = "killed by signal %d" % (status & 0x7F) if status & 0x7F else "exited with exit code %d" % (status >> 8)
        self.say("sattach: error: %s %s\n" % (front.tasks_text(ranks), code), 2)

    def node_failed(self, node):
        """srun tells of it."""

    def room(self):
        return self.ended or self.has_room()

    def drained(self):
        if self.step is not None:
            self.sup.steps.room(self.step)

    def took(self):
        taken = self.sup.steps.input_taken(self.step)
        if taken is not None and not self.ended:
            self.grant(0, self._received, self._received + INPUT_WINDOW)

    def aborted(self, why):
        """srun tells of it."""

    def finished(self):
        worst = self.step.worst
        self.exit(128 + (worst & 0x7F) if worst & 0x7F else worst >> 8)

    # --- from the client

    def input(self, handle, offset, data):
        if self.step is None or offset < self._received:
            return
        self._received += len(data)
        if data:  # the end of this input is not the end of the step's
            only = self.wish["input"]
            self.sup.steps.stdin(self.step, None if only is None else [only], data)

    def client_gone(self):
        if self.step is not None and self in self.step.listeners:
            self.step.listeners.remove(self)
            self.sup.steps.room(self.step)
