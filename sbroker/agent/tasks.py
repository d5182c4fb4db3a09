"""Starting a process of a run, and what is known of it afterwards.

The supervisor has already become the user; what is left for the child: session or group, limits, umask, nice, terminal, working
folder, standard streams, exec. A failed exec ends the child with the errno as exit code, as Slurm's tasks end.
"""

import _signal as signal
import fcntl
import os
import termios

from . import limits as rlimits
from . import procs

# what Python or the supervisor ignores or handles, and a task shall not
_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Process:
    """A started process. `status` is the wait status once it has ended, `usage` then {user_usec, system_usec, max_rss_kib, read_bytes,
    write_bytes} of it and the descendants it waited for."""

    def __init__(self, pid, step, memory):
        self.pid, self.step, self.memory = pid, step, memory
        self.status = None
        self.usage = {}

    @property
    def ended(self):
        return self.status is not None

    @property
    def code(self):
        """Exit code, 0 if a signal ended it."""
        return self.status >> 8 & 0xFF if self.signal == 0 else 0

    @property
    def signal(self):
        """The signal that ended it, or 0."""
        return self.status & 0x7F

    def tree(self):
        """Its pid and those of all its descendants."""
        return [] if self.ended else [self.pid] + procs.descendants(self.pid)

    def kill(self, signum, children=True):
        """Signal it, by default with all its descendants."""
        if not self.ended:
            procs.signal_all(self.tree() if children else [self.pid], signum)


class Plan:
    """How to start a process. argv and env values: str (surrogates for bytes that are not UTF-8) or bytes.

    fds: the three descriptors that become 0, 1, 2; the caller keeps its own. One may be (path, flags), which the process opens itself, the
    third may be 1: the same as the second. tty: True if fds[0] is the slave of a pseudo-terminal that
    shall control the new session. chdir_failed, exec_failed: fn(OSError) → bytes for standard error; without the first a missing
    folder is fatal like a failed exec. limits: as in JobSpec; memory: MiB, 0 none, shown as the resident limit.
    path: the file to execute if it is not argv[0]. session: a session of its own (else only a process group). pid_names: variables
    that hold the new process's pid. keep: further descriptors that the process gets, under their numbers."""

    def __init__(self, argv, env, cwd="/", fds=(0, 1, 2), path=None, tty=False, session=False, umask=None, limits=None, memory=0, nice=0,
                 step=None, pid_names=(), chdir_failed=None, exec_failed=None, keep=()):
        self.argv, self.env, self.cwd, self.fds, self.path, self.tty, self.session = argv, env, cwd, fds, path, tty, session
        self.umask, self.limits, self.memory, self.nice, self.step = umask, limits or {}, memory, nice, step
        self.pid_names, self.chdir_failed, self.exec_failed, self.keep = pid_names, chdir_failed, exec_failed, keep


def launch(plan):
    """Fork and exec; the Process. The caller watches the pid."""
    # all that can be done before the fork is: the child copies every page that it touches
    path, argv = _bytes(plan.path or plan.argv[0]), [_bytes(word) for word in plan.argv]
    env = {_bytes(key): _bytes(value) for key, value in plan.env.items()}
    # A run may be ended at this very moment: the child, which shall die of what we ignore, hears it when it does not ignore it any more.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTED)
    try:
        pid = os.fork()
        if pid == 0:
            _child(plan, path, argv, env)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return Process(pid, plan.step, plan.memory)


def _child(plan, path, argv, env):
    """Never returns."""
    code = 127
    try:
        signal.set_wakeup_fd(-1)
        for signum in _DEFAULTED:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if plan.session or plan.tty:
            os.setsid()
        else:
            os.setpgid(0, 0)
        _streams(plan.fds)
        for fd in plan.keep:
            os.set_inheritable(fd, True)
        if plan.tty:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        rlimits.apply(plan.limits, plan.memory)
        if plan.umask is not None:
            os.umask(plan.umask)
        if plan.nice:
            os.nice(plan.nice)
        _enter(plan)
        for name in plan.pid_names:
            env[_bytes(name)] = b"%d" % os.getpid()
        os.execve(path, argv, env)
    except OSError as error:
        code = error.errno or 127
        if plan.exec_failed is not None:
            _say(plan.exec_failed(error))
    finally:
        os._exit(code & 0xFF)


def _streams(fds):
    low = []  # none of 0, 1, 2 is overwritten before it was used
    for number, fd in enumerate(fds):
        if not isinstance(fd, int):
            fd = os.open(fd[0], fd[1], 0o666)  # a named pipe: this waits for its other end
        elif number == 2 and fd == 1 and fds[1] != 1:
            fd = low[1]
        low.append(os.dup(fd) if fd < 3 else fd)
    for number, fd in enumerate(low):
        os.dup2(fd, number)  # inheritable, while every other descriptor of ours closes at exec


def _enter(plan):
    try:
        os.chdir(_bytes(plan.cwd))
    except OSError as error:
        if plan.chdir_failed is None:
            raise
        _say(plan.chdir_failed(error))
        os.chdir("/tmp")


def _say(text):
    try:
        os.write(2, text)
    except OSError:
        return  # standard error is full or gone: the exit code still tells


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def usage_of(rusage):
    """The part of a struct rusage that is accounted."""
    return {"user_usec": int(rusage.ru_utime * 1e6), "system_usec": int(rusage.ru_stime * 1e6), "max_rss_kib": rusage.ru_maxrss,
            "read_bytes": rusage.ru_inblock * 512, "write_bytes": rusage.ru_oublock * 512}


def find(name, env, cwd="/"):
    """Where the PATH of `env` finds the command, relative folders from `cwd`; None if nowhere."""
    if "/" in name:
        return name
    for folder in env.get("PATH", "/usr/bin:/bin").split(":"):
        path = os.path.join(cwd, folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
