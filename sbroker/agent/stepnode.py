"""The tasks of a run's steps on one node: started, fed, read and watched by that node's supervisor, on the head's orders.

The head speaks to its own node in the same frames as to the others; `Steps` only passes them on without a wire. Orders from the head:

    step_launch {step, ranks, …} body: environment    start the tasks (fields: see `NodeStep`)
    step_in {step, ranks, eof} body: data             standard input of these ranks (null: of all)
    step_credit {step, fd, bytes}                     so much of that output has been taken
    step_signal {step, signum}, step_cancel {step, signum}, step_window {step, rows, cols}
    step_space {step, kind, …} body: pairs            of the step's key-value space (pmi/space.py)

and what a node tells the head:

    step_started {step, ranks}, step_failed {step, ranks, error}
    step_out {step, rank, fd} body: data              whole lines, unless unbuffered or a terminal
    step_took {step, bytes}                           standard input that every reader here has taken, in all
    step_exit {step, ranks, status}                   wait status; tasks that ended alike, together
    step_pmi {step, kind, …} body: pairs              of the step's key-value space (pmi/space.py)
    step_done {step, usage}                           nothing of the step is left here
"""

import _signal as signal
import _struct as struct
import errno
import fcntl
import os
import termios

from . import commands, procs, stephooks, tasks
from .loop import Stream
from .stdio import LONG_LINE

WINDOW = 256 << 10  # bytes of one output (all ranks of a node) that the head has not taken
_GATHER = 0.02  # seconds in which tasks that end alike are told of together
_AFTER_INTERRUPT = 1.0  # seconds
_LINGER = 2.0  # seconds after the last task's end for its output to end, too


class Output:
    """One output (fd 1 or 2) of all of a step's tasks on this node: its credit holds back every one of them."""

    def __init__(self, fd, send):
        self.fd, self._send = fd, send
        self.out = 0  # sent and not credited
        self.streams = set()

    def send(self, rank, data):
        self.out += len(data)
        self._send(rank, self.fd, data)
        if self.out >= WINDOW:
            for stream in self.streams:
                stream.pause()

    def credit(self, count):
        was_full = self.out >= WINDOW
        self.out -= count
        if was_full and self.out < WINDOW:
            for stream in list(self.streams):
                if self.out < WINDOW:
                    stream.resume()


class Lines:
    """Cuts a stream into whole lines; the rest waits, but not longer than `LONG_LINE` bytes."""

    def __init__(self, emit):
        self._emit, self._rest = emit, b""

    def feed(self, data):
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONG_LINE:
            end = len(data)
        self._rest = data[end:]
        if end:
            self._emit(data[:end])

    def flush(self):
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)


class Task:
    """One rank. Its process and the streams that are still open."""

    def __init__(self, rank):
        self.rank = rank
        self.process = None
        self.stdin = None  # Stream, or None when it has none any more
        self.streams = []
        self.kept = None  # its outputs, held for --task-epilog
        self.ended = False


