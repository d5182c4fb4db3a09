"""What can happen to the broker: the inputs of `decide`."""

from __future__ import annotations

from typing import Any, Literal

from sbroker.api import Target
from sbroker.machines import Listing
from sbroker.model import Exit, JobSpec, Node, Partition, Report, Value


class Who(Value, kw_only=True):
    uid: int
    user: str = ""
    gid: int = 0
    group: str = ""
    groups: tuple[str, ...] = ()
    operator: bool = False


class Submit(Value, kw_only=True):
    spec: JobSpec
    who: Who
    request_id: str = ""
    test: bool = False  # --test-only: decide, change nothing


class Cancel(Value, kw_only=True):
    """signal None ends; else it is passed to the tasks."""

    targets: tuple[Target, ...]
    who: Who
    signal: int | None = None
    batch: bool = False
    full: bool = False
    why: str = "cancel"


class Finish(Value, kw_only=True):
    """The owner of an allocation is done with it (salloc's command or srun ended, or the client is gone)."""

    job: int
    who: Who
    exit: Exit = Exit()


class Hold(Value, kw_only=True):
    target: Target
    who: Who
    held: Literal["", "user", "admin"]


class Requeue(Value, kw_only=True):
    target: Target
    who: Who
    hold: bool = False


class Suspend(Value, kw_only=True):
    target: Target
    who: Who
    suspend: bool = True


class UpdateJob(Value, kw_only=True):
    target: Target
    who: Who
    changes: dict[str, Any]


class UpdateNode(Value, kw_only=True):
    node: str
    who: Who
    state: str | None = None
    reason: str | None = None
    fields: dict[str, Any] = {}


class UpdatePartition(Value, kw_only=True):
    name: str
    who: Who
    fields: dict[str, Any]


class CreatePartition(Value, kw_only=True):
    """A partition that lasts until the configuration is read again."""

    name: str
    who: Who
    fields: dict[str, Any]


class DeletePartition(Value, kw_only=True):
    """Refused while a job is in it."""

    name: str
    who: Who


class Configure(Value, kw_only=True):
    """The configuration as read at a start or reload: what is not listed any more goes when it is empty."""

    nodes: tuple[Node, ...]
    partitions: tuple[Partition, ...]
    settings: dict[str, Any] = {}  # kill_wait, min_job_age, max_array_size, first_job_id, accounts, users, qos, lost_after, …


class Hello(Value, kw_only=True):
    """An agent connected (or connected again). `live`: (job, run, "HELD" | "ACTIVE") that it has."""

    node: str
    incarnation: str
    boot_id: str
    live: tuple[tuple[int, int, str], ...] = ()
    inventory: dict[str, Any] = {}  # cpus, sockets, cores_per_socket, threads_per_core, memory, tmp, gres, arch, os, hostname, boot_time


class Silent(Value, kw_only=True):
    """A node's channel is down, or has been for `seconds`. `fault`: what somebody has to mend before it can be had, "" if nothing is known."""

    node: str
    seconds: float = 0
    fault: str = ""


class Reports(Value, kw_only=True):
    """Consecutive reports of one incarnation; those already applied (by seq) take no effect again."""

    reports: tuple[Report, ...]


class Staged(Value, kw_only=True):
    """The submit directory is on the node as it is here, or cannot be: `error` is a sentence then. `final`: it never can.
    `at`: as in `Part`. `note`: what the user has to know though all is well (a conflict)."""

    job: int
    run: int
    node: str
    at: dict[str, Any] = {}
    note: str = ""
    error: str = ""
    final: bool = False


class StagedOut(Value, kw_only=True):
    """The node's changes are on the submit host, or could not be brought there yet: `error` is a sentence then, and it is tried again.
    `final`: it is not, since they can never come back. `note`: what the user has to know though all is well (a conflict)."""

    job: int
    run: int
    node: str
    error: str = ""
    final: bool = False
    note: str = ""


class Fence(Value, kw_only=True):
    """Proof that nothing of a node's runs is left: machine gone, boot id changed, lease over, or an operator's word."""

    node: str
    proof: str
    who: Who | None = None


class Created(Value, kw_only=True):
    """The provider's answer to a CreateGroup: `kind` "" for done, "unknown" where nothing is known of it (the same token is asked again), else
    why it was refused, with the sentence."""

    token: str
    kind: Literal["", "no_capacity", "quota", "auth", "unsatisfiable", "unknown"] = ""
    error: str = ""


class Listed(Value, kw_only=True):
    """All machines and groups of ours that a site has. `asked`: when the question was sent."""

    site: str
    listing: Listing
    asked: float


class Power(Value, kw_only=True):
    """`sbroker down`, `scontrol update state=power_down`: terminate the machines of these nodes, of all where `nodes` is empty. Refused while
    they are in use, unless `force`."""

    nodes: tuple[str, ...] = ()
    who: Who
    force: bool = False


class Reap(Value, kw_only=True):
    """An operator's word that machines of these groups, which are not on record, are to go, although the record may be an old one."""

    tokens: tuple[str, ...]
    who: Who


class Tick(Value, kw_only=True):
    """Time passed: begin times, deadlines, purges, and a scheduling pass when one is due."""


Event = (
    Submit | Cancel | Finish | Hold | Requeue | Suspend | UpdateJob | UpdateNode | UpdatePartition | CreatePartition | DeletePartition | Configure
    | Hello | Silent | Reports | Staged | StagedOut | Fence | Created | Listed | Power | Reap | Tick
)
