"""sacctmgr's entities: their fields with titles and widths, what is listed by default, and their records as {field: text}."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from slurm_compat import associations as assoc
from slurm_compat.associations import Association

Record = dict[str, str]

# field → (title, width)
FIELDS: dict[str, tuple[str, int]] = {
    "Account": ("Account", 10), "AdminLevel": ("Admin", 9), "Classification": ("Classif", 10), "Cluster": ("Cluster", 10),
    "ControlHost": ("ControlHost", 15), "ControlPort": ("ControlPort", 12), "Coordinators": ("Coord Accounts", 20),
    "DefaultAccount": ("Def Acct", 10), "DefaultQOS": ("Def QOS", 9), "DefaultWCKey": ("Def WCKey", 10), "Description": ("Descr", 20),
    "Fairshare": ("Share", 9), "Flags": ("Flags", 40), "GraceTime": ("GraceTime", 10), "GrpCPUMins": ("GrpCPUMins", 11),
    "GrpCPUs": ("GrpCPUs", 8), "GrpJobs": ("GrpJobs", 7), "GrpMem": ("GrpMem", 7), "GrpNodes": ("GrpNodes", 8),
    "GrpSubmitJobs": ("GrpSubmit", 9), "GrpTRES": ("GrpTRES", 13), "GrpTRESMins": ("GrpTRESMins", 13),
    "GrpTRESRunMins": ("GrpTRESRunMin", 13), "GrpWall": ("GrpWall", 11), "ID": ("ID", 6), "MaxCPUMins": ("MaxCPUMins", 11),
    "MaxCPUs": ("MaxCPUs", 8), "MaxJobs": ("MaxJobs", 7), "MaxJobsPA": ("MaxJobsPA", 9), "MaxJobsPU": ("MaxJobsPU", 9),
    "MaxNodes": ("MaxNodes", 8), "MaxSubmitJobs": ("MaxSubmit", 9), "MaxSubmitPA": ("MaxSubmitPA", 11),
    "MaxSubmitPU": ("MaxSubmitPU", 11), "MaxTRES": ("MaxTRES", 13), "MaxTRESMins": ("MaxTRESMins", 13), "MaxTRESPA": ("MaxTRESPA", 13),
    "MaxTRESPerNode": ("MaxTRESPerNode", 14), "MaxTRESPU": ("MaxTRESPU", 13), "MaxWall": ("MaxWall", 11), "MinTRES": ("MinTRES", 13),
    "Name": ("Name", 10), "NodeCount": ("NodeCount", 9), "Organization": ("Org", 20), "ParentName": ("ParentName", 10),
    "Partition": ("Partition", 10), "Preempt": ("Preempt", 10), "PreemptExemptTime": ("PreemptExemptTime", 19),
    "PreemptMode": ("PreemptMode", 11), "Priority": ("Priority", 10), "QOS": ("QOS", 20), "RPC": ("RPC", 5), "Share": ("Share", 9),
    "TRES": ("TRES", 20), "Type": ("Type", 8), "UsageFactor": ("UsageFactor", 11), "UsageThreshold": ("UsageThres", 10), "User": ("User", 10),
}
ALIASES = {"names": "name", "acct": "account", "maxjobsperuser": "maxjobspu", "maxsubmitjobsperuser": "maxsubmitpu", "maxtresperuser": "maxtrespu",
           "maxjobsperaccount": "maxjobspa", "maxsubmitjobsperaccount": "maxsubmitpa", "maxtresperaccount": "maxtrespa",
           "defaultaccountname": "defaultaccount", "wall": "maxwall", "rawusage": "usagefactor"}

_LIMITS = "GrpJobs GrpTRES GrpSubmitJobs GrpWall GrpTRESMins MaxJobs MaxTRES MaxTRESPerNode MaxSubmitJobs MaxWall MaxTRESMins"
_OLD_USER = "Cluster Account Partition Share Priority MaxJobs MaxNodes MaxCPUs MaxSubmitJobs MaxWall MaxCPUMins QOS DefaultQOS"
_OLD_ACCOUNT = ("Cluster ParentName User Share Priority GrpJobs GrpNodes GrpCPUs GrpMem GrpSubmitJobs GrpWall GrpCPUMins "
                "MaxJobs MaxNodes MaxCPUs MaxSubmitJobs MaxWall MaxCPUMins QOS DefaultQOS")
# entity → what is listed unless format= says otherwise; with associations, and without
DEFAULTS: dict[str, tuple[str, str]] = {
    "user": ("User DefaultAccount AdminLevel", "User DefaultAccount AdminLevel " + _OLD_USER),
    "account": ("Account Description Organization", "Account Description Organization " + _OLD_ACCOUNT),
    "association": (f"Cluster Account User Partition Share Priority {_LIMITS} QOS DefaultQOS GrpTRESRunMins",) * 2,
    "cluster": ("Cluster ControlHost ControlPort RPC Share GrpJobs GrpTRES GrpSubmitJobs MaxJobs MaxTRES MaxSubmitJobs MaxWall QOS DefaultQOS",) * 2,
    "qos": (
        "Name Priority GraceTime Preempt PreemptExemptTime PreemptMode Flags UsageThreshold UsageFactor GrpTRES GrpTRESMins GrpTRESRunMins "
        "GrpJobs GrpSubmitJobs GrpWall MaxTRES MaxTRESPerNode MaxTRESMins MaxWall MaxTRESPU MaxJobsPU MaxSubmitPU MaxTRESPA MaxJobsPA "
        "MaxSubmitPA MinTRES",
    ) * 2,
    "tres": ("Type Name%15 ID",) * 2,
}
PROTOCOL = {"22.05": "9728", "24.11": "10752"}
_TRES = (("cpu", "", "1"), ("mem", "", "2"), ("energy", "", "3"), ("node", "", "4"), ("billing", "", "5"), ("fs", "disk", "6"), ("vmem", "", "7"),
         ("pages", "", "8"))
FIRST_GRES = 1001


def field(word: str) -> str:
    """The field that a word names or begins; "" if none."""
    low = ALIASES.get(word.lower(), word.lower())
    exact = next((name for name in FIELDS if name.lower() == low), "")
    return exact or (next((name for name in FIELDS if name.lower().startswith(low)), "") if low else "")


def association(config: Any, line: Association, name: str = "") -> Record:
    """`name`: the account as shown, where it is not the plain one."""
    return {"Cluster": config.cluster, "Account": name or line.account, "User": line.user, "Share": "1", "Fairshare": "1", "QOS": line.qos,
            "DefaultQOS": line.default_qos, "ParentName": line.parent, "ID": str(line.id)}


def user(config: Any, name: str) -> Record:
    default = assoc.default_account(config, name)
    return {"User": name, "Name": name, "DefaultAccount": default, "AdminLevel": assoc.admin_level(config, name)}


def account(name: str) -> Record:
    described = "default root account" if name == assoc.ROOT else name
    return {"Account": name, "Name": name, "Description": described, "Organization": name}


def cluster(config: Any, nodes: int) -> Record:
    return {"Cluster": config.cluster, "Name": config.cluster, "ControlHost": socket.gethostname(), "ControlPort": "0",
            "RPC": PROTOCOL.get(str(config.imitate), PROTOCOL["22.05"]), "Share": "1", "Fairshare": "1", "QOS": "normal", "NodeCount": str(nodes)}


def qos(config: Any) -> list[Record]:
    out = []
    for number, name in enumerate(assoc.qos_names(config), 1):
        priority = config.qos[name].priority if name in config.qos else 0
        out.append({"Name": name, "Priority": str(priority), "GraceTime": "00:00:00", "PreemptMode": "cluster", "UsageFactor": "1.000000",
                    "ID": str(number), "Description": "Normal QOS default" if name == "normal" else name})
    return out


def tres(gres: Iterable[str]) -> list[Record]:
    """The trackable resources; `gres`: names of the generic ones."""
    known = [*_TRES, *(("gres", name, str(FIRST_GRES + place)) for place, name in enumerate(sorted(set(gres))))]
    return [{"Type": kind, "Name": name, "ID": number} for kind, name, number in known]
