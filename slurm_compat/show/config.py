"""`scontrol show config`: Slurm's names for what is configured here. What we have no word for shows Slurm's default."""

from __future__ import annotations

import socket
from typing import Any

from slurm_compat.show.scene import Scene

WIDTH = 23  # of the names

# In Slurm's order. {braces} are filled in from the configuration; the rest is fixed: it is how this broker behaves.
ROWS = """\
AccountingStorageBackupHost = (null)
AccountingStorageEnforce = none
AccountingStorageHost = {host}
AccountingStorageExternalHost = (null)
AccountingStorageParameters = (null)
AccountingStoragePort = 0
AccountingStorageTRES = cpu,mem,energy,node,billing,fs/disk,vmem,pages{gres_tres}
AccountingStorageType = accounting_storage/slurmdbd
AccountingStorageUser = N/A
AccountingStoreFlags = job_comment,job_env,job_script
AcctGatherEnergyType = acct_gather_energy/none
AcctGatherFilesystemType = acct_gather_filesystem/none
AcctGatherInterconnectType = acct_gather_interconnect/none
AcctGatherNodeFreq = 0 sec
AcctGatherProfileType = acct_gather_profile/none
AllowSpecResourcesUsage = No
AuthAltTypes = (null)
AuthAltParameters = (null)
AuthInfo = (null)
AuthType = auth/none
BatchStartTimeout = 10 sec
BcastExclude = /lib,/usr/lib,/lib64,/usr/lib64
BcastParameters = (null)
BOOT_TIME = {boot_time}
BurstBufferType = (null)
CliFilterPlugins = (null)
ClusterName = {cluster}
CommunicationParameters = (null)
CompleteWait = 0 sec
CoreSpecPlugin = core_spec/none
CpuFreqDef = Unknown
CpuFreqGovernors = OnDemand,Performance,UserSpace
CredType = cred/none
DebugFlags = (null)
DefMemPerNode = UNLIMITED
DependencyParameters = (null)
DisableRootJobs = No
EioTimeout = 60
EnforcePartLimits = NO
Epilog = (null)
EpilogMsgTime = 2000 usec
EpilogSlurmctld = (null)
ExtSensorsType = ext_sensors/none
ExtSensorsFreq = 0 sec
FederationParameters = (null)
FirstJobId = {first_job_id}
GetEnvTimeout = 2 sec
GresTypes = {gres_types}
GpuFreqDef = high,memory=high
GroupUpdateForce = 1
GroupUpdateTime = 600 sec
HASH_VAL = Match
HealthCheckInterval = 0 sec
HealthCheckNodeState = ANY
HealthCheckProgram = (null)
InactiveLimit = 0 sec
InteractiveStepOptions = --interactive --preserve-env --pty $SHELL
JobAcctGatherFrequency = 30
JobAcctGatherType = jobacct_gather/linux
JobAcctGatherParams = (null)
JobCompHost = localhost
JobCompLoc = /var/log/slurm_jobcomp.log
JobCompPort = 0
JobCompType = jobcomp/none
JobCompUser = root
JobContainerType = job_container/none
JobCredentialPrivateKey = (null)
JobCredentialPublicCertificate = (null)
JobDefaults = (null)
JobFileAppend = 0
JobRequeue = 1
JobSubmitPlugins = {submit_hook}
KillOnBadExit = 0
KillWait = {kill_wait} sec
LaunchParameters = (null)
LaunchType = launch/slurm
Licenses = (null)
LogTimeFormat = iso8601_ms
MailDomain = (null)
MailProg = /bin/mail
MaxArraySize = {max_array_size}
MaxDBDMsgs = 20004
MaxJobCount = 1000000
MaxJobId = 67043328
MaxMemPerNode = UNLIMITED
MaxNodeCount = {node_count}
MaxStepCount = 40000
MaxTasksPerNode = 512
MCSPlugin = mcs/none
MCSParameters = (null)
MessageTimeout = 10 sec
MinJobAge = {min_job_age} sec
MpiDefault = {mpi_default}
MpiParams = (null)
NEXT_JOB_ID = {next_job_id}
NodeFeaturesPlugins = (null)
OverTimeLimit = 0 min
PluginDir = (null)
PlugStackConfig = (null)
PowerParameters = (null)
PowerPlugin =
PreemptMode = OFF
PreemptType = preempt/none
PreemptExemptTime = 00:00:00
PrEpParameters = (null)
PrEpPlugins = (null)
PriorityParameters = (null)
PrioritySiteFactorParameters = (null)
PrioritySiteFactorPlugin = (null)
PriorityType = priority/basic
PrivateData = none
ProctrackType = proctrack/linuxproc
Prolog = (null)
PrologEpilogTimeout = 65534
PrologSlurmctld = (null)
PrologFlags = (null)
PropagatePrioProcess = 0
PropagateResourceLimits = ALL
PropagateResourceLimitsExcept = (null)
RebootProgram = (null)
ReconfigFlags = (null)
RequeueExit = (null)
RequeueExitHold = (null)
ResumeFailProgram = (null)
ResumeProgram = (null)
ResumeRate = 300 nodes/min
ResumeTimeout = 60 sec
ResvEpilog = (null)
ResvOverRun = 0 min
ResvProlog = (null)
ReturnToService = 2
RoutePlugin = route/default
SchedulerParameters = {scheduler_parameters}
SchedulerTimeSlice = 30 sec
SchedulerType = sched/backfill
ScronParameters = (null)
SelectType = select/cons_tres
SelectTypeParameters = CR_CORE_MEMORY
SlurmUser = {owner}
SlurmctldAddr = (null)
SlurmctldDebug = info
SlurmctldHost[0] = {host}
SlurmctldLogFile = (null)
SlurmctldPort = 0
SlurmctldSyslogDebug = (null)
SlurmctldPrimaryOffProg = (null)
SlurmctldPrimaryOnProg = (null)
SlurmctldTimeout = 120 sec
SlurmctldParameters = (null)
SlurmdDebug = info
SlurmdLogFile = (null)
SlurmdParameters = (null)
SlurmdPidFile = (null)
SlurmdPort = 6818
SlurmdSpoolDir = (null)
SlurmdSyslogDebug = (null)
SlurmdTimeout = {lost_after} sec
SlurmdUser = root(0)
SlurmSchedLogFile = (null)
SlurmSchedLogLevel = 0
SlurmctldPidFile = (null)
SlurmctldPlugstack = (null)
SLURM_CONF = {path}
SLURM_VERSION = {version}
SrunEpilog = (null)
SrunPortRange = 0-0
SrunProlog = (null)
StateSaveLocation = {state_dir}
SuspendExcNodes = (null)
SuspendExcParts = (null)
SuspendProgram = (null)
SuspendRate = 60 nodes/min
SuspendTime = INFINITE
SuspendTimeout = 30 sec
SwitchParameters = (null)
SwitchType = switch/none
TaskEpilog = (null)
TaskPlugin = task/none
TaskPluginParam = (null type)
TaskProlog = (null)
TCPTimeout = 2 sec
TmpFS = /tmp
TopologyParam = (null)
TopologyPlugin = topology/none
TrackWCKey = No
TreeWidth = 50
UsePam = No
UnkillableStepProgram = (null)
UnkillableStepTimeout = 60 sec
VSizeFactor = 0 percent
WaitTime = 0 sec
X11Parameters = (null)
"""


