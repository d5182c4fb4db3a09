"""From a run on record to the frame that an agent needs: the run's description, the script, the environment."""

from __future__ import annotations

import grp
import hashlib
import hmac
import importlib
import os
import pwd
from collections import OrderedDict
from typing import Any

import msgspec

from sbroker.agent import batch
from sbroker.core.effects import Prepare
from sbroker.core.staging import below
from sbroker.daemon.places import site_facts
from sbroker.model import INFINITE, Job, Node, Run

BLOBS_KEPT = 64


def _group(gid: int) -> tuple[str, str] | None:
    """(gid as JSON has it for a key, its name); None for a group without a record."""
    try:
        return str(gid), grp.getgrgid(gid).gr_name
    except KeyError:
        return None


class Launcher:
    """Builds descriptions and prepare frames; keeps the last few scripts and environments at hand."""

    def __init__(self, daemon: Any) -> None:
        self.daemon = daemon
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._users: dict[int, dict[str, Any]] = {}

    # ---- scripts and environments

    def remember(self, data: bytes) -> str:
        """The hash under which the store keeps `data`."""
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        self._blobs.move_to_end(digest)
        while len(self._blobs) > BLOBS_KEPT:
            self._blobs.popitem(last=False)
        return digest

    def blob(self, digest: str) -> bytes:
        if not digest:
            return b""
        data = self._blobs.get(digest)
        return self.daemon.broker.store.blob(digest) if data is None else data

    # ---- descriptions

    def user(self, job: Job) -> dict[str, Any]:
        """name, uid, gid, group, groups, home, shell as this host knows them; a user it does not know gets / and /bin/sh."""
        known = self._users.get(job.uid)
        if known is None:
            try:
                entry = pwd.getpwuid(job.uid)
                home, shell, groups = entry.pw_dir, entry.pw_shell, os.getgrouplist(entry.pw_name, entry.pw_gid)
            except KeyError:
                home, shell, groups = "/", "/bin/sh", [job.gid]
            known = {"name": job.user, "uid": job.uid, "home": home, "shell": shell or "/bin/sh", "groups": groups}
            known["group_names"] = dict(filter(None, map(_group, groups)))
            self._users[job.uid] = known
            self.daemon.loop.call_later(60, self._users.pop, job.uid, None)
        group = job.group
        if not group:
            try:
                group = grp.getgrgid(job.gid).gr_name
            except KeyError:
                group = str(job.gid)
        return dict(known, gid=job.gid, group=group)

    def key(self, job: int, run: int) -> str:
        """The secret that the supervisors of one run share; derived, so that nothing secret is stored a second time."""
        return hmac.new(self.daemon.secret, b"run %d.%d" % (job, run), hashlib.sha256).hexdigest()

    def describe(self, job: Job, run: Run) -> dict[str, Any]:
        """`info` of ARCHITECTURE.md."""
        state, config = self.daemon.broker.state, self.daemon.config
        array = None
        if job.array_task is not None:
            low, high, step = job.array_range
            array = {"id": job.array_id, "task": job.array_task, "count": job.array_size, "min": low, "max": high, "step": step}
        spec = msgspec.to_builtins(job.spec)
        spec.pop("array_tasks", None)
        nodes = []
        for share in job.nodes:
            node: Node = state.nodes[share.node]
            nodes.append({
                "node": share.node, "address": node.address or node.hostname or share.node, "cpus": share.cpus, "cpu_ids": share.cpu_ids,
                "mem": share.mem, "gres": {name: list(ids) for name, ids in share.gres.items()}, "node_cpus": node.cpus,
                "sockets": node.sockets, "cores_per_socket": node.cores_per_socket, "threads_per_core": node.threads_per_core,
                "features": list(node.features), "endpoint": self.daemon.run_endpoint(share.node), "site": node.site,
                "addresses": self.daemon.links[share.node].addresses if share.node in self.daemon.links else [],
            })  # fmt: skip
        sites = {name: site_facts(name, config.sites[name]) for name in {node["site"] for node in nodes} if name in config.sites}
        info = {
            "cluster": config.cluster, "imitate": config.imitate, "store": self.daemon.broker.store.store_id, "job": job.id, "run": run.run,
            "restart_count": job.restarts, "kind": job.spec.kind, "name": job.spec.name, "key": self.key(job.id, run.run), "head": run.head,
            "submit_host": job.spec.submit_host, "array": array, "user": self.user(job), "spec": spec, "partition": job.partition,
            "account": job.account, "qos": job.qos, "reservation": job.spec.reservation, "time_limit": job.time_limit,
            "kill_wait": config.kill_wait, **({"lease": run.lease} if run.lease else {}), "start_time": job.start_time, "priority": job.priority, "nodes": nodes,
            "sites": sites,
            "batch_host": job.nodes[0].node if job.nodes else "", "bin": self.daemon.bin_dir,
            "end_time": None if job.time_limit == INFINITE or job.start_time is None else job.start_time + job.time_limit,
            "settings": {"mpi_default": config.mpi_default, "home": self.daemon.home_for_jobs, **self._default_memory(job), **self._idle_timeout(job)},
        }  # fmt: skip
        if job.nodes and self.streamed(info, state.nodes[run.head]):
            info["streamed"] = True
        return info

    def places(self, job: int, run: int) -> dict[str, Any]:
        """Node → `Part.at`, of the nodes to which the run's files were brought."""
        parts = self.daemon.broker.state.parts.get(job, {})
        return {node: part.at for (number, node), part in parts.items() if number == run and part.at}

    def staged(self, job: int, run: int) -> list[str]:
        """The nodes to which the run's files were brought."""
        parts = self.daemon.broker.state.parts.get(job, {})
        return [node for (number, node), part in parts.items() if number == run and part.stage == "ready"]

    def streamed(self, info: dict[str, Any], head: Node) -> bool:
        """Whether the batch script's output has to be brought to the submit host while it is written."""
        if info["kind"] != "batch" or head.shared_fs is True:
            return False
        shared = ("/dev", *(head.shared_fs or ()))
        return not all(any(below(path, prefix) for prefix in shared) for path in self._outputs(info))

    def outputs(self, job: Job) -> tuple[str, str]:
        """Paths of the batch script's standard output and error on this host, in the job's present run."""
        return self._outputs(self._named(job))

    def standard_input(self, job: Job) -> str | None:
        """Path of the batch script's standard input, None for none."""
        found = batch.standard_input(self._named(job), self._front(), job.nodes[0].node)
        return None if found is None else str(found)

    def _named(self, job: Job) -> dict[str, Any]:
        """As much of a run's description as the names of its files go by."""
        spec = job.spec
        said = {"stdin": spec.stdin, "stdout": spec.stdout, "stderr": spec.stderr, "work_dir": spec.work_dir}
        array = None if job.array_task is None else {"id": job.array_id, "task": job.array_task}
        user, imitate = {"name": job.user}, self.daemon.config.imitate
        return {"job": job.id, "name": spec.name, "user": user, "array": array, "spec": said, "imitate": imitate, "head": job.nodes[0].node}

    def _outputs(self, info: dict[str, Any]) -> tuple[str, str]:
        return batch.outputs(info, self._front(), info["head"])

    def _front(self) -> Any:
        """The front end's functions for nodes, by the name that it gives: this is what agents are told, too."""
        return importlib.import_module(self.daemon.front_end.node_module())

    def _default_memory(self, job: Job) -> dict[str, int]:
        """What the partition gives a job that asks for no memory: batch scripts are told of it."""
        partition = self.daemon.broker.state.partitions.get(job.partition)
        if partition is None:
            return {}
        values = {"def_mem_per_cpu": partition.def_mem_per_cpu, "def_mem_per_node": partition.def_mem_per_node}
        return {name: value for name, value in values.items() if value is not None}

    def _idle_timeout(self, job: Job) -> dict[str, int]:
        """When an interactive job ends that nobody uses: only where that costs money."""
        partition = self.daemon.broker.state.partitions.get(job.partition)
        if partition is None or partition.idle_timeout is None or job.spec.kind != "alloc" or not job.rate:
            return {}
        return {"idle_timeout": partition.idle_timeout}

    def prepare(self, effect: Prepare) -> None:
        """Send one Prepare. A record that moved on meanwhile makes it void: decide will have ordered something else."""
        state = self.daemon.broker.state
        job, run = state.jobs.get(effect.job), state.runs.get(effect.job)
        link = self.daemon.links.get(effect.node)
        if job is None or run is None or run.run != effect.run or link is None or not link.ready:
            return
        script, environ = self.blob(job.spec.script_hash), self.blob(job.spec.environ_hash)
        header = {"op": "prepare", "job": job.id, "run": run.run, "info": self.describe(job, run), "script_size": len(script), "environ_size": len(environ)}
        link.send(header, script + environ)
