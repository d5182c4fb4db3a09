"""`scontrol show job`: a job's record, and which jobs an id names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sbroker.model import INFINITE, Job
from sbroker.states import JobState
from slurm_compat import jobtext
from slurm_compat.grammar.words import MAIL_ALL, MAIL_TYPES
from slurm_compat.hostlist import compress
from slurm_compat.jobnumbers import min_cpus, min_memory, numbers, shown_nodes, tres
from slurm_compat.show.scene import Scene
from slurm_compat.taskset import bitstr_len, pending_text
from slurm_compat.timefmt import full_duration
from slurm_compat.units import gres_text, mebibytes, ranges

_PATTERN = re.compile("%([Aajux])")
_ID = re.compile(r"(\d+)(?:_(\d+)|\+(\d+))?$")
NO_TASK = 4294967294  # what %a gives for an array's unstarted rest
_NULL = "(null)"
_STREAMS = (("StdErr", "stderr"), ("StdIn", "stdin"), ("StdOut", "stdout"))


class BadJobId(ValueError):
    """No job id at all."""


def named(scene: Scene, text: str) -> list[Job]:
    """The records that `text` ("12", "12_3", "12+1") names, as scontrol lists them; [] for none. Raises BadJobId."""
    found = _ID.match(text)
    if not found:
        raise BadJobId(text)
    number = int(found[1])
    jobs = scene.view.jobs
    if found[2] is not None:
        task = int(found[2])
        members = scene.view.array(number)
        return [job for job in members if job.array_task == task or task in job.array_pending][:1]
    if found[3] is not None and int(found[3]) > 0:
        return []
    job = jobs.get(number)
    if job is not None and job.array_id and job.array_id != job.id:
        return [job]
    members = scene.view.array(number) if job is None or job.array_id else []
    if not members:
        return [job] if job is not None else []
    rest = [member for member in members if member.array_task is None]
    split = sorted((member for member in members if member.array_task is not None), key=lambda member: -member.id)
    last = [member for member in split if member.id == number]
    return rest + last + [member for member in split if member.id != number]


def every(scene: Scene) -> list[Job]:
    """All jobs, by id."""
    return [scene.view.jobs[number] for number in sorted(scene.view.jobs)]


def text(scene: Scene, jobs: Iterable[Job], only_task: int | None = None) -> str:
    """The records, one after the other. `only_task`: show an array's unstarted rest as this task alone."""
    return "".join(scene.record([*lines(scene, job, only_task), ""]) for job in jobs)


def lines(scene: Scene, job: Job, only_task: int | None = None) -> list[str]:
    """The record as lines of KEY=VALUE pairs."""
    spec, at = job.spec, scene.times.at
    pending = job.state is JobState.PENDING
    count = numbers(job, scene.world)
    out = [_title(scene, job, only_task)]
    out.append(f"UserId={job.user}({job.uid}) GroupId={job.group or job.gid}({job.gid}) MCS_label=N/A")
    out.append(
        f"Priority={0 if job.held else job.priority} Nice={spec.nice} Account={job.account or _NULL} QOS={job.qos or 'normal'}"
        + (f" WCKey={spec.wckey}" if spec.wckey and getattr(scene.config, "track_wckey", False) else "")
    )
    out.append(
        f"JobState={jobtext.state(job)} Reason={jobtext.reason(job).replace(' ', '_')} Dependency={jobtext.dependency(job, scene.view.jobs) or _NULL}"
    )
    batch = spec.kind == "batch"
    out.append(
        f"Requeue={int(spec.requeue is not False)} Restarts={job.restarts} BatchFlag={int(batch)} Reboot=0"
        f" ExitCode={job.exit.code}:{job.exit.signal}"
    )
    if scene.detail:
        out.append(f"DerivedExitCode={job.derived_exit.code}:{job.derived_exit.signal}")
    time_min = "N/A" if spec.time_min is None else full_duration(spec.time_min)
    out.append(
        f"RunTime={full_duration(max(0, jobtext.elapsed(job, scene.now)))} TimeLimit={time_limit(job.time_limit)} TimeMin={time_min}"
    )
    eligible = job.begin if pending and job.begin and job.begin > scene.now else job.eligible_time
    waits_for_tasks = jobtext.waits_for_tasks(job)
    out.append(f"SubmitTime={at(job.submit_time, 'Unknown')} EligibleTime={'Unknown' if waits_for_tasks else at(eligible, 'Unknown')}")
    out.append(f"AccrueTime={at(eligible if batch else None, 'Unknown')}")
    start, end = _start_end(scene, job)
    out.append(f"StartTime={at(start, 'Unknown')} EndTime={at(end, 'Unknown')} Deadline={at(spec.deadline, 'N/A')}")
    out.append(
        f"SuspendTime={at(job.suspend_time, 'None')} SecsPreSuspend={_before_suspend(job)}"
        f" LastSchedEval={at(job.last_eval or job.submit_time, 'Unknown')} Scheduler={_scheduler(job)}"
    )
    out.append(
        f"Partition={','.join(spec.partitions) if pending and spec.partitions else job.partition}"
        f" AllocNode:Sid={jobtext.submitted_from(job) or _NULL}:{spec.sid}"
    )
    out.append(f"ReqNodeList={compress(spec.nodelist) or _NULL} ExcNodeList={compress(spec.exclude) or _NULL}")
    nodes = [share.node for share in job.nodes] if not pending else []
    out.append(f"NodeList={compress(nodes)}")
    if nodes:
        out.append(f"BatchHost={nodes[0]}")
    out.append(_counts(scene, job, count.cpus, count.tasks))
    out.append(f"TRES={tres(count) or _NULL}")
    out.append(
        f"Socks/Node={spec.sockets_per_node or '*'} NtasksPerN:B:S:C={spec.ntasks_per_node or 0}:0:"
        f"{spec.ntasks_per_socket or '*'}:{spec.ntasks_per_core or '*'} CoreSpec={spec.core_spec or '*'}"
    )
    if scene.detail and nodes:
        out += _shares(job)
    kind, mib = min_memory(job, scene.world)
    out.append(f"MinCPUsNode={min_cpus(spec)} MinMemory{kind}={mebibytes(mib)} MinTmpDiskNode={mebibytes(spec.tmp or 0)}")
    out.append(f"Features={spec.constraint or _NULL} DelayBoot={full_duration(spec.delay_boot or 0)}")
    if spec.extra.get("prefer"):
        out.append(f"Prefer={spec.extra['prefer']}")
    out.append(
        f"OverSubscribe={_sharing(job)} Contiguous={int(spec.contiguous)} Licenses={spec.licenses or _NULL} Network={spec.network or _NULL}"
    )
    return out + _tail(job, only_task)


