"""`scontrol show step`: the steps that run."""

from __future__ import annotations

import re

from sbroker.model import Job, Run, Step
from sbroker.states import JobState
from slurm_compat.hostlist import compress
from slurm_compat.show.job import time_limit
from slurm_compat.show.scene import Scene
from slurm_compat.units import mebibytes

BATCH, EXTERN = -5, -4  # Step.step of the batch script, and of an allocation's own
_ID = re.compile(r"(\d+)(?:_(\d+))?(?:\.(.*))?$")


class NotFound(Exception):
    """No such step. `shown` is the id as scontrol repeats it."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.shown = shown


class NoJob(Exception):
    """No such job."""


def parse(text_: str) -> tuple[int, int | None, int | None]:
    """ "790", "790.0", "797_3.batch" → (job or array id, task or None, step or None)."""
    found = _ID.match(text_)
    if not found:
        raise NotFound("0.Invalid")
    word = found[3]
    step = None
    if word is not None:
        step = {"batch": BATCH, "extern": EXTERN, "interactive": EXTERN}.get(word.lower())
        if step is None:
            digits = re.match(r"\d*", word)[0]  # type: ignore[index]
            step = int(digits or 0)
    return int(found[1]), int(found[2]) if found[2] else None, step


def label(step: int) -> str:
    """``batch``, ``extern``, ``0``."""
    return {BATCH: "batch", EXTERN: "extern"}.get(step, str(step))


def batch_step(job: Job, run: Run | None) -> Step | None:
    """The batch script as a step, from what is known of its run; None before it started, and of allocations without a script."""
    if run is None or run.started is None or job.spec.kind != "batch" or not job.nodes:
        return None
    over = run.ended is not None
    state = JobState.RUNNING
    if over:
        state = JobState.CANCELLED if run.exit.signal else JobState.FAILED if run.exit.code else JobState.COMPLETED
    return Step(
        job=job.id,
        run=run.run,
        step=BATCH,
        name="batch",
        state=state,
        nodes=(run.head,),
        cpus=job.nodes[0].cpus,
        mem=job.nodes[0].mem,
        start_time=run.started,
        end_time=run.ended,
        exit=run.exit,
    )


def running(scene: Scene, job: Job) -> list[Step]:
    """Steps of a job that have not ended: the batch script first, as scontrol lists them."""
    if job.state not in (JobState.RUNNING, JobState.SUSPENDED):
        return []
    steps = dict(scene.view.steps.get(job.id, {}))
    script = batch_step(job, scene.view.runs.get(job.id)) if BATCH not in steps else None
    if script is not None:
        steps[BATCH] = script
    return [steps[number] for number in sorted(steps) if steps[number].end_time is None]


def every(scene: Scene) -> list[tuple[Job, Step]]:
    return [(job, step) for _, job in sorted(scene.view.jobs.items()) for step in running(scene, job)]


def named(scene: Scene, text_: str) -> list[tuple[Job, Step]]:
    """The running steps that an id names. Raises NoJob, or NotFound with what scontrol repeats."""
    number, task, wanted = parse(text_)
    if task is None:
        jobs = scene.view.array(number) or [job for job in [scene.view.jobs.get(number)] if job is not None]
        jobs = [job for job in jobs if job.id == number or job.array_id == number]
    else:
        jobs = [job for job in scene.view.array(number) if job.array_task == task]
    if not jobs:
        raise NoJob(text_)
    found = [(job, step) for job in jobs for step in running(scene, job) if wanted is None or step.step == wanted]
    if not found:
        raise NotFound(f"{number}." + ("" if wanted is None else str(max(wanted, 0))))
    return found


def text(scene: Scene, job: Job, step: Step) -> str:
    name = f"{job.array_id}_{job.array_task}" if job.array_id and job.array_task is not None else str(job.id)
    batch = step.step == BATCH
    nodes = step.nodes or tuple(share.node for share in job.nodes[:1])
    cpus = 0 if batch else step.cpus
    parts = []
    if not batch:
        parts = [f"cpu={step.cpus}"]
        if step.mem:
            parts.append(f"mem={mebibytes(step.mem)}")
        parts.append(f"node={len(nodes)}")
        parts += [f"gres/{key.partition(':')[0]}={count}" for key, count in step.gres.items() if count]
    dist = "" if batch else " Dist=Block"
    return scene.record(
        [
            f"StepId={name}.{label(step.step)} UserId={job.uid} StartTime={scene.times.at(step.start_time, 'Unknown')} TimeLimit={time_limit(-1)}",
            f"State={step.state.value} Partition={job.partition} NodeList={compress(nodes)}",
            f"Nodes={len(nodes)} CPUs={cpus} Tasks={step.ntasks} Name={step.name or label(step.step)} Network=(null)",
            f"TRES={','.join(parts) or '(null)'}",
            "ResvPorts=(null)",
            f"CPUFreqReq=Default{dist}",
            f"SrunHost:Pid={step.srun_host or '(null)'}:{step.srun_pid}",
        ]
    )
