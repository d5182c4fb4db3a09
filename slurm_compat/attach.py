"""The thin client's longer conversations: standard input, signals, the terminal, a command in the foreground, another party (PHASE).

Loaded by client.py when the first such op comes; from there this loop carries out all ops, still in order. Python 3.6+, the standard
library. It waits in one place (`poll`), so that a pipe nobody reads does not keep a signal from being told.
"""

import _signal
import posix
import select
import termios

CALL, REPLY, INPUT, SIGNAL, WINDOW, ACK = b"CrisWa"
OUT, READ, OPEN, CLOSE, GRANT, SPAWN, KILL, CATCH, TTY, PHASE, EXIT, DIE = b"ORFKIPGSTHXZ"

CHUNK = 4096  # what a pipe takes without blocking once poll says that it is writable
QUEUE = 1 << 20  # bytes of ops not yet carried out, beyond which no more is read
READ_SIZE = 1 << 16
IN, WRITABLE = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL, select.POLLOUT
ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


def number(payload, at=0, size=4):
    return int.from_bytes(payload[at : at + size], "big")


def frame(op, payload):
    return (len(payload) + 1).to_bytes(4, "big") + bytes((op,)) + payload


class Input:
    """What is read of one handle and not yet acknowledged. Offsets are bytes from where it stood at the first GRANT."""

    def __init__(self, handle, keep):
        self.handle, self.keep = handle, keep  # keep: all of it, for a party that may have to begin again
        self.base, self.unacked, self.upto, self.ended = 0, bytearray(), 0, False
        self.repeat = False  # at the next GRANT

    @property
    def offset(self):
        return self.base + len(self.unacked)

    def grant(self, acked, upto):
        if acked > self.base and not self.keep:
            del self.unacked[: acked - self.base]
            self.base = acked
        self.upto = max(self.upto, upto)

    def frames(self):
        """What is not acknowledged, once more."""
        self.repeat = False
        starts = range(0, len(self.unacked), READ_SIZE)
        pieces = [self.frame(self.base + at, bytes(self.unacked[at : at + READ_SIZE])) for at in starts]
        return b"".join(pieces + ([self.frame(self.offset, b"")] if self.ended else []))

    def frame(self, offset, data):
        return frame(INPUT, self.handle.to_bytes(4, "big") + offset.to_bytes(8, "big") + data)


class Terminal:
    """Raw mode of the user's terminal, and back."""

    def __init__(self):
        self.fd = next((fd for fd in (0, 1, 2) if posix.isatty(fd)), None)
        self.saved, self.raw = None, False

    def set_raw(self):
        if self.fd is None:
            return
        if self.saved is None:
            self.saved = termios.tcgetattr(self.fd)
        iflag, oflag, cflag, lflag, ispeed, ospeed, chars = termios.tcgetattr(self.fd)
        t = termios
        iflag &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
        oflag &= ~t.OPOST
        lflag &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
        cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
        chars[t.VMIN], chars[t.VTIME] = 1, 0
        termios.tcsetattr(self.fd, t.TCSADRAIN, [iflag, oflag, cflag, lflag, ispeed, ospeed, chars])
        self.raw = True

    def restore(self):
        if self.raw:
            self.raw = False
            try:
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self.saved)
            except termios.error:
                return  # the terminal itself is gone: nothing to give back

    def size(self):
        """(rows, columns), (0, 0) without a terminal."""
        if self.fd is None:
            return 0, 0
        columns, rows = posix.get_terminal_size(self.fd)
        return rows, columns