def time_limit(seconds: int) -> str:
    return "UNLIMITED" if seconds == INFINITE else full_duration(seconds)


def _scheduler(job: Job) -> str:
    """Which of Slurm's two loops saw it last: the one that fills gaps is what looks at running jobs. Here one pass does both."""
    return "Backfill" if job.state in (JobState.RUNNING, JobState.SUSPENDED) and not job.completing else "Main"


def _title(scene: Scene, job: Job, only_task: int | None) -> str:
    if not job.array_id:
        return f"JobId={job.id} JobName={job.spec.name}"
    throttle = job.spec.array_limit
    if job.array_task is not None:
        tasks = str(job.array_task)
    elif only_task is not None:
        tasks = str(only_task)
    else:
        tasks = pending_text(job.array_pending, throttle, bitstr_len(scene.env))
    shown = f" ArrayTaskThrottle={throttle}" if throttle else ""
    return f"JobId={job.id} ArrayJobId={job.array_id} ArrayTaskId={tasks}{shown} JobName={job.spec.name}"


def _start_end(scene: Scene, job: Job) -> tuple[float | None, float | None]:
    """StartTime and EndTime: foreseen while it waits or runs, as they were once it ended."""
    if job.state.ended:
        return (job.start_time or job.end_time), job.end_time
    start = job.start_time
    if job.state is JobState.PENDING:
        start = job.begin if job.begin and job.begin > scene.now else scene.view.estimate(job.id)
    if start is None or job.time_limit == INFINITE:
        return start, None
    return start, start + job.time_limit + (job.suspended_secs if job.state is not JobState.PENDING else 0)


def _before_suspend(job: Job) -> int:
    if job.suspend_time is None or job.start_time is None:
        return 0
    return max(0, int(job.suspend_time - job.start_time - job.suspended_secs))


def _counts(scene: Scene, job: Job, cpus: int, tasks: int | None) -> str:
    spec = job.spec
    if job.state is JobState.PENDING or not job.nodes:
        least = str(shown_nodes(job, scene.world))
        if spec.nodes_max and spec.nodes_min is not None:  # a most of 0 is none
            most = spec.nodes_max if spec.ntasks is None else max(spec.nodes_min, min(spec.nodes_max, spec.ntasks))
            least = f"{spec.nodes_min}-{most}"
    else:
        least = str(len(job.nodes))
    return (
        f"NumNodes={least} NumCPUs={cpus} NumTasks={'N/A' if tasks is None else tasks} CPUs/Task={spec.cpus_per_task or 1}"
        f" ReqB:S:C:T=0:0:{spec.cores_per_socket or '*'}:{spec.threads_per_core or '*'}"
    )


