"""scontrol show of steps, nodes, partitions and the configuration, against what Slurm 22.05.8 printed."""

from __future__ import annotations

from control_cluster import View, command, node, when
from msgspec.structs import replace
from test_scontrol_show import QUEUE, RUN

from sbroker.model import Run


def scontrol(*argv: str, **more):
    return command("scontrol", list(argv), more.pop("view", QUEUE), **more)


STEP_TEXT = """\
StepId=790.0 UserId=1001 StartTime=2026-11-24T09:22:26 TimeLimit=UNLIMITED
   State=RUNNING Partition=debug NodeList=node[1-2]
   Nodes=2 CPUs=4 Tasks=4 Name=sleep Network=(null)
   TRES=cpu=4,mem=4000M,node=2
   ResvPorts=(null)
   CPUFreqReq=Default Dist=Block
   SrunHost:Pid=node1:4264

"""
BATCH_TEXT = """\
StepId=790.batch UserId=1001 StartTime=2026-11-24T09:22:26 TimeLimit=UNLIMITED
   State=RUNNING Partition=debug NodeList=node1
   Nodes=1 CPUs=0 Tasks=1 Name=batch Network=(null)
   TRES=(null)
   ResvPorts=(null)
   CPUFreqReq=Default
   SrunHost:Pid=(null):0

"""


def test_steps():
    assert scontrol("show", "step", "790").out == BATCH_TEXT + STEP_TEXT
    assert scontrol("show", "step", "790.0").out == STEP_TEXT
    assert scontrol("show", "step").out == BATCH_TEXT + STEP_TEXT
    assert scontrol("show", "step", view=View([])).out == "No job steps in the system\n"


def test_the_batch_script_is_a_step_as_long_as_its_run_lasts():
    run = Run(job=790, run=0, head="node1", started=when("09:22:26"))
    assert scontrol("show", "step", "790", view=View([RUN], runs=[run])).out == BATCH_TEXT
    over = replace(run, ended=when("09:22:30"))
    assert scontrol("show", "step", "790", view=View([RUN], runs=[over])).out == "Job step 790. not found\n"


NODE_TEXT = """\
NodeName=node1 Arch=x86_64 CoresPerSocket=4 \n\
   CPUAlloc=4 CPUEfctv=8 CPUTot=8 CPULoad=16.80
   AvailableFeatures=cpu,intel
   ActiveFeatures=cpu,intel
   Gres=(null)
   NodeAddr=127.0.0.1 NodeHostName=node1 Port=6818 Version=22.05.8
   OS=Linux 6.18.44-fc-v657 #1 SMP PREEMPT_DYNAMIC @0 \n\
   RealMemory=16000 AllocMem=4000 FreeMem=19465 Sockets=2 Boards=1
   State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A
   Partitions=debug \n\
   BootTime=2026-11-24T08:47:12 SlurmdStartTime=2026-11-24T09:04:48
   LastBusyTime=2026-11-24T09:22:38
   CfgTRES=cpu=8,mem=16000M,billing=8
   AllocTRES=cpu=4,mem=4000M
   CapWatts=n/a
   CurrentWatts=0 AveWatts=0
   ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s

"""


def test_a_node():
    assert scontrol("show", "node", "node1").out == NODE_TEXT
    one = " ".join(line.removeprefix("   ") for line in NODE_TEXT.splitlines()[:-1]) + "\n"
    assert scontrol("-o", "show", "nodes").out.startswith(one + "NodeName=node2 ")


def test_a_node_with_gpus_and_one_that_drains():
    out = scontrol("show", "node", "node3").out
    assert "   CfgTRES=cpu=8,mem=16000M,billing=8,gres/gpu=4\n   AllocTRES=cpu=2,mem=2G,gres/gpu=2\n" in out
    assert "   Gres=gpu:a100:4\n" in out
    assert "   Partitions=debug,gpu \n" in out
    drained = node(2, drain=True, reason="maintenance work", reason_uid=0, reason_time=when("09:22:41"))
    out = scontrol("show", "node", "node2", view=View([RUN], nodes=[drained])).out
    assert "   State=MIXED+DRAIN ThreadsPerCore=1 " in out
    assert out.endswith("ExtSensorsTemp=n/s\n   Reason=maintenance work [root@2026-11-24T09:22:41]\n\n")


def test_an_idle_node_where_a_job_is_to_start():
    out = scontrol("show", "node", "node2", view=View([], plan=frozenset({"node2"}))).out
    assert "   State=IDLE+PLANNED ThreadsPerCore=1 " in out


def test_several_nodes_tell_each_that_is_missing():
    got = scontrol("show", "node", "node1,nosuch")
    assert got.out == NODE_TEXT + "Node nosuch not found\n"
    assert got.code == 1


PARTITION_TEXT = """\
PartitionName=debug
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default=YES QoS=N/A
   DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
   MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED
   Nodes=node[1-4]
   PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO
   OverTimeLimit=NONE PreemptMode=OFF
   State=UP TotalCPUs=32 TotalNodes=4 SelectTypeParameters=NONE
   JobDefaults=(null)
   DefMemPerCPU=1000 MaxMemPerNode=UNLIMITED
   TRES=cpu=32,mem=62.50G,node=4,billing=32,gres/gpu=8

"""


def test_partitions():
    out = scontrol("show", "partition").out
    assert out.startswith(PARTITION_TEXT)
    gpu = out[len(PARTITION_TEXT) :]
    assert "   DefaultTime=01:00:00 DisableRootJobs=NO " in gpu
    assert " MaxTime=2-00:00:00 MinNodes=0 " in gpu
    assert "   TRES=cpu=16,mem=32000M,node=2,billing=16,gres/gpu=8\n" in gpu
    assert scontrol("show", "PartitionName=gpu").out == gpu


def test_config_begins_as_slurm_and_ends_with_the_ping():
    got = scontrol("show", "config")
    lines = got.out.splitlines()
    assert lines[0] == "Configuration data as of 2026-11-24T09:22:38"
    assert "KillWait                = 5 sec" in lines
    assert "AccountingStorageExternalHost = (null)" in lines
    assert "SLURM_VERSION           = 22.05.8" in lines
    assert lines[-1].startswith("Slurmctld(primary) at ")
    assert scontrol("show", "c").out == got.out
