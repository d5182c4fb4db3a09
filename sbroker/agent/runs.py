"""The agent's runs: preparing them, forking their supervisors, finding them again, and cleaning up after one that died."""

import _signal as signal
import errno
import os
import sys

from . import errand, kernel, lease, procs, rundir, users
from . import sockets as socket
from .admission import Admission
from .loop import Stream, connect_unix, forked, listen_unix, peer_ids, unix_socket
from .rundir import ACTIVE, ENDED, HELD, NEW, REVOKED, RunDir
from .warm import Warm
from .wire import LinkReader, WireError, link_frame

_SWEEP = 0.05  # seconds between rounds of SIGKILL on what a dead supervisor left
_CONNECT = 1.0  # seconds for a supervisor to take our connection: what listens there may be the user's own, and never do
_REFORK = 0.1  # seconds before a held run gets a new supervisor
_LOOK = 1.0  # seconds between looks at a supervisor that was told to end
_PATIENCE = 5.0  # seconds beyond KillWait for one that is stopped again and again
_AGAIN = 1.0  # seconds before what a full disk or a full process table forbade is tried again
_SPARES = 16
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class Record:
    """One run here. `stream` is None while no supervisor is connected; `pid` is 0 for one that an earlier agent forked."""

    def __init__(self, directory, state):
        self.dir, self.state = directory, state
        self.stream, self.pid, self.info = None, 0, None
        self.peer = 0  # pid of the process behind `stream`, whoever forked it
        self.to_ack = 0  # supervisor's number of its newest report that waits for our fsync
        self.clearing = self.to_start = False
        self.held = None  # when we first said that it is held
        self.ending = None  # "time_limit" when its supervisor shall see to that, "" when it shall end it anyway
        self.order = {"op": "start"}

    @property
    def key(self):
        return self.dir.job, self.dir.run

    def tell(self, header, body=b""):
        if self.stream is not None:
            self.stream.write(link_frame(header, body))


class Spare:
    """A supervisor that waits for another run of its user (the description's user object)."""

    def __init__(self, stream, pid, owner):
        self.stream, self.pid, self.owner = stream, pid, owner


