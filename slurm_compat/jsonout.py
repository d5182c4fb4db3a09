"""`squeue --json`: jobs as Slurm 22.05's data parser v0.0.38 prints them. Like the real one it takes no filter: all jobs, ended ones too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sbroker.model import INFINITE, Gres, Job
from sbroker.states import JobState
from slurm_compat.hostlist import compress
from slurm_compat.jobnumbers import min_cpus, min_memory, numbers, per_task, tres
from slurm_compat.jobtext import dependency
from slurm_compat.show.job import path
from slurm_compat.show.scene import Scene
from slurm_compat.taskset import pending_text
from slurm_compat.units import ranges as index_ranges

PARSER = "openapi/v0.0.38"
_EMPTY = re.compile(r"^( *)(.*)([\[{])([\]}],?)$", re.MULTILINE)  # no string ends a line so: a quote would follow


def squeue(scene: Scene, jobs: Iterable[Job]) -> str:
    """The whole document."""
    major, minor, micro = (int(part) for part in scene.version.split("."))
    meta = {
        "plugin": {"type": PARSER, "name": "Slurm OpenAPI v0.0.38"},
        "Slurm": {"version": {"major": major, "micro": micro, "minor": minor}, "release": scene.version},
    }
    return text({"meta": meta, "errors": [], "jobs": [job_object(scene, job) for job in jobs]})


def text(document: dict[str, Any]) -> str:
    """Laid out as the real one writes it: slashes escaped, an empty list on two lines."""
    plain = json.dumps(document, indent=2).replace("/", "\\/")
    return _EMPTY.sub(r"\1\2\3\n\1\4", plain) + "\n"


def job_object(scene: Scene, job: Job) -> dict[str, Any]:
    """One job, in the order of the real one's keys."""
    spec = job.spec
    started = job.state is not JobState.PENDING and bool(job.nodes)
    count = numbers(job, scene.world)
    wanted = tres(count)
    memory_kind, memory = min_memory(job, scene.world)
    nodes = [share.node for share in job.nodes] if started else []
    batch = spec.kind == "batch"
    stdout, stdin, stderr = (_stream(job, which) if batch else "" for which in ("stdout", "stdin", "stderr"))
    return {
        "account": job.account or "", "accrue_time": _second(job.eligible_time) if batch else 0, "admin_comment": spec.admin_comment or "",
        "array_job_id": job.array_id, "array_task_id": job.array_task, "array_max_tasks": spec.array_limit or 0,
        "array_task_string": pending_text(job.array_pending, spec.array_limit, 64) if job.array_pending else "",
        "association_id": 0, "batch_features": "", "batch_flag": batch, "batch_host": nodes[0] if nodes else "", "flags": _flags(job),
        "burst_buffer": spec.extra.get("bb", ""), "burst_buffer_state": "", "cluster": scene.config.cluster,
        "cluster_features": spec.extra.get("cluster-constraint", ""), "command": spec.command, "comment": spec.comment or "", "container": "",
        "contiguous": spec.contiguous, "core_spec": spec.core_spec, "thread_spec": None, "cores_per_socket": spec.cores_per_socket,
        "billable_tres": float(count.cpus) if started else None, "cpus_per_task": spec.cpus_per_task if (spec.cpus_per_task or 1) > 1 and spec.ntasks else None,
        "cpu_frequency_minimum": None, "cpu_frequency_maximum": None, "cpu_frequency_governor": None,
        "cpus_per_tres": "gres:gpu:%d" % spec.cpus_per_gpu if spec.cpus_per_gpu else "", "deadline": _second(spec.deadline),
        "delay_boot": spec.delay_boot or 0, "dependency": dependency(job, scene.view.jobs), "derived_exit_code": _status(job.derived_exit),
        "eligible_time": _second(job.eligible_time), "end_time": _end(job), "excluded_nodes": compress(spec.exclude), "exit_code": _status(job.exit),
        "features": spec.constraint or "", "federation_origin": "", "federation_siblings_active": "", "federation_siblings_viable": "",
        "gres_detail": _gres_detail(job) if started else [], "group_id": job.gid, "group_name": job.group or str(job.gid), "job_id": job.id,
        "job_resources": _resources(scene, job) if started and not job.state.ended else None, "job_state": _state(job),
        "last_sched_evaluation": _second(job.last_eval), "licenses": spec.licenses or "", "max_cpus": 0,
        "max_nodes": spec.nodes_max if spec.nodes_max and spec.nodes_max != spec.nodes_min else 0, "mcs_label": "",
        "memory_per_tres": "gres:gpu:%d" % spec.mem_per_gpu if spec.mem_per_gpu else "", "name": spec.name, "nodes": compress(nodes),
        "nice": spec.nice or None, "tasks_per_core": spec.ntasks_per_core, "tasks_per_node": spec.ntasks_per_node or 0,
        "tasks_per_socket": spec.ntasks_per_socket, "tasks_per_board": 0, "cpus": count.cpus, "node_count": count.nodes, "tasks": count.tasks or 0,
        "het_job_id": 0, "het_job_id_set": "", "het_job_offset": 0,
        "partition": ",".join(spec.partitions) if not started and spec.partitions else job.partition, "prefer": spec.extra.get("prefer", ""),
        "memory_per_node": memory if memory_kind == "Node" and memory else None, "memory_per_cpu": memory if memory_kind == "CPU" and memory else None,
        "minimum_cpus_per_node": max(min_cpus(spec), per_task(spec)), "minimum_tmp_disk_per_node": spec.tmp or 0, "preempt_time": 0,
        "pre_sus_time": job.suspended_secs, "priority": 0 if job.held else job.priority, "profile": None, "qos": job.qos or "", "reboot": False,
        "required_nodes": compress(spec.nodelist), "requeue": spec.requeue is not False, "resize_time": 0, "restart_cnt": job.restarts,
        "resv_name": spec.reservation or "", "shared": None, "show_flags": ["SHOW_ALL", "SHOW_DETAIL", "SHOW_LOCAL"], "sockets_per_board": 0,
        "sockets_per_node": spec.sockets_per_node, "start_time": _second(job.start_time if started else job.begin), "state_description": job.reason_text,
        "state_reason": job.reason.value, "standard_error": stderr if spec.stderr else "", "standard_input": stdin, "standard_output": stdout,
        "submit_time": _second(job.submit_time), "suspend_time": _second(job.suspend_time), "system_comment": "",
        "time_limit": None if job.time_limit == INFINITE else job.time_limit // 60, "time_minimum": (spec.time_min or 0) // 60,
        "threads_per_core": spec.threads_per_core, "tres_bind": "gpu:" + spec.gpu_bind if spec.gpu_bind else "", "tres_freq": "",
        "tres_per_job": _asked(spec.gpus), "tres_per_node": _asked(spec.gres or spec.gpus_per_node), "tres_per_socket": _asked(spec.gpus_per_socket),
        "tres_per_task": _asked(spec.gpus_per_task), "tres_req_str": wanted, "tres_alloc_str": wanted if started else "", "user_id": job.uid,
        "user_name": job.user, "wckey": spec.wckey or "", "current_working_directory": spec.work_dir,
    }  # fmt: skip


