"""`scontrol show node`."""

from __future__ import annotations

from sbroker.model import Node
from sbroker.states import NodeState
from slurm_compat.jobnumbers import Numbers, tres
from slurm_compat.show.scene import Scene


def text(scene: Scene, node: Node) -> str:
    """One record."""
    return scene.record(lines(scene, node))


def state(scene: Scene, node: Node) -> str:
    """``MIXED+DRAIN``, ``DOWN*``, ``IDLE+CLOUD+POWERED_DOWN``: what it does, then its flags."""
    cpus = scene.view.node_used(node.name)[0]
    jobs = list(scene.view.node_jobs(node.name))
    if node.state is NodeState.DOWN:
        base = "DOWN"
    elif cpus:
        base = "ALLOCATED" if cpus >= node.cpus else "MIXED"
    elif node.state is NodeState.UNKNOWN and not node.cloud:
        base = "UNKNOWN"
    else:
        base = "IDLE"
    flags = "+CLOUD" if node.cloud else ""
    if any(job.completing for job in jobs):
        flags += "+COMPLETING"
    if node.drain:
        flags += "+DRAIN"
    if node.cloud and not node.incarnation:
        flags += "+POWERING_UP" if jobs else "+POWERED_DOWN"
    elif node.state is NodeState.DOWN and node.reason == "Not responding":
        flags += "+NOT_RESPONDING"
    return base + flags


def gres_text(node: Node) -> str:
    return ",".join(f"{item.name}:{item.type}:{item.count}" if item.type else f"{item.name}:{item.count}" for item in node.gres)


def gres_totals(node: Node) -> dict[str, int]:
    out: dict[str, int] = {}
    for item in node.gres:
        out[item.name] = out.get(item.name, 0) + item.count
    return out


def lines(scene: Scene, node: Node) -> list[str]:
    at = scene.times.at
    cpus, mem, gres = scene.view.node_used(node.name)
    used: dict[str, int] = {}
    for name, count in gres.items():
        used[name.partition(":")[0]] = used.get(name.partition(":")[0], 0) + count
    features = ",".join(node.features) or "(null)"
    load = "N/A" if node.load is None else f"{node.load:.2f}"
    partitions = ",".join(name for name, part in scene.view.partitions.items() if node.name in part.nodes)
    everything = Numbers(1, None, node.cpus, None, node.memory, gres_totals(node))
    busy = scene.now if cpus else node.agent_time
    seen = f"Arch={node.arch} " if node.arch else ""
    out = [
        f"NodeName={node.name} {seen}CoresPerSocket={node.cores_per_socket} ",
        f"CPUAlloc={cpus} CPUEfctv={node.cpus} CPUTot={node.cpus} CPULoad={load}",
        f"AvailableFeatures={features}",
        f"ActiveFeatures={features}",
        f"Gres={gres_text(node) or '(null)'}",
        f"NodeAddr={node.address or node.name} NodeHostName={node.hostname or node.name}"
        + (f" Port=6818 Version={scene.version}" if node.incarnation else " "),
    ]
    if node.os:
        out.append(f"OS={node.os} ")
    free = "N/A" if node.free_mem is None else node.free_mem
    out += [
        f"RealMemory={node.memory} AllocMem={mem} FreeMem={free} Sockets={node.sockets} Boards={node.boards}",
        f"State={state(scene, node)} ThreadsPerCore={node.threads_per_core} TmpDisk={node.tmp} Weight={node.weight} Owner=N/A MCS_label=N/A",
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
