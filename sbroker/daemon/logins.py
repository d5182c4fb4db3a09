"""`sbroker ssh` and its kin in the broker: which job lets whom into a node, and the bytes between its client and sshd there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from sbroker.api import Call
from sbroker.errors import LoginRefused, NoLogins
from sbroker.model import Job
from sbroker.states import JobState

if TYPE_CHECKING:
    from sbroker.daemon.calls import Connection
    from sbroker.daemon.daemon import Daemon

LINK_WAIT = 30.0  # seconds that a login waits for its node to be heard


def job_at(view: Any, call: Call, node: str, number: int | None) -> Job:
    """The running job by which the caller may go to `node`: the one named, else the newest of its own. LoginRefused with a sentence."""
    if node not in view.nodes:
        raise LoginRefused("there is no node %s" % node)
    if number is None:
        found = [job for job in view.node_jobs(node) if job.uid == call.uid and job.state is JobState.RUNNING]
        if not found:
            raise LoginRefused("no running job of yours on %s" % node)
        return max(found, key=lambda job: (job.start_time or 0.0, job.id))
    job = view.jobs.get(number)
    if job is None or (job.uid != call.uid and not call.operator):
        raise LoginRefused("job %d is not there, or not yours" % number)
    if job.state is not JobState.RUNNING or node not in [share.node for share in job.nodes]:
        raise LoginRefused("job %d does not run on %s" % (number, node))
    return job


async def login(daemon: Daemon, call: Call, client: Connection, node: str, number: int | None, keys: bytes) -> None:
    """Join the client's standard input and output with an sshd inside the job until one of them ends. LoginRefused says why it cannot be."""
    job = job_at(daemon.broker.state, call, node, number)
    try:
        link = await daemon.ready_link(node, LINK_WAIT)
    except ConnectionError as error:
        raise LoginRefused("node %s does not answer; `sinfo -R` may say why" % node) from error
    channel = link.channel("ssh", job.id, job.run, call.uid, {}, keys)
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by the channel's credit
    closed: list[str] = []
    channel.on_data = arrived.put_nowait

    def ended(why: str) -> None:
        closed.append(why)
        arrived.put_nowait(None)

    channel.on_close = ended

    async def down() -> None:
        while (data := await arrived.get()) is not None:
            await client.out(data)
            channel.took(len(data))

    async def up() -> None:
        async for data in client.chunks():
            channel.send(data)
            await channel.drain()

    tasks = [asyncio.ensure_future(down()), asyncio.ensure_future(up())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not isinstance(task.exception(), ConnectionError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        channel.close("client")
    if channel.error:
        raise (NoLogins if closed == ["no sshd"] else LoginRefused)(channel.error)
    if closed == ["link"]:
        raise LoginRefused("the link to node %s broke" % node)


def user_at(daemon: Daemon, node: str, user: str) -> str:
    """Under which name jobs of `user` run on `node`: their own where the agent is root, else the agent's."""
    link = daemon.links.get(node)
    return user if link is None or not link.user else link.user


def keys_of(authorized: str, host_key: str) -> bytes:
    """Body of a channel of kind "ssh"."""
    return json.dumps({"authorized": authorized, "host_key": host_key}).encode()
