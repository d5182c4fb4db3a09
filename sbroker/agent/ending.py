"""How a run ends on one node: time limit, --signal, memory, orders, KillWait, and the certainty that nothing is left.

Works without broker and agent: every clock here is this process's own.
"""

import _signal as signal
import time

from . import lease, procs

_MEMORY_FIRST, _MEMORY_EVERY = 1.0, 2.0  # seconds between looks at the memory in use
_OTHERS = 2.0  # seconds beyond KillWait that the ends of tasks on other nodes are waited for
_STOP_AFTER = 0.01  # seconds between SIGTSTP, which a program may catch, and SIGSTOP, which none can
_ASK = (signal.SIGCONT, signal.SIGTERM)  # how a process is asked to end, also one that was stopped
_SWEEP = (0.02, 1.0)  # seconds between two rounds of SIGKILL: first, at most


class Ending:
    """Belongs to one Supervisor."""

    def __init__(self, sup):
        self.sup = sup
        self.why = ""  # the end was ordered because
        self._patient = True  # with other nodes
        self.failed = []  # nodes that are down, where that is why
        self.result = None  # data of the `ended` report
        self.kill_wait = sup.info.get("kill_wait", 30)
        self.limit = sup.info.get("time_limit", -1)
        self.frozen = None  # since when (loop time)
        self._began = self._frozen_for = 0.0
        self._warned = False
        self._timers = {}
        self._memory = {}  # step → bytes
        self._over_memory = False
        self._swept = 0
        self._attended = float("-inf")  # a run with a lease may not start before it is told
        self._elsewhere = False  # the head said that the run is over; the broker has not yet

    # --- clocks

    def _later(self, name, seconds, fn):
        """One timer per purpose; a later call replaces it, seconds None only cancels."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[name] = self.sup.loop.call_later(max(0.0, seconds), fn)

    def arm(self):
        """The run starts on this node: set the clocks. The head alone ends the run by them; --signal is each node's own to send."""
        self._began = self.sup.loop.now()
        self._set_limit()
        self._check_attended()
        idle = (self.sup.info.get("settings") or {}).get("idle_timeout")
        if idle and self.sup.is_head:
            from .idle import Idle  # few runs have that

            Idle(self.sup, idle)

    def _set_limit(self):
        if self.limit < 0 or self.frozen is not None or self.why:
            self._later("limit", None, None)
            return self._later("warn", None, None)
        left = self._began + self._frozen_for + self.limit - self.sup.loop.now()
        if self.sup.is_head:
            self._later("limit", left, lambda: self.begin("time_limit"))
        spec = self.sup.info["spec"].get("signal")
        if spec and not self._warned:
            self._later("warn", left - spec.get("before", 60), self._warn)

    def _out_of_time(self):
        """Whether the time limit is over."""
        return 0 <= self.limit <= self.sup.loop.now() - self._began - self._frozen_for and self.frozen is None

    def _warn(self):
        """--signal=[B:]sig@before."""
        self._warned = True
        spec = self.sup.info["spec"]["signal"]
        self.signal({"signum": spec["signum"], "batch": spec.get("batch", False)})

    def adjust(self, header):
        """A new time limit, seconds from the start."""
        self.limit = header["time_limit"]
        if self.sup.started:
            self._set_limit()

    def attended(self, at):
        """The broker is known to have been there (told by the agent to runs that have a lease; time of the loop)."""
        self._attended = max(self._attended, at)

    def unattended(self):
        """Whether the run has a lease that is all but over."""
        return bool(self.sup.info.get("lease")) and self.sup.loop.now() - self._attended > lease.soft(self.sup.info)

    def _check_attended(self):
        """A run with a lease ends itself, on each of its nodes, when nobody has looked after it for that long: its broker may then run it
        elsewhere."""
        info = self.sup.info
        if not info.get("lease") or self.sup.empty:
            return
        silent = self.sup.loop.now() - self._attended
        if self.unattended():
            self.begin("unattended")
            if silent > lease.hard(info):  # this machine was frozen: there is no time for KillWait
                self._kill()
            if silent > lease.hard(info) or self.sup.empty:
                return
        self._later("lease", (lease.hard(info) if self.unattended() else lease.soft(info)) - silent + 0.01, self._check_attended)

    # --- orders

    def end(self, header):
        self._elsewhere = False
        if self.why:
            self.child_ended()
        self.failed = [str(node) for node in header.get("nodes", ())]
        why = header.get("why") or "cancel"
        if why == "time_limit" and self.sup.is_head and not self._out_of_time():
            return  # the broker's clock says so, and it is this one that counts
        self.begin(why)

    def begin(self, why):
        """The run shall end: SIGCONT and SIGTERM to all, SIGKILL after KillWait. Only the first reason counts."""
        sup = self.sup
        if self.why or self.result is not None:
            return
        self.why = why
        self._set_limit()
        sup.calls.signalled(sup.everything(), _ASK)  # before their steps hear of the end: an srun's last words begin with its signals
        if sup.is_head:
            sup.report("ending", {"why": why})
            sup.announce("ending", {"why": why})
            self._say("job_cancelled", why=why)
        self._terminate(sup.everything())

    def _terminate(self, pids):
        """Ask processes to end, and make sure in `kill_wait` seconds."""
        self.frozen = None
        self._later("stop", None, None)
        for signum in _ASK:
            procs.signal_all(pids, signum)
        self._later("kill", self.kill_wait, self._kill)
        self.child_ended()

    def _kill(self):
        """KillWait is over, or there is nothing to wait for."""
        self.sup.declare_over()
        self._sweep()

    def _sweep(self):
        """SIGKILL all there is, again and again: a process may fork while we look."""
        procs.signal_all(self.sup.everything(), signal.SIGKILL)
        self._swept += 1
        self._later("sweep", min(_SWEEP[1], _SWEEP[0] * 2 ** min(self._swept, 10)), self._sweep)
        self.child_ended()

    def signal(self, header):
        """scancel --signal: the steps' processes; `batch` the shell alone; `full` all; or one `step`."""
        sup, signum, step = self.sup, header["signum"], header.get("step")
        if header.get("full"):
            pids = sup.everything()
            sup.calls.signalled(pids, (signum,))
        elif header.get("batch") or step == -5:
            pids = [process.pid for process in sup.of_step(None)]
            if signum in (signal.SIGTERM, signal.SIGKILL) and pids:
                self._say("job_cancelled", why="")
        else:
            steps = [process for process in sup.processes if process.step is not None and process.step >= 0]  # not a login's sshd
            chosen = [process for process in steps if step in (None, process.step)]
            pids = [pid for process in chosen for pid in process.tree()]
        procs.signal_all(pids, signum)

    def freeze(self, header):
        """Suspend or resume all processes; the time limit stands still meanwhile."""
        sup, suspend = self.sup, header["suspend"]
        if suspend == (self.frozen is not None) or sup.over:
            return
        if suspend:
            self.frozen = sup.loop.now()
            procs.signal_all(sup.everything(), signal.SIGTSTP)
            self._later("stop", _STOP_AFTER, lambda: procs.signal_all(sup.everything(), signal.SIGSTOP))
        else:
            self._frozen_for += sup.loop.now() - self.frozen
            self.frozen = None
            self._later("stop", None, None)
            procs.signal_all(sup.everything(), signal.SIGCONT)
        self._set_limit()
        if sup.is_head:
            sup.report("suspended" if suspend else "resumed")

    # --- memory

    def memory_limit(self, step, limit):
        """Watch the processes of `step` (None: the batch script's); bytes, 0 ends it."""
        watching = bool(self._memory)
        if limit > 0:
            self._memory[step] = limit
        else:
            self._memory.pop(step, None)
        if self._memory and not watching:
            self._later("memory", _MEMORY_FIRST, self._look)

    def _look(self):
        for step, limit in sorted(self._memory.items(), key=str):
            used = sum(procs.resident(pid) for process in self.sup.of_step(step) for pid in self._own(process))
            if used > limit:
                return self._exceeded(step, used, limit)
        if self._memory and not self.sup.over:
            self._later("memory", _MEMORY_EVERY, self._look)

    def _own(self, process):
        """A process's tree. What a step's tasks use is the step's, though their tree hangs below this process too."""
        others = {other.pid for other in self.sup.processes if other is not process}
        return [pid for pid in process.tree() if pid not in others]

    def _exceeded(self, step, used, limit):
        """Over the limit: all of the run is killed, as Slurm does with OverMemoryKill; the exit shows signal 9."""
        self._over_memory = True
        label = "batch" if step is None else step
        self._say("memory", step=label, used=used, limit=limit)
        self._say("job_memory")
        self._say("job_cancelled", why="")
        self._say("memory", step=label, used=used, limit=limit)
        procs.signal_all(self.sup.everything(), signal.SIGKILL)

    def _say(self, kind, **fields):
        sup = self.sup
        fields.update(job=sup.info["job"], node=sup.node, time=time.time())
        sup.batch_stderr(sup.front.notice(kind, fields))

    # --- the end

    def script_ended(self, code, signum, why, error, usage):
        """The batch script ended, could not start, or an allocation is done. Slurm then asks the steps to end and kills the rest."""
        sup = self.sup
        if self.result is not None:
            return
        if self._over_memory and signum:
            why = "memory"
        self.result = {"code": code, "signal": signum, "why": self.why or why, "error": error, "derived": sup.derived, "usage": usage}
        sup.declare_over()
        self._set_limit_off()
        sup.peers_link.tell_all({"op": "over"})
        sup.report("ended", self.result)
        if not procs.has_children():
            return self._done()
        sup.leave_word("ended")
        steps = {pid for process in sup.processes if process.step is not None for pid in process.tree()}
        everything = sup.everything()
        if self.why and (steps or sup.calls.inside(everything)):
            return  # all was asked to end, and sruns of the script have last words to say of their tasks; KillWait bounds it
        procs.signal_all([pid for pid in everything if pid not in steps], signal.SIGKILL)
        if not steps:
            self._kill()
        else:
            self.why = "exit"
            self._terminate(sorted(steps))

    def _set_limit_off(self):
        for name in ("limit", "warn", "memory"):
            self._later(name, None, None)

    def over_elsewhere(self):
        """The head says that the run is over: what is left here goes."""
        self._elsewhere = not self.why  # an end that was ordered here is known to the broker
        self.why = self.why or "exit"
        self.sup.declare_over()
        self._terminate(self.sup.everything())

    def child_ended(self):
        """Some process of ours is gone. Was it the last?"""
        if (self.why or self.result is not None) and not procs.has_children():
            self._done()

    def _others_end(self):
        """Whether tasks of steps on other nodes have yet to tell of their ends: their srun, which may be anywhere, hears it from here.
        Nobody is waited for much longer than KillWait."""
        steps = getattr(self.sup, "steps", None)
        if steps is None or not steps.steps or not self._patient:
            return False
        if "others" not in self._timers:
            self._later("others", self.kill_wait + _OTHERS, self._no_longer)
        return True

    def _no_longer(self):
        self._patient = False
        self.child_ended()

    def _done(self):
        sup = self.sup
        if sup.empty or self._elsewhere:
            return  # "empty" from here must not overtake the head's "ended": the broker's order to end says that it is there
        if sup.is_head and self.result is None:
            sup.declare_over()
            if self._others_end():
                return
            self.result = {"code": 0, "signal": 0, "why": self.why, "error": "", "derived": sup.derived, "usage": {}}
            sup.peers_link.tell_all({"op": "over"})
            sup.report("ended", self.result)
        sup.declare_over()
        for name in list(self._timers):
            self._later(name, None, None)
        sup.nothing_left()
