"""The thin client behind every Slurm name: one file, Python 3.6+, C modules only, so that it starts in a few milliseconds.

It sends what the user typed (argv, environment, folder, limits of the process) to the broker or to a supervisor and carries out,
as the user, what that asks for: ARCHITECTURE.md, "The call protocol". It parses no options and decides nothing. What is rare lies
in other files, loaded when needed: attach.py (terminals, signals, standard input, spawned commands), reach.py (nobody answers: wait,
start the personal broker, or say so). The launcher runs it as `client.py CLIENT UNDERSCORE SELF ARG…`: the path of this file, the
variable `_` as the launcher found it, the path under which the command was called.
"""

import sys
import posix
import _signal
import _socket

# ops of sbroker/agent/wire.py, which is not imported here: it may not be there, and costs json and struct
CALL, REPLY, INPUT, SIGNAL, WINDOW, ACK = b"CrisWa"
OUT, READ, OPEN, CLOSE, GRANT, SPAWN, KILL, CATCH, TTY, PHASE, EXIT, DIE = b"ORFKIPGSTHXZ"

CODING = sys.getfilesystemencoding()
SHARED_CONFIG, SHARED_SOCKET = b"/etc/sbroker/config.yaml", b"/run/sbroker/sbroker.sock"
SOCKET_NAME = b"/sbroker.sock"
SUN_PATH = 107  # bytes of an address; a longer path is reached through its folder
LIMITS = {b"Max cpu time": "CPU", b"Max file size": "FSIZE", b"Max data size": "DATA", b"Max stack size": "STACK",
          b"Max core file size": "CORE", b"Max resident set": "RSS", b"Max processes": "NPROC", b"Max open files": "NOFILE",
          b"Max locked memory": "MEMLOCK", b"Max address space": "AS"}
SUBMITS = ("sbatch", "srun", "salloc")  # their jobs inherit the limits
LOCAL = ("--version", "-V")  # as first argument: answered without a broker


def u32(number):
    return number.to_bytes(4, "big")


def frame(op, payload):
    """One call frame: length of what follows, op, payload."""
    return (len(payload) + 1).to_bytes(4, "big") + bytes((op,)) + payload


def load(name, here):
    """The globals of the file NAME.py beside this one, from its cached byte code."""
    import _frozen_importlib_external as external

    space = {"__name__": name}
    exec(external.SourceFileLoader(name, "%s/%s.py" % (here, name)).get_code(name), space)
    return space


