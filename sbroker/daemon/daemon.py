"""The running broker: joins state, store, calls and links, and carries out effects."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from msgspec import structs

from sbroker import transports
from sbroker.agent import fingerprint, wire
from sbroker.api import Call, FrontEnd
from sbroker.clock import SystemClock
from sbroker.core import effects, events
from sbroker.daemon.api import BrokerApi
from sbroker.daemon.broker import Broker
from sbroker.daemon.calls import MALFORMED, Connection, make_call
from sbroker.daemon.fleet import Fleet
from sbroker.daemon.launch import Launcher
from sbroker.daemon.links import Link
from sbroker.daemon.mail import send_mail
from sbroker.daemon.owners import Owners
from sbroker.daemon.places import agent_options, endpoints, site_facts
from sbroker.daemon.program import Program
from sbroker.daemon.progress import Progress
from sbroker.daemon.server import Server
from sbroker.daemon.sources import Sources
from sbroker.daemon.staging import Staging
from sbroker.daemon.starter import StarterClient
from sbroker.errors import Code, ConfigError, Refused, SbrokerError
from sbroker.model import Job, JobSpec
from sbroker.providers.base import Endpoint
from sbroker.states import NodeState
from sbroker.store.store import Store
from sbroker.transports import local

log = logging.getLogger("sbroker.daemon")

GREETING = 0.2  # seconds


class Daemon:
    """Everything of one broker process. `start` returns when calls are answered."""

    def __init__(self, front_end: FrontEnd, config: Any, paths: Any, starter: Any, allow_root: bool) -> None:
        self.front_end, self.config, self.paths, self.shared = front_end, config, paths, paths.shared
        self.allow_root = allow_root
        self.clock = SystemClock()
        self.loop = asyncio.get_running_loop()
        self.links: dict[str, Link] = {}
        self.launcher = Launcher(self)
        self.owners = Owners(self)
        self.staging = Staging(self)
        self.fleet = Fleet(self)
        self.sources = Sources(self)
        self.progress = Progress(self)
        self.bin_dir = _bin_dir()
        self.home_for_jobs = "" if self.shared else paths.state
        self.agent_settings = {"kill_wait": config.kill_wait, "lost_after": config.lost_after, "min_uid": config.min_uid if self.shared else 0,
                               "allow_root_jobs": allow_root}  # fmt: skip
        self._starter = StarterClient(starter) if starter is not None else None
        self.stop_asked = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()
        self._started = time.monotonic()
        self.program = Program(front_end)

    # ---- life

    async def start(self) -> None:
        store = await self.loop.run_in_executor(None, Store.open, self.config.store_address(self.paths), self.clock)
        self.secret = _secret(Path(self.paths.state) / "secret")
        store.keep(self.config.keeps())
        settings = self.config.settings()
        self.broker = Broker(store, settings, self.clock)
        self._accept(self.config)
        self.broker.execute, self.broker.reset = self.execute, self._greet_again
        self.broker.stop = lambda error: self.stop_asked.set()  # another broker has the database
        await self.broker.do(_configure(self.config))
        self.server = Server(self.front_end, lambda call: BrokerApi(self, call), frozenset(self.config.operators), None if self.shared else os.getuid())
        self._open_links()
        await self.fleet.configure()
        # The first answer should find the nodes of this machine: their agents take a moment to start, and may take no longer than this.
        waiting = [self.loop.create_task(self.ready_link(name, GREETING)) for name in self.links]
        if waiting:
            await asyncio.wait(waiting, timeout=GREETING)
            for task in waiting:
                task.cancel()
        await self.fleet.ready(GREETING)
        await self.server.listen(Path(self.paths.socket), 0o666 if self.shared else 0o600)
        self.keep(self.loop.create_task(self.owners.watch()))
        self.broker.apply(events.Tick())

    async def stop(self) -> None:
        self.server.close()
        for link in self.links.values():
            link.close()
        self.staging.close()
        await self.fleet.close()
        await self.loop.run_in_executor(None, self.broker.store.close)
        Path(self.paths.socket).unlink(missing_ok=True)

    def reload(self) -> None:
        """SIGHUP: read the configuration again; a broken one changes nothing."""
        try:
            self.read_again()
        except (SbrokerError, OSError) as error:
            log.error("the configuration was not changed: %s", error)

    def read_again(self) -> None:
        """Take the configuration as its file is now. SbrokerError or OSError says why everything is as it was."""
        from sbroker.config import check, default_config

        path = Path(self.config.file or self.paths.config)
        config = check.load(path) if self.config.file or path.exists() else default_config()
        self._accept(config)
        self.broker.settings = config.settings()
        self.broker.state.configure(self.broker.settings)
        self.broker.apply(_configure(config))
        self.config = config
        self.broker.store.keep(config.keeps())
        self._open_links()
        self.keep(self.loop.create_task(self.fleet.configure()))

    def _accept(self, config: Any) -> None:
        """ConfigError where the configuration does not fit what is there."""
        why = self.fleet.missing(config)
        if not why and self.shared:
            fakes = [name for name, settings in config.sites.items() if settings.provider == "fake"]
            why = "the site %s: machines that do not exist are processes of the broker's user, whom a shared broker's jobs are not" % fakes[0] if fakes else ""
        if why:
            raise ConfigError("%s: %s" % (config.file or self.paths.config, why))

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a background task until it ends (the loop itself only holds a weak reference)."""
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ---- links

    def _open_links(self) -> None:
        """A link to every machine that the sites list; the virtual ones get a loopback address each, by which they know each other."""
        known = endpoints(self.config, self.paths, self.broker.store.store_id, self.clock)
        virtual = [name for name, endpoint in known.items() if endpoint.hostname]
        self.agent_settings["hosts"] = {name: "127.%d.%d.%d" % (n // 62500, n // 250 % 250 + 1, n % 250 + 1) for n, name in enumerate(virtual)}
        for name, endpoint in known.items():
            if name not in self.links:
                self.links[name] = Link(self, name, endpoint, self.front_end.node_module())
            else:
                self.links[name].look_again(endpoint)

    def settings_of(self, node: str) -> dict[str, Any]:
        """What the agent of a node is told of the configuration."""
        record = self.broker.state.nodes.get(node)
        name = record.site if record is not None else ""
        twin = name not in self.config.sites or site_facts(name, self.config.sites[name])["twin"]
        endpoint = self.links[node].endpoint if node in self.links else None
        said = endpoint.data if endpoint is not None else {}
        return dict(self.agent_settings, twin=twin, become=said.get("become"), spot_notice=said.get("spot_notice"))

    async def open_transport(self, endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """OSError when the agent cannot be reached."""
        if endpoint.transport == "local":
            return await local.open(endpoint, start=self._start_agent)
        return await transports.open(endpoint, program=self.program, tell=lambda doing: self.progress.node(endpoint.node, doing))

    def agent_program(self, endpoint: Endpoint) -> str:
        """What an agent that is started there now calls itself (`program` in its inventory); "" where that is not known yet."""
        return fingerprint.of_agent(self.front_end.node_module()) if endpoint.transport == "local" else self.program.hash

    def _greet_again(self) -> None:
        for link in self.links.values():
            link.reset()
        self.fleet.resume()

    async def ready_link(self, node: str, timeout: float) -> Link:
        """The link to a node, once it is up. ConnectionError after `timeout` seconds without."""
        link = self.links.get(node)
        end = self.clock.boottime() + timeout
        while link is None or not link.ready:
            if self.clock.boottime() > end:
                raise ConnectionError("node %s is not heard" % node)
            await asyncio.sleep(0.01)
            link = self.links.get(node)
        return link

    def run_endpoint(self, node: str) -> str:
        """Where the other supervisors of a run reach this node's: by its socket on this machine, elsewhere (or where ports are given) by
        TCP at the port of its agent. Port 0: only through us."""
        link = self.links.get(node)
        if link is not None and (link.endpoint.ports or link.endpoint.transport != "local"):
            return "tcp:%s:%d" % (link.endpoint.address, link.port)
        return "unix:%s" % self.agent_dir(node)

    def agent_dir(self, node: str) -> Path:
        link = self.links.get(node)
        return Path(link.endpoint.directory if link is not None and link.endpoint.transport == "local" else self.paths.node_dir(node))

    def _start_agent(self, endpoint: Endpoint) -> Any:
        """Start the agent of a local node: by the privileged starter of a shared broker, or as ourselves."""
        if self._starter is not None:
            return self._starter.start(endpoint)
        return local.start_agent(endpoint, extra=agent_options(self.front_end))

    # ---- calls from inside jobs

    def call_from_job(self, channel: Any, job: Job, run: int, payload: bytes) -> None:
        connection = Connection(channel.send, channel.drain)
        frames = wire.CallReader()
        try:
            call = structs.replace(make_call(payload, job.uid, job.gid, self.server.operators, job.id, run), node=channel.link.node)
        except (wire.WireError, ValueError) as error:
            log.warning("job %d sent what is not a call: %s", job.id, error)
            channel.close("link")
            return

        def arrived(data: bytes) -> None:
            try:
                for op, body in frames.feed(data):
                    connection.frame(op, body)
            except MALFORMED as error:  # one process in one job: it must not break the node's link, which all jobs there share
                log.warning("job %d sent what is no part of a call: %s", job.id, error)
                connection.lost()
                channel.close("done")
                return
            channel.took(len(data))

        channel.on_data = arrived
        channel.on_close = lambda why: connection.lost()
        task = self.server.start(call, connection)
        task.add_done_callback(lambda done: channel.close("done"))

    def may_run(self, call: Call) -> None:
        """Refused for users whose jobs no agent here would run: told at submission, not by a job that fails."""
        if not self.shared or call.uid >= self.config.min_uid or call.uid == 0 and self.allow_root:
            return
        if call.uid == 0:
            raise Refused(Code.POLICY, "jobs of root are not run here: submit as another user, or have sbrokerd started with --allow-root-jobs")
        raise Refused(Code.POLICY, "users with ids below %d run no jobs here (min_uid in %s)" % (self.config.min_uid, self.paths.config))

    async def hook(self, spec: JobSpec, call: Call) -> JobSpec:
        """The site's submit_hook, when there is one."""
        if not self.config.submit_hook:
            return spec
        from sbroker.daemon.hook import run_hook

        return await run_hook(self.config.submit_hook, spec, call)

    # ---- effects

    def execute(self, effect: Any) -> None:
        """Carry out one effect. Frames to a node without a link are dropped: its hello brings them up again."""
        if isinstance(effect, effects.Prepare):
            self.launcher.prepare(effect)
            return
        if isinstance(effect, effects.Mail):
            job = self.broker.state.jobs.get(effect.job)
            if job is not None:
                self.keep(self.loop.create_task(send_mail(job, effect.what, self.config.cluster)))
            return
        if isinstance(effect, (effects.StageIn, effects.StageOut)):
            self.staging.order(effect)
            return
        if isinstance(effect, effects.CreateGroup):
            self.fleet.create(effect.token, effect.at)
            return
        if isinstance(effect, effects.Terminate):
            self.fleet.terminate(effect.site, effect.token, effect.ids)
            return
        link = self.links.get(effect.node)
        if link is None:
            return
        header: dict[str, Any] = {"op": type(effect).__name__.lower(), "job": effect.job, "run": effect.run}
        if isinstance(effect, effects.End):
            header.update(why=effect.why, uid=effect.uid)
            if effect.why == "node_fail":
                header["nodes"] = self._down_nodes(effect.job)
        elif isinstance(effect, effects.Signal):
            header.update(signum=effect.signum, step=effect.step, batch=effect.batch, full=effect.full)
        elif isinstance(effect, effects.Freeze):
            header["suspend"] = effect.suspend
        elif isinstance(effect, effects.Lose):
            header["lost"] = effect.lost
        elif isinstance(effect, effects.Start):
            header.update(at=self.launcher.places(effect.job, effect.run), staged=self.launcher.staged(effect.job, effect.run))
        elif isinstance(effect, effects.Adjust):
            header["time_limit"] = effect.time_limit
        link.send(header)

    def _down_nodes(self, job: int) -> list[str]:
        """Nodes of the job that are down: its steps' clients are told."""
        state = self.broker.state
        names = [share.node for share in state.jobs[job].nodes] if job in state.jobs else []
        return [name for name in names if name in state.nodes and state.nodes[name].state is NodeState.DOWN]

    # ---- what can be asked of it

    def status(self) -> dict[str, Any]:
        state = self.broker.state
        return {
            "pid": os.getpid(), "socket": str(self.paths.socket), "store": self.broker.store.store_id, "epoch": self.broker.store.epoch,
            "uptime": int(time.monotonic() - self._started), "jobs": len(state.jobs), "calls": self.server.calls, "shared": self.shared,
            "agents": {name: link.status() for name, link in self.links.items()},
        }  # fmt: skip

    def explain(self, job: Job) -> list[str]:
        from sbroker.core.explain import explain

        return explain(self.broker.state, job, self.clock.now())


def _configure(config: Any) -> events.Configure:
    return events.Configure(nodes=config.nodes(), partitions=config.partitions(), settings=config.settings())


def _secret(path: Path) -> bytes:
    """The broker's own random bytes, made at the first start; only it can read them."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(fd, "wb") as file:
        file.write(os.urandom(32))
    return path.read_bytes()


def _bin_dir() -> str:
    """The folder of the Slurm names that belong to this installation, for jobs whose PATH has none. Another Slurm may be installed
    beside the interpreter: ours has the name `sbroker` there too."""
    for folder in (Path(sys.argv[0]).absolute().parent, Path(__file__).resolve().parents[2] / "bin", Path(sys.executable).parent):
        if (folder / "srun").exists() and (folder / "sbroker").exists():
            return str(folder)
    return ""
