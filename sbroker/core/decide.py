"""The only decision-maker. Pure: the state stays as it is, the caller applies `Decision.changes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sbroker.core import admit, change, events, fleet, purge, queue, staging, update, watch
from sbroker.core.draft import Draft
from sbroker.core.effects import Decision, Wake
from sbroker.core.state import State


def _tick(draft: Draft, event: events.Tick) -> None:
    purge.tick(draft)
    fleet.tick(draft)


_HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    events.Submit: admit.submit,
    events.Cancel: change.cancel,
    events.Finish: change.done,
    events.Hold: change.hold,
    events.Requeue: change.requeue,
    events.Suspend: change.suspend,
    events.UpdateJob: update.update_job,
    events.UpdateNode: update.update_node,
    events.UpdatePartition: update.update_partition,
    events.CreatePartition: update.create_partition,
    events.DeletePartition: update.delete_partition,
    events.Configure: update.configure,
    events.Hello: watch.hello,
    events.Silent: watch.silent,
    events.Reports: watch.reports,
    events.Fence: watch.fence,
    events.Staged: staging.staged,
    events.StagedOut: staging.staged_out,
    events.Created: fleet.created,
    events.Listed: fleet.listed,
    events.Power: fleet.power,
    events.Reap: fleet.reap,
    events.Tick: _tick,
}


def decide(state: State, event: events.Event, now: float) -> Decision:
    """What `event` changes and orders, with whatever can start because of it. Raises `errors.Refused`, which changed nothing.

    `now` is in seconds since the epoch and never less than in the decision before.
    """
    draft = Draft(state, now)
    _HANDLERS[type(event)](draft, event)
    stale = (
        type(event) is events.Tick and bool(state.shapes) and (state.memo.version != state.version or now - state.memo.at >= queue.FRESH)
    )
    if draft.freed or stale:
        queue.schedule(draft)
    if draft.changes or type(event) is events.Tick:
        due = [time for time in (purge.next_due(draft), fleet.next_due(draft), _next_pass(draft)) if time is not None]
        if due:
            draft.effect(Wake(at=min(due)))
    return draft.decision()


def _next_pass(draft: Draft) -> float | None:
    """When a pass should be made though nothing happens."""
    if draft.quiet:
        return draft.now + 1
    return draft.now + queue.FRESH if draft.state.shapes or draft.waiting() else None
