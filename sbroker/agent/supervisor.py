"""The supervisor of one run on one node: a fork of the agent that has become the user, and the parent of all the run's tasks.

It lives as long as the run, with or without agent and broker: it enforces limits, kills what is left, and keeps its reports until an
agent has them in its journal. Its parts: batch.py (the script), ending.py (limits, signals, the end), peers.py (the other nodes'
supervisors), calls.py (commands from inside the job, sessions from outside).

For the steps, all on the one `Supervisor` object:

    sup.info, sup.node, sup.dir, sup.loop, sup.front                 description, node name, the run's folder, Loop, NodeFront
    sup.is_head, sup.share                                           whether this is info["head"]; this node's entry of info["nodes"]
    sup.started, sup.over                                            tasks may run now; no new task may start any more
    sup.report(kind, data)                                           a report to the broker (step_start, step_end, notice)
    sup.spawn(plan, on_exit) -> Process                              tasks.Plan, tasks.Process; on_exit(process) once it ended
    sup.processes                                                    set of live Processes on this node (Process.step: None batch,
                                                                     else a step number)
    sup.signal_step(step, signum)                                    to all processes of that step here, descendants included
    sup.peers                                                        node → Peer with send(header, body=b""), pending; on the head all other
                                                                     nodes once met, elsewhere only the head; what is sent arrives
                                                                     once and in order, however often connections break
    sup.on_peer(op, fn(node, header, body))                          frames from other supervisors, by their op
    sup.on_peer_change(fn(node, there))                              a node was met for the first time, or is lost to the run
    sup.on_order(op, fn(header))                                     told after the run's own handling: "signal", "end", "freeze", "ending"
    sup.software                                                     site.Site: what the node's site has for jobs
    sup.on_over(fn())                                                the run's end has come: tasks were killed or are gone
    sup.places                                                       where the run's files lie on this node (places.Places)
    sup.memory_limit(step, bytes)                                    watch this step's processes here; 0 ends the watch
    sup.finish(code, signal)                                         an allocation without script ends by itself (srun alone)
    sup.batch_stderr(text)                                           bytes into the batch script's standard error

`sbroker.agent.session` offers `accept(sup, call, caller)` (call: wire.parse_call's dict; caller: calls.Caller) and `wants(sup, call)`,
whether a call from inside the job is a step command (else it goes to the broker). front.notice kinds used here: job_cancelled,
chdir, execve, memory, job_memory.
"""

import _struct as struct
import os
import sys
import time

from . import procs, tasks, users
from . import sockets as socket
from .batch import Batch
from .calls import Calls, session_code
from .ending import Ending
from .loop import Stream, unix_socket
from .peers import Peers
from .places import Places
from .site import Site
from .stepfiles import StepFiles
from .wire import CALL, LinkReader, WireError, link_frame

_PATIENCE = 10.0  # seconds that an ended run waits for an agent that is connected but does not acknowledge


