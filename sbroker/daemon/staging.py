"""Carries out StageIn and StageOut: joins a process of the node's agent and one of the submit host's, which move the files between them.

The broker looks at nothing but the outcome. What breaks with a link is ordered again by the next hello; what fails otherwise is tried
again here. Requests for the same replica wait for each other, and those that wait together are answered by one exchange.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbroker.agent import wire
from sbroker.agent.files.ignore import parse_stage
from sbroker.agent.files.watch import Watch
from sbroker.core import staging
from sbroker.core.effects import StageIn, StageOut
from sbroker.core.events import Staged, StagedOut
from sbroker.core.state import active
from sbroker.daemon.bridge import Bridge
from sbroker.daemon.channels import Channel
from sbroker.daemon.links import Link
from sbroker.daemon.places import site_facts
from sbroker.errors import StoreError
from sbroker.model import Job, Node, Part
from sbroker.paths import SUBMIT_AGENT
from sbroker.providers.base import Endpoint
from sbroker.states import PartState, RunState

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon

log = logging.getLogger("sbroker.staging")

AT_ONCE = 16  # exchanges; each holds at most a window of bytes a direction here
PATIENCE = 30.0  # seconds for the submit host's agent to be there
RETRY = (1.0, 5.0, 15.0, 30.0, 60.0)  # seconds between tries of what may work later
TRIES = 3  # of a stage-in before its job is held
# folders that each machine has for itself, on clusters with a shared file system, too: nobody means all that lies in there
OF_THE_MACHINE = frozenset(("/", "/dev/shm", "/etc", "/home", "/opt", "/run", "/srv", "/tmp", "/usr", "/var", "/var/tmp"))
Outcome = dict[str, Any]


class Staging:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._tasks: dict[tuple[type, int, int, str], asyncio.Task[None]] = {}
        self._again: set[tuple[type, int, int, str]] = set()
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}
        self._waiting: dict[tuple[Any, ...], asyncio.Task[Outcome]] = {}
        self._askers: dict[asyncio.Task[Outcome], int] = {}  # how many want what it is at
        self._room = asyncio.Semaphore(AT_ONCE)
        self._submit: Link | None = None
        self._bridges: set[Bridge] = set()
        self._notes: dict[tuple[int, int], list[str]] = {}  # of exchanges while a run goes on: told when its output is complete

    # ---- the submit host's agent

    def submit_link(self) -> Link:
        """The link to the agent that moves users' files on this host; it is started when it is needed for the first time."""
        if self._submit is None:
            endpoint = Endpoint(transport="local", node=SUBMIT_AGENT, directory=str(Path(self._daemon.paths.spool) / SUBMIT_AGENT))
            self._submit = Link(self._daemon, SUBMIT_AGENT, endpoint, self._daemon.front_end.node_module())
        return self._submit

    async def _submit_ready(self) -> Link:
        link = self.submit_link()
        for _ in range(int(PATIENCE / 0.02)):
            if link.ready:
                return link
            await asyncio.sleep(0.02)
        raise ConnectionError("the agent for files on this host is not heard: %s" % link.error)

    def close(self) -> None:
        if self._submit is not None:
            self._submit.close()

    # ---- orders

    def order(self, effect: StageIn | StageOut) -> None:
        """Begin, unless it is under way; then it is looked at again at its end."""
        key = (type(effect), effect.job, effect.run, effect.node)
        if key in self._tasks:
            self._again.add(key)
            return
        task = self._tasks[key] = self._daemon.loop.create_task(self._carry_out(effect))

        def ended(done: asyncio.Task[None]) -> None:
            del self._tasks[key]
            if not done.cancelled() and done.exception() is not None:
                log.error("job %d: staging failed", effect.job, exc_info=done.exception())
            if key in self._again:
                self._again.discard(key)
                self.order(effect)

        task.add_done_callback(ended)

    def _wanted(self, effect: StageIn | StageOut) -> tuple[Job, Node] | None:
        """Its job and node, as long as the record waits for it."""
        state = self._daemon.broker.state
        job, run, node = state.jobs.get(effect.job), state.all_runs.get((effect.job, effect.run)), state.nodes.get(effect.node)
        part: Part | None = state.parts.get(effect.job, {}).get((effect.run, effect.node))
        if job is None or run is None or node is None or part is None:
            return None
        waits = run.state is RunState.HELD and part.stage == "in" if isinstance(effect, StageIn) else part.state is PartState.LEAVING
        return (job, node) if waits else None

    async def _carry_out(self, effect: StageIn | StageOut) -> None:
        if isinstance(effect, StageIn):
            self._daemon.progress.job(effect.job, effect.node, "staging files")
        try:
            await self._until_done(effect)
        finally:
            self._daemon.progress.job(effect.job, effect.node, "")

    async def _until_done(self, effect: StageIn | StageOut) -> None:
        tries = 0
        while (wanted := self._wanted(effect)) is not None:
            job, node = wanted
            try:
                outcome = await self._while_wanted(effect, job, node)
            except ConnectionError as error:
                link = self._daemon.links.get(effect.node)
                if link is None or not link.ready:
                    return  # its next hello orders this again
                log.warning("job %d: staging with %s broke: %s", effect.job, effect.node, error)
            else:
                if outcome is None or await self._tell(effect, outcome, tries):
                    return
            await asyncio.sleep(RETRY[min(tries, len(RETRY) - 1)])
            tries += 1

    async def _while_wanted(self, effect: StageIn | StageOut, job: Job, node: Node) -> Outcome | None:
        """The outcome of its exchange; None when its record does not wait for it any more: it is cut off then."""
        work = self._daemon.loop.create_task(self.exchange("in" if isinstance(effect, StageIn) else "out", job, node))
        try:
            while not work.done() and self._wanted(effect) is not None:
                changed = self._daemon.loop.create_task(self._changed(effect.job))
                await asyncio.wait({work, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            return work.result() if work.done() else None
        finally:
            work.cancel()

    async def _changed(self, number: int) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await self._daemon.broker.changed(number, 1.0)

    async def _tell(self, effect: StageIn | StageOut, outcome: Outcome, tries: int) -> bool:
        """Put the outcome on record. False when it is to be tried again."""
        fields: dict[str, Any] = {"job": effect.job, "run": effect.run, "node": effect.node}
        error: str = outcome["error"]
        event: Staged | StagedOut | None = None
        if isinstance(effect, StageIn):
            if not error or not outcome.get("again") or tries + 1 >= TRIES:
                event = Staged(**fields, error=error, final=not outcome.get("again"), at=self._places(effect.job, effect.node, outcome), note=note(outcome))
        else:
            notes = self._notes.pop((effect.job, effect.run), []) if not error else []
            event = StagedOut(**fields, error=error, final=bool(error and outcome.get("final")), note=note(dict(outcome, notes=notes + list(outcome.get("notes") or ()))))
            if event.note and not error:
                await self._say(effect.job, event.note)
        if event is not None:
            try:
                await self._daemon.broker.do(event)
            except StoreError as failure:
                log.warning("job %d: %s", effect.job, failure)
                return False
        return event is not None and not (error and isinstance(event, StagedOut) and not event.final)

    async def back(self, number: int) -> str:
        """Wait until nothing of the job's present run is on its way; why some files do not come back, "" if all did."""
        broker = self._daemon.broker
        while (job := broker.state.jobs.get(number)) is not None and job.completing and self.of(job):
            if job.stage_until is not None:
                return job.reason_text
            await self._changed(number)
        lost = job is not None and any(run == job.run and part.stage == "lost" for (run, _), part in broker.state.parts.get(number, {}).items())
        return job.reason_text if job is not None and lost else ""

    def of(self, job: Job) -> list[str]:
        """The nodes to which the files of the job's present or last run were brought."""
        parts = self._daemon.broker.state.parts.get(job.id, {})
        return [node for (run, node), part in parts.items() if run == job.run and part.stage in ("ready", "lost")]

    # ---- one exchange

    async def exchange(self, do: str, job: Job, node: Node) -> Outcome:
        """Bring changes of the job's directory to the node ("in") or from there ("out"). The files worker's outcome; ConnectionError when
        a link broke meanwhile."""
        if do == "in" and not node.stage:
            return {"error": "its site does not let files be staged any more (stage: deny)", "again": False}
        key = (do, node.name, job.uid, job.spec.work_dir, job.spec.sbroker.get("stage"), job.spec.software, job.spec.stdin if do == "in" else None)
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = self._daemon.loop.create_task(self._in_turn(key, job, node))
        self._askers[task] = self._askers.get(task, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._askers[task] -= 1
            if not self._askers[task]:
                del self._askers[task]
                if not task.done():  # all who wanted it have gone
                    if self._waiting.get(key) is task:
                        del self._waiting[key]
                    task.cancel()

    async def _in_turn(self, key: tuple[Any, ...], job: Job, node: Node) -> Outcome:
        async with self._locks.setdefault((node.name, job.uid), asyncio.Lock()), self._room:
            self._waiting.pop(key, None)  # who comes from now on may have changed files since
            return await self._exchange(key[0], job, node.name, self._roots(job, node) + (self._input(job, node) if key[0] == "in" else []))

    async def _exchange(self, do: str, job: Job, node: str, roots: list[dict[str, Any]]) -> Outcome:
        daemon, link = self._daemon, self._daemon.links.get(node)
        if link is None or not link.ready:
            raise ConnectionError("node %s is not heard" % node)
        submit = await self._submit_ready()
        limit = int(daemon.config.stage_limit) << 20
        options = {
            "user": daemon.launcher.user(job), "owner": job.user, "do": do, "job": str(job.id), "node": node, "busy": self._busy(job, node),
            "roots": roots, "limit": {"bytes": limit, "files": None},
        }  # fmt: skip
        watches = (Watch(), Watch())
        ends = [each.channel("files", job.id, job.run, job.uid, dict(options, side=side), b"") for each, side in ((submit, "submit"), (link, "node"))]
        total = 0

        def tap(side: int, data: bytes) -> None:
            nonlocal total
            total += sum(header["bytes"] for header in watches[side].feed(data) if header["op"] == "moving")
            if do == "in" and total >> 20:
                moved = sum(watch.moved for watch in watches)
                daemon.progress.job(job.id, node, "staging %d of %d MB" % (min(moved, total) >> 20, total >> 20))

        why = await self._join(ends[0], ends[1], tap)
        for end, where in zip(ends, ("this host: ", ""), strict=True):  # the node's name stands before whatever becomes of this
            if end.error:
                return {"error": where + end.error, "again": False}
        told = [watch.done for watch in (watches if do == "out" else reversed(watches)) if watch.done is not None]
        good = [outcome for outcome in told if not outcome["error"]]
        if not told or (not good and "link" in why):
            raise ConnectionError("the connection to %s broke" % node)
        return (good or told)[0]

    async def _join(self, one: Channel, other: Channel, tap: Callable[[int, bytes], Any]) -> list[str]:
        bridge = Bridge(one, other, tap)
        self._bridges.add(bridge)
        try:
            await bridge.closed
            return bridge.why
        finally:
            bridge.close("cancel")
            self._bridges.discard(bridge)

    def _roots(self, job: Job, node: Node) -> list[dict[str, Any]]:
        spec = job.spec
        tree: dict[str, Any] = {"path": spec.work_dir, "what": "tree"}
        if spec.sbroker.get("stage"):
            tree["stage"] = parse_stage(spec.sbroker["stage"])
        elif spec.work_dir in OF_THE_MACHINE:
            tree["stage"] = parse_stage("none")
        paths = self._daemon.paths
        stays = private(self._daemon.launcher.user(job)["home"], (tree.get("stage") or {}).get("include", ()))
        stays += [paths.state, paths.spool, paths.logs]
        left = {path for path in stays if staging.below(path, spec.work_dir) and path != spec.work_dir} | self._written(job)
        if left:
            tree["exclude"] = sorted(left)
        roots = [tree]
        site = self._daemon.config.sites.get(node.site)
        twin = site is not None and site_facts(node.site, site)["twin"]
        if spec.software and not twin and not self._shares(node, spec.software[1]):
            roots.append({"path": spec.software[1], "what": "env"})
        return roots

    def _input(self, job: Job, node: Node) -> list[dict[str, Any]]:
        """The batch script's standard input, where it lies outside of the job's directory: its folder, with nothing else in it."""
        path = self._daemon.launcher.standard_input(job) if job.spec.kind == "batch" and job.nodes else None
        if path is None or staging.below(path, "/dev") or staging.below(path, job.spec.work_dir) or self._shares(node, path):
            return []
        folder, _, name = path.rpartition("/")
        return [{"path": folder or "/", "what": "tree", "stage": {"mode": "none", "include": ["/" + name], "exclude": []}}]

    def _written(self, job: Job) -> set[str]:
        """Files in the job's directory that batch jobs of its user write here now: nobody moves them while they grow."""
        live = (other for other in self._daemon.broker.state.user_jobs(job.uid) if other.spec.kind == "batch" and other.nodes)
        paths = {path for other in live if active(other) for path in self._daemon.launcher.outputs(other)}
        return {path for path in paths if staging.below(path, job.spec.work_dir)}

    @staticmethod
    def _shares(node: Node, path: str) -> bool:
        return node.shared_fs is True or any(staging.below(path, prefix) for prefix in node.shared_fs or ())

    def _busy(self, job: Job, node: str) -> bool:
        """Whether a job of this user works there in this very directory, or around it or below: this one, or another."""
        state = self._daemon.broker.state
        part = state.parts.get(job.id, {}).get((job.run, node))
        if part is not None and part.state is PartState.ACTIVE:
            return True  # `sbroker sync`, a step from elsewhere: what it removed is not to come again
        others = (state.jobs.get(number) for number, _ in state.node_parts.get(node, ()) if number != job.id)
        return any(
            other is not None and other.uid == job.uid and (staging.below(other.spec.work_dir, job.spec.work_dir) or staging.below(job.spec.work_dir, other.spec.work_dir))
            for other in others
        )

    # ---- between the nodes of a run

    def between(self, channel: Channel, job: Job, options: dict[str, Any]) -> None:
        """A step begins or has ended: what nodes `from` have changed goes to nodes `to`, by way of here. The channel is closed then."""
        known = set(self.of(job))
        sources, targets = ([node for node in options.get(key) or () if node in known] for key in ("from", "to"))
        self._daemon.keep(self._daemon.loop.create_task(self._between(channel, job, sources, targets)))

    async def _between(self, channel: Channel, job: Job, sources: list[str], targets: list[str]) -> None:
        state = self._daemon.broker.state
        try:
            for do, names in (("out", sources), ("in", targets)):
                told = await asyncio.gather(*(self.exchange(do, job, state.nodes[name]) for name in names), return_exceptions=True)
                for name, outcome in zip(names, told, strict=True):
                    if isinstance(outcome, BaseException):
                        log.warning("job %d: files of a step, %s: %s", job.id, name, outcome)
                    elif outcome["error"] or findings(outcome):
                        self._notes.setdefault((job.id, job.run), []).extend([*("%s: %s" % (name, text) for text in (outcome["error"],) if text), *findings(outcome)])
        finally:
            channel.close("done")

    # ---- output of batch scripts

    def output(self, channel: Channel, job: Job) -> None:
        """The supervisor of a batch script has output for the submit host: a process of the user writes it."""
        early: list[bytes] = []
        channel.on_data = early.append
        self._daemon.keep(self._daemon.loop.create_task(self._output(channel, job, early)))

    async def _output(self, channel: Channel, job: Job, early: list[bytes]) -> None:
        run = self._daemon.broker.state.runs.get(job.id)
        try:
            if run is None:
                raise ConnectionError("the run is over")
            submit = await self._submit_ready()
            out, err = self._daemon.launcher.outputs(job)
            append = job.spec.open_mode == "append"
            files = [{"path": path, "append": append} for path in ([out] if out == err else [out, err])]
            options = {"user": self._daemon.launcher.user(job), "files": files, "umask": job.spec.umask}
            writer = submit.channel("output", job.id, run.run, job.uid, options, b"")
        except (ConnectionError, OSError) as error:
            log.warning("job %d: its output cannot be written yet: %s", job.id, error)
            channel.close("link")
            return
        bridge = Bridge(channel, writer)
        self._bridges.add(bridge)
        for data in early:
            channel.on_data(data)
        await bridge.closed
        self._bridges.discard(bridge)


    def _places(self, number: int, node: str, outcome: Outcome) -> dict[str, Any]:
        """`Part.at` of a stage-in; empty where all lies under the same path as here."""
        roots = outcome.get("roots") or ()
        moved = [[root["path"], root["at"]] for root in roots if root["at"] != root["path"]]
        found: dict[str, Any] = {}
        state = self._daemon.broker.state
        job = state.jobs.get(number)
        software = job.spec.software if job is not None else None
        given = self._input(job, state.nodes[node]) if job is not None else []
        for root in roots:
            if given and root["path"] == given[0]["path"]:
                found["stdin"] = root["at"] + given[0]["stage"]["include"][0]
                moved = [pair for pair in moved if pair[0] != root["path"]]  # what else the job names there is not what this is about
        if moved:
            found["roots"] = moved
        if outcome.get("env"):
            found["env"] = outcome["env"]
        elif software is not None and any(root["path"] == software[1] == root["at"] for root in roots):  # where it was; but not in PATH
            folder = software[1] + "/bin"
            found["env"] = {software[0]: software[1], "PATH": [[folder, folder]]}
        return found

    async def _say(self, number: int, text: str) -> None:
        """A line at the end of the batch script's standard error: where its owner looks first."""
        state, launcher = self._daemon.broker.state, self._daemon.launcher
        job, run = state.jobs.get(number), state.runs.get(number)
        if job is None or run is None or job.spec.kind != "batch" or not job.nodes:
            return
        try:
            submit = await self._submit_ready()
        except ConnectionError:
            return  # the record has it too
        path = launcher.outputs(job)[1]
        options = {"user": launcher.user(job), "files": [{"path": path, "append": True}], "umask": job.spec.umask}
        channel = submit.channel("output", job.id, run.run, job.uid, options, b"")
        closed: asyncio.Future[None] = self._daemon.loop.create_future()
        channel.on_close = lambda why: None if closed.done() else closed.set_result(None)
        line = ("sbroker: warning: %s\n" % text).encode("utf-8", "surrogateescape")
        for header, body in (({"op": "open", "marks": None}, b""), ({"op": "data", "stream": 0, "offset": 0}, line), ({"op": "end"}, b"")):
            channel.send(wire.link_frame(header, body))
        await asyncio.wait([closed], timeout=PATIENCE)
        channel.close("done")


# Of a home folder: keys, credentials and caches of the submit host. A job that needs one names it with stage=PATTERN.
PRIVATE = (
    ".ssh", ".gnupg", ".aws", ".azure", ".config", ".kube", ".docker", ".netrc", ".pgpass", ".git-credentials", ".password-store", ".vault-token",
    ".npmrc", ".pypirc", ".local", ".cache", ".bash_history", ".python_history", ".mozilla", ".Xauthority", ".ICEauthority",
)  # fmt: skip


def private(home: str, named: Iterable[str] = ()) -> list[str]:
    """Paths below a home folder that stay here, but for those that patterns (`named`) of the job name."""
    wanted = {pattern.strip("/").partition("/")[0] for pattern in named}
    return ["%s/%s" % (home.rstrip("/"), name) for name in PRIVATE if name not in wanted]


def note(outcome: Outcome) -> str:
    """What the user has to know of an exchange that went well: one sentence, "" for nothing."""
    texts = findings(outcome)
    more = len(texts) - 1 + int(outcome.get("more") or 0)
    return "" if not texts else texts[0] + (" (and %d more)" % more if more > 0 else "")


def findings(outcome: Outcome) -> list[str]:
    """A sentence each: conflicts, what was left out, and what else there is to say."""
    said = []
    for item in outcome.get("conflicts") or ():
        said.append("%s: %s%s" % (item["path"], item["text"], ": " + item["beside"] if item.get("beside") else ""))
    said += ["%s: %s" % (item["path"], item["text"]) for item in outcome.get("skipped") or ()]
    return said + list(outcome.get("notes") or ())
