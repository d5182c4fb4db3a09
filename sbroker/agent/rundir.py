"""The rules of a run's directory, without processes or sockets: who was first, and what a directory says after a crash.

    runs/JOB.RUN/          made by mkdir: Prepare or Revoke, whichever comes first
        info.json          the description          slurm_script, environ   script and the user's environment, NUL-ended
        held               made when all that is written: HELD. Whoever renames it decides the run, once and for all:
        started            … its supervisor, before the first task: ACTIVE
        revoked            … the agent, before it started (or made by Revoke when that made the directory)
        ended              JSON {"reports": [[number, kind, time, data], …]}: what the supervisor had not got acknowledged
        sup.sock, srun.sock  the supervisor's sockets: agent and other supervisors; commands inside the job

The directory belongs to the job's owner and nobody else can read it. A root agent that reads there trusts nothing: it opens
without following links, and reads no more than a bound.
"""

import errno
import json
import os
import shutil
import stat

NEW, HELD, ACTIVE, ENDED, REVOKED = "NEW", "HELD", "ACTIVE", "ENDED", "REVOKED"
_LIMIT = 16 << 20


class RunDir:
    """One run's directory below `runs`."""

    def __init__(self, runs, job, run):
        self.runs, self.job, self.run = runs, job, run
        self.path = os.path.join(runs, f"{job}.{run}")

    def file(self, name):
        return os.path.join(self.path, name)

    def make(self):
        """True if this call made the directory."""
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            return False
        return True

    def prepare(self, info, script, environ, owner=None):
        """Write the description, durably except for the folder's own entry (`sync_folder`), and make us HELD; an unfinished attempt is
        written over. Returns the state before: NEW, HELD, ACTIVE, ENDED or REVOKED; only NEW is changed. OSError (disk full, …): still NEW.
        `owner`: (uid, gid) to give all to, or None."""
        if not self.make():
            state = self.state()
            if state != NEW:
                return state
        write(self.file("environ"), environ, 0o600)
        if info.get("kind") == "batch":
            write(self.file("slurm_script"), script, 0o700)
        write(self.file("info.json"), json.dumps(info).encode("utf-8", "surrogatepass"), 0o600)
        write(self.file("held"), b"", 0o600)
        if owner is not None:
            for name in os.listdir(self.path):
                os.chown(self.file(name), owner[0], owner[1], follow_symlinks=False)
            os.chown(self.path, owner[0], owner[1])
        sync_file(self.file("info.json"))
        return NEW

    def revoke(self):
        """Take the run before it starts. Returns the state before: NEW or REVOKED or HELD (now it is REVOKED), ACTIVE or ENDED (too late)."""
        state = NEW if self.make() else self.state()
        if state == NEW:
            write(self.file("revoked"), b"", 0o600)
        elif state == HELD and not self._decide("revoked"):
            return self.state()
        return state

    def start(self):
        """The supervisor's right to run the first task. True once in the life of the run; False if it was started or revoked before."""
        return self._decide("started")

    def _decide(self, name):
        try:
            os.rename(self.file("held"), self.file(name))
        except FileNotFoundError:
            return False
        sync_file(self.file(name))
        return True

    def end(self, reports):
        """Leave word for an agent that is away: `reports` as [number, kind, time, data] not acknowledged so far."""
        replace(self.file("ended"), json.dumps({"reports": reports}).encode("utf-8", "surrogatepass"), 0o600)

    def state(self):
        """NEW (unfinished), HELD, ACTIVE (started), ENDED (its supervisor left its last word) or REVOKED."""
        names = set(os.listdir(self.path))
        if "ended" in names:
            return ENDED
        if "started" in names:
            return ACTIVE
        if "revoked" in names:
            return REVOKED
        return HELD if "held" in names else NEW

    def last_word(self):
        """The reports in `ended`: [[number, kind, time, data], …]; [] if there is none that can be read."""
        try:
            reports = json.loads(self.read("ended").decode("utf-8", "surrogatepass"))["reports"]
            return [[int(number), str(kind), float(time), dict(data)] for number, kind, time, data in reports]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def info(self):
        """The description (a dict). OSError or ValueError if it is not whole."""
        return json.loads(self.read("info.json").decode("utf-8", "surrogatepass"))

    def read(self, name):
        """Bytes of one of our own files. OSError if it is missing, not a plain file, or too large."""
        fd = os.open(self.file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
                raise OSError(errno.EINVAL, "not one of our files", self.file(name))
            return stream.read(_LIMIT)

    def remove(self):
        """The run is on record elsewhere: nothing of it is kept."""
        shutil.rmtree(self.path, ignore_errors=True)


def scan(runs):
    """The runs in a folder after a start: [RunDir, …] by job and run; other entries are left alone."""
    found = []
    for name in os.listdir(runs):
        job, _, run = name.partition(".")
        if job.isdigit() and run.isdigit() and name == f"{int(job)}.{int(run)}":
            found.append((int(job), int(run)))
    return [RunDir(runs, job, run) for job, run in sorted(found)]


def write(path, data, mode, sync=False):
    """Write a file of our own anew. O_EXCL after unlink: never through a link that somebody put there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def replace(path, data, mode):
    """Replace a file of our own, whole or not at all, durably."""
    write(path + ".new", data, mode, sync=True)
    os.rename(path + ".new", path)


def sync_file(path):
    """Make a file's content and name durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path):
    """Make the names in a folder durable."""
    sync_file(path)
