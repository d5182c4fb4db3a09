"""Supervisors that are used again: a fork costs more than all the rest of a short job.

A supervisor whose run was plain (one node, no client ever called, nothing is left) may take another run of the same user. It is then
as new: nothing of the earlier run is kept but the process. It waits a little for the agent's word, and ends when the agent goes.
"""

import os

from . import sockets as socket
from .loop import unix_socket
from .rundir import RunDir
from .supervisor import Supervisor
from .wire import LinkReader, WireError

IDLE = 10.0  # seconds


class Warm:
    """The process of a supervisor, run after run. Lives in the forked child."""

    def __init__(self, loop, node, front, settings):
        self.loop, self.node, self.front, self.settings = loop, node, front, settings
        self._timer = None

    def serve(self, rundir, info, environ, agent, listening, frames=()):
        """Supervise this run. `environ`: the user's, or None if it is yet to be read; `frames`: from the agent, already received."""
        sup = Supervisor(self.loop, rundir, info, environ, self.node, self.front, self.settings, agent, listening)
        sup.retire = self._wait
        for header, body in frames:
            sup.order(header, body)

    def _wait(self, agent):
        self._timer = self.loop.call_later(IDLE, self.loop.stop)
        self.loop.watch(agent.fileno(), read=lambda: self._heard(agent))

    def _heard(self, agent):
        """The agent's next run: a frame {"op": "take", job, run, runs}, and with it the run's listening socket."""
        try:
            data, ancillary, _flags, _address = agent.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        fds = [int.from_bytes(value[:4], "little") for level, kind, value in ancillary if kind == socket.SCM_RIGHTS] if data else []
        try:
            frames = LinkReader().feed(data)
        except WireError:
            frames = []
        if not fds or not frames or frames[0][0].get("op") != "take":
            return self.loop.stop()  # the agent went away, or has no use for us
        os.set_inheritable(fds[0], False)
        self.loop.unwatch(agent.fileno())
        self._timer.cancel()
        header = frames[0][0]
        rundir = RunDir(header["runs"], header["job"], header["run"])
        info, environ = rundir.record()
        self.serve(rundir, info, environ, agent, unix_socket(fds[0]), frames[1:])
