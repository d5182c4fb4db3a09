"""What the thin client does when nobody answers: wait, start the personal broker, or say what the real commands say.

Also what it can answer alone. Loaded by client.py only then; the same restrictions hold: Python 3.6+, the standard library.
"""

import fcntl
import posix
import select
import sys
import time

FIRST_WAIT = 8.0  # seconds for a broker that should be there, about as long as the real commands try
AGAIN_WAIT = 60.0  # seconds for one that answered before
START_WAIT = 30.0  # seconds for a personal broker to open its socket
CONNECT_FAILURE = "Unable to contact slurm controller (connect failure)"
STARTS = 3  # of a personal broker that is killed before it answers
LOCKED = "another broker already runs here"  # daemon/main.py says so
LOG_LINES = 5
LOG_SIZE = 8 << 20  # bytes beyond which a start begins a new log and keeps one old one
VERSION = ("--version", "-V")
DEFAULT_RELEASE = "22.05"
# what each command says when its controller is away (%s: the reason), and its exit code
UNREACHABLE = {
    "sbatch": ("sbatch: error: Batch job submission failed: %s", 1),
    "srun": ("srun: error: Unable to allocate resources: %s", 1),
    "salloc": ("salloc: error: Job submit/allocate failed: %s", 1),
    "squeue": ("slurm_load_jobs error: %s", 1),
    "sinfo": ("slurm_load_partitions: %s", 1),
    "sattach": ("sattach: error: Could not get job step info: %s", 1),
    "sacct": ("sacct: error: Problem talking to the database: %s", 1),
    "sbcast": ("sbcast: error: Slurm job lookup error: %s", 255),
    "sdiag": ("slurm_get_statistics: %s", 255),
    "sshare": ("Couldn't get shares from controller: %s", 255),
}
SCONTROL_SHOW = {"node": "slurm_load_node", "partition": "slurm_load_partitions", "step": "slurm_get_job_steps",
                 "config": "slurm_load_ctl_conf", "reservation": "slurm_load_reservations", "licenses": "slurm_load_license"}


def say(line):
    """A line on standard error."""
    posix.write(2, line.encode(sys.getfilesystemencoding(), "surrogateescape") + b"\n")


def text(path):
    return path.decode("utf-8", "replace")


def pause(seconds):
    select.poll().poll(int(seconds * 1000))


def sentences(name, args):
    """(text, exit code) of the command when its controller cannot be reached. `args`: without options before the operands."""
    if name == "scancel":
        jobs = [arg for arg in args if arg[:1].isdigit()]
        if jobs:
            return "\n".join("scancel: error: Kill job error on job id %s: %s" % (job, CONNECT_FAILURE) for job in jobs), 8
        return "slurm_load_jobs error: " + CONNECT_FAILURE, 1
    if name == "scontrol":
        words = [arg.lower() for arg in args if not arg.startswith("-")] + ["", ""]
        if words[0] == "show":
            kind = [call for key, call in SCONTROL_SHOW.items() if words[1] and key.startswith(words[1].rstrip("s"))]
            return "%s error: %s" % (kind[0] if kind else "slurm_load_jobs", CONNECT_FAILURE), 1
        return "slurm_%s error: %s" % (words[0] or "load_ctl_conf", CONNECT_FAILURE), 1
    if name == "sbatch" and "--test-only" in args:
        return "allocation failure: " + CONNECT_FAILURE, 1
    if name == "squeue" and ("-s" in args or "--steps" in args):
        return "slurm_get_job_steps error: " + CONNECT_FAILURE, 1
    sentence, code = UNREACHABLE.get(name, ("%s: error: %%s" % name, 1))
    return sentence % CONNECT_FAILURE, code


def unreachable(call):
    sentence, code = sentences(call.name, call.args)
    call.leave()
    say(sentence)
    posix._exit(code)


def first(call, error):
    """A connection after the first attempt failed with `error`. Ends the process when there is none."""
    code = helped(call)
    if code is not None:
        posix._exit(code)
    if call.kind == "personal":
        return personal(call)
    if isinstance(error, PermissionError):
        unreachable(call)
    sock = insist(call, time.monotonic() + FIRST_WAIT)
    return sock or unreachable(call)


