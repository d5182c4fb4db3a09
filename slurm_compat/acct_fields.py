"""Every field of sacct: its name, its width, and what it says of a row."""

from __future__ import annotations

from collections.abc import Callable

from sbroker.model import INFINITE, Exit
from sbroker.states import JobState
from slurm_compat.acct_rows import Row, is_batch_job
from slurm_compat.hostlist import compress
from slurm_compat.jobnumbers import Numbers
from slurm_compat.show.step import BATCH
from slurm_compat.timefmt import Times, full_duration
from slurm_compat.units import mebibytes

UNITS = "MGTP"

Text = Callable[[Row, Times], str]


def _job(text: Text) -> Text:
    """Of jobs only; steps leave it empty."""
    return lambda row, times: text(row, times) if row.step is None else ""


def _step(text: Text) -> Text:
    return lambda row, times: text(row, times) if row.step is not None else ""


def _empty(row: Row, times: Times) -> str:
    return ""


def amount(row: Row, mib: int) -> str:
    """MiB in the unit of --units, else as Slurm chooses it."""
    unit = row.scope.unit
    if unit == "K":
        return f"{mib * 1024}K"
    if unit:
        return _two(mib / 1024 ** UNITS.index(unit), unit)
    return mebibytes(mib, row.scope.convert)


def _two(value: float, unit: str) -> str:
    return f"{int(value)}{unit}" if value == int(value) else f"{value:.2f}{unit}"


def _kib(row: Row, kib: int) -> str:
    unit = row.scope.unit
    if unit and unit != "K":
        return _two(kib / 1024 ** (UNITS.index(unit) + 1), unit)
    return f"{kib}K"


def tres(row: Row, found: Numbers, *, billing: bool = True) -> str:
    """Names in alphabetical order, as accounting keeps them."""
    parts = {"cpu": str(found.cpus), "node": str(found.nodes)}
    if billing:
        parts["billing"] = str(found.cpus)
    if found.mem:
        parts["mem"] = amount(row, found.mem)
    for name, count in found.gres.items():
        if count:
            parts[f"gres/{name}"] = str(count)
    return ",".join(f"{name}={parts[name]}" for name in sorted(parts)) if found.cpus else ""


def _alloc_tres(row: Row, times: Times) -> str:
    if row.step is None:
        return tres(row, row.have) if row.have is not None else ""
    gres: dict[str, int] = {}
    if row.step.step == BATCH and row.job.nodes:
        for key, devices in row.job.nodes[0].gres.items():
            gres[key.partition(":")[0]] = gres.get(key.partition(":")[0], 0) + len(devices)
    for key, count in row.step.gres.items():
        gres[key.partition(":")[0]] = gres.get(key.partition(":")[0], 0) + count
    return tres(row, Numbers(len(row.nodes()), None, row.cpus(), None, row.mem(), gres), billing=False)


def _exit(status: Exit) -> str:
    """Seven bits of the exit code, as sacct decodes it."""
    return f"{status.code & 127}:{status.signal}"


def _start(row: Row, times: Times) -> str:
    none = "None" if row.step is None and row.job.state.ended else "Unknown"
    return times.at(row.begin(), none)


def _eligible(row: Row, times: Times) -> str:
    return times.at(row.step.start_time if row.step is not None else row.job.eligible_time, "Unknown")


def _submit(row: Row, times: Times) -> str:
    return times.at(row.step.start_time if row.step is not None else row.job.submit_time, "Unknown")


def _node_list(row: Row, times: Times) -> str:
    return compress(row.nodes()) or "None assigned"


def _limit(row: Row, times: Times) -> str:
    seconds = row.job.time_limit
    if seconds == INFINITE:
        return "UNLIMITED" if row.started else "Partition_Limit"
    return full_duration(seconds)


