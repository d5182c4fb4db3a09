"""srun at the head's supervisor: from its argv to a running step, and everything that passes between the step and the user meanwhile."""

import _signal as signal
import os
import time

from . import bcast as bcasts
from . import sattach, stdio, wire
from .places import Places
from .steps import Busy
from .stepsession import Session, limits_of

_HEEDS_INTERRUPT = 0.9  # seconds in which a task may die of Ctrl-C by itself: of such a step nobody says that it was cancelled
_LAST_WORDS = 10.0  # seconds for a client that we have signalled to tell of it
INPUT_WINDOW = 256 << 10  # bytes of standard input that the client may send ahead of the slowest reader


class Srun(Session):
    """One srun inside the allocation (or the one that made it)."""

    def __init__(self, sup, call):
        Session.__init__(self, sup, call)
        self.request = self.talk = self.step = self.plan = self.labels = None
        self._entry = self._tick = self._killed = None
        self._received = {}  # handle → bytes of input so far
        self._ends = set()  # handles at their end
        self._granted = {}
        self._immediate = None
        self._awaited = []  # signals that the client gets from us, in the order in which they were sent
        self._told = set()  # those of them that it has told of
        self._patience = None
        self._held = []  # what the step tells meanwhile, in order

    def begin(self):
        front = self.sup.front
        found = front.parse_step(self.sup.info, dict(self.call, options=self.options))
        if "read" in found:
            path = found["read"][0]

            def answer(errno, data):
                self.call.setdefault("files", {})[path] = (errno, data)
                self.begin()

            return self.read(path, answer)
        if "refuse" in found:
            refuse = found["refuse"]
            self.say(refuse["out"], 1)
            self.say(refuse["err"], 2)
            return self.exit(refuse["code"])
        self.request = found
        self.talk = front.talk(found, {"job": self.sup.info["job"], "kill_wait": self.sup.info.get("kill_wait", 30)})
        self.say(found["begin_text"], 2)
        self.send(wire.CATCH, bytes(front.CAUGHT))
        self._entry = self.sup.steps.create(found, self._decided)

    # --- the step's making

    def _decided(self, step, reason):
        self._in_turn(lambda: self._decide(step, reason))

    def _decide(self, step, reason):
        if self.ended:
            if step is not None:
                self.sup.steps.abandon(step)
            return
        if reason is Busy:
            self.talk.busy("Requested nodes are busy")
            self._act()
            if self._immediate is None and self.request.get("immediate"):
                self._immediate = self.sup.loop.call_later(self.request["immediate"], self._too_late)
            return
        self._stop(self._immediate)
        if step is None:
            self.talk.refuse(reason)
            self._act()
            return self.exit(self._error_code())
        self.step = step
        index = {rank: number for number, ranks in enumerate(step.layout["tasks"]) for rank in ranks}
        names = step.layout["nodes"]
        info = self.sup.info
        array = info.get("array") or {}
        fields = {
            "job": info["job"],
            "name": self.request["name"],
            "user": (info.get("owner") or info["user"])["name"],
            "step": step.number,
            "array_id": array.get("id"),
            "array_task": array.get("task"),
            "imitate": info.get("imitate", "22.05"),
        }
        self.plan = stdio.Plan(self.sup.front, self.request, fields, lambda rank: (names[index[rank]], index[rank]))
        if not self.direct:
            return self._open(list(self.plan.opens))  # who called from outside has had that done
        self.sup.files.before(names, lambda: self._open(list(self.plan.opens)))

    def _hook(self, name, then):
        """Run srun's own --prolog or --epilog on the client's side, then go on; one that cannot be run is told of, no more."""
        path = self.request.get(name)
        if path is None:
            return then()
        answers = []

        def answered(errno, data):
            answers.append(data)
            if errno:
                self.talk.say("prolog_denied", path=path, error=os.strerror(errno))
                self._act()
            if errno or len(answers) == 2:
                self.settled(number)
                then()

        env = b"".join(
            b"%s=%s\0" % (key.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            for key, value in self.call["env"].items()
        )
        program = path if "/" in path else "./" + path  # not by PATH
        number = self.ask(wire.SPAWN, wire.fields(program.encode("utf-8", "surrogateescape") + b"\0", env), answered, several=True)

    def _too_late(self):
        self.sup.steps.forget(self._entry)
        self._decided(None, "Requested nodes are busy")

    def _open(self, left):
        """Open the files of -i, -o and -e one after the other, then launch."""
        if self.ended:
            return
        if not left:
            return self._hook("prolog", self._send_program)
        handle, flags, path, name = left[0][:4]

        def opened(errno, _data):
            if self.ended:
                return
            if not errno:
                return self._open(left[1:])
            self.sup.steps.abandon(self.step)
            mode = getattr(self.plan, name)
            if mode.kind == stdio.FILES:
                self.talk.launch_failed(sorted(mode.paths), "Slurmd could not connect IO")
                self._act()
                return self.exit(0)
            self.talk.say("open_failed", stream=name, error=os.strerror(errno))
            self._act()
            self.exit(1)

        self.open(handle, flags, path, opened)

    def _send_program(self):
        """--bcast: the program to every node of the step first."""
        if self.ended:
            return
        argv, bcast = self.request["argv"], self.request.get("bcast")
        if bcast is None or self.request.get("programs"):
            return self._launch(lambda node: argv)
        folders = [] if "/" in argv[0] else self.call["env"].get("PATH", "").split(":")
        programs = [os.path.join(found or ".", argv[0]) for found in folders] or [argv[0]]
        folder = os.path.join(self.request["cwd"], bcast)
        name = "slurm_bcast_%s.%s_" % (self.sup.info["job"], self.step.number) if bcast in ("", ".") or bcast.endswith("/") else None

        def path(node):
            return os.path.normpath(folder if name is None else os.path.join(folder, name + node))

        def done(errno, said):
            if self.ended:
                return
            if not errno:
                return self._launch(lambda node: [path(node)] + argv[1:])
            if self.broadcast.source is None:
                self.say("srun: fatal: Can not execute %s\n" % argv[0], 2)
            else:
                source = os.path.join(self.call["cwd"], self.broadcast.source)
                self.say(said.replace("sbcast: ", "srun: ") + "srun: fatal: Failed to broadcast '%s'. Step launch aborted.\n" % source, 2)
            self.sup.steps.abandon(self.step)
            self.exit(1)

        self.broadcast = bcasts.Broadcast(self, programs, path, self.step.layout["nodes"], True, False, done, program=True)

    def _launch(self, argv):
        if self.ended:
            return
        request, step, meta = self.request, self.step, self.call["meta"]
        if request.get("label"):
            self.labels = stdio.Labels(request["ntasks"])
        pty = None
        if request.get("pty"):
            pty = [int(meta.get("rows") or 0), int(meta.get("cols") or 0)]
            self.send(wire.TTY, b"\x01")
        self.talk.created(step.number, step.layout)
        self._act()
        umask = int(meta.get("umask") or "022", 8)
        names = request.get("propagate")
        limits = {name: pair for name, pair in limits_of(meta).items() if names is None or name in names}
        describe = {
            "ntasks": request["ntasks"],
            "standalone": request["standalone"],
            "umask": umask,
            "verbose": request["verbose"],
            "set_env": request.get("set_env"),
            "bare_env": request.get("bare_env"),
            "pty": bool(pty),
            "gpus_per_task": request.get("gpus_per_task"),
            "origin": self.sup.software.name if self.direct else "",  # the site whose environment it has; "" the submit host's
            "exported": request.get("exported"),
            "cwd": request["cwd"],
            "mpi": request.get("mpi"),
        }
        sources = [] if pty else self.plan.sources()
        stdin = "null" if not sources else self.plan.stdin.rank if self.plan.stdin.kind == stdio.ONE else "all"
        step.listeners.append(self)
        self.sup.steps.launch(
            step,
            stdin,
            {
                "describe": describe,
                "umask": umask,
                "limits": limits,
                "pty": pty,
                "argv": argv,
                "host": meta.get("host", ""),
                "pid": int(meta.get("pid") or 0),
                "places": self.sup.places if self.direct else Places(self.options.get("at")),
            },
        )
        for handle, _ranks in [(0, None)] if pty else sources:
            self._received[handle] = 0
            self._granted[handle] = INPUT_WINDOW
            self.grant(handle, 0, INPUT_WINDOW)

    def _error_code(self):
        text = self.call["env"].get("SLURM_EXIT_ERROR", "")
        return int(text) if text.isdigit() else self.talk.code

    # --- signals that the run's end sends to the client

    def signalled(self, signums):
        """What srun says of its signals comes before what it says of the step's end, however slowly its process gets to run."""
        if self.talk is None or self.ended:
            return
        self._awaited += [signum for signum in signums if signum in self.sup.front.CAUGHT and signum not in self._awaited]
        if self._awaited and self._patience is None:
            self._patience = self.sup.loop.call_later(_LAST_WORDS, self._heard)

    def _in_turn(self, fn):
        """Call `fn()` when the client has told of all signals that we sent it."""
        if self._awaited:
            self._held.append(fn)
        else:
            fn()

    def _heard(self):
        """It has, or it takes too long. Two that come together may be told of in either order: what counts is how they were sent."""
        told = [signum for signum in self._awaited if signum in self._told]
        self._stop(self._patience)
        held, self._held = self._held, []
        self._awaited, self._told, self._patience = [], set(), None
        for signum in told:
            self._signal(signum)
        for fn in held:
            fn()

    # --- from the step

    def started(self, node, ranks):
        self.talk.tasks_started(node, ranks)
        self._act()

    def output(self, _node, rank, fd, data):
        handle = self.plan.handle(rank, fd)
        if handle is not None and not self.ended:
            self.say(self.labels.mark(rank, fd, data) if self.labels else data, handle)

    def room(self):
        return self.ended or self.has_room()

    def drained(self):
        if self.step is not None:
            self.sup.steps.room(self.step)

    def took(self):
        """Some node has taken more of the input: let more come."""
        taken = self.sup.steps.input_taken(self.step)
        if taken is None or self.ended:
            return
        several = len(self._received) > 1
        if several and taken < sum(self._received.values()):
            return  # several files: their shares are not told apart, so wait for all that was sent
        for handle, received in self._received.items():
            upto = (received if several else taken) + INPUT_WINDOW
            if handle not in self._ends and upto - self._granted[handle] >= INPUT_WINDOW // 4:
                self._granted[handle] = upto
                self.grant(handle, received if several else taken, upto)

    def exited(self, node, ranks, status):
        self._in_turn(lambda: self._exited(node, ranks, status))

    def _exited(self, node, ranks, status):
        self.talk.exited(node, ranks, status, self.sup.loop.now())
        self._act()
        if self.talk.deadline is not None and self._tick is None:
            self._tick = self.sup.loop.call_later(max(self.talk.deadline - self.sup.loop.now(), 0), self._ticked)

    def node_failed(self, node):
        self.talk.node_failed(node)
        self._act()

    def _ticked(self):
        self.talk.tick(self.sup.loop.now())
        self._act()

    def aborted(self, why):
        """The step is being ended."""
        self._in_turn(lambda: self._aborted(why))

    def _aborted(self, why):
        for node in self.sup.ending.failed if why == "node_fail" else ():
            self.talk.node_failed(node)
        if why != "bad_exit":
            self.talk.abort()
            self._act()
        if why == "srun" and self.talk.interrupted_out:
            self._killed = self.sup.loop.call_later(_HEEDS_INTERRUPT, lambda: self._cancelled(""))
        else:
            self._cancelled({"time_limit": "time_limit", "requeue": "requeue", "preempt": "preempt", "node_fail": "node_fail"}.get(why, ""))

    def _cancelled(self, kind):
        """slurmstepd's word, if tasks are left to be ended."""
        node = self.step.layout["nodes"][0]
        if not self.ended and len(self.talk.status) < self.request["ntasks"]:
            fields = {"job": self.sup.info["job"], "step": self.step.number, "node": node, "why": kind, "time": time.time()}
            self.say(self.sup.front.notice("step_cancelled", fields), 2)

    def finished(self):
        self._in_turn(self._finished)

    def _finished(self):
        self._stop(self._tick)
        self._stop(self._killed)

        def last():
            code = self.talk.finish()
            self._act()
            self.exit(code)

        if not self.direct:
            return self._hook("epilog", last)
        self.sup.files.after(self.step.layout["nodes"], lambda: self._hook("epilog", last))

    # --- from the client

    def input(self, handle, offset, data):
        if handle == bcasts.HANDLE and self.broadcast is not None:
            return self.broadcast.input(offset, data)
        known = self._received.get(handle)
        if known is None or handle in self._ends or self.step is None:
            return
        if offset < known:
            if not data or offset + len(data) <= known:
                return  # said again after a broken connection
            data = data[known - offset :]
        ranks = None
        if not self.request.get("pty"):
            ranks = dict(self.plan.sources()).get(handle)
        self._received[handle] = known + len(data)
        if not data:
            self._ends.add(handle)
        self.sup.steps.stdin(self.step, ranks, data, eof=not data)

    def signal(self, signum):
        if self.talk is None:
            return self.exit(128 + signum)
        if signum not in self._awaited:
            return self._signal(signum)
        self._told.add(signum)
        if len(self._told) == len(self._awaited):
            self._heard()

    def _signal(self, signum):
        self.talk.signal(signum, self.sup.loop.now())
        waiting = self.step is None
        self._act()
        if waiting and self.talk.code:
            self.sup.steps.forget(self._entry)
            self.exit(self.talk.code)

    def window(self, rows, cols):
        if self.step is not None:
            self.sup.steps.window(self.step, rows, cols)

    def client_gone(self):
        self._stop(self._tick)
        self._stop(self._killed)
        self._stop(self._immediate)
        self._stop(self._patience)
        self._awaited, self._held = [], []
        if self._entry is not None:
            self.sup.steps.forget(self._entry)
        if self.step is None:
            return
        if self in self.step.listeners:
            self.step.listeners.remove(self)
            self.sup.steps.cancel(self.step, signal.SIGKILL, "client")
            self.sup.steps.room(self.step)
        elif self.step.number in self.sup.steps.steps:
            self.sup.steps.abandon(self.step)

    def _act(self):
        for kind, value in self.talk.actions():
            if kind == "err":
                self.say(value, 2)
            elif self.step is not None and self.step.number in self.sup.steps.steps:
                if kind == "signal":
                    self.sup.steps.signal(self.step, value)
                else:
                    self.sup.steps.cancel(self.step, value, "bad_exit" if self.talk.killing and not self.talk.aborted else "srun")

    @staticmethod
    def _stop(timer):
        if timer is not None:
            timer.cancel()


def job_of(call):
    """The job that a call (wire.parse_call) names by --jobid, by its operand or by variable; None if it names none."""
    argv = [word.decode("utf-8", "surrogateescape") for word in call["argv"]]
    if call["name"] == "srun":
        for at, word in enumerate(argv):
            if not word.startswith("-") or word == "--":
                break
            if word.startswith("--jobid"):
                return word.partition("=")[2] or (argv[at + 1] if at + 1 < len(argv) else None)
    elif call["name"] == "sbcast":
        for at, word in enumerate(argv):
            if word.startswith("--jobid=") or (word.startswith("-j") and len(word) > 2):
                return word.partition("=")[2].split(".")[0] if word.startswith("--") else word[2:].split(".")[0]
            if word in ("-j", "--jobid") and at + 1 < len(argv):
                return argv[at + 1].split(".")[0]
    else:
        for word in argv:
            if not word.startswith("-"):
                return word.split(".")[0]
    value = call["env"].get(b"SLURM_JOB_ID") or call["env"].get(b"SLURM_JOBID")
    return value.decode("ascii", "replace") if value else None


CLASSES = {"srun": Srun, "sattach": sattach.Sattach, "sbcast": bcasts.Sbcast}
