"""`scontrol show partition`."""

from __future__ import annotations

from sbroker.model import INFINITE, Partition
from slurm_compat.hostlist import compress_sorted
from slurm_compat.jobnumbers import Numbers, tres
from slurm_compat.show.scene import Scene
from slurm_compat.timefmt import full_duration
from slurm_compat.units import gres_counts


def text(scene: Scene, partition: Partition) -> str:
    return scene.record(lines(scene, partition))


def sharing(partition: Partition) -> str:
    """OverSubscribe=: ``no`` → NO, ``force:2`` → FORCE:2; four is what Slurm takes when no number is given."""
    word, _, number = partition.oversubscribe.partition(":")
    if word in ("yes", "force"):
        return f"{word.upper()}:{number or 4}"
    return word.upper()


def lines(scene: Scene, partition: Partition) -> list[str]:
    nodes = [scene.view.nodes[name] for name in partition.nodes if name in scene.view.nodes]
    gres: dict[str, int] = {}
    for node in nodes:
        for name, count in gres_counts(node.gres).items():
            gres[name] = gres.get(name, 0) + count
    cpus = sum(node.cpus for node in nodes)
    total = Numbers(len(nodes), None, cpus, None, sum(node.memory for node in nodes), gres)
    default = "NONE" if partition.default_time is None else _time(partition.default_time)
    most = "UNLIMITED" if partition.max_nodes is None else partition.max_nodes
    defaults = []
    if partition.def_cpus_per_gpu is not None:
        defaults.append(f"DefCpuPerGPU={partition.def_cpus_per_gpu}")
    if partition.def_mem_per_gpu is not None:
        defaults.append(f"DefMemPerGPU={partition.def_mem_per_gpu}")
    if partition.def_mem_per_cpu is not None:
        memory = f"DefMemPerCPU={partition.def_mem_per_cpu}"
    else:
        memory = f"DefMemPerNode={partition.def_mem_per_node or 'UNLIMITED'}"
    limit = "MaxMemPerNode=UNLIMITED" if partition.max_mem_per_cpu is None else f"MaxMemPerCPU={partition.max_mem_per_cpu}"
    return [
        f"PartitionName={partition.name}",
        f"AllowGroups={_names(partition.allow_groups)} AllowAccounts={_names(partition.allow_accounts)} AllowQos={_names(partition.allow_qos)}",
        f"AllocNodes=ALL Default={'YES' if partition.default else 'NO'} QoS=N/A",
        f"DefaultTime={default} DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden={'YES' if partition.hidden else 'NO'}",
        f"MaxNodes={most} MaxTime={_time(partition.max_time)} MinNodes={partition.min_nodes} LLN=NO MaxCPUsPerNode=UNLIMITED",
        f"Nodes={compress_sorted(partition.nodes) or '(null)'}",
        f"PriorityJobFactor=1 PriorityTier={partition.priority_tier} RootOnly=NO ReqResv=NO OverSubscribe={sharing(partition)}",
        "OverTimeLimit=NONE PreemptMode=OFF",
        f"State={partition.state} TotalCPUs={cpus} TotalNodes={len(nodes)} SelectTypeParameters=NONE",
        f"JobDefaults={','.join(defaults) or '(null)'}",
        f"{memory} {limit}",
        f"TRES={tres(total) or '(null)'}",
    ]


def _time(seconds: int) -> str:
    return "UNLIMITED" if seconds == INFINITE else full_duration(seconds)


def _names(names: tuple[str, ...]) -> str:
    return ",".join(names) or "ALL"
