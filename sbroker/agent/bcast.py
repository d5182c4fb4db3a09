"""sbcast: a file of the client's side to the same path on every node of the job.

The head reads it through the client in pieces, passed on as `bcast {id, path, mode, force, times}` + data; the last piece has `end`.
A node writes as it comes, into the file itself, as Slurm does, and answers `bcast_done {id, errno}` once, at the first failure or the end.
"""

import os
import stat

from .session import Session

_WINDOW = 1 << 20
_HANDLE = 9


class Sbcast(Session):
    """One sbcast."""

    def __init__(self, sup, call):
        Session.__init__(self, sup, call)
        self.wish = None
        self._received = 0
        self._left = set()
        self._code = 0
        self._mode, self._times = 0o644, None

    def begin(self):
        sup = self.sup
        self.wish = wish = sup.front.parse_sbcast(self.call, sup.info.get("imitate", "22.05"))
        if "refuse" in wish:
            self.say(wish["refuse"]["out"], 1)
            self.say(wish["refuse"]["err"], 2)
            return self.exit(wish["refuse"]["code"])
        self.open(_HANDLE, os.O_RDONLY, wish["source"], self._opened)

    def _opened(self, errno, _data):
        if errno:
            self.say("sbcast: error: Can't open `%s`: %s\n" % (self.wish["source"], os.strerror(errno)), 2)
            return self.exit(255)
        source = os.path.join(self.call["cwd"], self.wish["source"])
        try:  # the submit host's files are ours in this release: mode and times come from the file itself
            found = os.stat(source)
        except OSError as error:
            self.say("sbcast: error: Can't stat `%s`: %s\n" % (self.wish["source"], error.strerror), 2)
            return self.exit(255)
        self._mode = stat.S_IMODE(found.st_mode) & 0o777
        if self.wish["preserve"]:
            self._times = [found.st_atime_ns, found.st_mtime_ns]
        self._left = {share["node"] for share in self.sup.info["nodes"]}
        self.grant(_HANDLE, 0, _WINDOW)

    def input(self, handle, offset, data):
        if handle != _HANDLE or offset < self._received:
            return
        self._received += len(data)
        dest = self.wish["dest"]
        header = {
            "op": "bcast",
            "id": self.id,
            "path": dest if dest.startswith("/") else os.path.join(self.call["cwd"], dest),
            "mode": self._mode,
            "force": self.wish["force"],
            "times": self._times,
            "end": not data,
        }
        for share in self.sup.info["nodes"]:
            self.sup.steps.order(share["node"], dict(header), data)
        if data:
            self.grant(_HANDLE, self._received, self._received + _WINDOW)

    def node_done(self, node, errno):
        """A node has the file, or cannot."""
        if node not in self._left:
            return
        self._left.discard(node)
        if errno:
            self._code = errno
            self.say("sbcast: error: REQUEST_FILE_BCAST(%s): %s\n" % (node, os.strerror(errno)), 2)
        if not self._left:
            self.exit(self._code)