class Runs:
    """`relay` offers: loop, node, settings, policy, reserve, front, journal, report(kind, key, data, time, origin),
    from_supervisor(record, header, body), supervisor_gone(record)."""

    def __init__(self, relay, folder):
        self.relay, self.folder = relay, folder
        self.records = {}  # (job, run) → Record
        self._spares = []  # supervisors without a run
        self.removers = set()  # pids of processes that remove what a run left in its directory
        self.admission = Admission(self)

    # --- after a start

    def scan(self):
        """Take up what earlier agents left."""
        for directory in rundir.scan(self.folder, self._key()):
            record = self.records[(directory.job, directory.run)] = Record(directory, directory.state())
            if record.state in (NEW, REVOKED):
                continue
            if record.state == ENDED:
                record.state = ACTIVE  # until `empty` is found in its last word
            try:
                record.info = directory.trusted()
            except (OSError, ValueError) as error:
                record.info = None
                if record.state == HELD:  # nobody can say whose processes it would start
                    self._give_up(record, f"its record is damaged: {error}")
                    continue
            if not self._reconnect(record):
                if record.state == HELD:
                    self.relay.report("held", record.key)
                    self._refork_soon(record)  # the agent before us may have died before it forked one
                else:
                    self._gone(record)

    def _key(self):
        """What seals the descriptions of runs, where a job's owner could write what root would believe."""
        return self.relay.secret if os.geteuid() == 0 else b""

    def _reconnect(self, record):
        try:
            sock = connect_unix(record.dir.file("srun.sock"), timeout=_CONNECT)
        except OSError:
            return False
        # its owner, and not root: the name may have been made a link to some socket of root's
        if record.info is None or peer_ids(sock)[1] != record.info["user"]["uid"]:
            sock.close()
            return False
        record.peer = peer_ids(sock)[0]
        self.attach(record, Stream(self.relay.loop, sock))
        record.tell({"op": "agent"})
        return True

    def live(self):
        """[[job, run, "HELD" | "ACTIVE"], …] for the hello. A run whose `empty` the broker has not acknowledged is still ACTIVE to it."""
        found = []
        telling = self.relay.journal.unacked("empty")
        for key, record in sorted(self.records.items()):
            if record.state == HELD:
                record.state = record.dir.state()  # a node that is not the head is started by the head
            if record.state == HELD:
                found.append([key[0], key[1], HELD])
            elif key in telling or record.state == ACTIVE or record.clearing:
                found.append([key[0], key[1], ACTIVE])
        return found

    # --- orders

    def prepare(self, header, script, environ):
        """The broker's order to hold a run; it hears `held` or `refused`, at once or when the node was wiped for it."""
        key, info = (header["job"], header["run"]), header["info"]
        if self._known(key):
            return
        info = dict(info, here=self.relay.here(info))
        self.admission.admit(info, lambda info, refusal, late: self._hold(key, info, script, environ, refusal, late))

    def _known(self, key):
        """Whether this run was decided here before; says again what is to be said."""
        record = self.records.get(key)
        if record is None or record.state == NEW:
            return False
        if record.state == HELD:
            self.relay.report("held", key)
        elif record.state == REVOKED:
            self.relay.report("refused", key, {"error": "the run was revoked first"})
        return True

    def _hold(self, key, info, script, environ, refusal, late):
        """Make the run HELD here, or say why not. `late`: by ourselves, not in the turn in which all orders of one read are carried out."""
        if self._known(key):
            return  # while it was being admitted
        if not refusal and not self.relay.reserve.refill():
            return self.relay.report("refused", key, {"error": f"the disk of {self.folder} is full", "fault": "node"})
        if refusal:
            return self.relay.report("refused", key, {"error": refusal})
        directory = RunDir(self.folder, key[0], key[1], self._key())
        owner = (info["user"]["uid"], info["user"]["gid"]) if os.geteuid() == 0 else None
        try:
            directory.prepare(info, script, environ, owner)
        except OSError as error:
            self._remove(directory)
            return self.relay.report("refused", key, {"error": f"{error.filename or directory.path}: {error.strerror}", "fault": _whose(error)})
        if late:
            rundir.sync_folder(self.folder)
        record = self.records[key] = Record(directory, HELD)
        record.info = info
        if info["head"] != self.relay.node:
            self.watch_over(record)  # the head's supervisor will call it; the head's own is forked when it is to start
        record.held = self.relay.loop.now()
        self.relay.report("held", key)

    def start(self, key, order=None):
        """`order`: the broker's, with what it says of the run's files (at, staged)."""
        record = self.records.get(key)
        if record is None or record.state in (NEW, REVOKED):
            return self.relay.report("refused", key, {"error": "the run is not held here"})
        if record.state != HELD:
            return
        if self.relay.attendance.over(record.info, self.relay.loop.now()):
            self.revoke(key)  # an old order: the broker may have given this run up meanwhile
            return
        record.to_start, record.order = True, {"op": "start", "at": (order or {}).get("at"), "staged": (order or {}).get("staged")}
        if record.stream is None:
            self.watch_over(record)
        self._attended(record)
        record.tell(record.order)

    def attended(self):
        """Runs with a lease hear of it."""
        for record in self.records.values():
            self._attended(record)

    def _attended(self, record):
        if lease.leased(record) and self.relay.attendance.at > 0:
            record.tell({"op": "attended", "at": self.relay.attendance.at})

    def revoke(self, key):
        """Give the run up here if it has not started; the broker hears `empty` then."""
        record = self.records.get(key)
        if record is None:
            record = self.records[key] = Record(RunDir(self.folder, key[0], key[1], self._key()), NEW)
        if record.state == ENDED:
            self._empty_again(key)
            return False
        try:
            before = self.relay.reserve.writing(record.dir.revoke)
        except OSError as error:
            print(f"run {key[0]}.{key[1]}: not revoked yet: {error}", file=sys.stderr)
            self.relay.loop.call_later(_AGAIN, lambda: self.revoke(key))
            return True
        if before in (ACTIVE, ENDED):
            record.state = ACTIVE
            return False
        record.state = REVOKED
        if record.stream is not None:
            record.tell({"op": "drop"})
            record.stream.finish()
            record.stream = None
        self.relay.report("empty", key)
        return True

    def end(self, key, header):
        if not self.revoke(key):
            record = self.records[key]
            record.tell(header)
            looking, late = record.ending, header.get("why") == "time_limit"
            record.ending = "" if looking == "" or not late else "time_limit"
            if looking is None:
                patience = record.info.get("kill_wait", 30) if record.info else 30
                self._awake(record, self.relay.loop.now() + patience + _PATIENCE)

    def _awake(self, record, deadline):
        """A job can stop its own supervisor, which then neither hears an order to end nor knows the time: it is continued, and one that
        stops again is killed in the end, which clears what the run has here. One that runs is trusted with the time limit."""
        if record.stream is None or record.state != ACTIVE or record.info is None:
            return
        late = self.relay.loop.now() > deadline
        if procs.stopped(record.peer, record.info["user"]["uid"]):
            procs.signal_all([record.peer], signal.SIGKILL if late else signal.SIGCONT)
        elif late and record.ending == "time_limit":
            record.ending = None
            return
        self.relay.loop.call_later(_LOOK, lambda: self._awake(record, deadline))

    def _empty_again(self, key):
        """For a broker that asks though `empty` was acknowledged: its record was restored from a backup, say."""
        if key not in self.relay.journal.unacked("empty"):
            self.relay.report("empty", key)

    def tell(self, key, header, body=b""):
        """Hand an order to the run's supervisor. False if there is none."""
        record = self.records.get(key)
        if record is None or record.stream is None:
            return False
        record.tell(header, body)
        return True

    def forget(self, key):
        """The broker has the run's end on record."""
        record = self.records.get(key)
        if record is None or record.clearing or record.state not in (ENDED, REVOKED):
            return
        del self.records[key]
        self._remove(record.dir)
        self.relay.journal.forget(*key)

    def _remove(self, directory):
        if directory.remove():
            return
        try:
            pid = os.fork()
        except OSError:
            return  # it stays, and is in nobody's way
        if pid == 0:
            try:
                os.closerange(3, 1 << 16)
                signal.set_wakeup_fd(-1)
                os.execvp("rm", ["rm", "-rf", "--", directory.path])
            finally:
                os._exit(1)
        self.removers.add(pid)
        self.relay.loop.on_child(pid, lambda status: self.removers.discard(pid))

    # --- supervisors

    def watch_over(self, record):
        """A supervisor for a held run: one that is spare, or a fork of this process, warm, without exec. The run's socket listens before
        there is anybody to answer: the next agent finds the supervisor whenever this one dies."""
        try:
            listening = listen_unix(record.dir.file("srun.sock"), 0o777 if os.geteuid() == 0 else 0o600)  # the folder is its owner's alone
        except OSError as error:
            return self._give_up(record, f"{record.dir.file('srun.sock')}: {error.strerror}", _whose(error))
        try:
            if not self._reuse(record, listening):
                self._fork(record, listening)
            self._attended(record)
        except OSError as error:
            print(f"run {record.dir.job}.{record.dir.run}: no supervisor yet: {error}", file=sys.stderr)
            self.relay.loop.call_later(_AGAIN, lambda: self._refork(record))
        finally:
            listening.close()

    def _give_up(self, record, error, fault=""):
        """A held run that cannot be started here, before anything of it was."""
        if record.state != HELD:
            return
        try:
            before = self.relay.reserve.writing(record.dir.revoke)
        except OSError:  # it would need room, or its owner is in the way: as long as nobody starts it, it is the same
            before = HELD
        if before in (ACTIVE, ENDED):
            return
        record.state = REVOKED
        self.relay.report("refused", record.key, {"error": error, "fault": fault})

    def _fork(self, record, listening):
        pid, ours = forked(lambda theirs: self._supervise(record, theirs, listening))
        record.pid = record.peer = pid
        self.attach(record, Stream(self.relay.loop, ours))
        self.relay.loop.on_child(pid, lambda status: self.exited(pid))

    def _reuse(self, record, listening):
        """Hand the run to a spare supervisor of its user. False if there is none."""
        for spare in self._spares:
            if spare.owner == record.info["user"]:
                break
        else:
            return False
        self._spares.remove(spare)
        header = {"op": "take", "runs": self.folder, "job": record.dir.job, "run": record.dir.run}
        sock = unix_socket(os.dup(spare.stream.fd))
        try:
            sock.sendmsg([link_frame(header)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, listening.fileno().to_bytes(4, sys.byteorder))])
        except OSError:
            spare.stream.close()
            return False
        finally:
            sock.close()
        record.pid = record.peer = spare.pid
        self.attach(record, spare.stream)
        return True

    def idle(self, record):
        """A supervisor is done with its run and offers itself for another."""
        stream, pid = record.stream, record.pid
        record.stream, record.pid = None, 0
        if pid == 0 or len(self._spares) >= _SPARES:
            return stream.close()
        spare = Spare(stream, pid, record.info["user"])

        def closed(_error):
            if spare in self._spares:
                self._spares.remove(spare)

        stream.on_data, stream.on_close = lambda data: None, closed
        self._spares.append(spare)

    def dismiss(self):
        """No use for spares: what they are made of may be outdated."""
        spares, self._spares = self._spares, []
        for spare in spares:
            spare.stream.close()

    def _supervise(self, record, agent, listening):
        """In the child; never returns."""
        try:
            relay = self.relay
            relay.loop.after_fork()
            procs.close_all_but({0, 1, 2, agent.fileno(), listening.fileno()} | relay.loop.own_fds())
            os.setsid()
            kernel.set_name("sbroker-run")
            kernel.become_subreaper()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its end is the run's end, never the other way round
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            users.become(record.info["user"])
            Warm(relay.loop, relay.node, relay.front, relay.settings).serve(record.dir, record.info, None, agent, listening)
            relay.loop.run()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    def attach(self, record, stream, then=None):
        """Have a run's process at the other end of `stream`: its supervisor, or with `then` one after whose end that is called."""
        reader = LinkReader()

        def data(received):
            try:
                frames = reader.feed(received)
            except WireError:
                stream.close()
                return closed(None)
            try:
                for header, body in frames:
                    self.relay.from_supervisor(record, header, body)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                # it may be anything that the user put into its place: it must not end a root process
                print(f"run {record.dir.job}.{record.dir.run}: not a supervisor's frame: {error!r}", file=sys.stderr)
                stream.close()
                closed(None)

        def closed(_error):
            if record.stream is stream:
                record.stream = None
                self.relay.supervisor_gone(record)
                (then or (lambda: self._gone(record)))()

        record.stream = stream
        stream.on_data, stream.on_close = data, closed
        stream.resume()

    def exited(self, pid):
        for record in self.records.values():
            if record.pid == pid:
                record.pid = 0

    def heard(self, record, kind):
        """A report of the run's supervisor was taken: what it means for the run's state here."""
        if kind == "started":
            record.state = ACTIVE
        elif kind == "empty":
            record.state = ENDED

    # --- after a supervisor's death

    def _gone(self, record):
        """No supervisor answers for this run any more. Its last word counts; without an end it is lost, and nothing of it may go on."""
        word = record.dir.last_word()
        for number, kind, when, data in word:
            self.relay.report(kind, record.key, data, when, number)
            self.heard(record, kind)
        if record.state in (ENDED, REVOKED):
            return
        if record.dir.state() == HELD:
            self._refork_soon(record)
            return
        record.state, record.clearing = ACTIVE, True
        self._clear(record, ended=bool(word))

    def _refork_soon(self, record):
        """A held run has no supervisor: the head's is forked when it is to start, another node's must be there for the head to call."""
        if record.to_start or (record.info is not None and record.info["head"] != self.relay.node):
            self.relay.loop.call_later(_REFORK, lambda: self._refork(record))

    def _refork(self, record):
        """Nothing is lost: the run had not started here."""
        if record.state != HELD or record.stream is not None:
            return
        if self.relay.front is None:  # named by the broker, which has not come yet
            self._refork_soon(record)
        elif record.to_start:
            self.start(record.key, record.order)
        else:
            self.watch_over(record)

    def orphans(self, records):
        """Our children that are none of our own, with all below them: a dead supervisor's. `records`: whose supervisors live."""
        known = {record.pid for record in records}.union((spare.pid for spare in self._spares), self.removers, self.relay.workers.pids, errand.pids)
        found = [pid for pid in procs.children(os.getpid()) if pid not in known and procs.alive(pid)]
        return set(found + [pid for orphan in found for pid in procs.descendants(orphan)])

    def _clear(self, record, ended):
        """SIGKILL whatever the run still has here, until there is nothing; then report. Orphans of a supervisor that we forked became our
        children; those of an older agent's are known by their environment."""
        entry = b"SBROKER_SOCKET=" + os.fsencode(record.dir.file("srun.sock"))
        pids = self.orphans(other for other in self.records.values() if other is not record)
        pids |= procs.by_environ(entry, os.stat(record.dir.path).st_uid)
        if pids:
            procs.signal_all(sorted(pids), signal.SIGKILL)
            self.relay.loop.call_later(_SWEEP, lambda: self._clear(record, ended))
            return
        if not ended:
            self.relay.report("lost", record.key)
        from . import remains

        if not remains.begin(self, record, lambda: self._cleared(record)):
            self._cleared(record)

    def _cleared(self, record):
        record.clearing = False
        self.relay.report("empty", record.key)
        record.state = ENDED


def _whose(error):
    """"node" for what is the machine's fault, "" for what somebody who may write in the run's folder could have caused, too."""
    return "node" if error.errno in _MACHINE else ""
