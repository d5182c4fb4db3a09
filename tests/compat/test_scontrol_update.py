"""scontrol update: keys, values, refusals; and that no input breaks it."""

from __future__ import annotations

import pytest
from control_cluster import View, command, job, share, spec, when
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.errors import Code
from sbroker.model import INFINITE, Dependency, DepItem, Gres, JobSpec
from sbroker.states import JobState
from slurm_compat.update_keys import KEYS
from slurm_compat.update_pairs import pairs

PENDING = job(41, spec("wrap"), time_limit=600)
HELD = job(46, spec("held"), held="user")
RUNNING = job(43, spec("rj"), state=JobState.RUNNING, start_time=when("09:22:26"), time_limit=600, run=0, nodes=(share("node1", 1, 1000),))
ARRAY = job(42, spec("arr", array="1-5"), array_id=42, array_pending=(1, 2, 3, 4, 5))
FOREIGN = job(45, spec("other"), uid=1002)


def update(*words, **more):
    return command("scontrol", ["update", *words], View([PENDING, HELD, RUNNING, ARRAY, FOREIGN]), **more)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["timelimit=5"], {"time_limit": 300}),
        (["TimeLimit=1-0"], {"time_limit": 86400}),
        (["TimeLimit=UNLIMITED"], {"time_limit": INFINITE}),
        (["TimeLimit=+5"], {"time_limit": 900}),
        (["TimeLimit+=5"], {"time_limit": 900}),
        (["TimeLimit-=3"], {"time_limit": 420}),
        (["timemin=1"], {"time_min": 60}),
        (["name=newname"], {"name": "newname"}),
        (["JobName=zz", "Comment=c"], {"name": "zz", "comment": "c"}),
        (["comment=a b"], {"comment": "a b"}),
        (["part=debug"], {"partitions": ("debug",)}),
        (["Partition=gpu,debug"], {"partitions": ("gpu", "debug")}),
        (["nice=10"], {"nice": 10}),
        (["Nice"], {"nice": 100}),
        (["nice=bogus"], {"nice": 0}),
        (["prio=99999"], {"priority": 99999}),
        (["NumNodes=2-3"], {"nodes_min": 2, "nodes_max": 3}),
        (["ReqNodes=1"], {"nodes_min": 1, "nodes_max": None}),
        (["numtasks=3"], {"ntasks": 3}),
        (["numcpus=4"], {"ntasks": 4}),
        (["cpuspertask=2"], {"cpus_per_task": 2}),
        (["MinCPUsNode=2"], {"mincpus": 2}),
        (["MinMemoryNode=100"], {"mem_per_node": 100, "mem_per_cpu": None, "mem_per_gpu": None}),
        (["MinMemoryCPU=50"], {"mem_per_cpu": 50, "mem_per_node": None, "mem_per_gpu": None}),
        (["MinTmpDiskNode=5"], {"tmp": 5}),
        (["Features=cpu"], {"constraint": "cpu"}),
        (["Features="], {"constraint": None}),
        (["Gres=gpu:a100:2"], {"gres": (Gres(name="gpu", type="a100", count=2),)}),
        (["Gres="], {"gres": ()}),
        (["TresPerNode=gres:gpu:1"], {"gres": (Gres(name="gpu", count=1),)}),
        (["ReqNodeList=node[1-2]"], {"nodelist": ("node1", "node2")}),
        (["ExcNodeList="], {"exclude": ()}),
        (["Dependency=afterok:43"], {"dependency": Dependency(items=(DepItem(kind="afterok", job=43),))}),
        (["Dependency="], {"dependency": None}),
        (["StartTime=now+1hour"], {"begin": when("10:22:38")}),
        (["EligibleTime=2026-11-25T10:00"], {"begin": when("10:00:00", 25)}),
        (["MailType=END,FAIL", "mailuser=bob"], {"mail_type": ("END", "FAIL"), "mail_user": "bob"}),
        (["Requeue=0"], {"requeue": False}),
        (["WorkDir=/tmp", "StdOut=/tmp/x"], {"work_dir": "/tmp", "stdout": "/tmp/x"}),
        (["Account=other", "QOS=high"], {"account": "other", "qos": "high"}),
        (["ArrayTaskThrottle=2"], {"array_limit": 2}),
        (["ArrayTaskThrottle=0"], {"array_limit": None}),
        (["Switches=1@5"], {"switches": "1@5"}),
        (["DelayBoot=5"], {"delay_boot": 300}),
        (["ReqSockets=2"], {"sockets_per_node": 2}),
    ],
)
def test_keys(words, changes):
    got = update("jobid=41", *words)
    assert (got.out, got.err, got.code) == ("", "", 0)
    assert got.asked == [("update_job", 41, None, changes)]
    assert set(changes) <= set(JobSpec.__struct_fields__)


