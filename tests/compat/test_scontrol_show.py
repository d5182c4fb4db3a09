"""scontrol show, against what Slurm 22.05.8 printed for the same jobs, nodes and partitions."""

from __future__ import annotations

import pytest
from control_cluster import View, command, job, share, spec, when

from sbroker.model import INFINITE, Dependency, DepItem, Exit, Gres, Step
from sbroker.states import JobState, Reason

RUN = job(
    790,
    spec("run", nodes_min=2, nodes_max=2, ntasks=4, comment="hi"),
    state=JobState.RUNNING,
    eligible_time=when("09:22:26"),
    start_time=when("09:22:26"),
    time_limit=1800,
    run=0,
    nodes=(share("node1", 2, 2000), share("node2", 2, 2000)),
)
GPU = job(
    791,
    spec("gpujob", ntasks=1, cpus_per_task=2, mem_per_node=2048, gres=(Gres(name="gpu", count=2),)),
    partition="gpu",
    priority=4294901099,
    state=JobState.RUNNING,
    eligible_time=when("09:22:26"),
    start_time=when("09:22:26"),
    time_limit=3600,
    run=0,
    nodes=(share("node3", 2, 2048, "0-1", gpu_a100=(0, 1)),),
)
ARR = spec("arr", array="1-10", array_tasks=tuple(range(1, 11)), array_limit=2)
REST = job(
    797,
    ARR,
    array_id=797,
    array_pending=tuple(range(3, 11)),
    array_size=10,
    reason=Reason.ARRAY_TASK_LIMIT,
    time_limit=300,
    submit_time=when("09:22:27"),
    eligible_time=when("09:22:28"),
    last_eval=when("09:22:28"),
    priority=4294901094,
)


def task(number: int, index: int):
    return job(
        number,
        ARR,
        array_id=797,
        array_task=index,
        array_size=10,
        state=JobState.RUNNING,
        time_limit=300,
        submit_time=when("09:22:27"),
        eligible_time=when("09:22:28"),
        start_time=when("09:22:28"),
        last_eval=when("09:22:28"),
        run=0,
        nodes=(share("node1", 1, 1000),),
    )


DEP = job(
    794,
    spec("dep"),
    reason=Reason.DEPENDENCY,
    deps_left=Dependency(items=(DepItem(kind="afterok", job=790),)),
    submit_time=when("09:22:27"),
    last_eval=when("09:22:27"),
    priority=4294901096,
)
HELD = job(795, spec("held", hold=True), held="user", reason=Reason.HELD_USER, submit_time=when("09:22:27"), last_eval=when("09:22:27"))
LATER = job(
    796,
    spec("begin", begin=when("10:22:27")),
    begin=when("10:22:27"),
    reason=Reason.BEGIN_TIME,
    submit_time=when("09:22:27"),
    last_eval=when("09:22:27"),
    priority=4294901095,
)
STEPS = [
    Step(job=790, run=0, step=-5, name="batch", nodes=("node1",), start_time=when("09:22:26")),
    Step(
        job=790,
        run=0,
        step=0,
        name="sleep",
        nodes=("node1", "node2"),
        ntasks=4,
        cpus=4,
        mem=4000,
        start_time=when("09:22:26"),
        srun_host="node1",
        srun_pid=4264,
    ),
]
QUEUE = View([RUN, GPU, REST, task(800, 1), task(801, 2), DEP, HELD, LATER], steps=STEPS)