def _second(value: float | None) -> int:
    return int(value or 0)


def _status(exit_: Any) -> int:
    """A wait status, as the real one gives it."""
    return exit_.code << 8 | exit_.signal


def _state(job: Job) -> str:
    if job.completing:
        return "COMPLETING"
    return "CONFIGURING" if job.configuring and job.state is JobState.RUNNING else job.state.value


def _end(job: Job) -> int:
    if job.end_time is not None:
        return int(job.end_time)
    if job.start_time is None or job.state is JobState.PENDING:
        return 0
    return int(job.start_time + (365 * 86400 if job.time_limit == INFINITE else job.time_limit))


def _flags(job: Job) -> list[str]:
    spec = job.spec
    known = {
        "JOB_CPUS_SET": spec.cpus_per_task is not None, "JOB_WAS_RUNNING": job.run >= 0,
        "JOB_MEM_SET": spec.mem_per_node is not None or spec.mem_per_cpu is not None,
        "KILL_INVALID_DEPENDENCY": spec.kill_on_invalid_dep is True, "NO_KILL_INVALID_DEPENDENCY": spec.kill_on_invalid_dep is False,
        "SPREAD_JOB": spec.spread, "USE_MIN_NODES": spec.use_min_nodes,
    }  # fmt: skip
    return [name for name, holds in known.items() if holds]


def _gres_detail(job: Job) -> list[str]:
    """One text a node, in the order of the allocation."""
    return [",".join("%s:%d(IDX:%s)" % (name, len(ids), index_ranges(ids)) for name, ids in share.gres.items()) for share in job.nodes if share.gres]


def _asked(items: tuple[Gres, ...]) -> str:
    return ",".join("gres:%s:%d" % (item.name + (":" + item.type if item.type else ""), item.count) for item in items)


def _stream(job: Job, which: str) -> str:
    return path(job, which)


def _resources(scene: Scene, job: Job) -> dict[str, Any]:
    return {
        "nodes": compress([share.node for share in job.nodes]), "allocated_cores": sum(share.cpus for share in job.nodes),
        "allocated_hosts": len(job.nodes), "allocated_nodes": [_on_node(scene, share) for share in job.nodes],
    }  # fmt: skip


def _on_node(scene: Scene, share: Any) -> dict[str, Any]:
    """Which cores of which sockets. CPU n is thread n % threads of core n // threads."""
    node = scene.view.nodes[share.node]
    sockets: dict[str, dict[str, dict[str, str]]] = {}
    for part in filter(None, share.cpu_ids.split(",")):
        low, _, high = part.partition("-")
        for cpu in range(int(low), int(high or low) + 1):
            socket, core = divmod(cpu // node.threads_per_core, node.cores_per_socket)
            sockets.setdefault(str(socket), {"cores": {}})["cores"][str(core)] = "allocated"
    return {"sockets": sockets, "nodename": share.node, "cpus_used": share.cpus, "memory_used": share.mem, "memory_allocated": share.mem}
