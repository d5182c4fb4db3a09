"""squeue's columns of a step (-s). A row is (job, step).

The headings of the TRES names are Slurm 22.05's, mistakes included.
"""

from __future__ import annotations

from collections.abc import Callable

from sbroker.model import Job, Step
from slurm_compat.columns.context import Context
from slurm_compat.hostlist import compress_sorted
from slurm_compat.render import Column
from slurm_compat.timefmt import duration
from slurm_compat.units import gres_text

Row = tuple[Job, Step]
NULL = "(null)"
NAMES_OF = {-5: "batch", -4: "extern", -6: "interactive"}


def step_name(step: int) -> str:
    return NAMES_OF.get(step) or str(step)


def step_id(row: Row, c: Context) -> str:
    """``12.0``, ``12.batch``, ``12_3.0`` for a task of an array."""
    job, step = row
    base = f"{job.array_id}_{job.array_task}" if job.array_id and job.array_task is not None else str(job.id)
    return f"{base}.{step_name(step.step)}"


def id_order(row: Row, c: Context) -> tuple[int, int]:
    """By job, its numbered steps first."""
    job, step = row
    return (job.id, step.step if step.step >= 0 else (1 << 32) - step.step)


def nodes(row: Row, c: Context) -> str:
    return compress_sorted(row[1].nodes)


def gpus(row: Row, c: Context) -> str:
    return ",".join(f"gres:{name}:{count}" for name, count in sorted(row[1].gres.items())) or NULL


def elapsed(row: Row, c: Context) -> str:
    step = row[1]
    return duration((step.end_time or c.now) - step.start_time)


def _fixed(text: str) -> Callable[[Row, Context], str]:
    return lambda row, c: text


_ROWS: tuple[tuple, ...] = (
    ("A", "numtasks", "TASKS", lambda row, c: str(row[1].ntasks), lambda row, c: row[1].ntasks),
    ("b", "", "TRES_PER_JOB", gpus),
    ("i", "stepid", "STEPID", step_id, id_order),
    ("j", "stepname", "NAME", lambda row, c: row[1].name),
    ("l", "timelimit", "TIME_LIMIT", _fixed("UNLIMITED")),
    ("M", "timeused", "TIME", elapsed, lambda row, c: c.now - row[1].start_time),
    ("N", "nodes", "NODELIST", nodes),
    ("P", "partition", "PARTITION", lambda row, c: row[0].partition),
    ("S", "starttime", "START_TIME", lambda row, c: c.times.at(row[1].start_time), lambda row, c: row[1].start_time),
    ("u", "username", "USER", lambda row, c: row[0].user),
    ("U", "userid", "UID", lambda row, c: str(row[0].uid), lambda row, c: row[0].uid),
    ("", "arrayjobid", "ARRAY_JOB_ID", lambda row, c: str(row[0].array_id)),
    ("", "arraytaskid", "ARRAY_TASK_ID", lambda row, c: "N/A" if row[0].array_task is None else str(row[0].array_task)),
    ("", "cluster", "CLUSTER", lambda row, c: c.cluster),
    ("", "container", "CONTAINER", _fixed(NULL)),
    ("", "cpufreq", "CPU_FREQ", lambda row, c: "0-0:0" if row[1].step < 0 else "Unknown-Unknown:Unknown"),
    ("", "cpus-per-tres", "CPUS_PER_TRES", _fixed(NULL)),
    ("", "jobid", "JOB_ID", lambda row, c: str(row[0].id)),
    ("", "mem-per-tres", "MEM_PER_TRES", _fixed(NULL)),
    ("", "network", "NETWORK", _fixed(NULL)),
    ("", "numcpus", "NUM_CPUS", lambda row, c: "0" if row[1].step < 0 else str(row[1].cpus)),
    ("", "stepstate", "STATE", lambda row, c: row[1].state.value),
    ("", "tres-bind", "TRES_BIND", _fixed(NULL)),
    ("", "tres-freq", "TRES_FREQ", _fixed(NULL)),
    ("", "tres-per-job", "TRES_PER_STEP", lambda row, c: gres_text(row[0].spec.gpus) or NULL),
    ("", "tres-per-node", "TRES_PER_JOB", lambda row, c: gres_text(row[0].spec.gres + row[0].spec.gpus_per_node) or NULL),
    ("", "tres-per-socket", "TRES_PER_SOCKET", lambda row, c: gres_text(row[0].spec.gpus_per_socket) or NULL),
    ("", "tres-per-step", "TRES_PER_STEP", gpus),
    ("", "tres-per-task", "TRES_PER_TASK", lambda row, c: gres_text(row[0].spec.gpus_per_task) or NULL),
)

_COLUMNS = [(letter, name, Column(header, rest[0], order=rest[-1], whole=letter in ("M", "N"))) for letter, name, header, *rest in _ROWS]
LETTERS = {letter: column for letter, _, column in _COLUMNS if letter}
NAMES = {name: column for _, name, column in _COLUMNS if name}