class Supervisor:
    """State and orders of one run on one node. `agent`: a connected socket; `listening`: the run's own socket, for commands
    inside the job, later agents and peers. `environ`: the user's environment (bytes), None if it is yet to be read. `retire`, when set,
    is called with the agent's socket instead of ending the process after a plain run."""

    def __init__(self, loop, rundir, info, environ, node, front, settings, agent, listening):
        self.loop, self.rundir, self.info, self.environ = loop, rundir, info, environ
        self.node, self.front, self.settings = node, front, settings
        self.retire = None
        self.plain = len(info["nodes"]) == 1  # until somebody calls
        self._patience = None
        self.dir = rundir.path
        self.is_head = info["head"] == node
        self.share = next(share for share in info["nodes"] if share["node"] == node)
        self.started = self.over = self.empty = False
        self.processes = set()
        self.derived = {"code": 0, "signal": 0}
        self.software = Site(self)
        self._number = 0
        self._word_left = False
        self._unacked = []  # [number, kind, time, data]
        self._outgoing = []  # frames to the agent
        self._listeners = {}  # op → [fn]
        self._over_listeners = []
        self.agent = self.batch = None
        self.at, self.places, self.files = {}, Places(), StepFiles(self)
        loop.on_orphan(self._orphan)
        self.listening = listening
        listening.listen(128)  # once more, as the user: what the kernel tells a caller of us is who listened last
        loop.watch(listening.fileno(), read=self._accept)
        self.peers_link = Peers(self)
        self.peers = self.peers_link.connected
        self.calls = Calls(self)
        self.ending = Ending(self)
        self.batch = Batch(self)
        if session_code() is not None:
            session_code().setup(self)
        self._take_agent(Stream(loop, agent), LinkReader(), [])

    # --- the agent

    def _accept(self):
        try:
            sock = self.listening.accept()[0]
        except OSError:
            return
        if not users.peer_allowed(sock.fileno()):
            return sock.close()
        sock.setblocking(False)
        self.loop.watch(sock.fileno(), read=lambda: self._called(sock))

    def _called(self, sock):
        """The first bytes of a caller, and the descriptor that an agent may send with them."""
        try:
            data, ancillary, _flags, _address = sock.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        handed = [struct.unpack("i", value[:4])[0] for _level, kind, value in ancillary if kind == socket.SCM_RIGHTS]
        for fd in handed:
            os.set_inheritable(fd, False)
        self.loop.unwatch(sock.fileno())
        if not data:
            return sock.close()
        stream, early = Stream(self.loop, sock), bytearray()
        stream.on_data = lambda data: self._greeted(stream, early, handed, data)
        stream.on_close = lambda error: _close_all(handed)
        stream.resume()
        self._greeted(stream, early, handed, data)

    def _greeted(self, stream, early, handed, data):
        """The first bytes say who it is: a thin client's CALL (its fifth byte), else an agent, or a peer with the run's key. All are root's
        or our own user's, as the kernel said."""
        early += data
        if len(early) < 5:
            return
        if early[4] == CALL:
            _close_all(handed)
            self.plain = False
            return self.calls.came(stream, bytes(early))
        reader = LinkReader()
        try:
            frames = reader.feed(bytes(early))
        except WireError:
            _close_all(handed)
            return stream.close()
        if not frames:
            return
        op, fd = frames[0][0].get("op"), handed.pop() if handed else None
        if op == "agent":
            self._take_agent(stream, reader, frames[1:])
        elif op != "peer" or not self.peers_link.accept(stream, reader, frames, fd):
            stream.close()
        else:
            return
        if fd is not None:
            os.close(fd)

    def _take_agent(self, stream, reader, frames):
        if self.agent is not None:
            self.agent.close()
        self.agent, self._outgoing = stream, []
        stream.on_data = lambda data: self._agent_data(reader, data)
        stream.on_close = self._agent_gone
        stream.resume()
        self.tell({"op": "hello", "job": self.info["job"], "run": self.info["run"], "state": "ACTIVE" if self.started else "HELD"})
        for entry in self._unacked:
            self._tell_report(entry)
        self.calls.agent_came()
        if self.batch is not None and self.batch.spool is not None:
            self.batch.spool.agent_came()
        for header, body in frames:
            self.order(header, body)

    def _agent_data(self, reader, data):
        try:
            frames = reader.feed(data)
        except WireError as error:
            self.agent.close()
            return self._agent_gone(error)
        for header, body in frames:
            self.order(header, body)

    def _agent_gone(self, _error):
        self.agent = None
        self.calls.agent_gone()
        self.files.agent_gone()
        if self.batch.spool is not None:
            self.batch.spool.agent_gone()
        if self.empty and self._word_left:
            self.loop.stop()  # all is in the run's last word; the next agent reads it

    def tell(self, header, body=b""):
        """A frame to the agent, with the others of this turn; dropped when there is none (reports and calls are kept by their owners)."""
        if self.agent is not None:
            if not self._outgoing:
                self.loop.call_soon(self._send)
            self._outgoing.append(link_frame(header, body))

    def _send(self):
        frames, self._outgoing = self._outgoing, []
        if self.agent is not None:
            self.agent.write(b"".join(frames))

    def report(self, kind, data=None):
        """Tell the broker, by way of the agent's journal; kept until it is there."""
        self._number += 1
        entry = [self._number, kind, time.time(), data or {}]
        if kind == "step_end":
            self._derive(entry[3])
        self._unacked.append(entry)
        if kind in ("ended", "empty"):
            return  # `leave_word` writes them down before they are told
        self._tell_report(entry)

    def _derive(self, data):
        """Slurm's derived exit: the highest exit code of the steps that srun made, or a signal where no code says more."""
        if data["step"] < 0:
            return
        if data.get("code", 0) > self.derived["code"]:
            self.derived = {"code": data["code"], "signal": data.get("signal", 0)}
        elif not self.derived["code"] and data.get("signal"):
            self.derived = {"code": 0, "signal": data["signal"]}

    def _tell_report(self, entry):
        number, kind, when, data = entry
        self.tell({"op": "report", "n": number, "kind": kind, "time": when, "data": data})

    def leave_word(self, *kinds):
        """Write all that is unacknowledged to the run's directory, durably, then tell the reports of these kinds. Where it cannot be
        written (a full disk) this process stays until an agent has taken them."""
        try:
            self.rundir.leave(self._unacked)
            self._word_left = True
        except OSError as error:
            self._word_left = False
            print(f"run {self.info['job']}.{self.info['run']}: no last word: {error}", file=sys.stderr)
        for entry in self._unacked:
            if entry[1] in kinds:
                self._tell_report(entry)

    # --- orders

    def order(self, header, body):
        """One frame from the agent."""
        op = header.get("op")
        if op == "ack":
            self._unacked = [entry for entry in self._unacked if entry[0] > header["n"]]
            if self.empty and not self._unacked:
                self._leave()
        elif op == "start":
            self.files.nodes = frozenset(header.get("staged") or ())
            if not self.start(header.get("at")):
                self.loop.stop()  # revoked before: nothing will come of this run
        elif op == "drop":
            self.loop.stop()  # revoked before it started: the agent has decided it in the directory
        elif op == "attended":
            self.ending.attended(header["at"])
        elif op.startswith("chan_") and self.batch.spool is not None and header.get("chan") == self.batch.spool.number:
            self.batch.spool.frame(op, header, body)
        elif op.startswith("chan_") and self.files.frame(op, header):
            pass
        elif op.startswith("chan_"):
            self.plain = False
            self.calls.frame(op, header, body)
        elif op == "lose":
            self.peers_link.lose(header["lost"])
        elif op in ("end", "signal", "freeze", "adjust"):
            getattr(self.ending, op)(header)
            self.announce(op, header)

    def start(self, at=None):
        """Run, if this is the first time. On the head by the broker's order, elsewhere by the head's greeting. False if it may not.
        `at`: node → where the run's files lie there (places.Places), for the head to tell."""
        if self.started:
            return True
        self.at = at if isinstance(at, dict) else {}
        self.placed(self.at.get(self.node))
        if self.ending.unattended() or not self.rundir.start():
            return False
        self.started = True
        if self.is_head:
            self.report("started", {"pid": os.getpid()})
            self.peers_link.connect()
        self.ending.arm()
        if self.is_head and self.info["kind"] == "batch":
            self._send()  # before there is a script: it might stop us
            self.batch.launch()
        return True

    def placed(self, at):
        """Where the run's files lie on this node is known."""
        if at:
            self.places = Places(at)
            self.info = self.places.info(self.info)

    # --- processes

    def spawn(self, plan, on_exit):
        """Start a process of the run; `on_exit(process)` when it ended. RuntimeError when the run is over, OSError when it cannot fork."""
        if self.over or not self.started:
            raise RuntimeError("no task may start now")
        plan.env["SBROKER_SOCKET"] = self.calls.path  # also what tells the run's processes from others after our death
        process = tasks.launch(plan)
        self.processes.add(process)

        def ended(status, rusage):
            process.status, process.usage = status, tasks.usage_of(rusage)
            self.processes.discard(process)
            on_exit(process)
            self.ending.child_ended()

        self.loop.on_child(process.pid, ended, usage=True)
        return process

    def _orphan(self, _pid, _status, _rusage):
        self.ending.child_ended()

    def of_step(self, step):
        """The live Processes of a step here; step None: the batch script's."""
        return [process for process in self.processes if process.step == step]

    def signal_step(self, step, signum):
        for process in self.of_step(step):
            process.kill(signum)

    def everything(self):
        """Pids of all that the run has here."""
        return procs.descendants(os.getpid())

    # --- for the steps

    def announce(self, op, header):
        """Tell the listeners of `op`: an order that was carried out, or "ending", the run's end that was ordered or whose time has come."""
        for fn in self._listeners.get(op, []):
            fn(header)

    def on_order(self, op, fn):
        self._listeners.setdefault(op, []).append(fn)

    def on_over(self, fn):
        self._over_listeners.append(fn)

    def on_peer(self, op, fn):
        self.peers_link.handlers[op] = fn

    def on_peer_change(self, fn):
        self.peers_link.watchers.append(fn)

    def memory_limit(self, step, limit):
        self.ending.memory_limit(step, limit)

    def finish(self, code=0, signal=0):
        self.ending.script_ended(code, signal, "signal" if signal else "exit", "", {})

    def batch_stderr(self, text):
        self.batch.say(text)

    def declare_over(self):
        """No task may start from here on; tells who asked to know."""
        if not self.over:
            self.over = True
            for fn in self._over_listeners:
                fn()

    def nothing_left(self):
        """All tasks here are gone: the last reports, then the end of this process."""
        if self.batch.spool is not None and not self.batch.spool.finish(self.nothing_left):
            return self.leave_word("ended")  # its output is still on its way
        self.empty = True
        self.report("empty", {})
        self.leave_word("ended", "empty")
        if not self._word_left:
            return
        if self.agent is None:
            self.loop.stop()
        else:
            self._patience = self.loop.call_later(_PATIENCE, self.loop.stop)

    def _leave(self):
        """The agent has all: end this process, or be of use to another run."""
        if not self.plain or self.retire is None or self._outgoing or self.agent.pending:
            return self.loop.stop()
        self.agent.write(link_frame({"op": "idle"}))
        agent = unix_socket(self.agent.detach())
        self.agent = None
        self._patience.cancel()
        self.loop.unwatch(self.listening.fileno())
        self.listening.close()
        self.batch.close()
        self.retire(agent)


def _close_all(fds):
    while fds:
        os.close(fds.pop())
