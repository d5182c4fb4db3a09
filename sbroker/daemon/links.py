"""The broker's end of the channels to the node agents: greet, order, take reports in order, carry sessions and calls.

A link is kept for every node that has a machine. When it breaks it is opened again; the agent's hello says what lives there, and
`decide(Hello)` orders what is missing, so nothing is remembered here about frames that were lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from typing import TYPE_CHECKING, Any

from msgspec import structs

from sbroker import __version__
from sbroker.agent import heard, resolving, wire
from sbroker.core.events import Hello, Reports, Silent
from sbroker.core.state import HOLDING
from sbroker.daemon.channels import Channel, join
from sbroker.errors import StoreError
from sbroker.model import Job, Report
from sbroker.transports import Faulty

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon

log = logging.getLogger("sbroker.links")

RETRY = (0.05, 0.2, 0.5, 1, 2, 5)  # seconds between attempts to open a link
BOOTING = 3  # the longest of these pauses, to a machine that is booting: somebody waits for it, and pays
NEVER = 10.0  # seconds after which a node that was never heard in this broker's life has a reason, whatever it is
MENDING = 30.0  # seconds, where somebody has to mend something first: hosts lock out who knocks too often
PING = 15.0  # seconds between signs of life; after three without a word the link is broken
GREETING = 20.0  # seconds for the agent's hello: a process that is stopped accepts, and never answers
ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?\Z")  # what a node says goes into people's ssh configuration


class Link:
    """The channel to one node's agent."""

    def __init__(self, daemon: Daemon, node: str, endpoint: Any, front_module: str) -> None:
        self.daemon, self.node, self.endpoint, self.front_module = daemon, node, endpoint, front_module
        self.incarnation = ""
        self.user = ""  # as whom all jobs run there; "" where the agent is root and becomes each job's own
        self.channels: dict[int, Channel] = {}
        self._next = 0
        self._writer: asyncio.StreamWriter | None = None
        self.ready = False
        self._task = asyncio.get_running_loop().create_task(self._keep())
        self.error = ""
        self._upgraded = ("", "")  # the program that was there, and the one that should be: told once
        self.port = 0  # where the agent takes calls of other nodes' supervisors; 0: nowhere
        self.addresses: list[str] = []  # of the node, as it says
        self._heard = 0.0
        self._now = asyncio.Event()  # do not wait for the next attempt

    # ---- sending

    def send(self, header: dict[str, Any], body: bytes = b"") -> bool:
        """Queue one frame; False when there is no link (the hello to come makes it good)."""
        if self._writer is None or not self.ready:
            return False
        self._writer.write(wire.link_frame(header, body))
        return True

    async def drain(self) -> None:
        if self._writer is not None:
            await self._writer.drain()

    def status(self) -> dict[str, Any]:
        """For people: whether the agent is heard, where it is, and why not."""
        where = self.endpoint.directory if self.endpoint.transport == "local" else self.endpoint.address
        return {"ready": self.ready, "transport": self.endpoint.transport, "dir": where, "error": self.error}

    def close(self) -> None:
        self._task.cancel()

    def look_again(self, endpoint: Any) -> None:
        """The configuration was read again: whoever is not heard is tried now, and who is to be reached in another way is reached so."""
        moved, self.endpoint = self.endpoint != endpoint, endpoint
        self._now.set()
        if moved:
            self.reset()

    def reset(self) -> None:
        """Drop the connection: it is opened anew and greeted again."""
        if self._writer is not None:
            self._writer.close()

    # ---- keeping it open

    async def _keep(self) -> None:
        attempt = 0
        clock = self.daemon.clock
        down_since = clock.boottime()
        while True:
            try:
                self.daemon.progress.node(self.node, "connecting again: %s" % self.error if self.error else "connecting")
                reader, writer = await self.daemon.open_transport(self.endpoint)
            except OSError as error:
                if str(error) != self.error:
                    log.warning("node %s: %s", self.node, error)
                # a machine that is booting shows another host key, or lets nobody in, until its boot data have run; when that takes too long the core knows
                young = bool(self.endpoint.data.get("boots")) and not self.incarnation
                never = not self.incarnation and not young and clock.boottime() - down_since > NEVER
                self.error, mending = str(error), isinstance(error, Faulty) and not young
                fault = self.error if mending or never else ""
            else:
                attempt, fault, mending, young = 0, "", False, False
                try:
                    await self._converse(reader, writer)
                except (OSError, StoreError, wire.WireError, asyncio.IncompleteReadError) as error:
                    log.warning("node %s: link broke: %s", self.node, error)
                    if isinstance(error, StoreError):  # a disk stays full for a while: not twenty greetings a second meanwhile
                        attempt = 3
                except Exception:
                    log.exception("node %s: link failed", self.node)
                    attempt = len(RETRY) - 1
                finally:
                    if self.ready:
                        down_since = clock.boottime()
                    self._down(writer)
                    self.daemon.fleet.lost(self.node)
            try:
                self.daemon.broker.apply(Silent(node=self.node, seconds=clock.boottime() - down_since, fault=fault))
            except StoreError as error:
                log.warning("node %s: %s", self.node, error)
            pause = MENDING if mending else RETRY[min(attempt, BOOTING if young else len(RETRY) - 1)]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._now.wait(), pause * random.uniform(0.75, 1.25))  # not all nodes of a site at once
            self._now.clear()
            attempt += 1

    def _down(self, writer: asyncio.StreamWriter) -> None:
        self.ready, self._writer = False, None
        writer.close()
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.closed("link")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        daemon = self.daemon
        store = daemon.broker.store
        hello = {"op": "hello", "store": store.store_id, "epoch": store.epoch, "version": __version__, "node": self.node,
                 "settings": dict(daemon.settings_of(self.node), front=self.front_module, ports=self.endpoint.ports,
                                  names=self.endpoint.transport != "local")}  # fmt: skip
        writer.write(wire.link_frame(hello))
        frames = wire.LinkReader()
        self._heard = daemon.clock.boottime()
        pinger = asyncio.get_running_loop().create_task(self._ping(writer))
        try:
            while data := await reader.read(1 << 18):
                self._heard = daemon.clock.boottime()
                reports: list[Report] = []
                for header, body in frames.feed(data):
                    op = header.get("op")
                    if op == "report":
                        reports.append(self._taken(header))
                        continue
                    if reports:
                        self._report(reports)
                        reports = []
                    if op == "hello":
                        self._hello(header, writer)
                    elif op == "refused":
                        raise wire.WireError("the agent refused us: %s" % header.get("error"))
                    elif op == "chan_open":
                        self._open(header, body)
                    elif op in ("chan_data", "chan_credit", "chan_close"):
                        channel = self.channels.get(header["chan"])
                        if channel is not None:
                            channel.frame(op, header, body)
                            if op == "chan_close":
                                self.channels.pop(header["chan"], None)
                    elif op == "ping":
                        self.send({"op": "pong", "n": header.get("n")})
                    elif op == "pong":
                        self._attend(header.get("n"))
                        if "load" in header:
                            daemon.broker.state.pulse(self.node, float(header["load"]), int(header["free_mem"]))
                if reports:
                    self._report(reports)
        finally:
            pinger.cancel()

    async def _ping(self, writer: asyncio.StreamWriter) -> None:
        """An agent that accepts and never answers is as good as gone."""
        n, greeted = 0, self.daemon.clock.boottime()
        await asyncio.sleep(GREETING)
        while True:
            now = self.daemon.clock.boottime()
            silent = now - self._heard if self.ready else now - greeted
            if silent > 3 * PING or not self.ready:
                self.error = "%s accepts the connection and has not answered for %d s" % (self.node, silent)
                log.warning("node %s: no answer for %d s", self.node, silent)
                writer.close()
                return
            n += 1
            writer.write(wire.link_frame({"op": "ping", "n": n}))
            await asyncio.sleep(PING)

    def _attend(self, n: Any) -> None:
        """Runs with a lease may go on, and start: the agent is told that this answer of its was heard, once it is certain that we are still
        the broker."""
        state = self.daemon.broker.state
        node, runs = state.nodes.get(self.node), (state.all_runs.get(key) for key in state.node_parts.get(self.node, ()))
        if isinstance(n, int) and (node is not None and node.lease or any(run is not None and run.lease for run in runs)):
            self.daemon.keep(asyncio.get_running_loop().create_task(self._vouch(n, self._writer)))

    async def _vouch(self, n: int, writer: Any) -> None:
        try:
            await self.daemon.broker.durable(self.daemon.broker.vouch())
        except StoreError:
            return  # nobody knows whose the database is
        if writer is self._writer:  # the numbers are this connection's
            self.send({"op": "attend", "n": n})

    def _hello(self, header: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if header.get("node", self.node) != self.node:
            raise wire.WireError("the agent there calls itself %.60r" % (header["node"],))
        self.incarnation = header["incarnation"]
        self._writer, self.ready, self.error = writer, True, ""
        self.daemon.progress.node(self.node, "")
        told = header.get("inventory", {})
        user = told.get("user")
        self.user = user["name"] if isinstance(user, dict) and user.get("uid") and ACCOUNT.match(str(user.get("name"))) else ""
        self.port = told["port"] if isinstance(told.get("port"), int) and 0 < told["port"] < 1 << 16 else 0
        self.addresses = [address for address in list(told.get("addresses", ()))[:16] if isinstance(address, str) and resolving.numeric(address)]
        self._upgrade(str(told.get("program") or ""))
        live = tuple((job, run, state) for job, run, state in header.get("live", ()))
        self.daemon.broker.apply(
            Hello(node=self.node, incarnation=self.incarnation, boot_id=header.get("boot_id", ""), live=live, inventory=header.get("inventory", {}))
        )
        self._attend(0)
        # Reports that we have, but whose acknowledgement was lost, must not be sent again and again.
        seen = self.daemon.broker.state.seen.get((self.node, self.incarnation), 0)
        if seen:
            self.send({"op": "ack", "seq": seen})

    def _upgrade(self, there: str) -> None:
        """The agent there is of another release, or of sources that have changed: it ends, and the next login starts one of ours. What runs
        there is its supervisors', which stay what they are."""
        ours = self.daemon.agent_program(self.endpoint)
        if ours and there and there != ours and self._upgraded != (there, ours):
            self._upgraded = (there, ours)
            log.info("node %s: the agent is %s, not %s: it is replaced", self.node, there, ours)
            self.send({"op": "upgrade"})

    def _taken(self, header: dict[str, Any]) -> Report:
        """A report as it is applied. What could not be (the agent checks, but its journal may be older than the check) becomes a notice:
        it keeps its place in the row, and those behind it are not held up for ever."""
        try:
            if header["kind"] not in heard.KINDS:
                raise ValueError("unknown report %.60r" % (header["kind"],))
            kind, when, data = header["kind"], heard.time_of(header["time"]), heard.data_of(header["kind"], header.get("data") or {})
        except ValueError as error:
            log.warning("node %s: job %s: report %s is not taken: %s", self.node, header["job"], header["seq"], error)
            kind, when, data = "notice", 0.0, {"text": str(error)}
        return Report(node=self.node, incarnation=self.incarnation, seq=header["seq"], kind=kind, job=header["job"], run=header["run"],
                      time=when, data=data)  # fmt: skip

    def _report(self, reports: list[Report]) -> None:
        try:
            _, seq = self.daemon.broker.apply(Reports(reports=tuple(reports)))
        except StoreError:
            raise
        except Exception:
            if len(reports) > 1:
                for report in reports:
                    self._report([report])
                return
            log.exception("node %s: a report of job %d cannot be applied and is left out: %r", self.node, reports[0].job, reports[0])
            reports = [structs.replace(reports[0], kind="notice", data={})]
            _, seq = self.daemon.broker.apply(Reports(reports=tuple(reports)))
        last = reports[-1].seq
        task = asyncio.get_running_loop().create_task(self._ack(seq, last))
        self.daemon.keep(task)

    async def _ack(self, seq: int, last: int) -> None:
        try:
            await self.daemon.broker.durable(seq)
        except StoreError:
            return  # not on record: the agent keeps them and sends them again
        self.send({"op": "ack", "seq": last})

    # ---- channels

    def channel(self, kind: str, job: int, run: int, uid: int, options: dict[str, Any], body: bytes) -> Channel:
        """Open a channel to the supervisor of (job, run) on this node."""
        self._next += 2  # ours are even, the agent's odd
        number = self._next
        channel = self.channels[number] = Channel(self, number, job, run)
        self.send({"op": "chan_open", "chan": number, "job": job, "run": run, "kind": kind, "uid": uid, "options": options}, body)
        return channel

    def _open(self, header: dict[str, Any], body: bytes) -> None:
        """A channel that the agent opens: only for a run that is placed on this node, and as its owner."""
        state = self.daemon.broker.state
        job, run = state.jobs.get(header["job"]), state.runs.get(header["job"])
        part = state.parts.get(header["job"], {}).get((header["run"], self.node))
        placed = part is not None and part.state in HOLDING and run is not None and run.run == header["run"]
        mine = header.get("kind") != "output" or (run is not None and run.head == self.node)  # the script's, which is the head's
        if job is None or not placed or not mine or header.get("kind") not in ("call", "peer", "output", "sync"):
            self.send({"op": "chan_close", "chan": header["chan"], "why": "link"})
            return
        channel = self.channels[header["chan"]] = Channel(self, header["chan"], header["job"], header["run"])
        if header["kind"] == "peer":
            self._join(channel, job, header)
        elif header["kind"] == "output":
            self.daemon.staging.output(channel, job)
        elif header["kind"] == "sync":
            self.daemon.staging.between(channel, job, header.get("options") or {})
        else:
            self.daemon.call_from_job(channel, job, header["run"], body)

    def _join(self, channel: Channel, job: Job, header: dict[str, Any]) -> None:
        """The head's supervisor cannot reach another node's: bytes go through us. Only the head calls, and only nodes of its run."""
        to = str((header.get("options") or {}).get("to"))
        run = self.daemon.broker.state.runs.get(job.id)
        known = run is not None and run.head == self.node and to != self.node and any(share.node == to for share in job.nodes)
        link = self.daemon.links.get(to) if known else None
        if link is None or not link.ready:
            channel.close("away" if known else "gone")
            return
        join(channel, link.channel("peer", job.id, header["run"], job.uid, {"from": self.node}, b""))