def text(scene: Scene) -> str:
    """The whole listing, with the state of the controller below it, as scontrol prints it."""
    config, view = scene.config, scene.view
    kinds = sorted({item.name for node in view.nodes.values() for item in node.gres})
    host = socket.gethostname().partition(".")[0]
    uid = _get(config, "uid", 0)
    values = {
        "host": host,
        "gres_tres": "".join(f",gres/{name}" for name in kinds),
        "gres_types": ",".join(kinds) or "(null)",
        "boot_time": scene.times.at(_get(config, "started", None), "Unknown"),
        "cluster": _get(config, "cluster", "cluster"),
        "first_job_id": _get(config, "first_job_id", 1),
        "submit_hook": _get(config, "submit_hook", None) or "(null)",
        "kill_wait": _get(config, "kill_wait", 30),
        "max_array_size": _get(config, "max_array_size", 1001),
        "min_job_age": _get(config, "min_job_age", 300),
        "scheduler_parameters": _scheduler_parameters(config),
        "mpi_default": _get(config, "mpi_default", "none"),
        "node_count": len(view.nodes),
        "next_job_id": max(view.jobs, default=int(_get(config, "first_job_id", 1)) - 1) + 1,
        "lost_after": _get(config, "lost_after", 300),
        "path": _get(config, "path", None) or "(null)",
        "state_dir": _get(config, "state_dir", None) or "(null)",
        "owner": f"{scene.user_name(uid)}({uid})",
        "version": scene.version,
    }
    out = [f"Configuration data as of {scene.times.at(scene.now)}"]
    for row in ROWS.splitlines():
        name, _, value = row.partition(" =")
        out.append(f"{name:<{WIDTH}} = {value.strip().format_map(values)}")
    out += ["", f"Slurmctld(primary) at {host} is UP"]
    return "\n".join(out) + "\n"


def _scheduler_parameters(config: Any) -> str:
    """Those of Slurm's that can be configured here, where they are not as Slurm's defaults."""
    most = _get(config, "max_requeue", 5)
    return "(null)" if most == 5 else f"max_batch_requeue={most}"


def _get(config: Any, name: str, default: Any) -> Any:
    """A setting, or Slurm's own default where this broker's configuration has no such key."""
    value = getattr(config, name, None)
    return default if value is None else value