def test_which_jobs():
    assert [row[1:3] for row in update("jobid=42_2,41", "comment=x").asked] == [(42, (2,)), (41, None)]
    assert [row[1:3] for row in update("jobid=42_[1-2]", "comment=x").asked] == [(42, (1, 2))]
    assert [row[1:3] for row in update("comment=x", "jobid=41").asked] == [(41, None)]
    assert [row[1:3] for row in update("job", "41", "comment=x").asked] == [(41, None)]
    assert [row[1:3] for row in update("JobName=wrap", "comment=x").asked] == [(41, None)]


@pytest.mark.parametrize(
    ("words", "err", "code"),
    [
        (["jobid=43", "TimeLimit=bogus"], "scontrol: error: Invalid TimeLimit value\n", 1),
        (["jobid=41", "bogus=1"], "Update of this parameter is not supported: bogus=1\nRequest aborted\n", 1),
        (["jobid=41", "time=3"], "Update of this parameter is not supported: time=3\nRequest aborted\n", 1),
        (["jobid=41", "StdErr=/x"], "Update of this parameter is not supported: StdErr=/x\nRequest aborted\n", 1),
        (["jobid=999999", "timelimit=5"], "Invalid job id specified for job 999999\n", 1),
        (["jobid=abc", "comment=x"], "Invalid job id specified for job abc\n", 1),
        (["jobid=42_99", "comment=x"], "42_99: Invalid job id specified\n", 1),
        (["jobid=45", "timelimit=1"], "Invalid user id for job 45\n", 1),
        (["jobid=41"], "No changes specified\n", 1),
        (["jobid="], "No changes specified\n", 1),
        (
            ["foo"],
            'No valid entity in update command\nInput line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"\n',
            1,
        ),
        (["JobName=nosuch", "comment=x"], "scontrol: error: No jobs with name 'nosuch'\n", 1),
        (["jobid=46", "Priority=5"], "Job is in held state, pending scheduler release for job 46\n", 1),
        (["jobid=41", "nice=99999999999"], "scontrol: error: Nice value out of range (+/- 2147483645). Value ignored\n", 1),
        (["jobid=41", "NumNodes=0"], "Node count specification invalid for job 41\n", 1),
        (["jobid=41", "NumNodes=abc"], 'scontrol: error: Invalid numeric value "abc" for requested node count.\n', 0),
        (["jobid=41", "MinMemoryNode=1G"], "scontrol: error: Invalid MinMemoryNode value: 1G\n", 1),
        (["jobid=41", "Gres=bogus:1"], "Invalid generic resource (gres) specification for job 41\n", 1),
        (["jobid=41", "Contiguous=yes"], "Access/permission denied for job 41\n", 1),
        (["jobid=41", "Contiguous=bogus"], "scontrol: error: Invalid Contiguous value: bogus\n", 1),
        (["jobid=41", "OverSubscribe=bogus"], "scontrol: error: Invalid OverSubscribe value: bogus\n", 1),
        (["jobid=41", "ReservationName=foo"], "Requested reservation is invalid for job 41\n", 1),
        (["jobid=41", "Dependency=bogus"], "Job dependency problem for job 41\n", 1),
        (["jobid=41", "StartTime=bogus"], "Invalid time specification (pos=0): bogus\nNo changes specified\n", 1),
        (["jobid=41", "Deadline=now+2hours"], "Access/permission denied for job 41\n", 1),
        (["jobid=41", "EndTime=now+1hour"], "Job is not running for job 41\n", 1),
        (["jobid=41", "MailType=bogus"], "Invalid MailType: bogus\n", 1),
        (["jobid=41", "AdminComment=x"], "Access/permission denied for job 41\n", 1),
        (["jobid=41", "BurstBuffer=x"], "Requested operation not supported on this system for job 41\n", 1),
        (["jobid=43", "numnodes=2"], "Requested operation not supported on this system for job 43\n", 1),
        (["nodename=node1", "state=drain", "reason=x"], "slurm_update error: Invalid user id\n", 1),
        (["nodename=node1"], "No changes specified\n", 1),
        (["partition=debug", "maxtime=5"], "slurm_update error: Invalid user id\n", 1),
        (["stepid=43.0", "timelimit=5"], "scontrol: error: scontrol update StepId= is not available here yet\n", 1),
        (["stepid=zzz", "timelimit=5"], "Invalid StepID parameter: stepid=zzz\n", 1),
        (["slurmctlddebug=zzz"], "invalid debug level: zzz\n", 1),
        ([], "too few arguments for update keyword\n", 1),
    ],
)
def test_complaints(words, err, code):
    got = update(*words)
    assert (got.err, got.code, got.asked) == (err, code, [])


