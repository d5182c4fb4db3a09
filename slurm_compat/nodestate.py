"""State of a node as Slurm words it: the base state, what its jobs make of it, its flags and the signs after the word."""

from __future__ import annotations

from collections.abc import Callable

from sbroker.api import View
from sbroker.model import Job, Node
from sbroker.states import JobState, NodeState

SHORT = {
    "allocated": "alloc",
    "mixed": "mix",
    "idle": "idle",
    "down": "down",
    "unknown": "unk",
    "drained": "drain",
    "draining": "drng",
    "completing": "comp",
    "planned": "plnd",
    "reserved": "resv",
}
NOT_RESPONDING = "Not responding"  # the reason of a node that is down because nobody answers there
_SHOWN = ("CLOUD", "COMPLETING", "DRAIN", "PLANNED", "POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "NOT_RESPONDING")
_ORDER = {"unknown": 0, "down": 1, "idle": 2, "allocated": 3, "mixed": 5}
_WEIGHT = {"DRAIN": 0x200, "COMPLETING": 0x800, "NOT_RESPONDING": 0x400, "POWERED_DOWN": 0x1000, "POWERING_UP": 0x2000, "POWERING_DOWN": 0x4000, "PLANNED": 0x8000}


class NodeInfo:
    """A node with what its jobs hold there. `base`: allocated, mixed, idle, down, unknown; `flags`: Slurm's names of flags.

    `planned`: a job that waits is to start there; only an idle node shows it.
    """

    __slots__ = ("base", "cpus_used", "flags", "jobs", "mem_used", "node")

    def __init__(self, view: View, node: Node, planned: bool = False) -> None:
        self.node = node
        self.jobs: list[Job] = list(view.node_jobs(node.name))
        self.cpus_used, self.mem_used, _ = view.node_used(node.name)
        completing = any(job.completing for job in self.jobs)
        running = [job for job in self.jobs if not job.completing]
        self.base = self._base(bool(running))
        self.flags = frozenset(self._flags(completing, running) + ["PLANNED"] * (planned and self.base == "idle"))

    def _base(self, running: bool) -> str:
        node = self.node
        if node.state is NodeState.DOWN:
            return "down"
        if running:
            return "allocated" if self.cpus_used >= node.cpus else "mixed"
        return "idle" if node.state is NodeState.IDLE or node.cloud else "unknown"

    def _flags(self, completing: bool, running: list[Job]) -> list[str]:
        node, flags = self.node, []
        if node.drain:
            flags.append("DRAIN")
        if completing:
            flags.append("COMPLETING")
        never = node.state is NodeState.UNKNOWN and not node.cloud
        if node.silent is not None or never or (node.state is NodeState.DOWN and node.reason == NOT_RESPONDING):
            flags.append("NOT_RESPONDING")
        if node.cloud:
            flags.append("CLOUD")
            if node.releasing:
                flags.append("POWERING_DOWN")
            elif not node.token:
                flags.append("POWERED_DOWN")
            elif not node.incarnation:
                flags.append("POWERING_UP")
        return flags

    @property
    def word(self) -> str:
        """``idle``, ``draining``, ``down*``: the extended form with its sign."""
        return self._word() + self.sign

    @property
    def short(self) -> str:
        """``idle``, ``drng``, ``down*``: the compact form with its sign."""
        return SHORT[self._word()] + self.sign

    @property
    def complete(self) -> str:
        """``mixed+completing``: the base state and every flag."""
        return "+".join([self.base, *(flag.lower() for flag in _SHOWN if flag in self.flags)])

    @property
    def sign(self) -> str:
        if "POWERED_DOWN" in self.flags:
            return "~"
        if "POWERING_UP" in self.flags:
            return "#"
        if "POWERING_DOWN" in self.flags:
            return "%"
        return "*" if "NOT_RESPONDING" in self.flags else ""

    @property
    def busy(self) -> bool:
        """Counted as allocated in A/I/O/T."""
        return self.base in ("allocated", "mixed") or "COMPLETING" in self.flags

    @property
    def other(self) -> bool:
        """Counted as other in A/I/O/T: neither in use nor to be used."""
        return not self.busy and (self.base in ("down", "unknown") or "DRAIN" in self.flags)

    @property
    def order(self) -> int:
        """What sinfo sorts states by."""
        return _ORDER[self.base] + sum(_WEIGHT.get(flag, 0) for flag in self.flags)

    def _word(self) -> str:
        if "DRAIN" in self.flags:
            return "draining" if self.busy else "drained"
        if "COMPLETING" in self.flags and self.base != "down":
            return "completing"
        return "planned" if "PLANNED" in self.flags else self.base


def gpus_in_use(info: NodeInfo) -> dict[str, set[int]]:
    """Key of a share's gres ("gpu:a100") → device indices in use on the node."""
    used: dict[str, set[int]] = {}
    for job in info.jobs:
        for share in job.nodes:
            if share.node == info.node.name and job.state is not JobState.PENDING:
                for key, devices in share.gres.items():
                    used.setdefault(key, set()).update(devices)
    return used


_Test = Callable[[NodeInfo], bool]


def _flag(name: str) -> _Test:
    return lambda info: name in info.flags


def _base(*names: str) -> _Test:
    return lambda info: info.base in names


def _never(info: NodeInfo) -> bool:
    return False


_NOT_OURS = (
    "FAIL", "FUTURE", "FUTR", "MAINT", "NPC", "PERFCTRS", "POWER_DOWN", "POWER_UP", "REBOOT", "REBOOT^", "REBOOT_ISSUED",
    "REBOOT_REQUESTED", "RESV", "RESERVED",
)  # fmt: skip
FILTERS: dict[str, _Test] = {
    "ALL": lambda info: True,
    "ALLOC": _base("allocated", "mixed"),
    "ALLOCATED": _base("allocated", "mixed"),
    "CLOUD": _flag("CLOUD"),
    "COMP": _flag("COMPLETING"),
    "COMPLETING": _flag("COMPLETING"),
    "DOWN": _base("down"),
    "DRAIN": _flag("DRAIN"),
    "DRAINED": lambda info: "DRAIN" in info.flags and not info.busy,
    "DRAINING": lambda info: "DRAIN" in info.flags and info.busy,
    "IDLE": _base("idle"),
    "MIX": _base("mixed"),
    "MIXED": _base("mixed"),
    "NO_RESPOND": _flag("NOT_RESPONDING"),
    "PLANNED": _flag("PLANNED"),
    "PLND": _flag("PLANNED"),
    "POWERED_DOWN": _flag("POWERED_DOWN"),
    "POWERING_DOWN": _flag("POWERING_DOWN"),
    "POWERING_UP": _flag("POWERING_UP"),
    "UNK": _base("unknown"),
    "UNKNOWN": _base("unknown"),
} | dict.fromkeys(
    _NOT_OURS, _never
)
"""Name for sinfo -t, in capitals → whether a node is in that state; states that no node of ours has are names too."""
VALID = (
    "unknown,down,idle,allocated,?,mixed,future,drain,drained,draining,no_respond,reserved,perfctrs,cloud,completing,powering_down,"
    "powered_down,power_down,powering_up,fail,maint,reboot,reboot^,unknown"
)
"""What sinfo says that the states are, as 22.05 does."""
