"""Submissions and the files they need: what is asked for, and those that come from inside jobs on nodes with files of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from sbroker.agent.files.ignore import parse_stage
from sbroker.agent.places import Places
from sbroker.api import Call
from sbroker.errors import BrokenOff, Code, Refused
from sbroker.model import JobSpec, Part

if TYPE_CHECKING:
    from sbroker.daemon.daemon import Daemon


class Sources:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def submitted(self, caller: Call, spec: JobSpec, environ: bytes) -> tuple[JobSpec, bytes]:
        """A submission as the submit host has its files. From inside a job that was staged: what the job changed is brought back first, and
        folders are named as they are here. Refused for what cannot be."""
        stage = spec.sbroker.get("stage")
        if stage:
            try:
                parse_stage(stage)
            except ValueError as error:
                raise Refused(Code.POLICY, "#SBROKER %s" % error) from error
        variables = caller.env if spec.kind == "alloc" else _variables(environ)
        part = self.part(caller)
        if part is None:
            return msgspec.structs.replace(spec, software=environment(variables)), environ
        await self.brought_back(caller, part)
        places = Places(part.at)
        parent = self._daemon.broker.state.jobs[part.job].spec
        changed = {name: places.here(value) for name in _FOLDERS if (value := getattr(spec, name))}
        known = environment(places.environ_here(variables))
        spec = msgspec.structs.replace(
            spec, **changed, script_args=tuple(places.words_here(spec.script_args)), software=known if known == parent.software else None
        )
        return spec, places.environ_here_packed(environ)

    def part(self, caller: Call) -> Part | None:
        """The part of the run that a call comes from, if its files were brought to its node."""
        if caller.job is None or caller.run is None:
            return None
        part: Part | None = self._daemon.broker.state.parts.get(caller.job, {}).get((caller.run, caller.node))
        return part if part is not None and part.stage == "ready" else None

    async def brought_back(self, caller: Call, part: Part) -> None:
        """What the job has changed so far on its node is here."""
        state = self._daemon.broker.state
        job, node = state.jobs[part.job], state.nodes[part.node]
        try:
            outcome = await self._daemon.staging.exchange("out", job, node)
        except ConnectionError as error:
            raise BrokenOff(str(error)) from error
        if outcome["error"]:
            raise Refused(Code.POLICY, "the files of this job cannot be brought to %s: %s" % (job.spec.submit_host or "the submit host", outcome["error"]))


_FOLDERS = ("work_dir", "submit_dir", "command", "stdin", "stdout", "stderr")


def _variables(environ: bytes) -> dict[str, str]:
    return {os.fsdecode(key): os.fsdecode(value) for key, equals, value in (item.partition(b"=") for item in environ.split(b"\0")) if equals}


def environment(environ: dict[str, str]) -> tuple[str, str] | None:
    """`JobSpec.software` of `environ`; a conda installation's base is none."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = environ.get(name, "")
        if os.path.isabs(folder) and not (name == "CONDA_PREFIX" and environ.get("CONDA_DEFAULT_ENV") in (None, "base")):
            return name, os.path.normpath(folder)
    return None