def connect(path):
    """A connected stream socket to the Unix socket at `path` (bytes); OSError when nobody listens there."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    folder = -1
    try:
        if len(path) > SUN_PATH:
            folder = posix.open(path.rpartition(b"/")[0] or b"/", posix.O_PATH | posix.O_CLOEXEC)
            path = b"/proc/self/fd/%d/%s" % (folder, path.rpartition(b"/")[2])
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    finally:
        if folder >= 0:
            posix.close(folder)
    return sock


def exists(path):
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def whom(me, env, cwd):
    """Whom to ask: (kind, socket path), kind "beside", "given", "personal" or "shared". Only a personal broker is ever started."""
    beside = (me.rpartition(b"/")[0] or b".") + SOCKET_NAME
    if exists(beside):
        return "beside", beside
    given = env.get(b"SBROKER_SOCKET")
    if given and exists(given):  # a variable that outlived its job names a path that is gone
        return "given", given
    home = env.get(b"SBROKER_HOME")
    if home:
        return "personal", (home if home[:1] == b"/" else cwd + b"/" + home) + SOCKET_NAME
    if exists(SHARED_CONFIG):
        return "shared", SHARED_SOCKET
    state = env.get(b"XDG_STATE_HOME", b"")
    if state[:1] != b"/":  # the XDG rule: a relative value counts as unset
        home = env.get(b"HOME")
        if not home:
            import pwd

            home = pwd.getpwuid(posix.getuid()).pw_dir.encode(CODING, "surrogateescape")
        state = home + b"/.local/state"
    return "personal", state + b"/sbroker" + SOCKET_NAME


def meta(name):
    """The lines that describe this process (ARCHITECTURE.md: `meta`)."""
    umask = posix.umask(0o077)
    posix.umask(umask)
    ttys = [fd for fd in (0, 1, 2) if posix.isatty(fd)]
    lines = ["umask=%o" % umask, "pid=%d" % posix.getpid(), "sid=%d" % posix.getsid(0), "host=" + posix.uname()[1],
             "tty=" + ",".join(map(str, ttys))]
    if ttys:
        columns, rows = posix.get_terminal_size(ttys[0])
        lines += ["rows=%d" % rows, "cols=%d" % columns]
    if name in SUBMITS:
        fd = posix.open("/proc/self/limits", posix.O_RDONLY)  # the module `resource` is a shared library: slower than this text
        for line in posix.read(fd, 8192).splitlines():
            limit = LIMITS.get(line[:26].rstrip())
            if limit:
                soft, hard = (b"-1" if word == b"unlimited" else word for word in line[26:].split()[:2])
                lines.append("limit.%s=%s:%s" % (limit, soft.decode(), hard.decode()))
        posix.close(fd)
    return lines


def write_all(fd, data):
    """Write all of `data`, waiting also where somebody made the file non-blocking. OSError as write(2) has it."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def read_all(path, limit):
    """Content of the file `path`, at most limit + 1 bytes so that more than `limit` shows; "" is standard input from where it stands."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC) if path else 0
    parts, left = [], limit + 1
    try:
        while left > 0:
            part = posix.read(fd, min(left, 1 << 20))
            if not part:
                break
            parts.append(part)
            left -= len(part)
    finally:
        if path:
            posix.close(fd)
    return b"".join(parts)


class Call:
    """One command: its request, the connection, and how far it got. Nothing here lives longer than the process."""

    def __init__(self, here, me, underscore, args):
        self.here, self.me, self.args = here, me, args
        self.name = me.rpartition("/")[2]
        encoded = me.encode(CODING, "surrogateescape")
        env = self.env = posix.environ
        if b"_" not in env and underscore and underscore.rpartition("/")[2] != "bash":  # bash took it away
            env[b"_"] = underscore.encode(CODING, "surrogateescape")
        if env.get(b"SHLVL") == b"0":  # bash put it there
            del env[b"SHLVL"]
        try:
            self.cwd = posix.getcwdb()
        except FileNotFoundError:
            self.cwd = env.get(b"PWD", b"/")
        self.kind, self.path = whom(encoded, env, self.cwd)
        argv = b"".join(arg.encode(CODING, "surrogateescape") + b"\0" for arg in args)
        environ = b"".join(b"%s=%s\0" % item for item in env.items())
        self.meta = meta(self.name)
        self.before = [b"1", posix.urandom(16).hex().encode(), self.name.encode(CODING, "surrogateescape"), self.cwd]
        self.after = [argv, environ]
        self.sock, self.buffer, self.at = None, b"", 0  # `at`: where in the buffer the next op begins
        self.phase = self.received = 0  # ops that came since the last PHASE
        self.fds = {0: 0, 1: 1, 2: 2}  # handle → descriptor
        self.said = {1: 0, 2: 0}  # bytes that this run of phase 0 put out on the standard ones …
        self.written = {1: 0, 2: 0}  # … and any run of it: as many are not written again
        self.returning = None  # attach.py: ops received of a later phase, until the party there has us back
        self.replies = []  # of a later phase, to say again after a broken connection
        self.reach = None
        self.progress, self.deadline, self.delay = False, None, 0.0  # of asking again
        self.stdin = None  # what READ of standard input gave
        self.unwritable = set()  # handles whose failure was told
        self.partial = None  # attach.py: what is left of the OUT that is being written

    def request(self, resume=False):
        """The CALL frame, `resume` with how far we are."""
        lines = self.meta + (["resume=%d:%d" % (self.phase, self.received)] if resume else [])
        parts = self.before + ["\n".join(lines).encode(CODING, "surrogateescape")] + self.after
        return frame(CALL, b"".join(u32(len(part)) + part for part in parts))

    def send(self, data):
        """Send frames. A connection that is broken is found and mended by `next`, after all that the other side still said."""
        try:
            self.sock.sendall(data, _socket.MSG_NOSIGNAL)
        except OSError:  # broken, or closed while it is being mended
            return

    def reply(self, number, errno, data=b""):
        answer = frame(REPLY, number + errno.to_bytes(4, "big", signed=True) + data)
        if self.phase and self.returning is None:
            self.replies.append(answer)
        self.send(answer)

    def connect(self, path):
        """A connection to the socket at `path`, whose listener must be root or our own user, or the one that the shared broker of this
        host runs as: what is at the other end has us read, write and execute. Anybody may have made a socket where we are told to look."""
        sock = connect(path)
        uid = int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8], sys.byteorder)
        if uid not in (0, posix.geteuid()) and not (path == SHARED_SOCKET and uid == posix.stat(SHARED_SOCKET.rpartition(b"/")[0]).st_uid):
            sock.close()
            self.reaching()["stranger"](self, uid)
        return sock

    def open(self):
        """The first connection; the rare part of it is reach.py's."""
        try:
            self.sock = self.connect(self.path)
        except OSError as error:
            self.sock = self.reaching()["first"](self, error)
        self.send(self.request())

    def pause(self, seconds):
        self.reaching()["pause"](seconds)

    def alive(self):
        """Whether a spawned command runs; attach.py knows."""
        return False

    def leave(self):
        """Before the process ends: give back what was taken; attach.py has a terminal to restore."""

    def reaching(self):
        if self.reach is None:
            self.reach = load("reach", self.here)
        return self.reach

    def again(self):
        """After a broken connection: connect and ask again. Ends the process when that does not succeed."""
        self.sock.close()
        self.sock = self.reaching()["again"](self)
        self.buffer, self.at = b"", 0
        if self.phase == 0:  # keeps nothing: it runs again from its start, and what it said before is not said twice
            self.received = 0
            self.said = {1: 0, 2: 0}
        self.send(self.request(resume=True))

    def ready(self):
        """The next op, (op, payload), if it is in the buffer, else None."""
        buffer, at = self.buffer, self.at
        if len(buffer) - at < 5:
            return None
        end = at + 4 + int.from_bytes(buffer[at : at + 4], "big")
        if len(buffer) < end:
            return None
        self.at = end
        self.received += 1
        if buffer[at + 4] != PHASE:  # being handed to a party that breaks off is none
            self.progress = True
        return buffer[at + 4], buffer[at + 5 : end]

    def fill(self):
        """Read what came into the buffer; False when the connection is at its end."""
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.buffer, self.at = self.buffer[self.at :] + data if self.at < len(self.buffer) else data, 0
        return bool(data)

    def next(self):
        """The next op, awaited."""
        while True:
            op = self.ready()
            if op:
                return op
            if not self.fill():
                self.again()

    def fresh(self, handle, data):
        """`data` without what an earlier run of phase 0 has written of it already."""
        if self.phase == 0 and handle in self.said:
            known = min(max(self.written[handle] - self.said[handle], 0), len(data))
            self.said[handle] += len(data)
            self.written[handle] = max(self.written[handle], self.said[handle])
            return data[known:]
        return data

    def out(self, handle, data):
        try:
            write_all(self.fds[handle], self.fresh(handle, data))
        except OSError as error:
            self.reaching()["not_written"](self, handle, error)

    def file(self, op, payload):
        """READ, OPEN and CLOSE: what needs no waiting."""
        if op == CLOSE:
            fd = self.fds.pop(int.from_bytes(payload[:4], "big"), -1)
            if fd > 2:
                posix.close(fd)
            return
        number = payload[:4]
        try:
            if op == READ:
                path = payload[12:]
                if path or self.stdin is None:
                    data = read_all(path, int.from_bytes(payload[4:12], "big"))
                    if not path:
                        self.stdin = data  # it can be read once, and asked for again after a broken connection
                self.reply(number, 0, data if path else self.stdin)
            else:
                handle, flags, mode = (int.from_bytes(payload[at : at + 4], "big") for at in (4, 8, 12))
                fd = posix.open(payload[16:], flags | posix.O_CLOEXEC, mode)
                if handle in self.fds:  # asked again after a broken connection
                    posix.close(self.fds[handle])
                self.fds[handle] = fd
                found = posix.fstat(fd)
                self.reply(number, 0, b"%o %d %d" % (found.st_mode, found.st_atime_ns, found.st_mtime_ns))
        except OSError as error:
            self.reply(number, error.errno)
        except ValueError:  # a NUL in the path
            self.reply(number, 22)

    def run(self):
        """Carry out ops until the end; returns the exit code."""
        while True:
            op, payload = self.next()
            if op == OUT:
                self.out(int.from_bytes(payload[:4], "big"), payload[4:])
            elif op in (READ, OPEN, CLOSE):
                self.file(op, payload)
            elif op == EXIT:
                return int.from_bytes(payload[:4], "big", signed=True) & 255
            else:
                return load("attach", self.here)["run"](self, op, payload)


def main(client, underscore, me, *args):
    for fd in (0, 1, 2):  # one that is closed would become the socket, and output go there
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores these two; Slurm's commands die of them without a word
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    here = client.rpartition("/")[0] or "."
    name = me.rpartition("/")[2]
    if args and (args[0] in LOCAL or (name == "scontrol" and [arg for arg in args[1:4] if arg.startswith(("hostn", "hostl"))])):
        code = load("reach", here)["answer"](here, name, args)
        if code is not None:
            return code
    call = Call(here, me, underscore, args)
    call.open()
    return call.run()


if __name__ == "__main__":
    posix._exit(main(*sys.argv[1:]))
