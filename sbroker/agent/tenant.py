"""A node whose agent is no root: all jobs run as the agent's own user, for one submitter at a time, and it is wiped between two.

Whose turn it is stands in `tenant` beside the journal, with the time when it began. Before a run of somebody else is taken, everything of
the one before goes: processes, replicas of his files, what appeared in the folders for temporary files. Until that is done no run of
the next one is held; a wipe that fails refuses it, and is tried again for the next. The home of the login's user is not touched.
"""

import _signal as signal
import os
import time

from . import errand, lean, procs
from .rundir import replace

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
_SWEEP = 0.05  # seconds between two rounds of SIGKILL
_ROUNDS = 200
_SLACK = 2.0  # seconds that clocks of file systems may be behind ours


class Tenant:
    """`runs` offers: loop, removers (pids of our own that remove files), dismiss() (supervisors without a run) and strangers(),
    the pids of what ended runs left."""

    def __init__(self, runs, folder):
        self.runs, self.folder = runs, folder
        self._path = os.path.join(folder, "tenant")
        self.uid, self.name, self.since = None, "", 0.0
        self._waiting = []  # [(owner, then)] while the node is wiped
        self._wiping = False
        self._load()

    def _load(self):
        try:
            with open(self._path, encoding="utf-8") as stream:
                found = lean.loads(stream.read())
            self.uid, self.name, self.since = int(found["uid"]), str(found["name"]), float(found["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # nobody was here, or nobody knows who: then there is nothing of his that would be known

    def admit(self, owner, busy, then):
        """`then(None)` when a run of `owner` ({uid, name}) may be taken, or `then(sentence)`. `busy`: whether runs are here."""
        if self._wiping:
            return self._waiting.append((owner, busy, then))
        if owner["uid"] == self.uid:
            return then(None)
        if busy:
            return then(f"this node still has a run of {self.name or 'somebody else'}, and serves one user at a time")
        if self.uid is None:
            return then(self._enter(owner))
        self._wiping = True

        def wiped(error):
            self._wiping = False
            if error is None:
                error = self._enter(owner)
            then(error and f"this node cannot be wiped after {self.name}: {error}")
            waiting, self._waiting = self._waiting, []
            for other in waiting:
                self.admit(other[0], True, other[2]) if error is None else self.admit(*other)

        self.wipe(wiped)

    def _enter(self, owner):
        """Write down whose turn it is; a sentence if that cannot be."""
        since = time.time()
        try:
            replace(self._path, lean.dumps({"uid": owner["uid"], "name": owner["name"], "since": since}).encode(), 0o600)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        self.uid, self.name, self.since = owner["uid"], owner["name"], since

    # --- the wipe

    def wipe(self, then):
        """`then(None)` when nothing of the present tenant is left here, or `then(sentence)`."""
        self.runs.dismiss()

        def removed(error):
            if error is None and self.runs.strangers():  # started by what was being killed
                error = "processes go on being started"
            then(error)

        self._kill(_ROUNDS, lambda error: then(error) if error else self._remove(removed))

    def _kill(self, rounds, then):
        pids = self.runs.strangers()
        if not pids and not self.runs.removers:
            return then(None)
        if not rounds:
            return then(f"process {min(pids) if pids else min(self.runs.removers)} does not end")
        procs.signal_all(sorted(pids), signal.SIGKILL)
        self.runs.loop.call_later(_SWEEP, lambda: self._kill(rounds - 1, then))

    def _remove(self, then):
        """Files, in a process of its own: there may be many."""

        def work():
            return replicas(self.folder) + temporary(self.since - _SLACK, self.folder)

        def removed(left, error):
            self.runs.removers.discard(pid)
            then(error or (left[0] if left else None))

        try:
            pid = errand.run(self.runs.loop, work, removed)
        except OSError as error:
            return then(str(error))
        self.runs.removers.add(pid)


def replicas(folder):
    """Remove all that was staged for anybody below the agent's folder. Returns sentences: what could not be."""
    files, left = os.path.join(folder, "files"), []
    try:
        owners = os.listdir(files)
    except FileNotFoundError:
        return []
    try:
        worker = lean.module(__package__ + ".files.worker")
    except ImportError:
        worker = None  # an agent without files: then there are none
    for owner in owners:
        state = os.path.join(files, owner)
        if worker is not None:
            done = worker.alone({"side": "node", "do": "wipe", "state": state, "home": os.path.expanduser("~"), "job": 0, "node": "it", "roots": []})
            left += [done["error"]] if done["error"] else []
        left += remove(state)
    return left


def temporary(since, spared, folders=TEMPORARY, uid=None):
    """Remove what our user owns in the folders for temporary files and has changed since (seconds since the epoch), but not what the
    folder `spared` (the agent's own) lies in. Sentences as above."""
    left, uid, spared = [], os.geteuid() if uid is None else uid, os.path.realpath(spared) + "/"
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                found = os.lstat(path)
            except OSError:
                continue
            ours = found.st_uid == uid and max(found.st_ctime, found.st_mtime) >= since
            if ours and not spared.startswith(os.path.realpath(path) + "/"):
                left += remove(path)
    return left


def remove(path):
    """Remove a file or a whole folder, whatever its modes and however deep. Sentences as above."""
    for argv in (["rm", "-rf", "--", path], ["chmod", "-R", "u+rwX", "--", path], ["rm", "-rf", "--", path]):
        import subprocess

        said = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        if not os.path.lexists(path):
            return []
    return [(said.decode("utf-8", "replace").strip().splitlines() or [f"{path} cannot be removed"])[-1]]
