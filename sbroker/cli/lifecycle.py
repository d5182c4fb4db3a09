"""`sbroker up` and `down`: the personal broker's start and the end of any."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from sbroker import paths
from sbroker.cli import ask
from sbroker.errors import SbrokerError

START_WAIT = 30.0


def up() -> str:
    """Start the personal broker under the lock that the thin client uses too. Returns a sentence; SbrokerError if it does not start."""
    socket = ask.whom()
    if socket == paths.shared().socket:
        raise SbrokerError("This host has a shared broker (%s): it is started by `systemctl start sbrokerd`." % paths.SHARED_CONFIG)
    where = paths.personal(os.environ)
    where.create()
    with open(Path(where.state) / "start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with ask.connect(where.socket) as sock:
                return "The broker runs: pid %d." % ask.broker_pid(sock)
        except ask.NoBroker:
            return _start(where)


def _entry() -> str:
    """The file that joins broker and front end; found, not imported."""
    spec = importlib.util.find_spec("sbroker_main")
    if spec is None or spec.origin is None:
        raise SbrokerError("The installation is not whole: the module sbroker_main is missing.")
    return spec.origin


def _start(where: paths.Paths) -> str:
    log = Path(where.logs) / "sbrokerd.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
    with open(log, "ab") as out:
        begin = out.tell()
        argv = [sys.executable, _entry(), "sbrokerd", "--personal"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env, start_new_session=True)
    waited = 0.0
    while waited < START_WAIT:
        try:
            with ask.connect(where.socket) as sock:
                return "The broker was started: pid %d." % ask.broker_pid(sock)
        except ask.NoBroker:
            if process.poll() is not None:
                last = log.read_bytes()[begin:].decode("utf-8", "replace").strip().splitlines()[-5:]
                raise SbrokerError("The broker does not start: %s" % ("\n".join(last) or "it says nothing in %s" % log)) from None
        select.select([], [], [], 0.02)
        waited += 0.02
    raise SbrokerError("The broker (pid %d) does not answer within %d seconds; its log is %s" % (process.pid, START_WAIT, log))


def down(timeout: float, *, cancel: bool = False, keep: bool = False) -> str:
    """Stop the broker that our commands ask, and its agents; wait for their ends. Returns sentences, a line each.

    Refused while jobs exist, unless `cancel` ends them or `keep` leaves them: supervisors of running jobs go on by themselves, and
    the next broker starts agents that find them.
    """
    socket = ask.whom()
    said = []
    if not keep:
        try:
            if ask.relay("sbroker", ["before-down", *(["cancel"] if cancel else [])]):
                raise SbrokerError("The broker goes on.")
        except ask.NoBroker:
            pass  # said below
    try:
        pid = _end(socket, timeout)
        said.append("The broker (pid %d) has ended." % pid)
    except ask.NoBroker as error:
        said.append(str(error))
    for where in (paths.personal(os.environ), paths.shared()):
        if socket != where.socket or (where.shared and os.geteuid() != 0):
            continue
        for agent in sorted(Path(where.spool).glob("*/agent.sock")):
            try:
                pid = _end(str(agent), timeout)
            except ask.NoBroker:
                continue  # a socket that an agent left when it was killed
            name = agent.parent.name
            said.append("The agent %s (pid %d) has ended." % ("for files" if name == paths.SUBMIT_AGENT else "of " + name, pid))
        supervisors = len(list(Path(where.spool).glob("*/runs/*/started")))
        if supervisors:
            said.append("%d parts of running jobs go on; the next broker finds them." % supervisors)
    return "\n".join(said)


def _end(socket: str, timeout: float) -> int:
    """SIGTERM to the process that listens at `socket`, and wait; its pid. NoBroker if there is none."""
    with ask.connect(socket) as sock:
        pid = ask.broker_pid(sock)
        handle = os.pidfd_open(pid)  # names this very process, whoever gets the number later
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended, _, _ = select.select([handle], [], [], timeout)
    except PermissionError as error:
        raise SbrokerError("Process %d is not yours to stop." % pid) from error
    finally:
        os.close(handle)
    if not ended:
        raise SbrokerError("Process %d was told to end and still runs after %g seconds." % (pid, timeout))
    return pid