RUN_TEXT = """\
JobId=790 JobName=run
   UserId=alice(1001) GroupId=alice(1001) MCS_label=N/A
   Priority=4294901100 Nice=0 Account=lab QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:00:12 TimeLimit=00:30:00 TimeMin=N/A
   SubmitTime=2026-11-24T09:22:26 EligibleTime=2026-11-24T09:22:26
   AccrueTime=2026-11-24T09:22:26
   StartTime=2026-11-24T09:22:26 EndTime=2026-11-24T09:52:26 Deadline=N/A
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=2026-11-24T09:22:26 Scheduler=Backfill
   Partition=debug AllocNode:Sid=localhost:2506
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=node[1-2]
   BatchHost=node1
   NumNodes=2 NumCPUs=4 NumTasks=4 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   TRES=cpu=4,mem=4000M,node=2,billing=4
   Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*
   MinCPUsNode=1 MinMemoryCPU=1000M MinTmpDiskNode=0
   Features=(null) DelayBoot=00:00:00
   OverSubscribe=OK Contiguous=0 Licenses=(null) Network=(null)
   Command=(null)
   WorkDir=/home/alice/w
   Comment=hi \n\
   StdErr=/dev/null
   StdIn=/dev/null
   StdOut=/dev/null
   Power=
   \n\

"""

GPU_DETAIL = """\
   TRES=cpu=2,mem=2G,node=1,billing=2,gres/gpu=2
   Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*
   JOB_GRES=gpu:a100:2
     Nodes=node3 CPU_IDs=0-1 Mem=2048 GRES=gpu:a100:2(IDX:0-1)
   MinCPUsNode=2 MinMemoryNode=2G MinTmpDiskNode=0
"""
GPU_TAIL = """\
   Power=
   TresPerNode=gres:gpu:2
   \n\

"""


def scontrol(*argv: str, **more):
    return command("scontrol", list(argv), more.pop("view", QUEUE), **more)


def test_a_running_job_prints_as_slurm_printed_it():
    got = scontrol("show", "job", "790")
    assert (got.out, got.err, got.code) == (RUN_TEXT, "", 0)


def test_one_line():
    one = " ".join(line.removeprefix("   ") for line in RUN_TEXT.splitlines()[:-1]) + "\n"
    assert scontrol("-o", "show", "job", "790").out == one
    assert one.endswith("WorkDir=/home/alice/w Comment=hi  StdErr=/dev/null StdIn=/dev/null StdOut=/dev/null Power= \n")


def test_details_of_a_job_with_gpus():
    out = scontrol("-d", "show", "job", "791").out
    assert GPU_DETAIL in out
    assert out.endswith(GPU_TAIL)
    assert "ExitCode=0:0\n   DerivedExitCode=0:0\n   RunTime=" in out
    assert "NumNodes=1 NumCPUs=2 NumTasks=1 CPUs/Task=2 ReqB:S:C:T=0:0:*:*" in out


def test_neighbours_that_give_the_same_are_one_line():
    three = job(
        1,
        spec(nodes_min=2, nodes_max=3),
        state=JobState.RUNNING,
        run=0,
        start_time=when("09:22:26"),
        nodes=(share("node1", 1, 1000, "1"), share("node2", 1, 1000, "0"), share("node3", 1, 1000, "0")),
    )
    out = scontrol("-d", "show", "job", "1", view=View([three])).out
    assert "   JOB_GRES=(null)\n     Nodes=node1 CPU_IDs=1 Mem=1000 GRES=\n     Nodes=node[2-3] CPU_IDs=0 Mem=1000 GRES=\n" in out
    assert "NumNodes=3 NumCPUs=3 NumTasks=3" in out


def test_an_array_lists_the_rest_first_then_tasks_from_the_last():
    out = scontrol("show", "job", "797").out
    heads = [line for line in out.splitlines() if line.startswith("JobId")]
    assert heads == [
        "JobId=797 ArrayJobId=797 ArrayTaskId=3-10%2 ArrayTaskThrottle=2 JobName=arr",
        "JobId=801 ArrayJobId=797 ArrayTaskId=2 ArrayTaskThrottle=2 JobName=arr",
        "JobId=800 ArrayJobId=797 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=arr",
    ]


