"""What keeps a job that has nodes from running, as one sentence for the user who waits: which nodes are reached, what is brought to them.

Whoever does something slow says so here in a few words and takes it back with ""; who waits hears of every change of its own sentence.
Nothing is decided by it, and nothing of it is on record.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from sbroker.model import Job
from sbroker.states import PartState, RunState

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon


class Progress:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._nodes: dict[str, str] = {}
        self._jobs: dict[tuple[int, str], str] = {}
        self._changed: asyncio.Future[None] | None = None

    def node(self, node: str, doing: str) -> None:
        """What is being done to reach `node`: "connecting", "copying the agent (2 MB)"; "" when it is reached."""
        self._put(self._nodes, node, doing)

    def job(self, job: int, node: str, doing: str) -> None:
        """What is being done for a job on one of its nodes: "staging 120 MB"; "" when it is done."""
        self._put(self._jobs, (job, node), doing)

    def _put(self, where: dict, key: object, doing: str) -> None:
        if where.get(key, "") == doing:
            return
        if doing:
            where[key] = doing
        else:
            del where[key]
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def sentence(self, job: Job) -> str:
        """Where the job stands on its way to its first process; "" when there is nothing to tell."""
        state = self._daemon.broker.state
        run = state.runs.get(job.id)
        if run is None or run.state not in (RunState.PREPARING, RunState.HELD) or not job.nodes or job.state.ended:
            return ""
        parts = state.parts.get(job.id, {})
        waiting: list[tuple[str, str]] = []
        for share in job.nodes:
            name, link = share.node, self._daemon.links.get(share.node)
            part = parts.get((run.run, name))
            if link is None or not link.ready:
                waiting.append((name, self._nodes.get(name) or "waiting for it"))
            elif (job.id, name) in self._jobs:
                waiting.append((name, self._jobs[(job.id, name)]))
            elif part is None or part.state is PartState.ASKED:
                waiting.append((name, "preparing"))
        if not waiting:
            return "starting"
        name, doing = waiting[0]
        ready = "" if len(job.nodes) == 1 else "%d of %d nodes ready, " % (len(job.nodes) - len(waiting), len(job.nodes))
        return "%snode %s: %s" % (ready, name, doing)

    async def after(self, number: int, known: str) -> str:
        """The sentence of this job once it is another one than `known`."""
        broker = self._daemon.broker
        while True:
            job = broker.state.jobs.get(number)
            now = "" if job is None else self.sentence(job)
            if now != known:
                return now
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            waits: list[asyncio.Future[object]] = [asyncio.ensure_future(broker.changed(number, None)), asyncio.shield(self._changed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waits[0]
