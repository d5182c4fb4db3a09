"""sacct, against what Slurm 22.05.8 printed for the same jobs and steps."""

from __future__ import annotations

import pytest
from control_cluster import View, command, job, share, spec, when

from sbroker.api import Record
from sbroker.model import Exit, Run, Step
from sbroker.states import JobState, Reason

VIEW = View([])


def ended(number, name, state=JobState.COMPLETED, exit=None, *, start="09:19:51", end="09:19:51", cpus=1, node="node1", **changes):
    fields = {
        "state": state,
        "exit": exit or Exit(),
        "submit_time": when("09:19:51"),
        "eligible_time": when("09:19:51"),
        "start_time": when(start),
        "end_time": when(end),
        "run": 0,
        "nodes": (share(node, cpus, 1000 * cpus),),
    }
    asks = changes.pop("asks", {})
    if cpus > 1:
        asks = {"ntasks": cpus, **asks}
    return job(number, spec(name, **asks), **{**fields, **changes})


def batch(number, state=JobState.COMPLETED, exit=None, **changes):
    fields = {"name": "batch", "nodes": ("node1",), "start_time": when("09:19:51"), "end_time": when("09:19:51"), "exit": exit or Exit()}
    return Step(job=number, run=0, step=-5, state=state, **{**fields, **changes})


def step(number, index, name, state=JobState.COMPLETED, exit=None, **changes):
    fields = {
        "name": name,
        "nodes": ("node1",),
        "ntasks": 2,
        "cpus": 2,
        "mem": 2000,
        "start_time": when("09:19:51"),
        "end_time": when("09:19:51"),
        "exit": exit or Exit(),
        "submit_line": f"srun {name}",
    }
    return Step(job=number, run=0, step=index, state=state, **{**fields, **changes})


F, CA, CD, TO = JobState.FAILED, JobState.CANCELLED, JobState.COMPLETED, JobState.TIMEOUT
LINE = 'sbatch --parsable -J E_steps -o st-steps.out -n2 --wrap srun false; srun true; srun bash -c "exit 9"; exit 1'
STEPS = Record(
    job=ended(
        776, "E_steps", F, Exit(code=1), end="09:19:52", cpus=2, derived_exit=Exit(code=9), priority=4294901114, asks={"submit_line": LINE}
    ),
    run=Run(job=776, run=0, head="node1"),
    steps=(
        batch(776, F, Exit(code=1), end_time=when("09:19:52"), usage={"user_usec": 10000, "system_usec": 20000, "max_rss_kib": 10768}),
        step(776, 0, "false", F, Exit(code=1)),
        step(776, 1, "true", end_time=when("09:19:52")),
        step(776, 2, "bash", F, Exit(code=9), start_time=when("09:19:52"), end_time=when("09:19:52")),
    ),
)
RECORDS = [
    Record(job=ended(771, "E_exit3", F, Exit(code=3)), run=None, steps=(batch(771, F, Exit(code=3)),)),
    Record(job=ended(772, "E_kill9", F, Exit(signal=9)), run=None, steps=(batch(772, CA, Exit(signal=9)),)),
    Record(job=ended(774, "E_exit137", F, Exit(code=137)), run=None, steps=(batch(774, F, Exit(code=137)),)),
    Record(job=ended(775, "E_notfound", F, Exit(code=127)), run=None, steps=(batch(775, F, Exit(code=127)),)),
    STEPS,
    Record(
        job=ended(778, "E_cancel", CA, Exit(signal=15), end="09:19:54", killed_by=1001), run=None, steps=(batch(778, CA, Exit(signal=15)),)
    ),
    Record(
        job=job(
            779,
            spec("E_cancelpend"),
            state=CA,
            killed_by=1001,
            reason=Reason.BEGIN_TIME,
            submit_time=when("09:19:51"),
            eligible_time=when("10:19:51"),
            end_time=when("09:19:54"),
        ),
        run=None,
    ),
    Record(
        job=ended(780, "E_timeout", TO, Exit(signal=9), end="09:21:18", time_limit=60), run=None, steps=(batch(780, CA, Exit(signal=9)),)
    ),
]