def again(call):
    """A connection after an established one broke. Ends the process when there is none for AGAIN_WAIT seconds."""
    now = time.monotonic()
    if call.progress or call.deadline is None:
        call.progress, call.deadline, call.delay = False, now + AGAIN_WAIT, 0.02
    elif now >= call.deadline and not call.alive():
        unreachable(call)
    else:  # connected and lost again without a single op: do not spin
        call.pause(call.delay)
        call.delay = min(call.delay * 2, 1.0)
    if call.kind == "personal":
        return personal(call)
    return insist(call, call.deadline) or unreachable(call)


def insist(call, deadline):
    """Connect, again and again until `deadline` (monotonic), or for as long as a spawned command runs; None: nobody came."""
    delay = 0.02
    while True:
        try:
            return call.connect(call.path)
        except OSError:
            now = time.monotonic()
            if now >= deadline and not call.alive():
                return None
            call.pause(min(delay, max(deadline - now, 0.02)))
            delay = min(delay * 2, 0.5)


def personal(call):
    """A connection to the personal broker, which is started under a lock if it is not there."""
    folder = call.path.rpartition(b"/")[0]
    try:
        make(folder)
        found = posix.stat(folder)
        if found.st_uid != posix.geteuid() or found.st_mode & 0o002:  # it could hold a configuration and links that are not ours
            refuse(call, "The personal broker has no place: %s must be a folder of your own that others cannot write in" % text(folder))
        make(folder + b"/logs")
        lock = posix.open(folder + b"/start.lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        refuse(call, "The personal broker has no place: %s: %s" % (text(folder), posix.strerror(error.errno)))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return call.connect(call.path)  # somebody else started it meanwhile
        except OSError:
            return start(call, folder + b"/logs/sbrokerd.log")
    finally:
        posix.close(lock)


def start(call, log):
    """Start the broker, detached, and wait for its socket."""
    try:
        if posix.access(log, posix.F_OK) and posix.stat(log).st_size > LOG_SIZE:
            posix.rename(log, log + b".1")
        out = posix.open(log, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        refuse(call, "The personal broker has no log: %s: %s" % (text(log), posix.strerror(error.errno)))
    begin = posix.fstat(out).st_size
    command = broker_command(call)
    pid, starts = launch(call, command, out), 1
    deadline = time.monotonic() + START_WAIT
    while True:
        try:
            return call.connect(call.path)
        except OSError:
            gone, status = posix.waitpid(pid, posix.WNOHANG)
        if gone and status & 127 and starts < STARTS:  # killed: by the user, or for want of memory; that says nothing of the next one
            pid, starts = launch(call, command, out), starts + 1
        elif gone:
            words = last_words(log, begin)
            # one that somebody else started holds the lock, and may not answer yet
            sock = insist(call, deadline) if LOCKED in words else None
            return sock or refuse(call, "The personal broker does not start: " + words)
        if time.monotonic() > deadline:
            refuse(call, "The personal broker (pid %d) does not answer within %d seconds; its log is %s" % (pid, START_WAIT, text(log)))
        call.pause(0.01)


def launch(call, command, out):
    """The pid of a new broker."""
    pid = posix.fork()
    if pid == 0:
        detach(command, out, call.env)
    return pid


def detach(command, out, env):
    """In the child: become the broker. Never returns."""
    try:
        posix.setsid()
        null = posix.open("/dev/null", posix.O_RDWR)
        posix.dup2(null, 0)
        posix.dup2(out, 1)
        posix.dup2(out, 2)
        posix.umask(0o022)
        posix.chdir("/")
        kept = {key: value for key, value in env.items() if not key.startswith((b"SLURM_", b"SBATCH_"))}
        posix.execve(command[0], command, kept)
    except OSError as error:
        say("%s: %s" % (command[0], posix.strerror(error.errno)))
    posix._exit(127)


def broker_command(call):
    """argv of the broker: the script beside our own real file, else the module with this interpreter."""
    path = call.me
    for _ in range(40):
        try:
            to = posix.readlink(path)
        except OSError:
            break
        path = to if to.startswith("/") else path.rpartition("/")[0] + "/" + to
    for folder in (path.rpartition("/")[0], call.here + "/../bin"):
        script = (folder or ".") + "/sbrokerd"
        if posix.access(script, posix.X_OK):
            return [absolute(script), "--personal"]
    return [sys.executable, "-m", "sbroker_main", "--personal"]


def absolute(path):
    return path if path.startswith("/") else posix.getcwd() + "/" + path


def make(folder):
    """mkdir -p, private; other commands may be making the same folders at this moment."""
    try:
        posix.mkdir(folder, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        above = folder.rpartition(b"/")[0]
        if not above or posix.access(above, posix.F_OK):
            raise  # it is there, and takes no folders: /proc
        make(above)
        make(folder)


def last_words(log, begin):
    """What the broker wrote since `begin`, its last lines."""
    fd = posix.open(log, posix.O_RDONLY | posix.O_CLOEXEC)
    size = posix.fstat(fd).st_size
    tail = text(posix.pread(fd, 8192, max(begin, size - 8192)))
    posix.close(fd)
    lines = [line for line in tail.splitlines() if line.strip()][-LOG_LINES:]
    return "\n".join(lines) if lines else "it says nothing in %s" % text(log)


def refuse(call, sentence):
    while call.alive():  # the user's shell has the terminal: it is not disturbed before its end
        call.pause(1)
    call.leave()
    say("%s: error: %s" % (call.name, sentence))
    posix._exit(1)


def stranger(call, uid):
    """Who answers at the socket is neither root nor our own user, and is told nothing."""
    why = {"given": "unset SBROKER_SOCKET", "personal": "have SBROKER_HOME name a folder of your own"}.get(call.kind, "have it removed")
    refuse(call, "The socket %s is not answered by you or by root but by the user with the id %d, who could have this command do anything "
           "in your name: %s" % (text(call.path), uid, why))


def not_written(call, handle, error):
    """A write failed. On the standard ones Slurm's commands say nothing either; elsewhere it is said once."""
    if handle > 2 and handle not in call.unwritable:
        call.unwritable.add(handle)
        say("%s: error: writing output failed: %s" % (call.name, posix.strerror(error.errno)))


def answer(here, name, args):
    """The exit code of a command that needs no broker, after its output; None: it cannot be told here, ask."""
    sys.path.insert(0, here + "/..")
    try:
        if args[0] in VERSION:
            if len(args) > 1:
                return None
            from slurm_compat.releases import version

            return told(version(imitated()) + "\n", "", 0)
        from slurm_compat.show.hostnames import run

        result = run(list(args), {text(key): text(value) for key, value in posix.environ.items()}, read_text)
    except (ImportError, SyntaxError):  # a node has the client alone, or an older Python
        return None
    return None if result is None else told(*result)


def helped(call):
    """Nobody answers somebody who asks for help: then it is given here. The exit code, or None."""
    if call.kind not in ("personal", "shared") or call.args[:1] not in (("--help",), ("--usage",)):
        return None
    sys.path.insert(0, call.here + "/..")
    try:
        import site

        site.main()
        from slurm_compat.local import answer as by_front_end

        return told(*by_front_end(call.name, list(call.args), imitated()))
    except (ImportError, SyntaxError):
        return None


def told(out, err, code):
    for fd, words in ((1, out), (2, err)):
        if words:
            posix.write(fd, words.encode(sys.getfilesystemencoding(), "surrogateescape"))
    return code


def imitated():
    """The release that the configuration names: its line `imitate:`, which is all of YAML that is needed here."""
    env = posix.environ
    home = env.get(b"SBROKER_HOME")
    folder = env.get(b"XDG_CONFIG_HOME") or env.get(b"HOME", b"") + b"/.config"
    path = home + b"/config.yaml" if home else b"/etc/sbroker/config.yaml"
    for name in (path, path if home else folder + b"/sbroker/config.yaml"):
        try:
            lines = read_text(name).splitlines()
        except OSError:
            continue
        found = [line.partition(":")[2].partition("#")[0].strip(" \"'") for line in lines if line.startswith("imitate:")]
        return found[0] if found else DEFAULT_RELEASE
    return DEFAULT_RELEASE


def read_text(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