class NodeStep:
    """One step here.

    fields of the launch order: step, ranks, argv, programs ({rank: argv} or null), cwd, umask, limits, stdin ("null", "all" or a rank
    that reads), unbuffered, pty (rows, cols of the terminal, or null), describe (the step as NodeFront.step_environ takes it), mem (MiB,
    0 none), prolog, epilog. env: what step_environ starts from.
    """

    def __init__(self, sup, tell, fields, env):
        if not sup.is_head:
            sup.placed(fields.get("at"))
        places = sup.places
        programs = {rank: places.words_there(argv) for rank, argv in fields["programs"].items()} if fields.get("programs") else None
        describe = dict(fields["describe"], cwd=places.there(fields["cwd"]))
        fields = dict(fields, cwd=describe["cwd"], argv=places.words_there(fields["argv"]), programs=programs, describe=describe)
        self.sup, self.tell, self.fields = sup, tell, fields
        self.step = fields["step"]
        self.outputs = {1: Output(1, self.output), 2: Output(2, self.output)}
        self.tasks = {rank: Task(rank) for rank in fields["ranks"]}
        self.pids = set()
        self.master = None  # Stream of the pseudo-terminal
        self._received = self._told = 0
        self._gathered = []  # [(rank, status)] not told yet
        self._gathering = self._linger = self._killing = None
        self._started = []  # ranks not told of yet
        self.usage = {}
        self.done = self._cancelled = False
        self._env = places.environ_there(env)
        self._held = None  # a list while the site's setup runs: standard input that came meanwhile
        self._pmi = None
        if fields["describe"].get("mpi", "none") != "none":
            from .pmi import node as pmi  # not at the agent's start

            if fields["describe"]["mpi"] in pmi.KINDS:
                self._pmi = pmi.NodePmi(self)

    def launch(self):
        """Start the tasks, after what the node's site has for those that come from elsewhere."""
        sup, describe = self.sup, self.fields["describe"]
        base = sup.front.step_environ(sup.info, describe, sup.node, self._env)
        if not describe.get("origin"):
            sup.places.with_software(base)
        software = sup.software
        if not software.wanted() or describe.get("origin") == software.name:
            return self._launch(base)

        first = self.fields["ranks"][0]
        self._held = []

        def ready(error):
            words.drain()
            held, self._held = self._held, None
            if error is not None:
                self.output(first, 2, sup.front.notice("site", {"node": sup.node, "error": error}))
            if error is not None or self._cancelled:
                return self._refuse()
            self._launch(software.apply(base, describe.get("exported") or ()))
            for header, body in held:
                self.stdin(header, body)

        low, high = os.pipe()  # what the setup says goes where the first task's standard error does
        words = Stream(sup.loop, low, lambda data: self.outputs[2].send(first, data), lambda error: None)
        try:
            software.prepare(base, self.fields["cwd"], high, ready)
        finally:
            os.close(high)

    def _refuse(self):
        """No task of the step can start here."""
        for task in self.tasks.values():
            self._not_started(task, None)
        self._progress()

    def _launch(self, base):
        sup = self.sup
        base["SBROKER_SOCKET"] = sup.calls.path if sup.is_head else base.get("SBROKER_SOCKET", "")
        if not sup.is_head:
            base.pop("SBROKER_SOCKET")
        if base.get("PATH") and (sup.is_head or not sup.software.twin):  # without one nothing is looked for, as with Slurm
            argv = self.fields["argv"]
            commands.offer(sup, base, os.path.basename(argv[0]) if argv and self.fields.get("pty") else "")
        if self.fields.get("mem"):
            sup.memory_limit(self.step, self.fields["mem"] << 20)
        for rank in self.fields["ranks"]:
            self._start(rank, base)
        self._env = None
        self._tell_started()
        self._progress()

    def _start(self, rank, base):
        sup, task = self.sup, self.tasks[rank]
        env = sup.front.task_environ(sup.info, self.fields["describe"], sup.node, rank, base)
        if not self.fields.get("prolog"):
            return self._execute(task, env)

        def then(changed, out, err):
            if changed is None:
                self.output(rank, 2, err)
                self._not_started(task, None)
            else:
                if out:
                    self.outputs[1].send(rank, out)
                self._execute(task, changed)
            self._tell_started()
            self._progress()

        try:
            stephooks.prolog(self, self.fields["prolog"], env, self.fields["cwd"], then)
        except (OSError, RuntimeError) as error:
            self._not_started(task, error)

    def _tell_started(self):
        started, self._started = self._started, []
        if started:
            self.tell({"op": "step_started", "ranks": started})

    def _execute(self, task, env):
        sup, rank = self.sup, task.rank
        programs = self.fields.get("programs")
        argv = programs[str(rank)] if programs else self.fields["argv"]
        cwd = self.fields["cwd"]
        path = resolve(argv[0], env, cwd) if argv else ""
        try:
            fds, terminal = self._descriptors(rank)
        except OSError as error:
            return self._not_started(task, error)
        keep = ()
        try:
            if self._pmi is not None:
                keep = (self._pmi.join(rank, env),)
        except OSError as error:
            self._close(fds)
            return self._not_started(task, error)
        times = 2 if rank == self.fields["ranks"][0] else 1  # Slurm says it once for its own process and once for each task
        plan = tasks.Plan(
            [path] + argv[1:],
            env,
            cwd,
            fds,
            path=path,
            tty=terminal is not None,
            session=True,
            umask=self.fields.get("umask"),
            limits=self.fields.get("limits") if sup.software.twin else None,
            memory=0,
            step=self.step,
            pid_names=("SLURM_TASK_PID",),
            chdir_failed=lambda error: times * sup.front.notice("chdir", {"node": sup.node, "path": cwd, "error": error.strerror}),
            exec_failed=lambda error: sup.front.notice(
                "execve" if argv else "no_program", {"node": sup.node, "path": path, "error": error.strerror}
            ),
            keep=keep,
        )
        try:
            task.process = sup.spawn(plan, lambda process: self._exited(task, process, env))
            if self.fields.get("epilog"):
                task.kept = (os.dup(fds[1]), os.dup(fds[2]))
        except (OSError, RuntimeError) as error:
            return self._not_started(task, error)
        finally:
            self._close(fds + keep)
        self.pids.add(task.process.pid)
        self._started.append(rank)

    def _close(self, fds):
        for fd in set(fds):
            os.close(fd)

    def _not_started(self, task, error):
        task.ended = True
        for stream in task.streams + [task.stdin]:
            if stream is not None:
                stream.close()
        task.streams, task.stdin = [], None
        self._gathered.append((task.rank, 1 << 8))
        if error is not None:
            text = error.strerror if isinstance(error, OSError) else str(error)
            self.output(task.rank, 2, ("slurmstepd-%s: error: task %d: %s\n" % (self.sup.node, task.rank, text)).encode())

    # --- streams

    def _descriptors(self, rank):
        """((0, 1, 2) for the task, the terminal's Stream or None). The caller closes the three."""
        task, pty = self.tasks[rank], self.fields.get("pty")
        if pty and rank == 0:
            return self._terminal(task, pty)
        if pty:
            nothing = os.open(os.devnull, os.O_RDWR)  # only the first task has the terminal; nobody sees the others
            return (nothing, nothing, nothing), None
        made = []
        try:
            reads = self.fields["stdin"] == "all" or self.fields["stdin"] == rank
            if reads:
                low, high = os.pipe()
                made += [low, high]
            else:
                low, high = os.open(os.devnull, os.O_RDONLY), None
                made.append(low)
            fds, mine = [low], []
            for _ in (1, 2):
                ours, theirs = os.pipe()
                made += [ours, theirs]
                mine.append(ours)
                fds.append(theirs)
        except OSError:
            self._close(made)
            raise
        if high is not None:
            task.stdin = Stream(self.sup.loop, high)
            task.stdin.on_drain = self._took
            task.stdin.on_close = lambda error: self._stdin_gone(task)
        for number, ours in enumerate(mine, 1):
            self._read(task, number, ours)
        return tuple(fds), None

    def _terminal(self, task, pty):
        master, slave = os.openpty()
        set_window(master, *pty)
        stream = Stream(self.sup.loop, master, lambda data: self.outputs[1].send(0, data))
        stream.on_close = lambda error: self._eof(task, stream, None)
        self.master = stream
        task.streams.append(stream)
        self.outputs[1].streams.add(stream)
        stream.on_drain = self._took
        return (slave, slave, slave), stream

    def _read(self, task, number, fd):
        output = self.outputs[number]
        lines = None if self.fields.get("unbuffered") else Lines(lambda data: output.send(task.rank, data))
        feed = lines.feed if lines else lambda data: output.send(task.rank, data)
        stream = Stream(self.sup.loop, fd, feed)
        stream.on_close = lambda error: self._eof(task, stream, lines)
        output.streams.add(stream)
        if output.out >= WINDOW:
            stream.pause()
        task.streams.append(stream)

    def output(self, rank, fd, data):
        self.tell({"op": "step_out", "rank": rank, "fd": fd}, data)

    def _eof(self, task, stream, lines):
        if lines is not None:
            lines.flush()
        for output in self.outputs.values():
            output.streams.discard(stream)
        if stream in task.streams:
            task.streams.remove(stream)
        self._progress()

    def _stdin_gone(self, task):
        task.stdin = None
        self._took()

    # --- orders

    def stdin(self, header, body):
        """Data for the readers among `ranks` (None: all of them)."""
        if self._held is not None:
            return self._held.append((header, body))
        ranks = header.get("ranks")
        self._received += len(body)
        if self.master is not None and not self.master.closed:
            self.master.write(body)
        for rank, task in self.tasks.items():
            if task.stdin is None or (ranks is not None and rank not in ranks):
                continue
            if body:
                task.stdin.write(body)
            if header.get("eof"):
                task.stdin.finish()
                task.stdin = None if task.stdin.closed else task.stdin
        self._took()

    def _took(self):
        waiting = [task.stdin.pending for task in self.tasks.values() if task.stdin is not None]
        if self.master is not None:
            waiting.append(self.master.pending)
        taken = self._received - max(waiting or [0])
        if taken > self._told:
            self._told = taken
            self.tell({"op": "step_took", "bytes": taken})

    def credit(self, header):
        self.outputs[header["fd"]].credit(header["bytes"])

    def space(self, header, body):
        """A word from the head for the step's key-value space."""
        if self._pmi is not None:
            self._pmi.told(header, body)

    def signal(self, signum):
        for task in self.tasks.values():
            if task.process is not None:
                task.process.kill(signum)

    def cancel(self, signum):
        """End it: `signum` (0: it was sent already), and SIGKILL after KillWait; after SIGINT, which the user sent twice, much sooner."""
        self._cancelled = True
        self.signal(signal.SIGCONT)
        if signum:
            self.signal(signum)
        if signum != signal.SIGKILL and self._killing is None:
            patience = _AFTER_INTERRUPT if signum == signal.SIGINT else self.sup.info.get("kill_wait", 30)
            self._killing = self.sup.loop.call_later(patience, lambda: self.signal(signal.SIGKILL))

    def window(self, header):
        if self._held is not None and self.fields.get("pty"):
            self.fields["pty"] = [header["rows"], header["cols"]]
        if self.master is not None and not self.master.closed:
            set_window(self.master.fd, header["rows"], header["cols"])

    # --- ends

    def _exited(self, task, process, env):
        if task.kept is not None:
            kept, task.kept = task.kept, None
            return stephooks.epilog(self, self.fields["epilog"], env, self.fields["cwd"], kept, lambda: self._exited(task, process, env))
        task.ended = True
        for key, value in process.usage.items():
            self.usage[key] = max(self.usage.get(key, 0), value) if key == "max_rss_kib" else self.usage.get(key, 0) + value
        if task.stdin is not None:
            task.stdin.close()
            task.stdin = None
            self._took()
        self._gathered.append((task.rank, process.status))
        self._progress()

    def _progress(self):
        """Tell what has ended, and end what is left of a step whose tasks have."""
        if self.done:
            return
        live = [task for task in self.tasks.values() if not task.ended]
        if live:
            if self._gathered and self._gathering is None:
                self._gathering = self.sup.loop.call_later(_GATHER, self._tell_exits)
            return
        if any(task.streams for task in self.tasks.values()):
            if self._linger is None:
                self._kill_leftovers()
                self._linger = self.sup.loop.call_later(_LINGER, self._cut)
            return
        self._kill_leftovers()
        self._tell_exits()
        self.done = True
        if self._pmi is not None:
            self._pmi.close()
        for timer in (self._linger, self._killing):
            if timer is not None:
                timer.cancel()
        self.sup.memory_limit(self.step, 0)
        self.tell({"op": "step_done", "usage": self.usage})

    def _tell_exits(self):
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        gathered, self._gathered = self._gathered, []
        alike: dict = {}
        for rank, status in sorted(gathered):
            alike.setdefault(status, []).append(rank)
        for status, ranks in sorted(alike.items(), key=lambda item: item[1]):
            self.tell({"op": "step_exit", "ranks": ranks, "status": status})

    def _kill_leftovers(self):
        """What the tasks left running: it now hangs below this process, in one of the tasks' sessions."""
        procs.signal_all([pid for pid in procs.descendants(os.getpid()) if session_of(pid) in self.pids], signal.SIGKILL)

    def _cut(self):
        """Somebody outside the step still holds its pipes: what is unread is lost, as with Slurm."""
        for task in self.tasks.values():
            for stream in list(task.streams):
                stream.close()
                self._eof(task, stream, None)


def resolve(name, env, cwd):
    """The file that a task executes: a name without a slash by the PATH of its environment (no PATH, no search), relative ones from cwd.
    A name that is nowhere stays as it is: exec fails on it and says so."""
    if "/" in name:
        return name if name.startswith("/") else cwd.rstrip("/") + "/" + name
    for folder in env["PATH"].split(":") if env.get("PATH") else ():
        path = os.path.join(cwd, folder or ".", name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return name


def session_of(pid):
    """Session id of a process, 0 if it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def set_window(fd, rows, cols):
    """Size of a terminal, 0 is unknown."""
    try:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOTTY):
            raise