@pytest.mark.parametrize(
    ("wanted", "head"),
    [
        ("797_1", "JobId=800 ArrayJobId=797 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=arr"),
        ("797_3", "JobId=797 ArrayJobId=797 ArrayTaskId=3 ArrayTaskThrottle=2 JobName=arr"),
        ("800", "JobId=800 ArrayJobId=797 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=arr"),
    ],
)
def test_one_task_of_an_array(wanted, head):
    out = scontrol("show", "job", wanted).out
    assert [line for line in out.splitlines() if line.startswith("JobId")] == [head]


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        (
            "794",
            [
                "JobState=PENDING Reason=Dependency Dependency=afterok:790(unfulfilled)",
                "StartTime=Unknown EndTime=Unknown Deadline=N/A",
                "NodeList=",
                "NumNodes=1 NumCPUs=1 NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*",
                "TRES=cpu=1,mem=1000M,node=1,billing=1",
            ],
        ),
        (
            "795",
            [
                "Priority=0 Nice=0 Account=lab QOS=normal",
                "JobState=PENDING Reason=JobHeldUser Dependency=(null)",
                "SubmitTime=2026-11-24T09:22:27 EligibleTime=Unknown",
                "AccrueTime=Unknown",
            ],
        ),
        (
            "796",
            [
                "SubmitTime=2026-11-24T09:22:27 EligibleTime=2026-11-24T10:22:27",
                "AccrueTime=2026-11-24T10:22:27",
                "StartTime=2026-11-24T10:22:27 EndTime=Unknown Deadline=N/A",
            ],
        ),
    ],
)
def test_pending_jobs(number, lines):
    out = scontrol("show", "job", number).out.splitlines()
    assert [line for line in lines if "   " + line not in out] == []


