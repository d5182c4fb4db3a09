"""sbcast, and srun --bcast: a file of the client's side to a path on every node of the job.

The head reads it through the client in pieces, passed on as `bcast {id, path, mode, force, times}` + data; the last piece has `end`.
A node writes as it comes, into the file itself, as Slurm does, and answers `bcast_done {id, errno}` once, at the first failure or the end.
"""

import os
import stat
from errno import EACCES, ENODEV

from .places import Places
from .stepsession import Session

_WINDOW = 1 << 20
_AHEAD = 4 << 20  # bytes that a node may not have yet before the client waits
_LOOK = 0.02  # seconds between looks at whether it has them
HANDLE = 7  # of the client's open file; below those of stdio.py


class Broadcast:
    """One file on its way. `session` asks the client and passes on `input` of HANDLE; `done(errno, said)` at the end, `said` what failed.

    sources: where it may be at the client's, in order; of a `program` the first that may be executed. `source` is the one that was
    taken, None if there is none. path: fn(node) → absolute path there."""

    def __init__(self, session, sources, path, nodes, force, preserve, done, program=False):
        self.session, self.path, self.nodes, self.program = session, path, nodes, program
        self.source, self._sources = None, list(sources)
        self.force, self.preserve, self.done = force, preserve, done
        self._received = 0
        self._left = set(nodes)
        self._errno, self._said = 0, []
        self._mode, self._times = 0o644, None
        session.open(HANDLE, os.O_RDONLY, self._sources[0], self._opened)

    def _opened(self, errno, data):
        source = self._sources.pop(0)
        mode, accessed, modified = data.split() if data and not errno else (b"0", b"0", b"0")
        mode = int(mode, 8)
        if not errno and self.program and not (stat.S_ISREG(mode) and mode & 0o111):
            errno = EACCES
        if errno and self._sources:
            return self.session.open(HANDLE, os.O_RDONLY, self._sources[0], self._opened)
        if errno:
            return self.done(errno, "sbcast: error: Can't open `%s`: %s\n" % (source, os.strerror(errno)))
        if stat.S_ISDIR(mode):
            return self.done(ENODEV, "sbcast: error: Can't mmap file `%s`, No such device.\n" % source)
        self.source = source
        self._mode = stat.S_IMODE(mode) & 0o777
        if self.preserve:
            self._times = [int(accessed), int(modified)]
        self.session.grant(HANDLE, 0, _WINDOW)

    def input(self, offset, data):
        if offset < self._received:
            return
        self._received += len(data)
        for node in self.nodes:
            header = {
                "op": "bcast", "id": self.session.id, "path": self._there(node), "mode": self._mode, "force": self.force,
                "times": self._times, "end": not data,
            }  # fmt: skip
            self.session.sup.steps.order(node, header, data)
        if data:
            self._grant()

    def _there(self, node):
        """The path as that node has it: the caller gives it as his own machine does."""
        session = self.session
        own = session.sup.places if session.direct else Places(session.options.get("at"))
        return Places(session.sup.at.get(node)).there(own.here(self.path(node)))

    def _grant(self):
        """More of the file, as soon as every node has taken most of what was sent."""
        sup = self.session.sup
        if self.session.ended:
            return
        if any(node in sup.peers and sup.peers[node].pending > _AHEAD for node in self.nodes):
            sup.loop.call_later(_LOOK, self._grant)
        else:
            self.session.grant(HANDLE, self._received, self._received + _WINDOW)

    def node_done(self, node, errno):
        """A node has the file, or cannot."""
        if node not in self._left:
            return
        self._left.discard(node)
        if errno:
            self._errno = errno
            self._said.append("sbcast: error: REQUEST_FILE_BCAST(%s): %s\n" % (node, os.strerror(errno)))
        if not self._left:
            self.done(self._errno, "".join(self._said))


class Sbcast(Session):
    """One sbcast."""

    def begin(self):
        sup = self.sup
        wish = sup.front.parse_sbcast(self.call, sup.info.get("imitate", "22.05"))
        if "refuse" in wish:
            self.say(wish["refuse"]["out"], 1)
            self.say(wish["refuse"]["err"], 2)
            return self.exit(wish["refuse"]["code"])
        path = os.path.join(self.call["cwd"], wish["dest"])
        nodes = [share["node"] for share in sup.info["nodes"]]
        self.broadcast = Broadcast(self, [wish["source"]], lambda node: path, nodes, wish["force"], wish["preserve"], self._done)

    def _done(self, errno, said):
        self.say(said, 2)
        self.exit(255 if errno and self.broadcast.source is None else errno)

    def input(self, handle, offset, data):
        if handle == HANDLE and self.broadcast is not None:
            self.broadcast.input(offset, data)