TABLE = """\
JobID           JobName  Partition    Account  AllocCPUS      State ExitCode \n\
------------ ---------- ---------- ---------- ---------- ---------- -------- \n\
771             E_exit3      debug        lab          1     FAILED      3:0 \n\
771.batch         batch                   lab          1     FAILED      3:0 \n\
772             E_kill9      debug        lab          1     FAILED      0:9 \n\
772.batch         batch                   lab          1  CANCELLED      0:9 \n\
774           E_exit137      debug        lab          1     FAILED      9:0 \n\
774.batch         batch                   lab          1     FAILED      9:0 \n\
775          E_notfound      debug        lab          1     FAILED    127:0 \n\
775.batch         batch                   lab          1     FAILED    127:0 \n\
776             E_steps      debug        lab          2     FAILED      1:0 \n\
776.batch         batch                   lab          2     FAILED      1:0 \n\
776.0             false                   lab          2     FAILED      1:0 \n\
776.1              true                   lab          2  COMPLETED      0:0 \n\
776.2              bash                   lab          2     FAILED      9:0 \n\
778            E_cancel      debug        lab          1 CANCELLED+      0:0 \n\
778.batch         batch                   lab          1  CANCELLED     0:15 \n\
779          E_cancelp+      debug        lab          1 CANCELLED+      0:0 \n\
780           E_timeout      debug        lab          1    TIMEOUT      0:0 \n\
780.batch         batch                   lab          1  CANCELLED      0:9 \n\
"""
IDS = "771,772,774,775,776,778,779,780"


def sacct(*argv, records=RECORDS, **more):
    return command("sacct", list(argv), VIEW, records=records, **more)


def test_the_default_table():
    got = sacct("-j", IDS)
    assert (got.out, got.err, got.code) == (TABLE, "", 0)
    query = got.broker.queries[0]
    assert query.jobs == (771, 772, 774, 775, 776, 778, 779, 780)
    assert (query.uids, query.start, query.steps) == ((), None, True)


@pytest.mark.parametrize(
    ("exit", "line"),
    [
        (Exit(), "5.batch batch COMPLETED 0:0"),
        (Exit(code=3), "5.batch batch FAILED 3:0"),
        (Exit(signal=9), "5.batch batch CANCELLED 0:9"),
    ],
)
def test_the_batch_step_comes_from_the_run(exit, line):
    run = Run(job=5, run=0, head="node1", started=when("09:19:51"), ended=when("09:19:52"), exit=exit)
    got = sacct("-n", "-j", "5", "-o", "jobid,jobname,state,exitcode", records=[Record(job=ended(5, "x"), run=run)])
    assert got.out.splitlines()[1].split() == line.split()


def test_allocations_only():
    got = sacct("-X", "-j", IDS)
    assert got.out == "".join(line for line in TABLE.splitlines(keepends=True) if "." not in line.split()[0])
    assert got.broker.queries[0].steps is False


def test_bars():
    got = sacct("-n", "-P", "-X", "-o", "jobid,jobname,state,exitcode,derivedexitcode", "-j", "776,778,779")
    assert got.out == "776|E_steps|FAILED|1:0|9:0\n778|E_cancel|CANCELLED by 1001|0:0|0:0\n779|E_cancelpend|CANCELLED by 1001|0:0|0:0\n"
    assert sacct("-p", "-j", "771").out == (
        "JobID|JobName|Partition|Account|AllocCPUS|State|ExitCode|\n771|E_exit3|debug|lab|1|FAILED|3:0|\n771.batch|batch||lab|1|FAILED|3:0|\n"
    )
    assert sacct("-P", "--delimiter=::", "-X", "-n", "-j", "771").out == "771::E_exit3::debug::lab::1::FAILED::3:0\n"
    assert sacct("--delimiter=:", "-X", "-n", "-j", "771").out.startswith("771             E_exit3 ")
    assert sacct("-P", "-p", "-X", "-n", "-j", "771").out.endswith("3:0|\n")


