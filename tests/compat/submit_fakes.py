"""A client and a broker that are not there: what they are asked is kept, what they answer is given."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from types import SimpleNamespace

import msgspec

from sbroker.api import Call, Placement
from sbroker.errors import Code, Refused
from sbroker.model import Gres, Job, JobSpec, Node, Run
from sbroker.states import JobState, Reason, RunState

NOW = 1795512252.0  # 2026-11-24T09:24:12 UTC
STARTED = Run(job=7, run=0, head="node1", state=RunState.STARTED)


class FakeClient:
    """`files`: path → bytes, or an errno. `exits`: wait statuses of spawned commands, or an OSError."""

    def __init__(self, files=None, stdin=b"", exits=(0,), cwd="/home/alice/w"):
        self.files, self._stdin, self.exits, self.cwd = dict(files or {}), stdin, list(exits), cwd
        self.texts = {1: "", 2: ""}
        self.spawned: list[tuple[list[str], dict[str, str]]] = []
        self.killed: list[int] = []
        self.caught: list[int] = []
        self.pending_signals: asyncio.Queue[int] = asyncio.Queue()
        self.release = asyncio.Event()  # a spawned command runs until this is set
        self.release.set()
        self.left = asyncio.Event()  # the user went away
        self.began, self.spoke = asyncio.Event(), asyncio.Event()  # a command was spawned; something was printed

    async def out(self, data, fd=1, *, anew=False):
        self.spoke.set()
        self.texts[fd] += data if isinstance(data, str) else data.decode()

    async def read(self, path, limit=64 << 20):
        found = self.files.get(path, self.files.get(path.removeprefix(self.cwd + "/"), errno.ENOENT))
        if isinstance(found, int):
            raise OSError(found, os.strerror(found))
        return found

    async def write(self, path, data, *, append=False, mode=0o666):
        self.files[path] = data

    async def stdin(self):
        return self._stdin

    async def spawn(self, argv, env):
        self.spawned.append((argv, dict(env)))
        self.began.set()
        status = self.exits.pop(0)
        if isinstance(status, OSError):
            raise status
        await self.release.wait()
        return status

    async def kill(self, signum):
        self.killed.append(signum)
        self.release.set()

    async def catch(self, signums):
        self.caught = list(signums)

    async def signals(self):
        while True:
            yield await self.pending_signals.get()

    async def gone(self):
        await self.left.wait()


class FakeApi:
    """A broker that takes everything but what `refuse` names. `moves`: changes of the job, one each time it is waited for."""

    def __init__(self, call, refuse=None, moves=(), start=True, reason=Reason.NONE, returns=0):
        self.caller, self.refuse, self.moves, self.start, self.reason, self.returns = call, refuse, list(moves), start, reason, returns
        self.config = SimpleNamespace(cluster="oracle", imitate="22.05", mpi_default="none")
        gpus = (Gres(name="gpu", type="a100", count=4),)
        nodes = {"node%d" % n: Node(name="node%d" % n, site="local", gres=gpus if n > 2 else ()) for n in range(1, 5)}
        self.view = SimpleNamespace(jobs={}, nodes=nodes, runs={}, array=self.array)
        self.specs: list[JobSpec] = []
        self.scripts: list[bytes | None] = []
        self.environs: list[bytes] = []
        self.done: list[tuple] = []
        self.sessions: list[tuple[int, dict]] = []

    def now(self):
        return NOW

    def array(self, number):
        return [job for job in self.view.jobs.values() if job.array_id == number]

    async def submit(self, spec, script, environ):
        self.specs.append(spec)
        self.scripts.append(script)
        self.environs.append(environ)
        if self.refuse:
            raise self.refuse
        state = JobState.RUNNING if self.start and spec.kind == "alloc" and not spec.hold else JobState.PENDING
        array = {"array_id": 7, "array_pending": spec.array_tasks} if spec.array_tasks else {}
        job = Job(id=7, user="alice", uid=1001, gid=1001, spec=spec, state=state, reason=self.reason, **array)
        self.view.jobs[7] = job
        if state is JobState.RUNNING:
            self.view.runs[7] = STARTED
        return job

    async def test(self, spec):
        self.specs.append(spec)
        if self.refuse:
            raise self.refuse
        return Placement(start=NOW, cpus=2, nodes=("node1", "node2"), partition="debug", job=7)

    async def changed(self, job, timeout=None):
        if not self.moves:
            await asyncio.Event().wait()
        move = self.moves.pop(0)
        if isinstance(move, BaseException):
            raise move
        if move is None:
            del self.view.jobs[job]
            return None
        self.view.jobs[job] = msgspec.structs.replace(self.view.jobs[job], **move)
        if self.view.jobs[job].state is JobState.RUNNING:
            self.view.runs[job] = STARTED
        return self.view.jobs[job]

    async def describe(self, job):
        user = {"name": "alice", "uid": 1001, "gid": 1001, "group": "alice", "groups": [1001], "home": "/home/alice", "shell": "/bin/bash"}
        node = {"node": "node1", "address": "127.0.0.1", "cpus": 1, "cpu_ids": "0", "mem": 1000, "gres": {}, "node_cpus": 8, "sockets": 2,
                "cores_per_socket": 4, "threads_per_core": 1, "features": []}
        return {"cluster": "oracle", "imitate": "22.05", "job": job, "run": 0, "restart_count": 0, "kind": "alloc", "name": "interactive",
                "head": "node1", "submit_host": "login", "array": None, "user": user,
                "spec": json.loads(msgspec.json.encode(self.specs[-1])),
                "partition": "debug", "account": "lab", "qos": "normal", "reservation": None, "time_limit": -1, "nodes": [node],
                "batch_host": "node1", "settings": {}}

    async def finish(self, job, code, signal=0):
        self.done.append(("finish", job, code, signal))

    async def cancel(self, target, *, signal=None, batch=False, full=False):
        self.done.append(("cancel", target.job))

    async def session(self, call, client, job, options):
        self.sessions.append((job, options))
        return self.returns


def call_of(name, argv, env=None, **more):
    """A Call of the plain user alice, at home."""
    env = {"PATH": "/usr/bin:/bin", "HOME": "/home/alice", "USER": "alice", "TZ": "UTC"} | (env or {})
    known = {"id": "1", "cwd": "/home/alice/w", "uid": 1001, "gid": 1001, "user": "alice", "host": "login",
             "limits": {"NOFILE": (1024, 4096)}}
    return Call(name=name, argv=tuple(argv), env=env, **(known | more))


def refusal(words):
    """"NODE_CONFIG", or "INVALID_PARTITION nosuch" → the refusal."""
    code, _, detail = words.partition(" ")
    return Refused(Code[code], detail)