class Spawned:
    """A command in the foreground of the terminal, in a process group of its own where there is one."""

    def __init__(self, argv, env):
        self.pid, self.status, self.error = 0, None, 0
        self.tty = 0 if posix.isatty(0) and posix.tcgetpgrp(0) == posix.getpgrp() else None
        read, write = posix.pipe2(posix.O_CLOEXEC)
        pid = posix.fork()
        if pid == 0:
            self._become(argv, env, write)
        posix.close(write)
        error = posix.read(read, 4)
        posix.close(read)
        if error:
            posix.waitpid(pid, 0)
            self.error = number(error)
            self.foreground(posix.getpgrp())
        else:
            self.pid = pid

    def _become(self, argv, env, write):
        """In the child: run the command, or tell the parent why not. Never returns."""
        try:
            if self.tty is not None:
                posix.setpgid(0, 0)
                self.foreground(posix.getpid())
            posix.write(write, execute(argv, env).to_bytes(4, "big"))
        finally:
            posix._exit(127)

    def foreground(self, group):
        if self.tty is not None:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGTTOU])
            try:
                posix.tcsetpgrp(self.tty, group)
            except OSError:
                return  # the terminal hung up
            finally:
                _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGTTOU])

    def reap(self):
        """Look whether it ended; True once. A command that was stopped stops us too, as the shell expects of a pipeline."""
        if not self.pid or self.status is not None:
            return False
        pid, status = posix.waitpid(self.pid, posix.WNOHANG | posix.WUNTRACED)
        if not pid:
            return False
        if posix.WIFSTOPPED(status):
            self.foreground(posix.getpgrp())
            posix.kill(0 if self.tty is not None else posix.getpid(), _signal.SIGSTOP)
            self.foreground(self.pid)
            self.kill(_signal.SIGCONT)
            return False
        self.status = status
        self.foreground(posix.getpgrp())
        return True

    def kill(self, signum):
        if self.pid and self.status is None:
            posix.kill(-self.pid if self.tty is not None else self.pid, signum)


def execute(argv, env):
    """execvpe(3); returns only on failure, the errno."""
    names = [argv[0]] if b"/" in argv[0] else [folder + b"/" + argv[0] for folder in env.get(b"PATH", b"/usr/bin:/bin").split(b":")]
    denied = 0
    for name in names:
        try:
            posix.execve(name, argv, env)
        except OSError as error:
            if error.errno == 8:  # ENOEXEC: a script without #!
                try:
                    posix.execve(b"/bin/sh", [b"/bin/sh", name] + argv[1:], env)
                except OSError as inner:
                    return inner.errno
            if error.errno == 13:
                denied = 13
            elif error.errno not in (2, 20):  # not there, or not a folder: look further
                return error.errno
    return denied or 2


