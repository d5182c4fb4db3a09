"""The rules of a run's directory, without processes or sockets: who was first, and what a directory says after a crash.

    runs/JOB.RUN/     made by mkdir: Prepare or Revoke, whichever comes first
        slurm_script  the batch script
        held          the record, renamed into place when all is written: HELD. Whoever renames it decides the run, once and for all:
        started       … its supervisor, before the first task: ACTIVE
        revoked       … the agent, before it started (or an empty one, made by Revoke when that made the directory)
        srun.sock     the supervisor: commands inside the job, later agents, other supervisors

The record is one file, because creating a file is what costs most in a short job: the description (a line of JSON), the user's environment
(as many bytes as the description's line says), and the supervisor's last words, a line of JSON each: {"reports": [[number, kind, time,
data], …]}, all that the agent had not acknowledged. Only the newest whole line counts.

The directory belongs to the job's owner and nobody else can read it. A root agent that reads there trusts nothing: it opens
without following links, reads no more than a bound, and believes a description (it says whose processes are started) only under
its own seal.
"""

import errno
import os
import stat

from . import heard, lean

NEW, HELD, ACTIVE, ENDED, REVOKED = "NEW", "HELD", "ACTIVE", "ENDED", "REVOKED"
FILES = ("slurm_script", "held.new", "held", "started", "revoked", "srun.sock", "login.env", "site.env", "output.marks")
_LIMIT = 16 << 20


class RunDir:
    """One run's directory below `runs`. `key`: the agent's secret for seals; without one (whoever can write there may do all that
    the agent could do for him) descriptions are not sealed."""

    def __init__(self, runs, job, run, key=b""):
        self.runs, self.job, self.run, self.key = runs, job, run, key
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
        """Write the record, durably except for the folder's own entry (`sync_folder`), and make us HELD; an unfinished attempt is written
        over. Returns the state before: NEW, HELD, ACTIVE, ENDED or REVOKED; only NEW is changed. OSError (disk full, …): still NEW.
        `owner`: (uid, gid) to give all to, or None."""
        if not self.make():
            state = self.state()
            if state != NEW:
                return state
        if info.get("kind") == "batch":
            write(self.file("slurm_script"), script, 0o700)
        head = lean.dumps({"info": info, "environ": len(environ), "seal": self._seal(info)}).encode("utf-8", "surrogatepass")
        write(self.file("held.new"), head + b"\n" + environ + b"\n", 0o600)
        if owner is not None:
            for name in os.listdir(self.path):
                os.chown(self.file(name), owner[0], owner[1], follow_symlinks=False)
        os.rename(self.file("held.new"), self.file("held"))
        sync_file(self.file("held"))
        if owner is not None:
            os.chown(self.path, owner[0], owner[1])
        return NEW

    def revoke(self):
        """Take the run before it starts. Returns the state before: NEW, HELD or REVOKED (it is REVOKED now), ACTIVE or ENDED (too late)."""
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
        sync_folder(self.path)
        return True

    def leave(self, reports):
        """Leave word for an agent that is away, durably: `reports` as [number, kind, time, data] not acknowledged so far."""
        fd = os.open(self.file("started"), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            _write_all(fd, lean.dumps({"reports": reports}).encode("utf-8", "surrogatepass") + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)

    def state(self):
        """NEW (unfinished), HELD, ACTIVE (started), ENDED (started, and its supervisor left a last word) or REVOKED."""
        names = set(os.listdir(self.path))
        if "started" in names:
            return ENDED if self.last_word() else ACTIVE
        if "revoked" in names:
            return REVOKED
        return HELD if "held" in names else NEW

    def record(self):
        """(description, environment). OSError or ValueError if it is not whole."""
        info, environ, _rest = self._record()
        return info, environ

    def trusted(self):
        """The description as we wrote it. OSError or ValueError if it is not whole, or not ours."""
        head, _, _ = self._whole().partition(b"\n")
        info = self.record()[0]
        if self.key:
            try:
                seal = str(lean.loads(head.decode("utf-8", "surrogatepass"))["seal"])
            except KeyError:
                seal = ""
            ours = (info.get("job"), info.get("run")) == (self.job, self.run)
            if not ours or not lean.same_digest(seal.encode("utf-8", "surrogatepass"), self._seal(info).encode()):
                raise ValueError("not the description that was written")
        return info

    def _seal(self, info):
        if not self.key:
            return ""
        return lean.hmac_sha256(self.key, lean.canonical(info).encode("utf-8", "surrogatepass"))

    def _whole(self):
        for name in ("started", "held", "revoked"):
            try:
                return self.read(name)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(errno.ENOENT, "no record", self.path)

    def _record(self):
        head, _, rest = self._whole().partition(b"\n")
        try:
            head = lean.loads(head.decode("utf-8", "surrogatepass"))
            size = int(head["environ"])
            return dict(head["info"]), rest[:size], rest[size + 1 :]
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a run's record: {error!r}")

    def last_word(self):
        """The newest last word: [[number, kind, time, data], …]; [] if there is none that can be read."""
        try:
            rest = self._record()[2]
            line = rest[: rest.rfind(b"\n") + 1].splitlines()[-1]
            reports = lean.loads(line.decode("utf-8", "surrogatepass"))["reports"]
            return [heard.report(number, kind, when, data) for number, kind, when, data in reports]
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            return []  # also what the job's owner wrote there

    def read(self, name):
        """Bytes of one of our own files. OSError if it is missing, not a plain file, or too large."""
        fd = os.open(self.file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
                raise OSError(errno.EINVAL, "not one of our files", self.file(name))
            return stream.read(_LIMIT)

    def remove(self):
        """The run is on record elsewhere: nothing of it is kept. False if there is more than our own files, which the caller has
        removed by a process of its own: what a job's owner put there may be any number of files, as deep as a file system goes."""
        for name in FILES:
            try:
                os.unlink(self.file(name))
            except OSError:
                continue  # not there, or a folder now
        try:
            os.rmdir(self.path)
        except OSError as error:
            return error.errno not in (errno.ENOTEMPTY, errno.EEXIST)
        return True


def scan(runs, key=b""):
    """The runs in a folder after a start: [RunDir, …] by job and run; other entries are left alone."""
    found = []
    for name in os.listdir(runs):
        job, _, run = name.partition(".")
        if job.isdigit() and run.isdigit() and name == f"{int(job)}.{int(run)}":
            found.append((int(job), int(run)))
    return [RunDir(runs, job, run, key) for job, run in sorted(found)]


def write(path, data, mode, sync=False):
    """Write a file of our own anew. O_EXCL after unlink: never through a link that somebody put there."""
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        fd = os.open(path, how, mode)
    except FileExistsError:
        os.unlink(path)
        fd = os.open(path, how, mode)
    try:
        _write_all(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def contents(path):
    """The bytes of a file of our own, b"" if it is not there."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""


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
