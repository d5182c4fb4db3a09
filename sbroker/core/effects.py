"""What `decide` orders: changes of the record, effects to carry out once those are durable, and the answer to the asker."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sbroker.api import Placement
from sbroker.model import Value


class Put(msgspec.Struct, frozen=True):
    """Row `key` of `table` now has this value. Tables and keys: job (id) · run (job, run) · part (job, run, node) ·
    step (job, run, step) · node (name) · partition (name) · group (token) · machine (token, index) · seen (node, incarnation: last
    report seq applied, an int) · counter (name: an int)."""

    table: str
    key: Any
    value: Any


class Del(msgspec.Struct, frozen=True):
    """Row `key` leaves the live state. The store keeps ended jobs, runs and steps for accounting."""

    table: str
    key: Any


class Prepare(Value, kw_only=True):
    """Send Prepare for this part (repeatable). The daemon adds script, environment and the run's description."""

    job: int
    run: int
    node: str


class Start(Value, kw_only=True):
    job: int
    run: int
    node: str  # the head


class Revoke(Value, kw_only=True):
    job: int
    run: int
    node: str


class End(Value, kw_only=True):
    """End the run on this node: SIGCONT, SIGTERM, KillWait, SIGKILL; then EMPTY is reported."""

    job: int
    run: int
    node: str
    why: str
    uid: int | None = None


class Signal(Value, kw_only=True):
    job: int
    run: int
    node: str
    signum: int
    step: int | None = None  # None: all steps
    batch: bool = False  # the batch shell (only, unless full)
    full: bool = False


class Freeze(Value, kw_only=True):
    """Suspend (SIGTSTP then SIGSTOP) or resume all tasks of the run on this node."""

    job: int
    run: int
    node: str
    suspend: bool


class Lose(Value, kw_only=True):
    """Tell the head (`node`) of a run that goes on without a node (--no-kill) which one is `lost`: nothing of the run works there any more, or will."""

    job: int
    run: int
    node: str
    lost: str


class Adjust(Value, kw_only=True):
    """Tell the supervisors of a new time limit (seconds from start; -1 none)."""

    job: int
    run: int
    node: str
    time_limit: int


class Forget(Value, kw_only=True):
    """The run's end is on record: the agent may remove its directory."""

    job: int
    run: int
    node: str


class StageIn(Value, kw_only=True):
    """Bring the submit directory's changes to this node; `events.Staged` answers. Repeatable: what is there already is not moved again."""

    job: int
    run: int
    node: str


class StageOut(Value, kw_only=True):
    """Bring this node's changes back to the submit host; `events.StagedOut` answers. Repeatable."""

    job: int
    run: int
    node: str


class CreateGroup(Value, kw_only=True):
    """Ask the site's provider for the group (repeatable by its token); `events.Created` answers. Not before `at`."""

    token: str
    at: float = 0.0


class Terminate(Value, kw_only=True):
    """End a group's machines: those with these provider's ids, all of it where `ids` is empty. Repeatable; `events.Listed` shows that they
    are gone. `site` says where, since the group may not be on record (an orphan)."""

    site: str
    token: str
    ids: tuple[str, ...] = ()


class Mail(Value, kw_only=True):
    job: int
    what: Literal[
        "BEGIN", "END", "FAIL", "REQUEUE", "INVALID_DEPEND", "TIME_LIMIT", "TIME_LIMIT_50", "TIME_LIMIT_80", "TIME_LIMIT_90", "STAGE_OUT",
        "ARRAY_TASKS",
    ]  # fmt: skip


class Wake(Value, kw_only=True):
    """Call `decide(Tick)` no later than this time."""

    at: float


Effect = Prepare | Start | Revoke | End | Signal | Freeze | Lose | Adjust | Forget | StageIn | StageOut | CreateGroup | Terminate | Mail | Wake


class Decision(msgspec.Struct):
    """`answer`: Job ids that came to be, a Placement, or None. A refusal is raised as `errors.Refused` instead."""

    changes: list[Put | Del] = []
    effects: list[Effect] = []
    answer: list[int] | Placement | None = None