class Session:
    def __init__(self, call):
        self.call = call
        self.ops, self.queued, self.done, self.acked = [], 0, 0, 0
        self.before = 0  # how many of the last ops came before the PHASE that has us back
        self.inputs = {}
        self.terminal, self.spawned, self.spawn_number = Terminal(), None, b""
        self.caught, self.pending = set(), []
        self.told = 0  # signals kept while nobody was there to be told
        self.connected, self.breaks = True, 0
        self.wake, wake = posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)
        _signal.set_wakeup_fd(wake)
        call.pause, call.alive, call.leave = self.pause, self.alive, self.terminal.restore

    # what reach.py asks

    def alive(self):
        return bool(self.spawned and self.spawned.pid and self.spawned.status is None)

    def pause(self, seconds):
        poll, readers = select.poll(), self.readers()
        for fd in [self.wake, *readers]:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(int(seconds * 1000)):
            if fd == self.wake:
                self.signals()
            else:
                self.read(fd, readers[fd])

    # the loop

    def run(self, op, payload):
        self.push(op, payload)
        while True:
            self.take()
            code = self.carry_out()
            if code is not None:
                self.terminal.restore()
                return code
            if self.call.phase and self.connected and self.done != self.acked:
                self.acked = self.done
                self.call.send(frame(ACK, self.done.to_bytes(8, "big")))
            self.wait()

    def push(self, op, payload):
        self.ops.append((op, payload))
        self.queued += len(payload)
        self.before += self.call.returning is not None

    def take(self):
        """Ops from the buffer, as far as a PHASE: what follows it counts anew."""
        while self.queued < QUEUE and not (self.ops and self.ops[-1][0] in (PHASE, EXIT, DIE)):
            op = self.call.ready()
            if op is None:
                return
            self.push(*op)

    def carry_out(self):
        """Ops in order until one has to wait; the exit code when the last one came."""
        while self.ops:
            op, payload = self.ops[0]
            if op == OUT:
                if not self.write(payload):
                    return None
            elif op == EXIT:
                return number(payload) & 255
            elif op == DIE:
                self.die(payload[0])
            elif op in (READ, OPEN, CLOSE):
                self.call.file(op, payload)
            else:
                self.act(op, payload)
            self.ops.pop(0)
            self.queued -= len(payload)
            self.before = min(self.before, len(self.ops))
            self.done += op != PHASE
            if not self.ops:
                self.take()
        return None

    def act(self, op, payload):
        call = self.call
        if op == GRANT:
            handle = number(payload)
            source = self.inputs.setdefault(handle, Input(handle, call.phase == 0))
            source.grant(number(payload, 4, 8), number(payload, 12, 8))
            if source.repeat:
                call.send(source.frames())
        elif op == SPAWN:
            self.spawn(payload)
        elif op == KILL:
            if self.spawned:
                self.spawned.kill(payload[0])
        elif op == CATCH:
            for signum in payload:
                self.caught.add(signum)
                self.handle(signum)
        elif op == TTY:
            self.raw(payload[0] == 1)
        elif op == PHASE and call.returning is not None and payload[0] == call.phase:
            call.received = self.done = call.returning
            call.returning = None
            self.back()
        elif op == PHASE:
            call.phase, call.received, call.returning, call.replies = payload[0], 0, None, []
            self.done = self.acked = 0
            self.inputs = {}
            self.connected = True

    def write(self, payload):
        """OUT: one piece of it; True when all is written. The rest takes its place in the queue."""
        call, handle = self.call, number(payload)
        if call.partial is None:
            call.partial = memoryview(call.fresh(handle, payload[4:]))
        fd = call.fds.get(handle)
        try:
            while call.partial:
                poll = select.poll()
                poll.register(fd, WRITABLE)
                if not poll.poll(0):
                    return False
                call.partial = call.partial[posix.write(fd, call.partial[:CHUNK]) :]
        except BlockingIOError:
            return False
        except OSError as error:
            call.reaching()["not_written"](call, handle, error)
        call.partial = None
        return True

    def wait(self):
        call, poll = self.call, select.poll()
        self.take()  # what has come is not forgotten with a connection that is found to have ended
        poll.register(self.wake, select.POLLIN)
        if self.queued < QUEUE and not (self.ops and self.ops[-1][0] in (PHASE, EXIT, DIE)):  # nothing follows the last op but the end
            poll.register(call.sock.fileno(), select.POLLIN)
        if call.partial is not None:
            poll.register(call.fds[number(self.ops[0][1])], WRITABLE)
        readers = self.readers()
        for fd in readers:
            poll.register(fd, select.POLLIN)
        ready = poll.poll()
        for fd, _ in ready:
            if fd == self.wake:
                self.signals()
            elif fd in readers:
                self.read(fd, readers[fd])
        if any(fd == call.sock.fileno() for fd, _ in ready) and not call.fill():
            self.broken()

    def broken(self):
        """The connection ended before the call did: ask again. A later phase has us back when PHASE comes, phase 0 begins anew."""
        call, self.connected, self.breaks = self.call, False, 0
        if call.phase:
            del self.ops[len(self.ops) - self.before :]
            self.before = 0
            if call.returning is None:
                call.returning = call.received
            call.received = call.returning
        else:  # only what is half written is finished
            self.ops = self.ops[:1] if call.partial is not None else []
            for source in self.inputs.values():
                source.repeat, source.upto = True, 0
        self.queued = sum(len(payload) for _, payload in self.ops)
        call.again()
        if not call.phase:
            self.back()

    def back(self):
        """Say again what may have been lost, and what happened meanwhile."""
        call, self.connected, self.told = self.call, True, 0
        again = call.replies + self.pending if call.phase else self.pending
        self.pending = []
        if self.terminal.raw:
            again.append(self.window())
        if call.phase:
            again += [source.frames() for source in self.inputs.values()]
        call.send(b"".join(again))

    # standard input

    def readers(self):
        """Descriptor → Input of what may be read now. From a raw terminal also while nobody is there: see `read`."""
        if not self.connected and not self.terminal.raw:
            return {}
        fds = self.call.fds
        return {fds[handle]: source for handle, source in self.inputs.items() if not source.ended and source.offset < source.upto and handle in fds}

    def read(self, fd, source):
        try:
            data = posix.read(fd, min(READ_SIZE, source.upto - source.offset))
        except BlockingIOError:
            return
        except OSError:  # a terminal that hung up: no more input, as read(2) would say on the next try
            data = b""
        offset = source.offset
        source.unacked += data
        source.ended = not data
        if self.connected:
            self.call.send(source.frame(offset, data))
        elif data != b"\x03":  # kept until somebody is there
            self.breaks = 0
        else:  # typed, not pasted: a raw terminal has no other way out
            self.breaks += 1
            if self.breaks > 1:
                self.die(_signal.SIGINT)
            posix.write(2, ("\r\n%s: nobody answers at the moment; Ctrl-C once more leaves\r\n" % self.call.name).encode())

    # signals

    def handle(self, signum):
        try:
            _signal.signal(signum, lambda *_: None)  # the wake-up descriptor carries it
        except (OSError, ValueError):
            return  # SIGKILL, SIGSTOP and numbers that are none cannot be caught: they act as they are

    def signals(self):
        for signum in posix.read(self.wake, 512):
            if signum == _signal.SIGCHLD and self.spawned and self.spawned.reap():
                self.call.reply(self.spawn_number, 0, self.spawned.status.to_bytes(4, "big"))
            if signum == _signal.SIGWINCH and self.terminal.raw:
                self.tell(self.window())
            elif signum == _signal.SIGCONT and self.terminal.raw:
                self.terminal.set_raw()
                self.tell(self.window())
            if signum in self.caught:
                if not self.connected:
                    self.told += 1
                    if self.told > 1:  # asked twice while nobody could be told
                        self.die(signum)
                self.tell(frame(SIGNAL, bytes((signum,))))
            elif signum in ENDING:
                self.die(signum)

    def tell(self, data):
        if self.connected:
            self.call.send(data)
        else:
            self.pending.append(data)

    def die(self, signum):
        self.terminal.restore()
        if signum not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(signum, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [signum])
        posix.kill(posix.getpid(), signum)
        posix._exit(128 + signum)  # a signal whose default is not to end a process

    # the terminal and the command on it

    def raw(self, raw):
        if not raw:
            self.terminal.restore()
            return
        for signum in (_signal.SIGWINCH, _signal.SIGCONT, *ENDING):
            if _signal.getsignal(signum) != _signal.SIG_IGN:
                self.handle(signum)
        self.terminal.set_raw()
        self.tell(self.window())

    def window(self):
        rows, columns = self.terminal.size()
        return frame(WINDOW, rows.to_bytes(2, "big") + columns.to_bytes(2, "big"))

    def spawn(self, payload):
        """Asked again after a broken connection, the answer is the command that is there, or how it ended."""
        call = self.call
        if self.spawned is not None and self.spawned.status is not None and payload[:4] != self.spawn_number:
            self.spawned = None  # another question: another command, now that the former has ended
        self.spawn_number = payload[:4]
        if self.spawned is None:
            parts, at = [], 4
            while at < len(payload):
                size = number(payload, at)
                parts.append(payload[at + 4 : at + 4 + size])
                at += 4 + size
            argv = parts[0].split(b"\0")[:-1]
            env = dict(item.partition(b"=")[::2] for item in parts[1].split(b"\0") if item)
            self.handle(_signal.SIGCHLD)
            self.spawned = Spawned(argv, env)
        if self.spawned.error:
            call.reply(self.spawn_number, self.spawned.error)
            self.spawned = None
            return
        call.reply(self.spawn_number, 0, self.spawned.pid.to_bytes(4, "big"))
        if self.spawned.status is not None or self.spawned.reap():
            call.reply(self.spawn_number, 0, self.spawned.status.to_bytes(4, "big"))


def run(call, op, payload):
    """Carry out this op and all that follow; returns the exit code."""
    return Session(call).run(op, payload)