def test_fields_of_a_job_with_steps():
    got = sacct(
        "-P",
        "-j",
        "776",
        "-o",
        "jobid,state,exitcode,elapsed,start,end,submit,nodelist,reqmem,alloctres,reqtres,ntasks,nnodes,ncpus,timelimit,reason",
    )
    assert got.out.splitlines() == [
        "JobID|State|ExitCode|Elapsed|Start|End|Submit|NodeList|ReqMem|AllocTRES|ReqTRES|NTasks|NNodes|NCPUS|Timelimit|Reason",
        "776|FAILED|1:0|00:00:01|2026-11-24T09:19:51|2026-11-24T09:19:52|2026-11-24T09:19:51|node1|2000M|billing=2,cpu=2,mem=2000M,node=1"
        "|billing=2,cpu=2,mem=2000M,node=1||1|2|UNLIMITED|None",
        "776.batch|FAILED|1:0|00:00:01|2026-11-24T09:19:51|2026-11-24T09:19:52|2026-11-24T09:19:51|node1||cpu=2,mem=2000M,node=1||1|1|2||",
        "776.0|FAILED|1:0|00:00:00|2026-11-24T09:19:51|2026-11-24T09:19:51|2026-11-24T09:19:51|node1||cpu=2,mem=2000M,node=1||2|1|2||",
        "776.1|COMPLETED|0:0|00:00:01|2026-11-24T09:19:51|2026-11-24T09:19:52|2026-11-24T09:19:51|node1||cpu=2,mem=2000M,node=1||2|1|2||",
        "776.2|FAILED|9:0|00:00:00|2026-11-24T09:19:52|2026-11-24T09:19:52|2026-11-24T09:19:52|node1||cpu=2,mem=2000M,node=1||2|1|2||",
    ]


# field → job, batch step, step 0, as recorded
FIELDS = {
    "AllocNodes": "1|1|1",
    "CPUTime": "00:00:02|00:00:02|00:00:00",
    "CPUTimeRAW": "2|2|0",
    "Cluster": "oracle|oracle|oracle",
    "ElapsedRaw": "1|1|0",
    "Flags": "SchedMain,StartRecieved||",
    "GID": "1001||",
    "Group": "alice||",
    "JobIDRaw": "776|776.batch|776.0",
    "Layout": "|Unknown|Block",
    "MaxRSS": "|10768K|",
    "MaxRSSNode": "|node1|",
    "Priority": "4294901114||",
    "QOS": "normal||",
    "QOSRAW": "1||",
    "ReqCPUFreq": "Unknown|0|Unknown",
    "ReqCPUS": "2|2|2",
    "ReqNodes": "1|1|1",
    "Reserved": "00:00:00||",
    "ResvCPURAW": "0||",
    "SubmitLine": f"{LINE}||srun false",
    "Suspended": "00:00:00|00:00:00|00:00:00",
    "SystemCPU": "00:00.020|00:00.020|00:00:00",
    "TimelimitRaw": "UNLIMITED||",
    "TotalCPU": "00:00.030|00:00.030|00:00:00",
    "UID": "1001||",
    "User": "alice||",
    "UserCPU": "00:00.010|00:00.010|00:00:00",
    "WCKeyID": "0||",
    "WorkDir": "/home/alice/w||",
    "MinCPUTask": "|0|",
    "TRESUsageInAve": "|cpu=00:00:00,energy=0,mem=10768K,pages=0|energy=0",
    "Comment": "||",
    "ConsumedEnergy": "0|0|0",
}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field(name):
    out = sacct("-n", "-P", "-j", "776", "-o", name).out.splitlines()
    assert "|".join(out[:3]) == FIELDS[name]


def test_every_field_prints():
    got = sacct("-o", "all", "-P", "-j", IDS)
    assert len({line.count("|") for line in got.out.splitlines() if "wrap" not in line}) == 1
    assert got.out.splitlines()[0].startswith("Account|AdminComment|AllocCPUS|AllocNodes|AllocTRES|AssocID|AveCPU|")
    assert got.out.splitlines()[0].endswith("|TRESUsageOutTot|UID|User|UserCPU|WCKey|WCKeyID|WorkDir")


def test_widths():
    out = sacct("-X", "-j", "771", "-o", "jobid%20,jobname%-10,state%3").out
    assert out == ("               JobID JobName    Sta \n-------------------- ---------- --- \n                 771 E_exit3    FA+ \n")
    assert sacct("-X", "-n", "-j", "771", "-o", "jobid%0,state").out == "     FAILED \n".rjust(12 + 1)
    assert sacct("-X", "-j", "771", "-o", "JOBI,stat,tresusageinmaxn").out.splitlines()[0] == "JobID             State TRESUsageInMaxNode "


def test_brief_and_long():
    assert (
        sacct("-b", "-X", "-j", "771").out
        == "JobID             State ExitCode \n------------ ---------- -------- \n771              FAILED      3:0 \n"
    )
    assert sacct("-b", "-o", "jobid", "-X", "-j", "771").out.splitlines()[0] == "JobID        JobID             State ExitCode "
    header = sacct("-l", "-P", "-X", "-j", "771").out.splitlines()[0]
    assert header.startswith("JobID|JobIDRaw|JobName|Partition|MaxVMSize|MaxVMSizeNode|")
    assert header.endswith("|TRESUsageOutMax|TRESUsageOutMaxNode|TRESUsageOutMaxTask|TRESUsageOutAve|TRESUsageOutTot")


