"""Two files workers in processes of their own, and between them a pipe that can be cut at any byte."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any

from sbroker.agent.files import worker
from sbroker.agent.files.watch import Watch


class Process:
    """A worker; `become`: uid and gid, or None; `die_at`: it is killed instead of changing the disk for the so many-th time."""

    def __init__(self, sock: socket.socket, options: dict[str, Any], others: list[socket.socket], become: int | None = None, die_at: int = 0) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                signal.alarm(120)
                os.close(self._read)
                for other in others:
                    other.close()
                if become is not None:
                    os.setgroups([])
                    os.setgid(become)
                    os.setuid(become)
                if die_at:
                    mortal(die_at)
                outcome = worker.run(sock, options)
                os.write(write, json.dumps(outcome).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        sock.close()

    def outcome(self) -> dict[str, Any]:
        data = b""
        while True:
            piece = os.read(self._read, 1 << 16)
            if not piece:
                break
            data += piece
        os.close(self._read)
        status = os.waitpid(self.pid, 0)[1]
        assert status in (0, signal.SIGKILL), "the worker died: status %d" % status
        return json.loads(data) if status == 0 else {"error": "killed"}


def mortal(count: int) -> None:
    """From now on this process dies when it would change the disk for the `count`th time."""
    left = [count]

    def wrapped(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **more)
        return call

    for name in ("rename", "link", "unlink", "mkdir", "rmdir", "symlink", "chmod", "utime", "fsync", "write"):
        setattr(os, name, wrapped(getattr(os, name)))


class Lab:
    """A submit side and nodes, all below one folder. Replicas lie at nodes/NAME/… since the paths are taken by the submit side."""

    def __init__(self, top: Path, become: int | None = None) -> None:
        self.top, self.become = top, become
        self.root = top / "work"
        self.root.mkdir(parents=True, exist_ok=True)
        self.options: dict[str, Any] = {}
        self.moved: dict[str, int] = {}  # bytes that went over the pipe at the last sync, by sender
        self.watched: list[dict[str, Any]] = []

    def state(self, side: str) -> Path:
        path = self.top / side
        path.mkdir(parents=True, exist_ok=True)
        if self.become is not None:
            os.chown(path, self.become, self.become)
        return path

    def replica(self, node: str = "n1") -> Path:
        return Path(str(self.state("nodes/" + node)) + str(self.root))

    def sync(self, do: str, node: str = "n1", cut: int | None = None, die: tuple[str, int] | None = None, **more: Any) -> dict[str, Any]:
        """Both workers from the first byte to the end; with `cut`, no more than so many bytes pass; with `die`, (side, when) is killed.
        The outcome of both sides, which must be alike without either."""
        common = dict({"do": do, "job": "7", "node": node, "roots": [{"path": str(self.root)}], "home": str(self.top)}, **self.options, **more)
        (mine, theirs), (ours, its) = socket.socketpair(), socket.socketpair()
        submit = Process(theirs, dict(common, side="submit", state=str(self.state("submit"))), [mine, ours, its], self.become,
                         die[1] if die and die[0] == "submit" else 0)
        at_node = Process(its, dict(common, side="node", state=str(self.state("nodes/" + node))), [mine, ours], self.become,
                          die[1] if die and die[0] == "node" else 0)
        self._join(mine, ours, cut)
        first, second = submit.outcome(), at_node.outcome()
        if cut is None and die is None:
            assert first == second
        return second if second["error"] else first

    def _join(self, submit: socket.socket, node: socket.socket, cut: int | None) -> None:
        """What the broker does."""
        watches = {submit: Watch(), node: Watch()}
        other, open_ends, left = {submit: node, node: submit}, {submit, node}, cut
        self.moved = {"submit": 0, "node": 0}
        self.watched = []
        while open_ends:
            for sock in select.select(list(open_ends), [], [])[0]:
                try:
                    data = sock.recv(1 << 16 if left is None else min(left, 1 << 16) or 1)
                except ConnectionResetError:
                    data = b""
                if left is not None:
                    left -= len(data)
                    if left < 0 or (left == 0 and not data):
                        data = b""
                if not data or left == 0:
                    if data:
                        other[sock].sendall(data)
                    open_ends = set()
                    break
                self.moved["submit" if sock is submit else "node"] += len(data)
                self.watched += watches[sock].feed(data)
                try:
                    other[sock].sendall(data)
                except (BrokenPipeError, ConnectionResetError):
                    open_ends.discard(sock)
        submit.close()
        node.close()


def snapshot(root: Path) -> dict[str, Any]:
    """What a user would see: path → kind, permissions, content, mtime of files."""
    found: dict[str, Any] = {}
    for folder, names, files in os.walk(os.fsencode(root)):
        for name in names + files:
            path = os.path.join(folder, name)
            at = os.fsdecode(path[len(os.fsencode(root)) + 1 :])
            status = os.lstat(path)
            if os.path.islink(path):
                found[at] = ("link", os.fsdecode(os.readlink(path)))
            elif os.path.isdir(path):
                found[at] = ("folder", status.st_mode & 0o777)
            else:
                with open(path, "rb") as stream:
                    found[at] = ("file", status.st_mode & 0o777, status.st_mtime_ns, stream.read())
    return found


def contents(*roots: Path) -> set[bytes]:
    return {entry[3] for root in roots for entry in snapshot(root).values() if entry[0] == "file"}