def _limit_raw(row: Row, times: Times) -> str:
    text = _limit(row, times)
    return text if text[0].isalpha() else str(row.job.time_limit // 60)


def _reason(row: Row, times: Times) -> str:
    return "None" if row.started else row.job.reason.value


def _waited(row: Row) -> int:
    """Seconds from when it could have started."""
    job = row.job
    if job.eligible_time is None:
        return 0
    until = job.start_time if row.started else job.end_time if job.end_time is not None else row.scope.now
    return max(0, int(until or 0) - int(job.eligible_time))


def cpu_time(usec: int) -> str:
    """Microseconds: 00:00:00 for none, else [days-][hours:]minutes:seconds.milliseconds."""
    if usec <= 0:
        return "00:00:00"
    seconds, rest = divmod(usec, 1_000_000)
    if seconds >= 3600:
        return full_duration(seconds)
    return f"{seconds // 60:02d}:{seconds % 60:02d}.{rest // 1000:03d}"


def _measured(text: Callable[[Row], str]) -> Text:
    """Of steps whose use was measured."""
    return lambda row, times: text(row) if row.sampled else ""


def _one(text: Callable[[Row], str]) -> Text:
    """Of measured steps of one task, where there is no doubt which task and node it was."""
    return lambda row, times: text(row) if row.sampled and row.step is not None and row.step.ntasks == 1 else ""


def _rss(row: Row) -> str:
    kib = row.step.usage.get("max_rss_kib", 0) if row.step is not None else 0
    return _kib(row, kib) if kib else ""


def _bytes(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        count = row.step.usage.get(name) if row.step is not None else None
        if count is None:
            return ""
        unit = row.scope.unit or "M"
        return f"{count / 1024 ** ('KMGTP'.index(unit) + 1):.2f}{unit}"

    return text


def _task_cpu(row: Row) -> str:
    user, system = row.cpu_usec()
    tasks = row.step.ntasks if row.step is not None else 1
    return full_duration((user + system) // 1_000_000 // max(1, tasks))


def _where(row: Row) -> str:
    return next(iter(row.nodes()), "")


def _zero(row: Row) -> str:
    return "0"


def _usage_in(row: Row) -> str:
    usage = row.step.usage if row.step is not None else {}
    parts = [f"cpu={_task_cpu(row)}", "energy=0"]
    if "read_bytes" in usage:
        parts.append(f"fs/disk={usage['read_bytes']}")
    if usage.get("max_rss_kib"):
        parts.append(f"mem={usage['max_rss_kib']}K")
    return ",".join([*parts, "pages=0"])


def _usage_in_of(value: Callable[[Row], str]) -> Callable[[Row], str]:
    """``cpu=node1,energy=node1,…``: the node or task of each; no task is told of energy."""

    def text(row: Row) -> str:
        names = [part.partition("=")[0] for part in _usage_in(row).split(",")]
        return ",".join(f"{name}={value(row)}" for name in names if value is not _zero or name != "energy")

    return text


def _usage_out(row: Row) -> str:
    usage = row.step.usage if row.step is not None else {}
    return f"energy=0,fs/disk={usage['write_bytes']}" if "write_bytes" in usage else "energy=0"


def _or_energy(text: Callable[[Row], str]) -> Text:
    """What of a step that was not measured says just energy=0."""

    def put(row: Row, times: Times) -> str:
        if row.step is None:
            return ""
        return text(row) if row.sampled else "energy=0"

    return put


def _freq(row: Row, times: Times) -> str:
    return "0" if row.step is not None and row.step.step == BATCH else "Unknown"


def _layout(row: Row, times: Times) -> str:
    if row.step is None or row.step.step == BATCH:
        return "" if row.step is None else "Unknown"
    how = (row.job.spec.distribution or "block").partition(":")[0].partition(",")[0]
    return {"cyclic": "Cyclic", "plane": "Plane", "arbitrary": "Arbitrary"}.get(how.partition("=")[0], "Block")


def _flags(row: Row, times: Times) -> str:
    if not row.started:
        return "StartRecieved"
    return "SchedMain,StartRecieved" if is_batch_job(row.job) else "SchedSubmit,StartRecieved"


def _name(row: Row, times: Times) -> str:
    if row.step is None:
        return row.job.spec.name
    return row.step.name or row.id().rpartition(".")[2]


def _req_nodes(row: Row, times: Times) -> str:
    return str(len(row.nodes()) if row.step is not None else row.have.nodes if row.have is not None else row.want.nodes)


def _user(row: Row, times: Times) -> str:
    return cpu_time(row.cpu_usec()[0])


def _system(row: Row, times: Times) -> str:
    return cpu_time(row.cpu_usec()[1])


def _finish(row: Row, times: Times) -> str:
    return times.at(row.finish(), "Unknown")


def _suspended(row: Row, times: Times) -> str:
    return full_duration(row.job.suspended_secs)


def _usd(amount: float) -> str:
    return f"{amount:.4f}" if amount else "0"


def _consumed(row: Row, times: Times) -> str:
    return "0" if row.step is not None or row.record.steps or row.job.state is JobState.PENDING else ""


def _usage_fields() -> dict[str, tuple[int, Text]]:
    return {
        "TRESUsageInAve": (14, _or_energy(_usage_in)),
        "TRESUsageInMax": (14, _measured(_usage_in)),
        "TRESUsageInMaxNode": (18, _one(_usage_in_of(_where))),
        "TRESUsageInMaxTask": (18, _one(_usage_in_of(_zero))),
        "TRESUsageInMin": (14, _one(_usage_in)),
        "TRESUsageInMinNode": (18, _one(_usage_in_of(_where))),
        "TRESUsageInMinTask": (18, _one(_usage_in_of(_zero))),
        "TRESUsageInTot": (14, _or_energy(_usage_in)),
        "TRESUsageOutAve": (15, _or_energy(_usage_out)),
        "TRESUsageOutMax": (15, _measured(_usage_out)),
        "TRESUsageOutMaxNode": (19, _one(lambda row: f"energy={_where(row)},fs/disk={_where(row)}")),
        "TRESUsageOutMaxTask": (19, _one(lambda row: "fs/disk=0")),
        "TRESUsageOutMin": (15, _one(_usage_out)),
        "TRESUsageOutMinNode": (19, _one(lambda row: f"energy={_where(row)},fs/disk={_where(row)}")),
        "TRESUsageOutMinTask": (19, _one(lambda row: "fs/disk=0")),
        "TRESUsageOutTot": (15, _or_energy(_usage_out)),
    }


FIELDS: dict[str, tuple[int, Text]] = {
    "Account": (10, lambda row, times: row.job.account or ""),
    "AdminComment": (15, _job(lambda row, times: row.job.spec.admin_comment or "")),
    "AllocCPUS": (10, lambda row, times: str(row.cpus())),
    "AllocNodes": (10, lambda row, times: str(len(row.nodes()))),
    "AllocTRES": (10, _alloc_tres),
    "AssocID": (7, lambda row, times: "0"),
    "AveCPU": (10, _measured(_task_cpu)),
    "AveCPUFreq": (10, _step(lambda row, times: "0")),
    "AveDiskRead": (14, _measured(_bytes("read_bytes"))),
    "AveDiskWrite": (14, _measured(_bytes("write_bytes"))),
    "AvePages": (10, _measured(_zero)),
    "AveRSS": (10, _measured(_rss)),
    "AveVMSize": (10, _empty),
    "BlockID": (16, _empty),
    "Cluster": (10, lambda row, times: row.scope.cluster),
    "Comment": (14, _job(lambda row, times: row.job.spec.comment or "")),
    "Constraints": (19, _job(lambda row, times: row.job.spec.constraint or "")),
    "ConsumedEnergy": (14, _consumed),
    "ConsumedEnergyRaw": (17, _consumed),
    "Container": (19, _empty),
    "CPUTime": (10, lambda row, times: full_duration(row.elapsed() * row.cpus())),
    "CPUTimeRAW": (10, lambda row, times: str(row.elapsed() * row.cpus())),
    "DBIndex": (10, lambda row, times: str(row.job.id)),
    "DerivedExitCode": (15, _job(lambda row, times: _exit(row.job.derived_exit))),
    "Elapsed": (10, lambda row, times: full_duration(row.elapsed())),
    "ElapsedRaw": (10, lambda row, times: str(row.elapsed())),
    "Eligible": (19, _eligible),
    "End": (19, _finish),
    "ExitCode": (8, lambda row, times: _exit(row.exit())),
    "Flags": (19, _job(_flags)),
    "GID": (6, _job(lambda row, times: str(row.job.gid))),
    "Group": (9, _job(lambda row, times: row.job.group)),
    "JobID": (-12, lambda row, times: row.id()),
    "JobIDRaw": (-12, lambda row, times: row.raw_id()),
    "JobName": (10, _name),
    "Layout": (9, _layout),
    "MaxDiskRead": (12, _measured(_bytes("read_bytes"))),
    "MaxDiskReadNode": (15, _one(_where)),
    "MaxDiskReadTask": (15, _one(_zero)),
    "MaxDiskWrite": (12, _measured(_bytes("write_bytes"))),
    "MaxDiskWriteNode": (16, _one(_where)),
    "MaxDiskWriteTask": (16, _one(_zero)),
    "MaxPages": (8, _measured(_zero)),
    "MaxPagesNode": (12, _one(_where)),
    "MaxPagesTask": (14, _one(_zero)),
    "MaxRSS": (10, _measured(_rss)),
    "MaxRSSNode": (10, _one(_where)),
    "MaxRSSTask": (10, _one(_zero)),
    "MaxVMSize": (10, _empty),
    "MaxVMSizeNode": (14, _empty),
    "MaxVMSizeTask": (14, _empty),
    "McsLabel": (12, _empty),
    "MinCPU": (10, _one(_task_cpu)),
    "MinCPUNode": (10, _one(_where)),
    "MinCPUTask": (10, _one(_zero)),
    "NCPUS": (10, lambda row, times: str(row.cpus())),
    "NNodes": (8, _req_nodes),
    "NodeList": (15, _node_list),
    "NTasks": (8, _step(lambda row, times: str(row.step.ntasks if row.step is not None else ""))),
    "Partition": (10, _job(lambda row, times: row.job.partition)),
    "Priority": (10, _job(lambda row, times: str(0 if row.job.held else row.job.priority))),
    "QOS": (10, _job(lambda row, times: row.job.qos or "normal")),
    "QOSRAW": (6, _job(lambda row, times: "1")),
    "Reason": (22, _job(_reason)),
    "ReqCPUFreq": (10, _freq),
    "ReqCPUFreqGov": (13, _freq),
    "ReqCPUFreqMax": (13, _freq),
    "ReqCPUFreqMin": (13, _freq),
    "ReqCPUS": (8, lambda row, times: str(row.cpus() if row.step is not None else row.want.cpus)),
    "ReqMem": (10, _job(lambda row, times: amount(row, row.want.mem))),
    "ReqNodes": (8, _req_nodes),
    "ReqTRES": (10, _job(lambda row, times: tres(row, row.want))),
    "Reservation": (20, _empty),
    "ReservationId": (8, _empty),
    "Reserved": (10, _job(lambda row, times: full_duration(_waited(row)))),
    "ResvCPU": (10, _job(lambda row, times: full_duration(_waited(row) * row.want.cpus))),
    "ResvCPURAW": (10, _job(lambda row, times: str(_waited(row) * row.want.cpus))),
    "Start": (19, _start),
    "State": (10, lambda row, times: row.state()),
    "Submit": (19, _submit),
    "SubmitLine": (20, lambda row, times: row.job.spec.submit_line if row.step is None else row.step.submit_line),
    "Suspended": (10, _suspended),
    "SystemComment": (15, _empty),
    "SystemCPU": (10, _system),
    "Timelimit": (10, _job(_limit)),
    "TimelimitRaw": (10, _job(_limit_raw)),
    "TotalCPU": (10, lambda row, times: cpu_time(sum(row.cpu_usec()))),
    **_usage_fields(),
    "UID": (6, _job(lambda row, times: str(row.job.uid))),
    "User": (9, _job(lambda row, times: row.job.user)),
    "UserCPU": (10, _user),
    "WCKey": (10, _job(lambda row, times: row.job.spec.wckey or "")),
    "WCKeyID": (10, _job(lambda row, times: "0")),
    "WorkDir": (20, _job(lambda row, times: row.job.spec.work_dir)),
}

# What Slurm has no word for: shown only where it is named in full, or by letters with which none of Slurm's fields begins.
EXTRA: dict[str, tuple[int, Text]] = {
    "Cost": (12, _job(lambda row, times: _usd(row.record.cost(row.scope.now, row.scope.start, row.scope.end)) if row.started else "")),
    "Egress": (12, _job(lambda row, times: _usd(row.job.egress) if row.started else "")),
    "Site": (10, _job(lambda row, times: ",".join(row.job.sites))),
}

DEFAULT = "jobid,jobname,partition,account,alloccpus,state,exitcode"
BRIEF = "jobid,state,exitcode"
LONG = (
    "jobid,jobidraw,jobname,partition,maxvmsize,maxvmsizenode,maxvmsizetask,avevmsize,maxrss,maxrssnode,maxrsstask,averss,maxpages,"
    "maxpagesnode,maxpagestask,avepages,mincpu,mincpunode,mincputask,avecpu,ntasks,alloccpus,elapsed,state,exitcode,avecpufreq,"
    "reqcpufreqmin,reqcpufreqmax,reqcpufreqgov,reqmem,consumedenergy,maxdiskread,maxdiskreadnode,maxdiskreadtask,avediskread,"
    "maxdiskwrite,maxdiskwritenode,maxdiskwritetask,avediskwrite,reqtres,alloctres,tresusageinave,tresusageinmax,tresusageinmaxn,"
    "tresusageinmaxt,tresusageinmin,tresusageinminn,tresusageinmint,tresusageintot,tresusageoutmax,tresusageoutmaxn,tresusageoutmaxt,"
    "tresusageoutave,tresusageouttot"
)
