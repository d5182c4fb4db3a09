"""What srun says while a step runs, and what it returns: sans-I/O.

`Talk` is told what happens (times are seconds of any steady clock) and queues actions for its owner, who takes them with `actions()`:

    ("err", bytes)          to srun's standard error
    ("signal", signum)      send to all tasks
    ("cancel", signum)      end the step: signal its tasks with signum, kill them when they take too long

Runs in a head node's supervisor: standard library, Python 3.6.
"""

import _signal as signal
import os

from slurm_compat import layout, notices

# what strsignal(3) of glibc says; Python has it only from 3.8 on
SIGNAL_NAMES = {
    1: "Hangup",
    2: "Interrupt",
    3: "Quit",
    4: "Illegal instruction",
    5: "Trace/breakpoint trap",
    6: "Aborted",
    7: "Bus error",
    8: "Floating point exception",
    9: "Killed",
    10: "User defined signal 1",
    11: "Segmentation fault",
    12: "User defined signal 2",
    13: "Broken pipe",
    14: "Alarm clock",
    15: "Terminated",
    16: "Stack fault",
    17: "Child exited",
    18: "Continued",
    19: "Stopped (signal)",
    20: "Stopped",
    21: "Stopped (tty input)",
    22: "Stopped (tty output)",
    23: "Urgent I/O condition",
    24: "CPU time limit exceeded",
    25: "File size limit exceeded",
    26: "Virtual timer expired",
    27: "Profiling timer expired",
    28: "Window changed",
    29: "I/O possible",
    30: "Power failure",
    31: "Bad system call",
}
_FORWARDED = (signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
INTERRUPT_WINDOW = 1.0  # seconds for the second Ctrl-C


def signal_name(signum):
    """strsignal of glibc: "Killed", "Real-time signal 6"."""
    if signum in SIGNAL_NAMES:
        return SIGNAL_NAMES[signum]
    return "Real-time signal %d" % (signum - 34) if 34 <= signum <= 64 else "Unknown signal %d" % signum


def how_ended(status):
    """A wait status in srun's words: "Exited with exit code 3", "Killed", "Aborted (core dumped)"; "" for success."""
    if os.WIFSIGNALED(status):
        return signal_name(os.WTERMSIG(status)) + (" (core dumped)" if os.WCOREDUMP(status) else "")
    code = os.WEXITSTATUS(status)
    return "Exited with exit code %d" % code if code else ""


def exit_code(status):
    """What srun returns for a task's wait status."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def tasks_text(ranks):
    """[0] → "task 0"; [0, 1, 3] → "tasks 0-1,3"."""
    return "%s %s" % ("task" if len(ranks) == 1 else "tasks", layout.ranges(ranks))


class Talk:
    """The conversation of one srun about one step.

    request: what `srun.parse_step` gave (label, verbose, kill_on_bad_exit, wait, quit_on_interrupt, disable_status are read here).
    fields: job, and kill_wait in seconds.
    """

    def __init__(self, request, fields):
        self.request = request
        self.job, self.kill_wait = fields["job"], fields.get("kill_wait", 30)
        self.step = None
        self.layout = None
        self.status = {}  # rank → wait status
        self.code = 0
        self.aborted = False
        self.interrupted = None  # when the last Ctrl-C came
        self.killing = False
        self.waiting = False  # for the step to be created
        self.deadline = None  # when -W runs out
        self._grace = 0
        self._deaths = False  # a task died of SIGKILL or SIGTERM: "Force Terminated" at the end
        self.interrupted_out = False  # Ctrl-C has ended it
        self._actions = []

    def actions(self):
        """What is to be done now; each is given once."""
        done, self._actions = self._actions, []
        return done

    def say(self, kind, **fields):
        """Queue the srun notice `kind`."""
        fields.setdefault("job", self.job)
        fields.setdefault("step", self.step)
        self._actions.append(("err", notices.notice(kind, fields)))

    def _verbose(self, text):
        if self.request.get("verbose"):
            self._actions.append(("err", ("srun: %s\n" % text).encode("utf-8", "surrogateescape")))

    # creation

    def busy(self, reason):
        """The step has to wait; told once more each time it was looked at in vain."""
        if not self.request.get("quiet"):
            self.say("still_busy" if self.waiting else "busy", reason=reason)
        self.waiting = True

    def created(self, step, step_layout):
        if self.waiting and not self.request.get("quiet"):
            self.say("created")
        self.waiting = False
        self.step, self.layout = step, step_layout
        self._verbose("launch/slurm: launch_p_step_launch: CpuBindType=(null type)")
        for index, ranks in enumerate(step_layout["tasks"]):
            node = step_layout["nodes"][index]
            text = layout.ranges(ranks)
            self._verbose(
                "launching StepId=%d.%s on host %s, %d tasks: %s"
                % (self.job, step, node, len(ranks), "[%s]" % text if len(ranks) > 1 else text)
            )
        self._verbose("route/default: init: route default plugin loaded")

    def cancelled_pending(self, signum):
        """srun was told to go while the step waited."""
        self.say("pending_cancelled", signum=signum)
        self.refuse("Job/step already completing or completed")

    def refuse(self, reason):
        """The step cannot be created."""
        self.say("no_step", reason=reason)
        self.code = 1

    # tasks

    def tasks_started(self, node, ranks):
        self._verbose("launch/slurm: _task_start: Node %s, %d tasks started" % (node, len(ranks)))

    def launch_failed(self, ranks, reason):
        """The tasks could not be started for want of their files; Slurm counts that as an exit with 0."""
        for rank in ranks:
            self.say("launch_failed", rank=rank, reason=reason)
            self.status[rank] = 0

    def exited(self, node, ranks, status, now):
        """Tasks `ranks` of `node` ended together with one wait status."""
        for rank in ranks:
            self.status[rank] = status
        word = "task" if len(ranks) == 1 else "tasks"
        self._verbose(
            "launch/slurm: _task_finish: Received task exit notification for %d %s of StepId=%d.%s (status=0x%04x)."
            % (len(ranks), word, self.job, self.step, status)
        )
        how = how_ended(status)
        died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if how and not (died_of and self.interrupted_out):
            self.say("exited", node=node, tasks=tasks_text(ranks), how=how)
        elif not how:
            self._verbose("launch/slurm: _task_finish: %s: %s: Completed" % (node, tasks_text(ranks)))
        if died_of in (signal.SIGKILL, signal.SIGTERM):
            self._deaths = True
        self.code = max(self.code, exit_code(status))
        total = self.request["ntasks"]
        if how and self.request.get("kill_on_bad_exit") and not self.killing and len(self.status) < total:
            self.killing = True
            self.say("terminating")
            self._actions.append(("cancel", int(signal.SIGTERM)))
        if self.deadline is None and self.request.get("wait") and len(self.status) < total:
            self._grace = self.request["wait"]
            self.deadline = now + self._grace

    def node_failed(self, node):
        """A node of the step is lost. Slurm tells the srun of a step once, and once more the one that made the allocation."""
        for _ in range(2 if self.request.get("standalone") else 1):
            self.say("node_failed", node=node)

    def tick(self, now):
        """The clock says `now`: -W may have run out."""
        if self.deadline is None or now < self.deadline or self.killing or self.aborted or len(self.status) >= self.request["ntasks"]:
            return
        self.say("first_exited", seconds=self._grace)
        self._states()
        self.say("terminating")
        self.killing = True
        self.abort()
        self._actions.append(("cancel", int(signal.SIGKILL)))

    def _states(self):
        """The tasks by state, as the first Ctrl-C shows them."""
        groups: dict = {"running": [], "exited": [], "exited abnormally": []}
        for rank in range(self.request["ntasks"]):
            status = self.status.get(rank)
            groups["running" if status is None else "exited abnormally" if status else "exited"].append(rank)
        for state in ("running", "exited", "exited abnormally"):
            if groups[state]:
                self.say("task_state", tasks=tasks_text(groups[state]), state=state)

    # ends from outside

    def abort(self):
        """The step is being ended by somebody: said once."""
        if not self.aborted and self.step is not None and len(self.status) < self.request["ntasks"]:
            self.aborted = True
            self.say("aborted", seconds=self.kill_wait + 2)

    def signal(self, signum, now):
        """srun itself got a signal that it catches."""
        if self.step is None:
            if signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
                self.cancelled_pending(signum)
                self._actions.append(("cancel", signum))
            return
        if signum == signal.SIGCONT:
            self.say("got_sigcont")
        elif signum == signal.SIGINT:
            self._interrupt(now)
        elif signum in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            if signum == signal.SIGQUIT:
                self.say("quit")
            self._force(signal.SIGKILL)
        elif signum in _FORWARDED:
            self._actions.append(("signal", signum))

    def _interrupt(self, now):
        again = self.interrupted is not None and now - self.interrupted <= INTERRUPT_WINDOW
        self.interrupted = now
        if self.request.get("disable_status") and not again:
            self.say("ctrl_c")
            self._actions.append(("signal", int(signal.SIGINT)))
            return
        if not again and not self.request.get("quit_on_interrupt"):
            self.say("interrupt")
            self._states()
            return
        self.interrupted_out = True
        self.code = max(self.code, 128 + signal.SIGINT)
        self.say("ctrl_c")
        self._force(signal.SIGINT)

    def _force(self, signum):
        self.say("forcing")
        self.abort()
        self._actions.append(("cancel", int(signum)))

    def finish(self):
        """All tasks have ended and all output is written: queue the last words; returns the exit code."""
        if self._deaths and not self.aborted:
            self.say("force_terminated")
        return self.code