@pytest.mark.parametrize(
    ("env", "argv", "out"),
    [
        ({"SACCT_FORMAT": "jobid,state"}, ["-X", "-n"], "771              FAILED \n"),
        ({"SLURM_TIME_FORMAT": "%s"}, ["-nX", "-o", "start"], "         1795511991 \n"),
        ({}, ["--units=G", "-nX", "-o", "jobid,reqmem"], "771               0.98G \n"),
        ({}, ["--units=K", "-nX", "-o", "reqmem"], "  1024000K \n"),
    ],
)
def test_variables_and_units(env, argv, out):
    assert sacct("-j", "771", *argv, env=env).out == out


def test_steps_by_name():
    head = TABLE.splitlines(keepends=True)[:2]
    assert sacct("-j", "776.0").out.splitlines(keepends=True) == [
        *head,
        "776.0             false                   lab          2     FAILED      1:0 \n",
    ]
    assert sacct("-n", "-j", "776.batch").out == "776.batch         batch                   lab          2     FAILED      1:0 \n"
    assert sacct("-n", "-j", "776.7").out == ""


def test_arrays():
    asks = spec("arr", array="1-17", array_tasks=tuple(range(1, 18)), array_limit=1)
    rest = Record(
        job=job(
            764,
            asks,
            array_id=764,
            array_pending=(*range(3, 15), 16, 17),
            state=CA,
            killed_by=1001,
            end_time=when("09:20:00"),
            eligible_time=when("09:19:47"),
        ),
        run=None,
    )
    tasks = [
        Record(
            job=job(
                764 + n,
                asks,
                array_id=764,
                array_task=n,
                state=CA,
                killed_by=1001,
                start_time=when("09:19:48"),
                end_time=when("09:20:00"),
                run=0,
                nodes=(share("node1", 1, 1000),),
            ),
            run=None,
        )
        for n in (1, 2)
    ]
    got = sacct("-X", "-j", "764", "-o", "jobid,jobidraw,state,exitcode", records=[rest, *tasks])
    assert got.out.splitlines()[2:] == [
        "764_1        765          CANCELLED+      0:0 ",
        "764_2        766          CANCELLED+      0:0 ",
        "764_[3-14,1+ 764          CANCELLED+      0:0 ",
    ]
    assert sacct("-nX", "-j", "764_2", "-o", "jobid", records=[rest, *tasks]).out == "764_2        \n"
    waits = Record(
        job=job(750, spec("acp", array="1-3", array_limit=2), array_id=750, array_pending=(1, 2, 3), held="user", reason=Reason.HELD_USER),
        run=None,
    )
    got = sacct("-n", "-P", "-j", "750", "-o", "jobid,state,start,nodelist,timelimit,reason,allocnodes,alloctres,priority", records=[waits])
    assert got.out == "750_[1-3%2]|PENDING|Unknown|None assigned|Partition_Limit|JobHeldUser|0||0\n"


def test_the_batch_step_of_a_job_over_its_memory():
    killed = Exit(signal=9)
    record = Record(
        job=ended(777, "E_oom", JobState.FAILED, killed),
        run=Run(job=777, run=0, head="node1", why="memory"),
        steps=(batch(777, CA, killed),),
    )
    got = sacct("-n", "-P", "-j", "777", "-o", "jobid,state,exitcode", records=[record])
    assert got.out == "777|FAILED|0:9\n777.batch|CANCELLED by 0|0:9\n"


def test_a_requeued_job_has_a_record_for_each_run():
    first = Record(job=ended(783, "E_requeue", JobState.RUNNING, end="09:19:55"), run=Run(job=783, run=0, head="node1", why="requeue"))
    last = Record(
        job=job(783, spec("E_requeue"), state=CA, killed_by=0, eligible_time=when("09:21:56"), end_time=when("09:21:20"), run=0), run=None
    )
    both = sacct("-D", "-X", "-j", "783", "-o", "jobid,state,start", records=[first, last]).out
    assert both.splitlines()[2:] == ["783            REQUEUED 2026-11-24T09:19:51 ", "783          CANCELLED+                None "]
    assert (
        sacct("-nX", "-j", "783", "-o", "jobid,state,start", records=[first, last]).out == "783          CANCELLED+                None \n"
    )