# options of sbatch → NumNodes NumCPUs NumTasks, TRES, MinCPUsNode and memory, as the real one printed them for held jobs
ASKED = [
    ({"ntasks": 20}, "3 20 20", "cpu=20,mem=20000M,node=1,billing=20", "1 MinMemoryCPU=1000M"),
    ({"ntasks": 6, "cpus_per_task": 3}, "3 18 6", "cpu=18,mem=18000M,node=1,billing=18", "3 MinMemoryCPU=1000M"),
    ({"ntasks": 10, "ntasks_per_node": 2}, "5 10 10", "cpu=10,mem=10000M,node=1,billing=10", "2 MinMemoryCPU=1000M"),
    ({"ntasks": 3, "cpus_per_task": 2, "ntasks_per_node": 2}, "1 6 3", "cpu=6,mem=6000M,node=1,billing=6", "4 MinMemoryCPU=1000M"),
    ({"ntasks": 10, "nodes_min": 2, "nodes_max": 2}, "2-2 10 10", "cpu=10,mem=10000M,node=2,billing=10", "1 MinMemoryCPU=1000M"),
    ({"ntasks": 3, "nodes_min": 2, "nodes_max": 4}, "2-3 3 3", "cpu=3,mem=3000M,node=2,billing=3", "1 MinMemoryCPU=1000M"),
    ({"nodes_min": 4, "nodes_max": 4, "cpus_per_task": 4}, "4-4 16 4", "cpu=16,mem=16000M,node=4,billing=16", "4 MinMemoryCPU=1000M"),
    ({"nodes_min": 2, "nodes_max": 2, "ntasks_per_node": 3}, "2-2 6 6", "cpu=6,mem=6000M,node=2,billing=6", "3 MinMemoryCPU=1000M"),
    ({"ntasks_per_node": 3}, "1 3 3", "cpu=3,mem=3000M,node=1,billing=3", "3 MinMemoryCPU=1000M"),
    ({"cpus_per_task": 9}, "1 9 1", "cpu=9,mem=9000M,node=1,billing=9", "9 MinMemoryCPU=1000M"),
    (
        {"overcommit": True, "ntasks": 20, "nodes_min": 2, "nodes_max": 2},
        "2-2 2 20",
        "cpu=2,mem=2000M,node=2,billing=2",
        "1 MinMemoryCPU=1000M",
    ),
    ({"overcommit": True, "ntasks": 20}, "3 1 20", "cpu=1,mem=1000M,node=1,billing=1", "1 MinMemoryCPU=1000M"),
    ({"nodelist": ("node1", "node2")}, "2 2 2", "cpu=2,mem=2000M,node=2,billing=2", "1 MinMemoryCPU=1000M"),
    ({"ntasks": 4, "nodelist": ("node1", "node2", "node3")}, "3 4 4", "cpu=4,mem=4000M,node=3,billing=4", "1 MinMemoryCPU=1000M"),
    ({"nodes_min": 2, "nodes_max": 3}, "2-3 1 2", "cpu=1,mem=1000M,node=2,billing=1", "1 MinMemoryCPU=1000M"),
    ({"mem_per_node": 1536}, "1 1 1", "cpu=1,mem=1.50G,node=1,billing=1", "1 MinMemoryNode=1.50G"),
    ({"mem_per_node": 100000}, "1 1 1", "cpu=1,mem=100000M,node=1,billing=1", "1 MinMemoryNode=100000M"),
    ({"mem_per_node": 0}, "1 1 1", "cpu=1,mem=16000M,node=1,billing=1", "1 MinMemoryNode=0"),
    ({"mem_per_node": 1 << 20}, "1 1 1", "cpu=1,mem=1T,node=1,billing=1", "1 MinMemoryNode=1T"),
    ({"mem_per_cpu": 1536, "ntasks": 4}, "1 4 4", "cpu=4,mem=6G,node=1,billing=4", "1 MinMemoryCPU=1.50G"),
    ({"mem_per_node": 3000, "nodes_min": 2, "nodes_max": 2}, "2-2 2 2", "cpu=2,mem=6000M,node=2,billing=2", "1 MinMemoryNode=3000M"),
    ({"gpus": (Gres(name="gpu", count=3),)}, "1 1 1", "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=3", "1 MinMemoryCPU=1000M"),
    (
        {"gpus_per_node": (Gres(name="gpu", type="a100"),), "nodes_min": 2, "nodes_max": 2},
        "2-2 2 2",
        "cpu=2,mem=2000M,node=2,billing=2,gres/gpu=2",
        "1 MinMemoryCPU=1000M",
    ),
    (
        {"gpus": (Gres(name="gpu", count=2),), "ntasks_per_gpu": 2},
        "1 4 4",
        "cpu=4,mem=4000M,node=1,billing=4,gres/gpu=2",
        "1 MinMemoryCPU=1000M",
    ),
    (
        {"gpus": (Gres(name="gpu", type="a100", count=2),), "mem_per_gpu": 1000},
        "1 1 1",
        "cpu=1,mem=2000M,node=1,billing=1,gres/gpu=2",
        "1 MinMemoryCPU=1000M",
    ),
    ({"mincpus": 4, "ntasks": 2}, "1 2 2", "cpu=2,mem=2000M,node=1,billing=2", "4 MinMemoryCPU=1000M"),
    (
        {"sockets_per_node": 2, "cores_per_socket": 4, "nodes_min": 2, "nodes_max": 2},
        "2-2 16 16",
        "cpu=16,mem=16000M,node=2,billing=16",
        "1 MinMemoryCPU=1000M",
    ),
    ({"nodes_min": 1, "nodes_max": 1}, "1-1 1 1", "cpu=1,mem=1000M,node=1,billing=1", "1 MinMemoryCPU=1000M"),
    ({"nodes_min": 0, "nodes_max": 3}, "0-3 0 0", "(null)", "1 MinMemoryCPU=1000M"),
]


@pytest.mark.parametrize(("asks", "counts", "tres", "least"), ASKED)
def test_what_a_held_job_asks_for(asks, counts, tres, least):
    out = scontrol("-o", "show", "job", "5", view=View([job(5, spec(**asks), held="user")])).out
    nodes, cpus, tasks = counts.split()
    assert f" NumNodes={nodes} NumCPUs={cpus} NumTasks={tasks} CPUs/Task=" in out
    assert f" TRES={tres} " in out
    assert f" MinCPUsNode={least} MinTmpDiskNode=0 " in out


