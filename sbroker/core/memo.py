"""What a pass found out about exactly one state, so that the next need not: never part of the record."""

from __future__ import annotations

from typing import Any


class Memo:
    """What the last full pass found: valid while `State.version` is `version`."""

    __slots__ = ("at", "blocked", "configured", "estimates", "offered", "plan", "version", "wide")

    def __init__(self) -> None:
        self.version = -1
        self.at = 0.0
        self.wide = -1e9  # when more was planned than the first of each shape
        self.blocked: dict[tuple, Any] = {}
        self.plan: list[Any] = []
        self.estimates: dict[int, Any] = {}  # job id → its reservation in the plan
        self.offered: tuple | None = None
        self.configured: dict[Any, Any] = {}  # what follows from nodes and partitions alone; emptied when they change