@pytest.mark.parametrize(
    ("argv", "err", "code"),
    [
        (["-j", "abc"], "sacct: fatal: Bad job/step specified: abc\n", 1),
        (["-j", "1,abc"], "sacct: fatal: Bad job/step specified: abc\n", 1),
        (["-j", "1.abc"], "sacct: fatal: Bad step specified: 1\n", 1),
        (["-j", "1_x"], "sacct: fatal: Bad job array element specified: 1\n", 1),
        (["-j", "751_[1-2]"], "sacct: fatal: Bad job array element specified: 751\n", 1),
        (["-u", "nosuch"], "sacct: error: Invalid user id: nosuch\n", 1),
        (["-g", "nosuch"], "sacct: error: Invalid group id: nosuch\n", 1),
        (["-s", "bogus"], "sacct: fatal: unrecognized job state value 'bogus'\n", 1),
        (["-s", "CG"], "sacct: fatal: job state CG is not supported / accounted\n", 1),
        (["-S", "bogus"], "Invalid time specification (pos=0): bogus\n", 1),
        (["-S", "2030-01-01"], "sacct: error: Start time (2030-01-01T00:00:00) requested is after end time (2026-11-24T09:22:38).\n", 1),
        (["-E", "2020-01-01"], "sacct: error: Start time (2026-11-24T00:00:00) requested is after end time (2020-01-01T00:00:00).\n", 1),
        (["-o", "bogus"], 'sacct: error: Invalid field requested: "bogus"\n', 1),
        (["-o", "jobid state"], 'sacct: error: Invalid field requested: "jobid state"\n', 1),
        (["--bogus"], "sacct: unrecognized option '--bogus'\n", 1),
        (["-i", "abc"], 'sacct: error: Invalid numeric value "abc" for requested node range.\n', 1),
        (["-I", "x"], 'sacct: error: Invalid numeric value "x" for requested cpu range.\n', 1),
        (["-k", "bogus"], "sacct: fatal: Invalid time limit specification\n", 1),
        (
            ["-q", "nosuch"],
            "sacct: error: You gave a bad qos 'nosuch'. Valid QOS's are normal\nsacct: fatal: problem processing qos list\n",
            1,
        ),
        (["-F", "bogus"], "sacct: error: str_2_job_flags: Invalid job flag bogus\n", 1),
        (["--units=X"], "sacct: error: Invalid unit type 'X'. Possible options are 'KMGTP'\nsacct: fatal: Invalid unit type\n", 1),
        (["-B"], "sacct: fatal: When requesting job scripts you must also request specific jobs with the '-j' option.\n", 1),
        (["--env-vars"], "sacct: fatal: When requesting job environment you must also request specific jobs with the '-j' option.\n", 1),
        (["-c"], "Slurm job completion is disabled\n", 1),
        (["extra", "args"], "sacct: error: Unknown arguments:\nsacct: error:  extra\nsacct: error:  args\n", 1),
        (["--whole-hetjob=x"], 'sacct: error: Invalid --whole-hetjob value "x". Valid values: [yes|no].\n', 1),
    ],
)
def test_refusals_ask_nothing_of_the_broker(argv, err, code):
    got = sacct(*argv)
    assert (got.out, got.err, got.code) == ("", err, code)
    if "-o" not in argv:
        assert got.broker.queries == []


MIDNIGHT, NOW, HOUR_AGO = when("00:00:00"), when("09:22:38"), when("08:22:38")


@pytest.mark.parametrize(
    ("argv", "uid", "start", "end", "uids"),
    [
        ([], 1001, MIDNIGHT, NOW, (1001,)),
        ([], 0, MIDNIGHT, NOW, ()),
        (["-a"], 1001, MIDNIGHT, NOW, ()),
        (["-j", "5"], 1001, None, None, ()),
        (["-s", "F"], 1001, NOW, NOW, (1001,)),
        (["-s", "F", "-S", "now-1hour"], 1001, HOUR_AGO, HOUR_AGO, (1001,)),
        (["-s", "F", "-S", "now-1hour", "-E", "now"], 1001, HOUR_AGO, NOW, (1001,)),
        (["-S", "now-1hour"], 1001, HOUR_AGO, NOW, (1001,)),
        (["-j", "5", "-s", "F"], 1001, None, None, ()),
        (["-u", "root"], 1001, MIDNIGHT, NOW, (0,)),
    ],
)
def test_the_window_and_whose_jobs(argv, uid, start, end, uids):
    query = sacct(*argv, uid=uid).broker.queries[0]
    assert (query.start, query.end, query.uids) == (start, end, uids)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("00:05", when("00:05:00")),
        ("23:00", when("23:00:00")),
        ("noon", when("12:00:00")),
        ("tomorrow", when("00:00:00", 25)),
        ("12/31", when("00:00:00") - 328 * 86400),
        ("01/05", when("00:00:00") - 323 * 86400),
        ("0101", when("00:00:00") - 327 * 86400),
        ("2026-11-20", when("00:00:00", 20)),
        ("now+1day", NOW + 86400),
    ],
)
def test_times_look_back(text, start):
    assert sacct("-S", text, "-E", "2030-01-01").broker.queries[0].start == start