@pytest.mark.parametrize(
    ("asks", "lines"),
    [
        ({"command": "/tmp/s.sh", "script_args": ("a", "b c")}, ["Command=/tmp/s.sh a b c"]),
        (
            {"stdout": "%x-%j.o", "stderr": "err.%j", "stdin": "in.%j"},
            ["StdErr=/home/alice/w/err.5", "StdIn=/home/alice/w/in.5", "StdOut=/home/alice/w/wrap-5.o"],
        ),
        ({"stdout": None}, ["StdErr=/home/alice/w/slurm-5.out", "StdIn=/dev/null", "StdOut=/home/alice/w/slurm-5.out"]),
        ({"stdout": "%N-%n-%4j"}, ["StdOut=/home/alice/w/%N-%n-%4j"]),
        ({"exclusive": "user"}, ["OverSubscribe=USER Contiguous=0 Licenses=(null) Network=(null)"]),
        ({"exclusive": "node", "contiguous": True}, ["OverSubscribe=NO Contiguous=1 Licenses=(null) Network=(null)"]),
        ({"oversubscribe": True}, ["OverSubscribe=YES Contiguous=0 Licenses=(null) Network=(null)"]),
        (
            {"constraint": "cpu&intel", "nodelist": ("node1",), "exclude": ("node2",)},
            ["ReqNodeList=node1 ExcNodeList=node2", "Features=cpu&intel DelayBoot=00:00:00"],
        ),
        (
            {"gpus_per_task": (Gres(name="gpu"),), "ntasks": 2, "cpus_per_gpu": 2, "mem_per_gpu": 500, "gpu_bind": "closest"},
            ["CpusPerTres=gres:gpu:2", "MemPerTres=gres:gpu:500", "TresBind=gpu:closest", "TresPerTask=gres:gpu:1"],
        ),
        ({"switches": "2@10", "delay_boot": 300}, ["Features=(null) DelayBoot=00:05:00", "Switches=2@00:05:00"]),
        ({"mail_type": ("ALL",), "mail_user": "me"}, ["MailUser=me MailType=INVALID_DEPEND,BEGIN,END,FAIL,REQUEUE,STAGE_OUT"]),
        ({"mail_type": ("END", "FAIL", "TIME_LIMIT_80", "ARRAY_TASKS")}, ["MailUser=alice MailType=ARRAY_TASKS,END,FAIL,TIME_LIMIT_80"]),
        (
            {"sockets_per_node": 2, "cores_per_socket": 2, "threads_per_core": 1, "ntasks": 4},
            ["NumNodes=1 NumCPUs=4 NumTasks=4 CPUs/Task=1 ReqB:S:C:T=0:0:2:1", "Socks/Node=2 NtasksPerN:B:S:C=0:0:*:* CoreSpec=*"],
        ),
        ({"ntasks_per_socket": 1, "ntasks_per_core": 1, "ntasks": 2}, ["Socks/Node=* NtasksPerN:B:S:C=0:0:1:1 CoreSpec=*"]),
        ({"requeue": False}, ["Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0"]),
        (
            {"kill_on_invalid_dep": True, "network": "x"},
            ["KillOInInvalidDependent=Yes", "OverSubscribe=OK Contiguous=0 Licenses=(null) Network=x"],
        ),
    ],
)
def test_lines_of_options(asks, lines):
    out = scontrol("show", "job", "5", view=View([job(5, spec(**asks), held="user")])).out.splitlines()
    assert [line for line in lines if "   " + line not in out] == []


