"""`scontrol show node`."""

from __future__ import annotations

from sbroker.model import Node
from slurm_compat.jobnumbers import Numbers, tres
from slurm_compat.nodestate import NodeInfo
from slurm_compat.show.scene import Scene
from slurm_compat.units import gres_counts, gres_text


def text(scene: Scene, node: Node) -> str:
    """One record."""
    return scene.record(lines(scene, node))


def lines(scene: Scene, node: Node) -> list[str]:
    at = scene.times.at
    cpus, mem, gres = scene.view.node_used(node.name)
    used: dict[str, int] = {}
    for name, count in gres.items():
        used[name.partition(":")[0]] = used.get(name.partition(":")[0], 0) + count
    features = ",".join(node.features) or "(null)"
    load = "N/A" if node.load is None else f"{node.load:.2f}"
    partitions = ",".join(name for name, part in scene.view.partitions.items() if node.name in part.nodes)
    everything = Numbers(1, None, node.cpus, None, node.memory, gres_counts(node.gres))
    busy = scene.now if cpus else node.agent_time
    seen = f"Arch={node.arch} " if node.arch else ""
    out = [
        f"NodeName={node.name} {seen}CoresPerSocket={node.cores_per_socket} ",
        f"CPUAlloc={cpus} CPUEfctv={node.cpus} CPUTot={node.cpus} CPULoad={load}",
        f"AvailableFeatures={features}",
        f"ActiveFeatures={features}",
        f"Gres={gres_text(node.gres, '') or '(null)'}",
        f"NodeAddr={node.address or node.name} NodeHostName={node.hostname or node.name}"
        + (f" Port=6818 Version={scene.version}" if node.incarnation else " "),
    ]
    if node.os:
        out.append(f"OS={node.os} ")
    state = NodeInfo(scene.view, node, node.name in scene.view.planned()).complete.upper()
    free = "N/A" if node.free_mem is None else node.free_mem
    out += [
        f"RealMemory={node.memory} AllocMem={mem} FreeMem={free} Sockets={node.sockets} Boards={node.boards}",
        f"State={state} ThreadsPerCore={node.threads_per_core} TmpDisk={node.tmp} Weight={node.weight} Owner=N/A MCS_label=N/A",
        f"Partitions={partitions} ",
        f"BootTime={at(node.boot_time, 'None')} SlurmdStartTime={at(node.agent_time, 'None')}",
        f"LastBusyTime={at(busy, 'Unknown')}",
        f"CfgTRES={tres(everything, node=False)}",
        f"AllocTRES={tres(Numbers(1, None, cpus, None, mem, used), node=False, billing=False)}",
        "CapWatts=n/a",
        "CurrentWatts=0 AveWatts=0",
        "ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s",
    ]
    if node.reason:
        who = scene.user_name(node.reason_uid)
        out.append(f"Reason={node.reason} [{who}@{at(node.reason_time, 'Unknown')}]")
    return out
