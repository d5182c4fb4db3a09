"""Getting an allocation for salloc and srun: submit, say what it waits for, mind signals, give it back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from typing import Any

from sbroker.api import Api, Call, Client
from sbroker.errors import Refused
from sbroker.model import Job, JobSpec
from sbroker.states import JobState, NodeState, RunState
from slurm_compat import messages
from slurm_compat.progress import Line
from slurm_compat.request import Asked
from slurm_compat.submission import exit_error, say

REVOKING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_FIRST_LOOK, _LAST_LOOK = 0.005, 1.0  # seconds between looks at a run that is being launched


class Over(Exception):
    """There is no allocation and all has been said; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def _looked_at(task: asyncio.Task[int]) -> None:
    """Nobody may wait any more when the user goes away: that is no error of the task."""
    if not task.cancelled():
        task.exception()


class Signals:
    """The user's signals, one at a time, as a task that others can be waited for beside."""

    def __init__(self, client: Client) -> None:
        self._source = client.signals()
        self._next: asyncio.Task[int] | None = None

    def next(self) -> asyncio.Task[int]:
        if self._next is None or self._next.done():
            self._next = asyncio.ensure_future(self._one())
            self._next.add_done_callback(_looked_at)
        return self._next

    async def _one(self) -> int:
        async for signum in self._source:
            return signum
        raise ConnectionError("the user's side is gone")

    async def close(self) -> None:
        """Stop listening: a signal that comes from now on is somebody else's."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


async def first_of(*waits: Awaitable[Any]) -> None:
    """Wait until one is done; those made here from coroutines are cancelled."""
    futures = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future, wait in zip(futures, waits, strict=True):
            if future is not wait and not future.done():
                future.cancel()


class Allocation:
    """One allocation of one salloc or srun. `obtain`, then `ready`, and in any case `release`."""

    def __init__(self, call: Call, client: Client, api: Api, asked: Asked) -> None:
        self.call, self.client, self.api, self.asked = call, client, api, asked
        self.command, self.quiet = call.name, bool(asked.other.get("quiet"))
        self.stop = "." if call.name == "salloc" else ""  # salloc ends its sentence about a revoked allocation with a full stop
        self.lead = messages.LEADS[self.command]
        self.number = 0
        self.waited = 0.0
        self.signals = Signals(client)
        self.line = Line(call, client, api)

    async def info(self, line: str) -> None:
        if not self.quiet:
            await self.line.erase()
            await say(self.client, self.command, "info", line)

    async def error(self, line: str) -> None:
        await self.line.erase()
        await say(self.client, self.command, "error", line)

    def job(self) -> Job | None:
        return self.api.view.jobs.get(self.number)

    async def revoked(self) -> None:
        await self.info("Job allocation %d has been revoked%s" % (self.number, self.stop))
        await self.failures()

    async def failures(self) -> None:
        """Name the nodes whose failure took the allocation away."""
        job, run = self.job(), self.api.view.runs.get(self.number)
        if run is None or run.why != "node_fail":
            return
        names = [share.node for share in (job.nodes if job else ())]
        down = [name for name in names if name in self.api.view.nodes and self.api.view.nodes[name].state is NodeState.DOWN]
        for name in down or [run.head]:
            await self.line.erase()
            await say(self.client, self.command, "error", "Node failure on " + name, anew=True)

    # ---- getting it

    async def obtain(self, spec: JobSpec) -> Job:
        """Submit and wait until nodes are allocated. Raises Over when it is not to be, Refused when the broker says no."""
        await self.client.catch(REVOKING)
        try:
            job = await self.api.submit(spec, None, b"")
        except Refused as refused:
            if refused.code in messages.CONFIGURATION and self.command == "salloc":
                await self._refused(refused)
                raise Over(exit_error(self.call)) from refused
            raise
        self.number = job.id
        begun = self.api.now()
        job = self.job() or job
        if job.state is JobState.PENDING:
            if spec.immediate is not None:
                await self._at_once(job, spec.immediate)
            else:
                await self._announce(job)
                await self._allocated()
                await self.info("job %d has been allocated resources" % self.number)
        elif job.state.ended and self.call.resume != (0, 0) and job.state is not JobState.CANCELLED:
            # A broker that died between recording our end and saying it: the record has what the client waits for.
            await self.failures()
            if job.exit.signal:
                raise Over(128 + job.exit.signal)
            # one that lost its node, or ran out of time, has no code of its own, and did not do what was asked
            raise Over(job.exit.code or (0 if job.state is JobState.COMPLETED else exit_error(self.call)))
        elif job.state.ended:
            await self._withdrawn()
        self.waited = self.api.now() - begun
        found = self.job()
        assert found is not None, "an allocated job is in the view"
        return found

    async def _refused(self, refused: Refused) -> None:
        first = messages.before(refused)
        if first:
            await self.error(first)
        number = refused.job or max(self.api.view.jobs, default=0) + 1  # the number it would have had
        await self.info("Job allocation %d has been revoked." % number)
        await self.error(self.lead + messages.sentence(refused))

    async def _announce(self, job: Job) -> None:
        if job.reason in messages.WAITING:
            await self.info(messages.WAITING[job.reason])
        if self.command == "salloc":
            await self.info("Pending job allocation %d" % self.number)
        await self.info("job %d queued and waiting for resources" % self.number)

    async def _at_once(self, job: Job, seconds: int) -> None:
        """--immediate: at most so many seconds, and no word before."""
        reason = job.reason
        try:
            await asyncio.wait_for(self._allocated(), max(seconds, 1) if seconds > 1 else 0.05)
        except asyncio.TimeoutError:
            now = self.job()
            if now is not None and now.state is JobState.RUNNING:
                return
            await self.release(1)
            await self.error(self.lead + messages.unavailable_now(now.reason if now is not None else reason))
            if self.command == "salloc":
                await self.revoked()
            raise Over(exit_error(self.call)) from None

    async def _allocated(self) -> None:
        """Wait until the job has nodes. Raises Over when it is withdrawn before."""
        while True:
            job = self.job()
            if job is None or job.state.ended:
                await self._withdrawn()
                return
            if job.state is not JobState.PENDING:
                return
            await self._something()

    async def _something(self, timeout: float | None = None) -> None:
        """Wait until the job changes, or for so many seconds. Raises Over after a signal, ConnectionError when the user is gone."""
        signals, gone = self.signals.next(), asyncio.ensure_future(self.client.gone())
        try:
            await first_of(self.changed(timeout), signals, gone)
            if gone.done():
                raise ConnectionError("the user's side is gone")
        finally:
            gone.cancel()
        if signals.done():
            await self._interrupted(signals.result())

    async def changed(self, timeout: float | None = None) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await self.api.changed(self.number, timeout)

    async def _interrupted(self, signum: int) -> None:
        await self.release(0, signum)
        await self.revoked()
        if self.command == "salloc":
            await self.info("Job aborted due to signal")
        elif signum != signal.SIGTERM:
            await self.info("Force Terminated JobId=%d" % self.number)
        raise Over(exit_error(self.call))

    async def _withdrawn(self) -> None:
        job = self.job()
        if self.command == "salloc":
            await self.revoked()
        elif job is not None and job.state is JobState.NODE_FAIL:
            await self.failures()
        if job is not None and job.state is JobState.FAILED and job.reason_text:  # its launch was refused, and this is why
            await self.error(self.lead + job.reason_text)
        else:
            await self.info("Job has been cancelled")
            await self.error(self.lead + "Job/step already completing or completed")
        raise Over(exit_error(self.call))

    async def ready(self) -> None:
        """Wait until every node is prepared and the head's supervisor has started. Raises Over if the job ends before.

        The job's record does not change at that moment, so the run is looked at, more and more seldom.
        """
        pause = _FIRST_LOOK
        if not self.quiet:
            self.line.begin(self.number)
        try:
            await self._ready(pause)
        finally:
            with contextlib.suppress(ConnectionError):
                await self.line.erase()

    async def _ready(self, pause: float) -> None:
        while True:
            job, run = self.job(), self.api.view.runs.get(self.number)
            if job is None or job.state.ended:
                await self._withdrawn()
            if run is not None and run.state not in (RunState.PREPARING, RunState.HELD):
                return
            await self._something(pause)
            pause = min(pause * 1.4, _LAST_LOOK)

    # ---- giving it back

    async def release(self, code: int, signum: int = 0) -> None:
        """End the allocation with this exit code; nothing if it has ended, or if there is none."""
        if not self.number:
            return
        with contextlib.suppress(Refused):  # it has ended by itself, or was purged
            await asyncio.shield(self.api.finish(self.number, code, signum))

