"""What columns need besides the thing they print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbroker.api import View
from slurm_compat.jobnumbers import World
from slurm_compat.releases import release
from slurm_compat.taskset import bitstr_len
from slurm_compat.timefmt import Times


class Context:
    """One listing: the state at one moment, and how the caller wants things printed. Pure: nothing here reads a clock."""

    def __init__(self, view: View, config: Any, now: float, env: Mapping[str, str] | None = None, *, convert: bool = True) -> None:
        env = env or {}
        self.view, self.config, self.now = view, config, now
        self.cluster: str = getattr(config, "cluster", "") or "cluster"
        self.release: str = release(getattr(config, "imitate", "22.05"))  # which Slurm to be, on every node
        self.times = Times(env, now)
        self.world = World(view.partitions, view.nodes)
        self.room = bitstr_len(env)
        self.convert = convert