@pytest.mark.parametrize(
    ("code", "err"),
    [
        (Code.INVALID_PARTITION, "Invalid partition name specified for job 41\n"),
        (Code.ACCESS_DENIED, "Access/permission denied for job 41\n"),
        (Code.INVALID_FEATURE, "Invalid feature specification for job 41\n"),
        (Code.INVALID_NODE_NAME, "Invalid node name specified for job 41\n"),
    ],
)
def test_the_brokers_refusals(code, err):
    got = update("jobid=41", "comment=x", refuse={("update_job", 41): code})
    assert (got.err, got.code) == (err, 1)


def test_priority_zero_holds():
    assert update("jobid=41", "Priority=0").asked == [("hold", 41, None, "user")]


def test_end_time_of_a_running_job_is_its_limit():
    assert update("jobid=43", "EndTime=09:32:26", env={"TZ": "UTC"}).asked == [("update_job", 43, None, {"time_limit": 600})]


def operator(*words, **more):
    return update(*words, uid=0, operator=True, **more)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["nodename=node2", "state=drain", "reason=maintenance work"], [("update_node", "node2", "drain", "maintenance work", {})]),
        (
            ["nodename=node[1-2]", "state=resume"],
            [("update_node", "node1", "resume", None, {}), ("update_node", "node2", "resume", None, {})],
        ),
        (["nodename=node2", "weight=5"], [("update_node", "node2", None, None, {"weight": 5})]),
        (["nodename=node2", "Features=a,b"], [("update_node", "node2", None, None, {"features": ("a", "b")})]),
        (["nodename=node2", "state=DOWN", 'reason="quoted"'], [("update_node", "node2", "down", "quoted", {})]),
        (["partition=gpu", "state=down"], [("update_partition", "gpu", {"state": "DOWN"})]),
        (["partition=gpu", "MaxTime=1:00:00", "MaxNodes=UNLIMITED"], [("update_partition", "gpu", {"max_time": 3600, "max_nodes": None})]),
        (["partition=gpu", "Default=yes", "DefMemPerCPU=500"], [("update_partition", "gpu", {"default": True, "def_mem_per_cpu": 500})]),
        (
            ["partition=gpu", "AllowAccounts=ALL", "nodes=node[1-2]"],
            [("update_partition", "gpu", {"allow_accounts": (), "nodes": ("node1", "node2")})],
        ),
        (["jobid=41", "Contiguous=yes"], [("update_job", 41, None, {"contiguous": True})]),
    ],
)
def test_operators(words, asked):
    got = operator(*words)
    assert (got.asked, got.err, got.code) == (asked, "", 0)


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["nodename=node2", "state=drain"], "You must specify a reason when DOWNING or DRAINING a node. Request denied\n"),
        (["nodename=nosuch", "state=resume"], "slurm_update error: Invalid node name specified\n"),
        (
            ["nodename=node2", "state=bogus"],
            "Invalid input: state=bogus\nRequest aborted\nValid states are: NoResp DRAIN FAIL FUTURE RESUME POWER_DOWN POWER_UP"
            " UNDRAIN\nNot all states are valid given a node's prior state\n",
        ),
        (["nodename=node2", "weight=x"], "scontrol: error: Weight value (x) is not a valid number\n"),
        (["nodename=node2", "state=power_down"], "scontrol: error: scontrol update State=POWER_DOWN is not available here yet\n"),
        (
            ["partition=gpu", "state=bogus"],
            "scontrol: error: Invalid input: state=bogus\nscontrol: error: Acceptable State values are UP, DOWN, DRAIN and INACTIVE\n"
            "slurm_update error: No error\n",
        ),
        (["partition=nosuch", "maxtime=5"], "slurm_update error: Invalid partition name specified\n"),
    ],
)
def test_operators_complaints(words, err):
    got = operator(*words)
    assert (got.err, got.code, got.asked) == (err, 1, [])


words = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)
keys = st.sampled_from([name for name, _, _ in KEYS] + ["jobid", "nodename", "partitionname", "stepid", "state", "reason"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(keys, st.sampled_from(["=", "+=", "-=", ""]), words | st.integers(-5, 10**12).map(str)), min_size=1, max_size=4))
def test_no_input_breaks_it(items):
    got = update("jobid=41", *(f"{key}{sign}{value}" for key, sign, value in items))
    assert got.code in (0, 1)
    assert got.err or got.code == 0
    assert got.code or not got.err or "for requested node count" in got.err


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{2,8}", fullmatch=True).filter(
                lambda key: not key.startswith(("job", "nod", "par", "res", "ste", "sl", "fr"))
            ),
            words.filter(lambda text: "=" not in text),
        ),
        max_size=5,
    )
)
def test_pairs_read_what_is_written(items):
    made = pairs([f"{key}={value}" for key, value in items])
    assert [(pair.key, pair.value) for pair in made] == items