def test_ends():
    timeout = job(
        780,
        spec("E_timeout", stdout="st-timeout.out"),
        state=JobState.TIMEOUT,
        reason=Reason.TIME_LIMIT,
        exit=Exit(signal=9),
        time_limit=60,
        submit_time=when("09:19:51"),
        eligible_time=when("09:19:51"),
        start_time=when("09:19:51"),
        end_time=when("09:21:18"),
        run=0,
        nodes=(share("node2", 1, 1000),),
    )
    pending = job(
        779, spec("E_cancelpend"), state=JobState.CANCELLED, reason=Reason.BEGIN_TIME, time_limit=INFINITE, end_time=when("09:19:54")
    )
    view = View([timeout, pending])
    out = scontrol("show", "job", "780", view=view).out
    assert "   JobState=TIMEOUT Reason=TimeLimit Dependency=(null)\n   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:9\n" in out
    assert "   RunTime=00:01:27 TimeLimit=00:01:00 TimeMin=N/A\n" in out
    assert "   StartTime=2026-11-24T09:19:51 EndTime=2026-11-24T09:21:18 Deadline=N/A\n" in out
    out = scontrol("show", "job", "779", view=view).out
    assert "   StartTime=2026-11-24T09:19:54 EndTime=2026-11-24T09:19:54 Deadline=N/A\n" in out
    assert "NumNodes=1 NumCPUs=1 NumTasks=N/A CPUs/Task=1" in out


@pytest.mark.parametrize(
    ("argv", "out", "err", "code"),
    [
        (["show", "job", "999999"], "", "slurm_load_jobs error: Invalid job id specified\n", 1),
        (["show", "j", "999999"], "", "slurm_load_jobs error: Invalid job id specified\n", 1),
        (["show", "job", "abc"], "", "scontrol_print_job error: Invalid job id specified\n", 1),
        (["show", "job", "12_[1-3]"], "", "scontrol_print_job error: Invalid job id specified\n", 1),
        (["show", "job=12"], "", "slurm_load_jobs error: Invalid job id specified\n", 1),
        (["show", "job", "1", "2"], "", "too many arguments for keyword:show\n", 1),
        (["show", "steps", "999999.0"], "", "slurm_get_job_steps error: Invalid job id specified\n", 1),
        (["show", "step", "abc"], "Job step 0.Invalid not found\n", "", 1),
        (["show", "step", "794"], "Job step 794. not found\n", "", 1),
        (["show", "step", "790.7"], "Job step 790.7 not found\n", "", 1),
        (["show", "node", "nosuch"], "Node nosuch not found\n", "", 1),
        (["show", "partition", "nosuch"], "Partition nosuch not found\n", "", 1),
        (["show", "bogus"], "", "invalid entity:bogus for keyword:show \n", 1),
        (["show", "s"], "", "invalid entity:s for keyword:show \n", 1),
        (["bogus"], "", "invalid keyword: bogus\n", 1),
        (["show"], "", "too few arguments for keyword:show\n", 1),
        (["-Q", "show", "bogus"], "", "", 1),
        (["-Q", "show", "job", "999999"], "", "", 1),
        (["-Q", "bogus"], "", "invalid keyword: bogus\n", 1),
        (["show", "lic"], "No licenses configured in Slurm.\n", "", 0),
        (["show", "res"], "No reservations in the system\n", "", 0),
        (["show", "topology"], "", "scontrol: error: No topology information available\n", 0),
        (["show", "daemons"], "slurmctld \n", "", 0),
        (["show", "aliases"], "", "", 0),
        (["show", "hostnames", "node[1-3,7],gpu[01-02]"], "node1\nnode2\nnode3\nnode7\ngpu01\ngpu02\n", "", 0),
        (["show", "hostnames"], "", "scontrol: error: host list is empty\n", 0),
        (["version"], "slurm 22.05.8\n", "", 0),
        (["-V"], "slurm 22.05.8\n", "", 0),
        (["--json", "show", "job"], "", "scontrol: unrecognized option '--json'\nTry \"scontrol --help\" for more information\n", 1),
    ],
)
def test_answers(argv, out, err, code):
    got = scontrol(*argv)
    assert (got.out, got.err, got.code) == (out, err, code)


def test_time_format_of_the_caller():
    assert "StartTime=1795512146 " in scontrol("show", "job", "790", env={"SLURM_TIME_FORMAT": "%s"}).out
