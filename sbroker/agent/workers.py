"""Processes that an agent forks to move a user's files, as that user: each at the end of a channel that the broker opened.

kind "files": one side of a staging (`sbroker.agent.files`); options: user, owner, and those of the files worker. kind "output": writes a
batch job's output where the user expects it (`sbroker.agent.writer`); options: user, and those of the writer. The agent passes bytes on,
and takes no more from either end than the other has room for.
"""

import _signal as signal
import os
import sys

from . import kernel, procs, users
from .link import CREDIT, Channel
from .loop import Stream, forked

KINDS = ("files", "output")
_NAME = r"[A-Za-z0-9_][^/\0]{0,254}\Z"


class Worker:
    """One process and its channel."""

    def __init__(self, number, stream, pid):
        self.channel, self.stream, self.pid, self.owed = Channel(number), stream, pid, 0


class Workers:
    """`relay` offers: loop, folder, policy, runs, send(frames)."""

    def __init__(self, relay):
        self.relay = relay
        self.channels = {}  # number → Worker
        self.pids = set()

    def open(self, header):
        """The broker's chan_open."""
        import re  # not at the agent's start (tests/rules)

        number, options = header["chan"], header.get("options") or {}
        try:
            user = self._user(options["user"], options.get("do") == "out")
            MODULES[header["kind"]]()  # once, here: else each process would read them anew
            if header["kind"] == "files" and not re.match(_NAME, options["owner"]):
                raise ValueError("no folder can be named after the user %r" % options["owner"])
            pid, ours = forked(lambda theirs: self._work(header["kind"], theirs, dict(options, user=user)))
        except (OSError, ValueError, KeyError) as error:
            return self.relay.send([({"op": "chan_close", "chan": number, "why": "refused", "error": str(error)}, b"")])
        self.pids.add(pid)
        self.relay.loop.on_child(pid, lambda status: self.pids.discard(pid))
        stream = Stream(self.relay.loop, ours)
        worker = self.channels[number] = Worker(number, stream, pid)
        stream.on_data = lambda data: self._from_worker(worker, data)
        stream.on_close = lambda error: self._ended(worker)
        stream.on_drain = lambda: self._drained(worker)
        stream.resume()

    def _user(self, user, out=False):
        """Who the process becomes, as this machine knows him. ValueError for one whose files are none of ours. `out`: to take his files away."""
        policy = self.relay.policy
        if policy.mapped:
            tenant = self.relay.runs.admission.tenant
            if tenant.uid is None and not out:
                raise ValueError("this node was installed anew since the job came here, and knows nothing of it")
            if tenant.uid not in (None, user["uid"]):
                raise ValueError("this node serves one user at a time, and that is %s now" % tenant.name)
            return users.own()
        refusal = policy.refusal(user)
        if refusal:
            raise ValueError(refusal)
        if not policy.accounts:
            return user
        from . import accounts  # not at the agent's start

        try:
            return accounts.settle(user, make=False)
        except accounts.Missing:
            raise ValueError("%s has no account here" % user["name"])
        except accounts.Refused as refused:
            raise ValueError(str(refused))

    # --- bytes

    def frame(self, op, header, body):
        """A frame of the broker's for one of our channels. False if it is none of ours."""
        worker = self.channels.get(header["chan"])
        if worker is None:
            return False
        if op == "chan_data":
            worker.owed += len(body)
            worker.stream.write(body)
            if not worker.stream.pending:
                self._drained(worker)
        elif op == "chan_credit":
            self.relay.send(worker.channel.credited(header["bytes"]))
            if worker.stream.closed:
                self._settle(worker)
            elif worker.channel.pending < CREDIT:
                worker.stream.resume()
        else:
            del self.channels[header["chan"]]
            if header.get("why") == "cancel" and worker.pid in self.pids:
                os.kill(worker.pid, signal.SIGKILL)  # it may read a huge file and look at nothing else; what it was at is repeatable
            worker.stream.finish()  # the process reads its end of file, and ends
        return True

    def _from_worker(self, worker, data):
        self.relay.send(worker.channel.send(data))
        if worker.channel.pending >= CREDIT:
            worker.stream.pause()

    def _drained(self, worker):
        owed, worker.owed = worker.owed, 0
        self.relay.send(worker.channel.consumed(owed))

    def _ended(self, worker):
        if self.channels.get(worker.channel.number) is worker:
            self.relay.send(worker.channel.close("done"))
            self._settle(worker)

    def _settle(self, worker):
        """Its process is gone: the channel goes when all that it said has been sent."""
        if worker.channel.closing is None:
            del self.channels[worker.channel.number]

    def lose_broker(self):
        """Nobody is at the other end of any channel."""
        channels, self.channels = self.channels, {}
        for worker in channels.values():
            worker.stream.close()

    # --- the process

    def _work(self, kind, sock, options):
        """In the child; never returns."""
        code = 1
        try:
            self.relay.loop.after_fork()
            procs.close_all_but({0, 1, 2, sock.fileno()} | self.relay.loop.own_fds())
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            self.relay.loop.close()
            os.setsid()
            kernel.set_name("sbroker-" + kind)
            sock.setblocking(True)
            KIND[kind](sock, options, self.relay.folder)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _file_modules():
    from .files import place, worker

    return place, worker


def _output_modules():
    from . import writer

    return writer


MODULES = {"files": _file_modules, "output": _output_modules}


def _files(sock, options, folder):
    place, worker = _file_modules()
    user = options.pop("user")
    options.update(state=os.path.join(folder, "files", options.pop("owner")), home=user.get("home") or "/")
    place.prepare(options, user)
    users.become(user)
    worker.run(sock, options)


def _output(sock, options, folder):
    users.become(options["user"])
    _output_modules().run(sock, options)


KIND = {"files": _files, "output": _output}