def _sharing(job: Job) -> str:
    kind = job.spec.exclusive
    if kind:
        return {"node": "NO", "user": "USER", "mcs": "MCS"}[kind]
    return "YES" if job.spec.oversubscribe else "OK"


def _shares(job: Job) -> list[str]:
    """JOB_GRES and the Nodes= lines of -d: neighbours that give the same are one line."""
    totals: dict[str, int] = {}
    for share in job.nodes:
        for name, devices in share.gres.items():
            totals[name] = totals.get(name, 0) + len(devices)
    out = [f"JOB_GRES={','.join(f'{name}:{count}' for name, count in totals.items()) or _NULL}"]
    groups: list[tuple[list[str], str]] = []
    for share in job.nodes:
        parts = [f"{name}:{len(devices)}(IDX:{ranges(devices)})" for name, devices in share.gres.items() if devices]
        gres = ",".join(parts) or (_NULL if totals else "")
        what = f"CPU_IDs={share.cpu_ids} Mem={share.mem} GRES={gres}"
        if groups and groups[-1][1] == what:
            groups[-1][0].append(share.node)
        else:
            groups.append(([share.node], what))
    return out + [f"  Nodes={compress(names)} {what}" for names, what in groups]


def _tail(job: Job, only_task: int | None) -> list[str]:
    spec = job.spec
    command = " ".join([spec.command, *spec.script_args]) if spec.command else _NULL
    out = [f"Command={command}", f"WorkDir={spec.work_dir}"]
    if spec.admin_comment:
        out.append(f"AdminComment={spec.admin_comment} ")
    if spec.comment:
        out.append(f"Comment={spec.comment} ")
    if spec.kind == "batch":
        out += [f"{label}={path(job, which, only_task)}" for label, which in _STREAMS]
    if spec.switches:
        count, _, wait = spec.switches.partition("@")
        seconds = _switch_wait(wait)
        out.append(f"Switches={count}@{full_duration(seconds)}")
    if spec.extra.get("bb"):
        out.append(f"BurstBuffer={spec.extra['bb']}")
    out.append("Power=")
    if spec.gres_flags and "enforce-binding" in spec.gres_flags:
        out.append("GresEnforceBind=Yes")
    if spec.kill_on_invalid_dep is not None:
        out.append(f"KillOInInvalidDependent={'Yes' if spec.kill_on_invalid_dep else 'No'}")
    if spec.spread:
        out.append("SpreadJob=Yes")
    if spec.cpus_per_gpu:
        out.append(f"CpusPerTres=gres:gpu:{spec.cpus_per_gpu}")
    if spec.mem_per_gpu:
        out.append(f"MemPerTres=gres:gpu:{spec.mem_per_gpu}")
    if spec.gpu_bind:
        out.append(f"TresBind=gpu:{spec.gpu_bind}")
    for key, items in (
        ("Job", spec.gpus),
        ("Node", spec.gres + spec.gpus_per_node),
        ("Socket", spec.gpus_per_socket),
        ("Task", spec.gpus_per_task),
    ):
        if items:
            out.append(f"TresPer{key}={gres_text(items)}")
    if spec.ntasks_per_gpu:
        out.append(f"NtasksPerTRES={spec.ntasks_per_gpu}")
    if spec.mail_type:
        out.append(f"MailUser={spec.mail_user or job.user} MailType={','.join(mail_types(spec.mail_type))}")
    return out


def mail_types(types: Iterable[str]) -> list[str]:
    """In Slurm's order, ALL spelt out."""
    names = {name.upper() for name in types}
    if "ALL" in names:
        names.update(MAIL_ALL)
    return [name for name in MAIL_TYPES if name in names]


def _switch_wait(text_: str) -> int:
    """Seconds of --switches=N@TIME; minutes when it is a plain number, at most the 300 s that Slurm grants by default."""
    if not text_:
        return 300
    return min(300, int(text_) * 60) if text_.isdigit() else 300


def path(job: Job, which: str, only_task: int | None = None) -> str:
    """Full path of a batch job's stream; scontrol fills in %A %a %j %u %x alone. /dev/null where nothing is read."""
    spec = job.spec
    pattern = getattr(spec, which)
    if pattern is None and which == "stderr":
        return path(job, "stdout", only_task)
    if pattern is None and which == "stdin":
        return "/dev/null"
    if pattern is None:
        pattern = "slurm-%A_%a.out" if job.array_id else "slurm-%j.out"
    task = job.array_task if job.array_task is not None else only_task
    fields = {"A": job.array_id or job.id, "a": NO_TASK if task is None else task, "j": job.id, "u": job.user, "x": spec.name}
    full = _PATTERN.sub(lambda found: str(fields[found[1]]), pattern)
    return full if full.startswith("/") else f"{spec.work_dir.rstrip('/')}/{full}"
