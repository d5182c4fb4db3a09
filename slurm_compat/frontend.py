"""The front end as the broker sees it: one coroutine a command, the files that nodes need, the option table."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

from sbroker.api import Api, Call, Client
from slurm_compat import optable
from slurm_compat.releases import version

COMMANDS = ("sbatch", "salloc", "srun", "squeue", "scancel", "sinfo", "sacct", "scontrol", "sattach", "sbcast",
            "sacctmgr", "sshare")
LATER = ("sprio", "sstat", "sdiag", "sreport", "strigger")

NODE_MODULE = "slurm_compat.node"


class FrontEnd:
    """Implements `sbroker.api.FrontEnd`."""

    async def run(self, call: Call, client: Client, api: Api) -> int:
        """Run one command; its exit code."""
        if call.name not in COMMANDS:
            word = "is not there yet" if call.name in LATER else "is not a command of this Slurm"
            await client.out("%s: error: %s %s\n" % (call.name, call.name, word), 2)
            return 1
        module = importlib.import_module("slurm_compat.commands." + call.name)  # on first use: a broker that never runs it never pays
        return await module.run(call, client, api)

    def node_files(self) -> dict[str, bytes]:
        """Path inside the agent's zipapp → content."""
        wanted = importlib.import_module(NODE_MODULE).FILES
        return {"slurm_compat/" + name: data for entry in wanted for name, data in _sources(resources.files("slurm_compat"), entry)}

    def node_module(self) -> str:
        return NODE_MODULE

    def option_rows(self) -> list[dict[str, str]]:
        """For `sbroker options`: a row for each command that has the option."""
        return [{"command": command, "option": "--" + row.name, "class": row.cls, "note": row.note}
                for command in COMMANDS for row in optable.options(command)]

    def version(self, imitate: str) -> str:
        return version(imitate)


def _sources(folder: Any, entry: str) -> Iterator[tuple[str, bytes]]:
    """The files of one entry: a module, or a folder of modules."""
    place = folder.joinpath(*entry.split("/"))
    if entry.endswith(".py"):
        yield entry, place.read_bytes()
        return
    for file in place.iterdir():
        if file.name.endswith(".py"):
            yield entry + "/" + file.name, file.read_bytes()
