"""`sbroker.api.Api` for one call: checks who asks, makes events, waits for durability."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from sbroker.agent import wire
from sbroker.api import Call, HistoryQuery, Placement, Record, Target
from sbroker.core import events, money
from sbroker.daemon.calls import Connection
from sbroker.daemon.places import site_facts
from sbroker.errors import BrokenOff, Code, ConfigError, Refused, SbrokerError, StoreError
from sbroker.model import Exit, Job, JobSpec, Run
from sbroker.states import RunState

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon

MOST_DESCRIBED = 2 << 20  # bytes of a job's options as JSON; a frame's header holds twice that
MOST_SENT = 12 << 20  # bytes of script and environment
LINK_WAIT = 60.0  # seconds that a session waits for its node to be heard again


class BrokerApi:
    """One instance a call. `connection` is the client of this call."""

    connection: Connection

    def __init__(self, daemon: Daemon, call: Call) -> None:
        self._daemon, self.caller = daemon, call
        self.config = daemon.config
        self._owned: int | None = None

    @property
    def view(self) -> Any:
        return self._daemon.broker.state

    def now(self) -> float:
        return self._daemon.clock.now()

    def who(self, admin: bool = False) -> events.Who:
        """Who asks; `admin`: with the rights that an owner of the broker has over it."""
        call = self.caller
        try:
            group = grp.getgrgid(call.gid).gr_name
        except KeyError:
            group = str(call.gid)
        groups: tuple[str, ...] = ()
        if any(partition.allow_groups for partition in self.view.partitions.values()):
            try:
                groups = tuple(grp.getgrgid(gid).gr_name for gid in os.getgrouplist(call.user, call.gid))
            except KeyError:
                groups = (group,)
        return events.Who(uid=call.uid, user=call.user, gid=call.gid, group=group, groups=groups, operator=call.admin if admin else call.operator)

    async def _do(self, event: events.Event) -> Any:
        return (await self._daemon.broker.do(event)).answer

    # ---- submitting

    async def submit(self, spec: JobSpec, script: bytes | None, environ: bytes) -> Job:
        launcher = self._daemon.launcher
        self._daemon.may_run(self.caller)
        if self._daemon.broker.store.full:
            raise StoreError("the disk of the broker's database is full: nothing new is accepted until there is room; running jobs go on")
        spec, environ = await self._daemon.sources.submitted(self.caller, spec, environ)
        _fits(spec, script or b"", environ, int(self.view.settings["max_array_size"]))
        blobs = {launcher.remember(environ): environ}
        spec = msgspec.structs.replace(spec, environ_hash=next(iter(blobs)), origin=self._origin())
        if script is not None:
            digest = launcher.remember(script)
            blobs[digest] = script
            spec = msgspec.structs.replace(spec, script_hash=digest)
        spec = await self._daemon.hook(spec, self.caller)
        decision = await self._daemon.broker.do(events.Submit(spec=spec, who=self.who(), request_id=self.caller.id), blobs)
        job = self.view.jobs[cast("list[int]", decision.answer)[0]]
        if spec.kind == "alloc":
            self._owned = job.id
            self._daemon.owners.take(job.id)
        return job

    def _origin(self) -> str:
        """The site whose environment a call from inside a job brings along, "" if that is like the submit host's."""
        run = self.view.runs.get(self.caller.job) if self.caller.job is not None else None
        node = self.view.nodes.get(run.head) if run is not None else None
        settings = self.config.sites.get(node.site) if node is not None else None
        return "" if node is None or settings is None or site_facts(node.site, settings)["twin"] else node.site

    def close(self) -> None:
        """The call is over: whoever waited for an allocation through it is no longer there."""
        if self._owned is not None:
            self._daemon.owners.leave(self._owned)

    async def test(self, spec: JobSpec) -> Placement:
        self._daemon.may_run(self.caller)
        spec = await self._daemon.hook(spec, self.caller)
        return await self._do(events.Submit(spec=spec, who=self.who(), test=True))

    # ---- changing

    async def cancel(self, target: Target, *, signal: int | None = None, batch: bool = False, full: bool = False) -> None:
        await self._do(events.Cancel(targets=(target,), who=self.who(), signal=signal, batch=batch, full=full))

    async def cancel_many(self, jobs: list[int], *, signal: int | None = None, batch: bool = False, full: bool = False) -> None:
        targets = tuple(Target(job=job) for job in jobs)
        await self._do(events.Cancel(targets=targets, who=self.who(), signal=signal, batch=batch, full=full))

    async def finish(self, job: int, code: int, signal: int = 0) -> None:
        await self._do(events.Finish(job=job, who=self.who(), exit=Exit(code=code, signal=signal)))
        missing = await self._daemon.staging.back(job)
        if missing:
            await self.connection.out("%s: error: files of job %d are not back: %s\n" % (self.caller.name, job, missing), 2)

    async def hold(self, target: Target, held: str) -> None:
        await self._do(events.Hold(target=target, who=self.who(), held=held))  # type: ignore[arg-type]

    async def requeue(self, target: Target, *, hold: bool = False) -> None:
        await self._do(events.Requeue(target=target, who=self.who(), hold=hold))

    async def suspend(self, target: Target, suspend: bool) -> None:
        await self._do(events.Suspend(target=target, who=self.who(admin=True), suspend=suspend))

    async def update_job(self, target: Target, changes: dict[str, Any]) -> None:
        await self._do(events.UpdateJob(target=target, who=self.who(admin=True), changes=changes))

    async def update_node(self, node: str, *, state: str | None = None, reason: str | None = None, **fields: Any) -> None:
        await self._do(events.UpdateNode(node=node, who=self.who(admin=True), state=state, reason=reason, fields=fields))

    async def update_partition(self, name: str, **fields: Any) -> None:
        await self._do(events.UpdatePartition(name=name, who=self.who(admin=True), fields=fields))

    async def create_partition(self, name: str, **fields: Any) -> None:
        await self._do(events.CreatePartition(name=name, who=self.who(admin=True), fields=fields))

    async def delete_partition(self, name: str) -> None:
        await self._do(events.DeletePartition(name=name, who=self.who(admin=True)))

    async def reconfigure(self) -> None:
        if not self.caller.admin:
            raise Refused(Code.ACCESS_DENIED)
        try:
            self._daemon.read_again()
        except OSError as error:
            raise ConfigError("the configuration cannot be read: %s" % error) from error

    # ---- asking

    def _mine(self, job_id: int, past: Job | None = None) -> Job:
        job = self.view.jobs.get(job_id) or past
        if job is None:
            raise Refused(Code.INVALID_JOB_ID, job=job_id)
        if job.uid != self.caller.uid and not self.caller.operator:
            raise Refused(Code.ACCESS_DENIED, job=job_id)
        return job

    async def script(self, job: int, past: Job | None = None) -> bytes:
        return self._kept(job, self._mine(job, past).spec.script_hash)

    async def environ(self, job: int, past: Job | None = None) -> bytes:
        digest = self._mine(job, past).spec.environ_hash
        return self._kept(job, digest) if digest else b""

    def _kept(self, job: int, digest: str) -> bytes:
        """What a job came with. Earlier releases did not keep it for as long as the job's record."""
        try:
            if digest:
                return self._daemon.launcher.blob(digest)
        except StoreError:
            if job in self.view.jobs:
                raise
        raise Refused(Code.SCRIPT_MISSING, job=job)

    async def describe(self, job: int) -> dict[str, Any]:
        return self._daemon.launcher.describe(self._mine(job), self.view.runs[job])

    async def changed(self, job: int, timeout: float | None = None) -> Job | None:
        return await self._daemon.broker.changed(job, timeout)

    async def history(self, query: HistoryQuery) -> list[Record]:
        return await asyncio.get_running_loop().run_in_executor(None, self._history, query)

    def _history(self, query: HistoryQuery) -> list[Record]:
        store = self._daemon.broker.store
        store.flush()
        return store.history(query)

    async def explain(self, job: int) -> list[str]:
        return self._daemon.explain(self._mine(job))

    def stuck(self, job: int) -> str:
        from sbroker.core.explain import stuck

        return stuck(self.view, self._mine(job))

    # ---- files

    def staged(self, job: int) -> list[str]:
        return self._daemon.staging.of(self._mine(job))

    async def sync(self, job: int, node: str, do: str) -> dict[str, Any]:
        record = self._mine(job)
        return await self._daemon.staging.exchange(do, record, self.view.nodes[node])

    def findings(self, outcome: dict[str, Any]) -> list[str]:
        from sbroker.daemon.staging import findings

        return findings(outcome)

    def status(self) -> dict[str, Any]:
        """For `sbroker status`."""
        return self._daemon.status()

    async def power_down(self, nodes: list[str]) -> None:
        await self._do(events.Power(nodes=tuple(nodes), who=self.who(admin=True)))

    async def machines(self) -> dict[str, Any]:
        return await self._daemon.fleet.machines()

    async def reap(self) -> int:
        if not self.caller.admin:
            raise Refused(Code.POLICY, "only operators may have machines terminated")
        return await self._daemon.fleet.reap(self.who(admin=True))

    async def refresh_catalog(self, sites: list[str]) -> list[str]:
        if not self.caller.admin:
            raise Refused(Code.ACCESS_DENIED)
        fleet = self._daemon.fleet.sites
        for name in sites:
            if name not in fleet:
                there = ", ".join(sorted(fleet)) or "none"
                raise SbrokerError("no site %s sells machines; there are: %s" % (name, there))
        said = []
        for name in sites or sorted(fleet):
            market = await fleet[name].refresh()
            said.append("%s: %s" % (name, "nothing is known" if market is None else market.error or "%d offers" % len(market.offers)))
        return said or ["No site sells machines."]

    def machine_costs(self, since: float, until: float) -> dict[str, float]:
        if not self.caller.admin:
            return {}
        costs = money.site_costs(self._daemon.broker.state, since, until, self.now())
        return {site: amount / money.MICRO for site, amount in costs.items()}

    # ---- sessions

    async def session(self, call: Call, client: Connection, job: int, options: dict[str, Any]) -> int:
        record = self._mine(job)
        run = self.view.runs.get(job)
        if run is None or run.state in (RunState.ENDED, RunState.REVOKED, RunState.LOST):
            raise Refused(Code.NOT_RUNNING, job=job)
        around = self._owned != job and bool(self._daemon.staging.of(record))
        if around and call.resume[0] != 1:
            await self._sync_all("in", record)  # what its user has changed since
        try:
            return await self._session(call, client, record, run, options)
        finally:
            if around:
                await self._sync_all("out", record)

    async def _sync_all(self, do: str, job: Job) -> None:
        """The job's files, on all its nodes. What goes wrong is told, and stops nothing."""
        staging = self._daemon.staging
        nodes = staging.of(job)
        told = await asyncio.gather(*(staging.exchange(do, job, self.view.nodes[node]) for node in nodes), return_exceptions=True)
        for node, outcome in zip(nodes, told, strict=True):
            if isinstance(outcome, BaseException):
                outcome = {"error": str(outcome)}
            for text in [*filter(None, [outcome["error"]]), *self.findings(outcome)]:
                with contextlib.suppress(ConnectionError):
                    await self.connection.out("%s: warning: %s: %s\n" % (self.caller.name, node, text), 2)

    async def _session(self, call: Call, client: Connection, record: Job, run: Run, options: dict[str, Any]) -> int:
        link = await self._daemon.ready_link(run.head, LINK_WAIT)
        if call.resume[0] == 1:
            options = dict(options, resume=call.resume[1])
        origin = self._daemon.sources.part(call)
        if origin is not None:  # it names folders as its own node has them
            options = dict(options, at=origin.at)
        channel = link.channel("session", record.id, record.run, call.uid, options, call.raw)
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        channel.on_data = arrived.put_nowait
        channel.on_close = lambda why: arrived.put_nowait(None)
        client.phase(1)
        client.passthrough = channel.send
        pump = asyncio.get_running_loop().create_task(self._pump(channel, client, arrived, end))
        gone = asyncio.get_running_loop().create_task(client.gone())
        try:
            both: list[asyncio.Future[Any]] = [end, gone]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                channel.close("client")
                raise ConnectionError("the user's side is gone")
            code = end.result()
            with contextlib.suppress(ConnectionError):
                await client.flush()  # the job may end now, and with it the supervisor that could say all this again if we died
            return code
        except asyncio.CancelledError:
            # this broker goes down: the client will come back by the next one, to the same session
            channel.close("link")
            raise
        finally:
            client.passthrough = None
            gone.cancel()
            pump.cancel()
            channel.close("done")

    async def login(self, client: Connection, node: str, job: int | None, authorized: str, host_key: str) -> None:
        from sbroker.daemon import logins

        await logins.login(self._daemon, self.caller, client, node, job, logins.keys_of(authorized, host_key))

    async def progress(self, job: int, known: str = "") -> str:
        return await self._daemon.progress.after(self._mine(job).id, known)

    def login_as(self, node: str, job: int | None) -> tuple[int, str]:
        from sbroker.daemon import logins

        found = logins.job_at(self.view, self.caller, node, job)
        return found.id, logins.user_at(self._daemon, node, found.user)

    def login_users(self) -> dict[str, str]:
        from sbroker.daemon import logins

        return {node: logins.user_at(self._daemon, node, self.caller.user) for node in self.view.nodes}

    @staticmethod
    async def _pump(channel: Any, client: Connection, arrived: asyncio.Queue[bytes | None], end: asyncio.Future[int]) -> None:
        """Frames of the supervisor to the client, all but the last: EXIT is the front end's to give, when it has tidied up."""
        frames = wire.CallReader()
        try:
            while (data := await arrived.get()) is not None:
                for op, payload in frames.feed(data):
                    if op == wire.EXIT:
                        end.set_result(int.from_bytes(payload, "big", signed=True))
                        return
                    if op == wire.DIE:
                        end.set_result(128 + payload[0])
                        return
                    client.raw(wire.call_frame(op, payload))
                await client.drain()
                channel.took(len(data))
            raise BrokenOff("the link to the node broke")
        except (BrokenOff, ConnectionError, wire.WireError) as error:
            if not end.done():
                end.set_exception(error)


def _fits(spec: JobSpec, script: bytes, environ: bytes, most_tasks: int) -> None:
    """Refused where no frame to a node, and no record there, could hold the job."""
    try:
        described = len(msgspec.json.encode(spec))
    except UnicodeEncodeError as error:
        raise Refused(Code.POLICY, "a word of the job's options is not UTF-8 text: %r" % error.object[max(0, error.start - 20) : error.end + 20]) from error
    if spec.array_tasks and max(spec.array_tasks) >= most_tasks:
        raise Refused(Code.INVALID_ARRAY, "task ids must be less than %d" % most_tasks)
    if described > MOST_DESCRIBED:
        raise Refused(Code.POLICY, "the arguments and options are larger than %d MiB: put what they say into a file" % (MOST_DESCRIBED >> 20))
    if len(script) + len(environ) > MOST_SENT:
        raise Refused(Code.POLICY, "script and environment are larger than %d MiB: put what they say into a file" % (MOST_SENT >> 20))
