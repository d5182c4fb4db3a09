"""Array task numbers as Slurm prints them: ``3-10%2``, ``1-199:3``, cut at SLURM_BITSTR_LEN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

BITSTR_LEN = 64
ID_SIZE = 31  # squeue cuts "12_[…]" at this many characters unless SLURM_BITSTR_LEN is set


def bitstr_len(env: Mapping[str, str]) -> int | None:
    """Room for a task expression in bytes; 0 = any length; None = not set, Slurm's own limits."""
    text = env.get("SLURM_BITSTR_LEN", "")
    return int(text) if text.isdigit() else None


def tasks_text(tasks: Sequence[int]) -> str:
    """Ascending task numbers in short: ranges joined, six or more in equal steps as low-high:step."""
    if len(tasks) > 5:
        step = tasks[1] - tasks[0]
        if step > 1 and all(b - a == step for a, b in pairwise(tasks)):
            return f"{tasks[0]}-{tasks[-1]}:{step}"
    if tasks and tasks[-1] - tasks[0] == len(tasks) - 1:  # the usual array: one range
        return f"{tasks[0]}-{tasks[-1]}" if len(tasks) > 1 else f"{tasks[0]}"
    parts: list[str] = []
    i = 0
    while i < len(tasks):
        j = i
        while j + 1 < len(tasks) and tasks[j + 1] == tasks[j] + 1:
            j += 1
        parts.append(f"{tasks[i]}-{tasks[j]}" if j > i else f"{tasks[i]}")
        i = j + 1
    return ",".join(parts)


def pending_text(tasks: Sequence[int], limit: int | None, room: int | None) -> str:
    """The unstarted tasks with their %limit: what stands between the brackets of 12_[…]."""
    text = tasks_text(tasks)
    size = BITSTR_LEN if room is None else room
    if size > 4 and len(text) >= size - 1:
        text = text[: size - 4] + "..."
    return f"{text}%{limit}" if limit else text
