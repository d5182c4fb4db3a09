"""An interactive run on machines that cost money ends itself when nobody uses it: no terminal traffic, no step without a terminal, no GPU at work.

On the head alone, and only where the description's settings have `idle_timeout` (seconds). Loaded when such a run starts.
"""

import os

from . import errand

_LOOKS = (0.05, 30.0)  # seconds between looks at GPUs: at least, at most
_PATIENCE = 10.0  # seconds for nvidia-smi
_ASK = "exec nvidia-smi --query-gpu=index,utilization.gpu --format=csv,noheader,nounits >&3"


class Idle:
    def __init__(self, sup, seconds):
        self.sup, self.seconds = sup, seconds
        self.gpus = {str(index) for name, indices in (sup.share.get("gres") or {}).items() if name.split(":")[0] == "gpu" for index in indices}
        self._used = sup.loop.now()
        self._look()

    def _look(self):
        sup = self.sup
        if sup.over or sup.ending.why:
            return
        now = sup.loop.now()
        busy = sup.ending.frozen is not None or any(not step.request.get("pty") for step in sup.steps.steps.values())
        self._used = now if busy else max(self._used, sup.steps.traffic)
        left = self._used + self.seconds - now
        if self.gpus:  # they are looked at now and then: what they do is seen only while they do it
            try:
                errand.command(sup.loop, ["/bin/sh", "-c", _ASK], dict(os.environ), lambda data: self._asked(data, left), _PATIENCE)
                return
            except OSError:
                pass  # no process to be had: the next look
        self._decide(left)

    def _asked(self, data, left):
        """nvidia-smi's lines: index, percent."""
        for line in data.decode("ascii", "replace").splitlines():
            index, _comma, percent = line.partition(",")
            if index.strip() in self.gpus and percent.strip() not in ("", "0", "[N/A]"):
                self._used = self.sup.loop.now()
        self._decide(max(left, self._used + self.seconds - self.sup.loop.now()))

    def _decide(self, left):
        sup = self.sup
        if left > 0 or sup.steps.traffic > self._used:
            wait = max(left, _LOOKS[0])
            sup.loop.call_later(min(wait, max(_LOOKS[0], min(_LOOKS[1], self.seconds / 4))) if self.gpus else wait, self._look)
            return
        if sup.over or sup.ending.why:
            return
        text = "job %s: its terminal%s not used for %d s (idle_timeout), and its machines cost money: it ends\r\n" % (
            sup.info["job"], " and its GPUs were" if self.gpus else " was", self.seconds,
        )  # fmt: skip
        for step in list(sup.steps.steps.values()):
            for listener in list(step.listeners):
                if hasattr(listener, "say"):
                    listener.say(("\r\n" + text).encode(), 2)
        sup.ending.begin("idle")