def test_filters():
    query = sacct("-A", "lab,other", "-r", "gpu", "--name=a,b", "-N", "node[1-2]", "-s", "F,TO,running", "-S", "00:00").broker.queries[0]
    assert (query.accounts, query.partitions, query.names) == (("lab", "other"), ("gpu",), ("a", "b"))
    assert (query.nodes, query.states) == (("node1", "node2"), ("FAILED", "TIMEOUT", "RUNNING"))
    assert sacct("-X", "-n", "-i", "2", "-j", IDS).out == ""
    assert sacct("-X", "-n", "-I", "2", "-j", IDS, "-o", "jobid%3").out == "776 \n"
    assert sacct("-X", "-n", "-k", "1", "-j", IDS, "-o", "jobid%3").out == "780 \n"
    assert sacct("-X", "-n", "-q", "normal", "-j", "771", "-o", "jobid%3").out == "771 \n"
    assert sacct("-n", "-M", "nosuch", "-j", "771").out == ""
    assert sacct("-n", "-X", "-M", "oracle", "-j", "771").out != ""


def test_held_jobs_show_only_by_id():
    waits = Record(job=job(750, held="user"), run=None)
    assert sacct("-n", "-a", records=[waits]).out == ""
    assert sacct("-n", "-j", "750", records=[waits]).out != ""


def test_truncated_times():
    got = sacct("-T", "-nX", "-P", "-S", "09:20:00", "-E", "09:20:10", "-o", "jobid,start,end,elapsed", records=[RECORDS[-1]])
    assert got.out == "780|2026-11-24T09:20:00|2026-11-24T09:20:10|00:00:10\n"


def test_scripts():
    got = sacct("-B", "-j", "771", scripts={771: b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\nexit 3\n"})
    assert got.out == "Batch Script for 771\n" + "-" * 80 + "\n#!/bin/sh\n# This script was created by sbatch --wrap.\n\nexit 3\n\n"


def test_a_script_that_is_no_longer_kept():
    got = sacct("-B", "-j", "771", scripts={})
    assert (got.out, got.err, got.code) == ("Batch Script for 771\n" + "-" * 80 + "\nNONE\n\n", "", 0)


def test_lists_and_versions():
    lines = sacct("-e").out.splitlines()
    assert lines[0] == "Account             AdminComment        AllocCPUS           AllocNodes         "
    assert lines[27:] == ["WorkDir            ", "Cost                Egress              Site               "]
    assert sacct("-V").out == "slurm 22.05.8\n"
    assert sacct("--usage").out == "Usage: sacct [options]\n\tUse --help for help\n"


def test_a_running_job():
    runs = Record(
        job=job(
            749,
            spec("acr", ntasks=2),
            state=JobState.RUNNING,
            start_time=when("09:22:31"),
            eligible_time=when("09:22:30"),
            run=0,
            time_limit=600,
            nodes=(share("node1", 2, 2000),),
        ),
        run=None,
    )
    got = sacct(
        "-n", "-P", "-j", "749", "-o", "state,start,end,elapsed,cputime,exitcode,timelimit,timelimitraw,reserved,resvcpu", records=[runs]
    )
    assert got.out == "RUNNING|2026-11-24T09:22:31|Unknown|00:00:07|00:00:14|0:0|00:10:00|10|00:00:01|00:00:02\n"


def test_numbers_beyond_any_id_are_answered_like_ids_that_are_not_there():
    from slurm_compat import acct_select

    assert acct_select.jobs("9" * 30)[0].job < 1 << 63
    with pytest.raises(acct_select.BadSelection, match="Invalid group id"):
        acct_select._groups("9" * 30)
