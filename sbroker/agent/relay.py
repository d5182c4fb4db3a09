"""The agent daemon of one node: the broker's connection, the report journal, and the way between broker and supervisors.

It decides nothing about a job. It may be killed at any time: the journal, the run directories and the supervisors stay, and the next
one goes on from there. What one turn of the loop brings is handled as one batch: one fsync for all its reports, then the frames.
"""

import gc
import os
import sys
import time

import sbroker

from . import commands, devices, fingerprint, heard, inventory, lean, lease, users, wire
from .door import Door
from .link import Epoch, Journal, Link
from .loop import Stream, listen_unix
from .reserve import Reserve
from .rundir import contents, replace, sync_folder
from .runs import Runs
from .site import LoginPath
from .workers import KINDS, Workers

_SILENT = 60.0  # seconds without a word after which a broker that is connected is taken for gone: it says something every 15
_HEARD = 10.0  # seconds between two touches of the file that says so
_IDLE = 10.0  # seconds after a broker's hello in which the node has better things to do than to prepare itself for the second job
_COMPACT = 1 << 20  # bytes of journal beyond which it is written anew when half of it is acknowledged


class Relay:
    """One node's agent in `folder`. `front`: name of the NodeFront module, or "" to wait for the broker's word.
    `broker_uid`: who may connect besides root (None: our own user). `policy`: users.Policy of this agent's own options."""

    def __init__(self, loop, folder, node, hostname, names, front="", broker_uid=None, policy=None, program=""):
        self.loop, self.folder, self.node, self.hostname, self.names = loop, folder, node, hostname, names
        self.settings = {}
        self._program = program or (fingerprint.of_agent(front) if front else "")  # else when the broker has named the front end
        self._own_policy = self.policy = policy or users.Policy()
        self.front = lean.module(front) if front else None
        self._places = {}  # (front end, folder of a twin's names or None) → folder of the commands for jobs
        self.login_path = None  # of a node that is no twin, once the broker has said so
        self.boot_id = inventory.boot_id()
        self.incarnation = f"{_identity(os.path.join(folder, 'id'))}:{self.boot_id}"
        self.secret = _secret(os.path.join(folder, "secret"))
        self.epoch = Epoch(contents(os.path.join(folder, "epoch")))
        self.reserve = Reserve(folder)
        self._journal_path = os.path.join(folder, "journal")
        self.journal = Journal(contents(self._journal_path), self.boot_id)
        self._journal_fd = -1
        self._write_journal_anew()
        self._broker = self._link = None
        self._heard = self._touched_at = 0.0  # when the broker said something (loop time), and when the file FOLDER/heard was last touched for it
        self._spot = None  # of a machine that may be taken back
        self._touched = set()  # records whose supervisor waits for an acknowledgement
        self._flushing = self._preloading = False
        self._channels = {}  # broker's channel → (record, supervisor's channel)
        self._by_record = {}  # (record, supervisor's channel) → broker's channel
        self._unsent = []  # (record, supervisor's channel, header, body) of channels that wait for a broker
        self._next_channel = -1
        self.workers = Workers(self)
        self.attendance = lease.Attendance(loop.now())
        self.runs = Runs(self, os.path.join(folder, "runs"))
        self.runs.scan()
        lease.look(self.runs, self.attendance)
        self.door = Door(loop, folder, node, lambda job, run: self.runs.records.get((job, run)))
        self._broker_uid = os.geteuid() if broker_uid is None else broker_uid
        path = os.path.join(folder, "agent.sock")
        self._listening = listen_unix(path, 0o600)
        if self._broker_uid != os.geteuid():
            os.chown(path, self._broker_uid, -1)
        loop.watch(self._listening.fileno(), read=self._accept)

    # --- the journal

    def report(self, kind, key, data=None, when=None, origin=0):
        """Take one report for the broker; it is durable and sent at the end of this turn."""
        if self.journal.append(kind, key[0], key[1], time.time() if when is None else when, data or {}, origin):
            self._flush_soon()

    def _flush_soon(self):
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self):
        """One write and fsync for all reports of this turn; then supervisors and broker may hear of them."""
        self._flushing = False
        fresh = self.journal.fresh
        data = self.journal.take()
        if data:
            at = os.fstat(self._journal_fd).st_size
            self.reserve.writing(lambda: self._append(at, data))
        if fresh:
            os.fsync(self._journal_fd)
            self.journal.durable()
        touched, self._touched = self._touched, set()
        for record in touched:
            record.tell({"op": "ack", "n": record.to_ack})
        if self._link is not None:
            self._send(self._link.outgoing())

    def _append(self, at, data):
        os.ftruncate(self._journal_fd, at)  # what an attempt on a full disk left
        view = memoryview(data)
        while view:
            view = view[os.write(self._journal_fd, view) :]

    def _acknowledged(self, seq):
        self.journal.ack(seq)
        if self.journal.size > _COMPACT and len(self.journal.reports) * 500 < self.journal.size // 2:
            self._write_journal_anew()
        self._flush_soon()

    def _write_journal_anew(self):
        """Compact the file; also the first one."""
        data = self.journal.image()
        self.reserve.writing(lambda: replace(self._journal_path, data, 0o600))
        sync_folder(self.folder)
        if self._journal_fd >= 0:
            os.close(self._journal_fd)
        self._journal_fd = os.open(self._journal_path, os.O_WRONLY | os.O_APPEND)
        self.journal.durable()

    # --- the broker

    def _accept(self):
        try:
            sock = self._listening.accept()[0]
        except OSError:
            return
        if not users.peer_is(sock, self._broker_uid):
            return sock.close()
        stream, reader, link = Stream(self.loop, sock), wire.LinkReader(), Link(self.journal)

        def data(received):
            try:
                frames = reader.feed(received)
            except wire.WireError:
                stream.close()
                return closed(None)
            if self._broker is stream:
                self._hear()
            self._batch(stream, link, frames)

        def closed(_error):
            if self._broker is stream:
                self._lose_broker()

        stream.on_data, stream.on_close = data, closed
        stream.resume()

    def _batch(self, stream, link, frames):
        """All the frames of one read."""
        prepared = False
        for header, body in frames:
            if stream.closed:
                return
            op = header.get("op")
            if op == "hello":
                self._greet(stream, link, header)
            elif stream is self._broker:
                prepared = prepared or op == "prepare"
                self._order(op, header, body)
        if prepared:
            sync_folder(self.runs.folder)

    def _greet(self, stream, link, header):
        refusal = self.epoch.check(header["store"], header["epoch"])
        if not refusal and header.get("node", self.node) != self.node:
            refusal = "node"
        if refusal:
            stream.write(wire.link_frame({"op": "refused", "error": refusal, "epoch": self.epoch.epoch}))
            return stream.finish()
        if self._broker is not None and self._broker is not stream:
            old = self._broker
            self._lose_broker()
            old.close()
        changed = self.epoch.accept(header["store"], header["epoch"])
        if changed:
            replace(os.path.join(self.folder, "epoch"), changed, 0o600)
            sync_folder(self.folder)
        self.settings = header.get("settings") or {}
        if self.settings.get("front"):
            self.front = lean.module(self.settings["front"])
            self._program = self._program or fingerprint.of_agent(self.settings["front"])
            if not self._preloading and hasattr(self.front, "preload"):
                self._preloading = True
                self.loop.call_later(_IDLE, self._preload)
        self.policy = self._own_policy.under(self.settings, users.peer_allowed(stream.fd))
        if not self.settings.get("twin", True):
            self._prepare_for_others()
        self.runs.dismiss()
        self.names.add(self.settings.get("hosts") or {})
        self.door.open(self.settings.get("ports") or "")
        self._broker, self._link = stream, link
        self._hear()
        self._watch_spot(self.settings.get("spot_notice"))
        self._listen(stream, self.settings.get("silent", _SILENT))
        self.attendance.greeting(self.loop.now())
        identity = {"node": self.node, "incarnation": self.incarnation, "boot_id": self.boot_id, "version": sbroker.__version__}
        told = dict(inventory.take(time.time(), self.hostname), port=self.door.port, program=self._program)
        self._send([link.greet(identity, self.runs.live(), told)])
        self._send(link.outgoing())
        unsent, self._unsent = self._unsent, []
        for entry in unsent:
            self._channel_up(*entry)

    def _preload(self):
        """What supervisors share with us when we have loaded it; not in the moment in which a node is wanted most."""
        from . import dial, login, spool, stepcalls  # noqa: F401

        self.front.preload()
        self._sweep()
        if hasattr(gc, "freeze"):
            gc.freeze()

    def _sweep(self):
        """What jobs of the releases before were given goes when none of them is left."""
        infos = [record.info for record in self.runs.records.values()]
        if self.login_path is not None and None not in infos:
            present = self._commands(None)
            if present:
                commands.sweep(self.folder, {present} | {(info.get("here") or {}).get("bin") for info in infos})

    def _prepare_for_others(self):
        """What jobs need here that do not bring the submit host's environment and commands."""
        if self.login_path is None:
            self.login_path = LoginPath(self.loop)
        if self.policy.accounts:
            try:
                commands.profile()
            except OSError as error:
                print(f"login shells may lose the commands of jobs: {error}", file=sys.stderr)

    def here(self, info):
        """What only this node knows, for the description of a run."""
        twin = self.login_path is None
        place = self._commands(info.get("bin") or "") if twin else self._commands(None)
        found = {"bin": place} if twin else {"bin": place, "path": self.login_path.value}
        cores = devices.neuron_cores()
        return dict(found, neuron_cores=cores) if cores else found

    def _hear(self):
        """The broker said something. A machine that ends by itself looks at the file (sbroker.fleet.boot)."""
        self._heard = self.loop.now()
        if self._touched_at and self._heard - self._touched_at < _HEARD:
            return
        self._touched_at = self._heard
        try:
            os.close(os.open(os.path.join(self.folder, "heard"), os.O_WRONLY | os.O_CREAT, 0o644))
            os.utime(os.path.join(self.folder, "heard"))
        except OSError as error:
            print(f"the machine may end although the broker is heard: {error}", file=sys.stderr)

    def _watch_spot(self, url):
        """Ask for a notice there from now on; None: nobody will take this machine back."""
        if self._spot is not None and self._spot.url != url:
            self._spot.close()
            self._spot = None
        if url and self._spot is None:
            from . import spotnotice  # few machines are of that kind

            try:
                self._spot = spotnotice.Watch(self.loop, url, lambda data: self.report("notice", (0, 0), data))
            except ValueError as error:
                print(f"no notice will be seen: {error}", file=sys.stderr)

    def _listen(self, stream, patience):
        """Notice a broker that says nothing any more: the login that carries its words may outlive it, where the network is cut."""
        if self._broker is not stream:
            return
        left = self._heard + patience - self.loop.now()
        if left > 0:
            self.loop.call_later(left, lambda: self._listen(stream, patience))
        else:
            self._lose_broker()
            stream.close()

    def _commands(self, bin):
        """The folder of the commands: made of the twin's `bin` ("": it has none), or with None of our own client."""
        if bin == "" or self.front is None:
            return ""
        key = (self.front, bin)
        if not os.path.isdir(self._places.get(key, "")):
            try:
                self._places[key] = commands.install(self.folder, self.front, bin)
            except (OSError, ValueError) as error:
                print(f"no commands for jobs: {error}", file=sys.stderr)
                return ""
        return self._places[key]

    def _lose_broker(self):
        """The connection is gone: reports wait in the journal, calls are cut (their clients ask again)."""
        self._broker = self._link = None
        for record, number in list(self._by_record):
            record.tell({"op": "chan_close", "chan": number, "why": "link"})
        self._channels, self._by_record = {}, {}
        self.workers.lose_broker()

    def send(self, frames):
        """Frames to the broker; dropped when there is none."""
        self._send(frames)

    def _send(self, frames):
        if frames and self._broker is not None:
            self._broker.write(b"".join(wire.link_frame(header, body) for header, body in frames))

    def _order(self, op, header, body):
        if op == "ack":
            return self._acknowledged(header["seq"])
        if op == "ping":
            self.attendance.answering(header.get("n", 0), self.loop.now())
            return self._send([(dict(inventory.pulse(), op="pong", n=header.get("n", 0)), b"")])
        if op == "attend":
            self.attendance.vouched(header["n"])
            return self.runs.attended()
        if op == "chan_open":
            return self._channel_opened(header, body)
        if op in ("chan_data", "chan_credit", "chan_close"):
            return self._channel_down(op, header, body)
        if op == "upgrade":
            return self.loop.stop()  # the next one is started by the broker's next login; supervisors go on, and the journal is on disk
        if "job" not in header:
            return  # of a later release
        key = (header["job"], header["run"])
        if op in ("prepare", "start"):
            record = self.runs.records.get(key) if op == "start" else None
            self.attendance.ordered(record.held if record is not None else None)
        if op == "prepare":
            script = header.get("script_size", 0)
            parts = body[:script], body[script : script + header.get("environ_size", 0)]
            self._names_of(header["info"]["nodes"], lambda: self.runs.prepare(header, *parts))
        elif op == "start":
            self.runs.start(key, header)
        elif op == "revoke":
            self.runs.revoke(key)
        elif op == "end":
            self.runs.end(key, header)
        elif op == "forget":
            self.runs.forget(key)
        elif op in ("signal", "freeze", "adjust", "lose"):
            self.runs.tell(key, header)

    def _names_of(self, shares, then):
        """Have the names of a run's nodes resolve, then `then()`."""
        if not self.settings.get("names"):
            self.names.add({share["node"]: share.get("address", "") for share in shares})
            return then()

        def learnt():
            then()
            if waited:
                sync_folder(self.runs.folder)

        waited: list = []
        self.names.learn(self.loop, {share["node"]: [share.get("address") or "", *share.get("addresses", ())] for share in shares}, learnt)
        waited.append(True)

    # --- supervisors

    def from_supervisor(self, record, header, body):
        op = header.get("op")
        if op == "report":
            number, kind, when, data = heard.report(header["n"], header["kind"], header["time"], header["data"])
            self.report(kind, record.key, data, when, number)
            self.runs.heard(record, kind)
            record.to_ack = number
            self._touched.add(record)
            self._flush_soon()
        elif op == "idle":
            self.runs.idle(record)
        elif op == "hello":
            if header.get("state") == "ACTIVE" and record.state == "HELD":
                record.state = "ACTIVE"
        elif op in ("chan_open", "chan_data", "chan_credit", "chan_close"):
            self._channel_up(record, header["chan"], header, body)

    def supervisor_gone(self, record):
        for owner, number in [pair for pair in self._by_record if pair[0] is record]:
            channel = self._by_record.pop((owner, number))
            del self._channels[channel]
            self._send([({"op": "chan_close", "chan": channel, "why": "link"}, b"")])
        self._unsent = [entry for entry in self._unsent if entry[0] is not record]

    # --- channels: the broker numbers the ones it opens with even numbers, we ours with odd ones

    def _channel_up(self, record, number, header, body):
        if self._broker is None and header.get("kind") == "sync":
            return record.tell({"op": "chan_close", "chan": number, "why": "link"})  # steps do not wait for a broker that is away
        if self._broker is None:
            if header["op"] == "chan_open" or any(entry[0] is record and entry[1] == number for entry in self._unsent):
                self._unsent.append((record, number, header, body))
            return
        if header["op"] == "chan_open":
            self._next_channel += 2
            self._channels[self._next_channel] = (record, number)
            self._by_record[(record, number)] = self._next_channel
            # whatever it says: a call from inside a run is its owner's, and a supervisor calls none but those of its own run
            kind = header.get("kind") if header.get("kind") in ("peer", "output", "sync") else "call"
            header = dict(header, job=record.key[0], run=record.key[1], kind=kind, uid=record.info["user"]["uid"])
        channel = self._by_record.get((record, number))
        if channel is None:
            return
        if header["op"] == "chan_close":
            self._drop(channel)
        self._send([(dict(header, chan=channel), body)])

    def _channel_opened(self, header, body):
        channel = header["chan"]
        if header.get("kind") in KINDS:
            return self.workers.open(header)
        record = self.runs.records.get((header["job"], header["run"]))
        if record is None or record.stream is None:
            why = "done" if header.get("kind") != "peer" else "gone" if record is None or record.state != "HELD" else "away"
            return self._send([({"op": "chan_close", "chan": channel, "why": why}, b"")])
        self._channels[channel] = (record, channel)
        self._by_record[(record, channel)] = channel
        record.tell(header, body)

    def _channel_down(self, op, header, body):
        channel = header["chan"]
        if channel not in self._channels:
            return self.workers.frame(op, header, body)
        record, number = self._channels[channel]
        if op == "chan_close":
            self._drop(channel)
        record.tell(dict(header, chan=number), body)

    def _drop(self, channel):
        record, number = self._channels.pop(channel)
        del self._by_record[(record, number)]


def _secret(path):
    """Random bytes of this agent folder that nobody else can read."""
    found = contents(path)
    if len(found) != 32:
        found = os.urandom(32)
        replace(path, found, 0o600)
    return found


def _identity(path):
    """The random name of this agent folder, made at its first use."""
    found = contents(path)
    if not found:
        found = os.urandom(8).hex().encode()
        replace(path, found, 0o600)
    return found.decode()
