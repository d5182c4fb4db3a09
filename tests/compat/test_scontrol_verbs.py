"""scontrol's keywords: what is asked of the broker, what is said, and the exit codes that Slurm 22.05.8 gave."""

from __future__ import annotations

import pytest
from control_cluster import View, command, job, share, spec, when
from hypothesis import given
from hypothesis import strategies as st

from sbroker.errors import Code
from sbroker.states import JobState, Reason
from slurm_compat import jobrefs
from slurm_compat.show import hostnames

ARR = spec("arr", array="1-5", array_tasks=(1, 2, 3, 4, 5))
PENDING = job(41, spec("held"), held="user", reason=Reason.HELD_USER)
ARRAY = job(42, ARR, array_id=42, array_pending=(1, 2, 3, 4, 5))
RUNNING = job(43, spec("rj"), state=JobState.RUNNING, start_time=when("09:22:26"), run=0, nodes=(share("node1", 1, 1000),))
DONE = job(44, spec("dj"), state=JobState.COMPLETED, start_time=when("09:22:26"), end_time=when("09:22:26"), run=0)
FOREIGN = job(45, spec("other"), uid=1002, user="bob")


def scontrol(*argv, **more):
    view = View([PENDING, ARRAY, RUNNING, DONE, FOREIGN])
    return command("scontrol", list(argv), more.pop("view", view), **more)


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["hold", "41"], [("hold", 41, None, "user")]),
        (["hold", "42,43"], [("hold", 42, None, "user"), ("hold", 43, None, "user")]),
        (["hold", "42", "43"], [("hold", 42, None, "user"), ("hold", 43, None, "user")]),
        (["hold", "42_2"], [("hold", 42, (2,), "user")]),
        (["hold", "42_[3-4]"], [("hold", 42, (3, 4), "user")]),
        (["hold", "42_1,43"], [("hold", 42, (1,), "user"), ("hold", 43, None, "user")]),
        (["hold", "jobname=arr"], [("hold", 42, None, "user")]),
        (["hold", "name=arr"], [("hold", 42, None, "user")]),
        (["hold", "jobname=nosuch"], []),
        (["release", "41"], [("hold", 41, None, "")]),
        (["uhold", "41"], [("hold", 41, None, "user")]),
        (["requeue", "43"], [("requeue", 43, None, False)]),
        (["requeue", "incomplete", "44,43"], [("requeue", 43, None, False)]),
        (["requeuehold", "43"], [("requeue", 43, None, True)]),
        (["requeueh", "State=SpecialExit", "43"], [("requeue", 43, None, True)]),
        (["suspend", "43"], [("suspend", 43, None, True)]),
        (["resume", "42_[1,3-5]"], [("suspend", 42, (1, 3, 4, 5), False)]),
    ],
)
def test_what_is_asked(argv, asked):
    got = scontrol(*argv)
    assert (got.asked, got.out, got.err, got.code) == (asked, "", "", 0)


def test_an_operators_hold_is_the_administrators():
    assert scontrol("hold", "41", uid=0, operator=True).asked == [("hold", 41, None, "admin")]
    assert scontrol("uhold", "41", uid=0, operator=True).asked == [("hold", 41, None, "user")]


INVALID, DENIED = "Invalid job id specified", "Access/permission denied"


@pytest.mark.parametrize(
    ("argv", "refuse", "err"),
    [
        (["hold", "999999"], {}, f"{INVALID} for job 999999\nslurm_suspend error: {INVALID}\n"),
        (["hold", "abc"], {}, f"{INVALID} for job abc\nslurm_suspend error: {INVALID}\n"),
        (["hold", "999999,41"], {}, f"{INVALID} for job 999999\nslurm_suspend error: No error\n"),
        (["hold", "42_99"], {("hold", 42): Code.INVALID_JOB_ID}, f"42_99: {INVALID}\n"),
        (["hold", "42_[90-99]"], {("hold", 42): Code.INVALID_JOB_ID}, f"42_90-99: {INVALID}\n"),
        (
            ["hold", "44"],
            {("hold", 44): Code.ALREADY_DONE},
            "Job has already finished for job 44\nslurm_suspend error: Job has already finished\n",
        ),
        (["release", "41"], {("hold", 41): Code.ACCESS_DENIED}, f"{DENIED} for job 41\nslurm_suspend error: {DENIED}\n"),
        (["hold", "45"], {("hold", 45): Code.ACCESS_DENIED}, "Invalid user id for job 45\nslurm_suspend error: Invalid user id\n"),
        (["requeue", "999999"], {}, f"{INVALID} for job 999999\n"),
        (["requeue", "abc"], {}, f"{INVALID} for job abc\n"),
        (["requeue", "41"], {("requeue", 41): Code.JOB_PENDING}, "Job is pending execution for job 41\n"),
        (["requeue", "42_2"], {("requeue", 42): Code.JOB_PENDING}, "42_2: Job is pending execution\n"),
        (["requeue", "43"], {("requeue", 43): Code.DISABLED}, "Requested operation is presently disabled for job 43\n"),
        (["requeue", "45"], {("requeue", 45): Code.ACCESS_DENIED}, f"{DENIED} for job 45\n"),
        (["requeuehold", "bogus", "43"], {}, f"{INVALID} for job bogus\n"),
        (["suspend", "43"], {("suspend", 43): Code.ACCESS_DENIED}, f"{DENIED} for job 43\n"),
        (["resume", "43"], {("suspend", 43): Code.DISABLED}, "Job is not suspended for job 43\n"),
        (["top", "41"], {}, f"{DENIED} for job 41\n"),
        (["hold"], {}, "too few arguments for keyword:hold\n"),
        (["requeue"], {}, "too few arguments for keyword:requeue\n"),
        (["notify", "43"], {}, "too few arguments for keyword:notify\n"),
        (["notify", "999999", "x"], {}, f"job notify failure: {INVALID}\n"),
        (["wait_job", "999999"], {}, "scontrol: Problem running job 999999\n"),
        (["wait_job", "44"], {}, "scontrol: Job 44 no longer running\n"),
        (["write", "bogus"], {}, "invalid write argument:bogus\n"),
        (["write", "batch_script", "43", "a", "b"], {}, "too many arguments for keyword:write\n"),
        (["reconfigure"], {}, "slurm_reconfigure error: Invalid user id\n"),
        (["shutdown"], {}, "slurm_shutdown error: Invalid user id\n"),
        (["cancel_reboot", "node1"], {}, "slurm_update error: Invalid user id\n"),
        (["setdebug", "info"], {}, "slurm_set_debug_level error: Permission denied\n"),
        (["setdebug", "bogus"], {}, "invalid debug level: bogus\n"),
        (["create", "partition=x"], {}, "Error creating the partition: Invalid user id\n"),
        (["create", "partition"], {}, "scontrol: error: Invalid input: partition  Request aborted\n"),
        (["delete", "partition=debug"], {}, "delete_partition partition=debug: Invalid user id\n"),
        (["delete", "bogus=1"], {}, "Invalid deletion entity: bogus=1\n"),
        (["delete", "reservation=alice_1"], {}, "delete_reservation reservation=alice_1: Requested reservation is invalid\n"),
        (["one", "two", "three"], {}, "too many arguments for keyword:one\n"),
        (["ping", "extra"], {}, "too many arguments for keyword:ping\n"),
        (["errnumstr", "x"], {}, "numeric arguments required for keyword:errnumstr\n"),
        (["listpids", "abc"], {}, '"abc" does not look like a jobid\n'),
    ],
)
def test_complaints(argv, refuse, err):
    got = scontrol(*argv, refuse=refuse)
    assert (got.err, got.code, got.asked[:0]) == (err, 1, [])


def test_reconfigure_reads_the_configuration_again():
    got = scontrol("reconfigure", operator=True)
    assert (got.out, got.err, got.code, got.asked) == ("", "", 0, [("reconfigure", "")])
    got = scontrol("reconfigure", operator=True, refuse={("reconfigure", ""): Code.POLICY})
    assert (got.err, got.code) == ("scontrol: error: the configuration was not changed: policy\n", 1)


def test_quiet_keeps_the_exit_code():
    got = scontrol("-Q", "hold", "999999")
    assert (got.err, got.code) == ("", 1)


SCRIPT = b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\nsrun sleep 600\n"


def test_write_batch_script():
    got = scontrol("write", "batch_script", "43", "-", scripts={43: SCRIPT})
    assert (got.out, got.code) == (SCRIPT.decode(), 0)
    got = scontrol("write", "batch_script", "43", scripts={43: SCRIPT})
    assert (got.out, got.user.written) == ("batch script for job 43 written to slurm-43.sh\n", {"slurm-43.sh": SCRIPT})
    got = scontrol("write", "batch_script", "43", "/nonexistent/x", scripts={43: SCRIPT})
    assert (got.err, got.code) == ("failed to open file `/nonexistent/x`: No such file or directory\n", 0)
    got = scontrol("write", "batch_script", "999999")
    assert (got.err, got.code) == ("job script retrieval failed: Invalid job id specified\n", 0)


def test_wait_job():
    got = scontrol("wait_job", "43")
    assert (got.err, got.code) == ("scontrol: Nodes are ready for job 43\n", 0)
    assert scontrol("wait_job", "41").err == "scontrol: Nodes are ready for job 41\n"


def test_listpids_where_no_node_is():
    got = scontrol("listpids", "790")
    assert got.out == "PID      JOBID    STEPID   LOCALID GLOBALID\n"
    assert got.err == "scontrol: error: stepd_available: Couldn't find nodename\nJobId=790 does not exist on node (null).\n"
    assert got.code == 1


def test_completing():
    ends = job(
        46,
        state=JobState.COMPLETED,
        completing=True,
        end_time=when("09:22:30"),
        run=0,
        nodes=(share("node1", 1, 1000), share("node2", 1, 1000)),
    )
    out = scontrol("completing", view=View([ends])).out
    assert out == "JobId=46 EndTime=2026-11-24T09:22:30 CompletingTime=00:00:08 Nodes(COMPLETING)=node[1-2] \n"


@pytest.mark.parametrize(
    ("typed", "out", "err", "code"),
    [
        ("", "scontrol: \n", "", 0),
        ("hold 999999\n", "scontrol: hold 999999\nscontrol: \n", f"{INVALID} for job 999999\nslurm_suspend error: {INVALID}\n", 1),
        (
            "bogus\nversion\nquit\nbogus\n",
            "scontrol: bogus\nscontrol: version\nslurm 22.05.8\nscontrol: quit\n",
            "invalid keyword: bogus\n",
            1,
        ),
        ("show hostnames n[1-2]\n!!\nexit\n", "scontrol: show hostnames n[1-2]\nn1\nn2\nscontrol: !!\nn1\nn2\nscontrol: exit\n", "", 0),
        ("\n  version  \n", "scontrol: \nscontrol:   version  \nslurm 22.05.8\nscontrol: \n", "", 0),
    ],
)
def test_the_prompt(typed, out, err, code):
    got = scontrol(stdin=typed)
    assert (got.out, got.err, got.code) == (out, err, code)


def test_the_prompt_on_a_terminal_echoes_nothing_and_keeps_flags():
    got = scontrol(stdin="oneliner\nshow partition gpu\nquit\n", ttys=frozenset({0, 1, 2}))
    assert got.out.startswith("scontrol: scontrol: PartitionName=gpu AllowGroups=ALL ")
    assert got.out.endswith("\nscontrol: ")


@pytest.mark.parametrize(
    ("argv", "out", "err", "code"),
    [
        (["show", "hostnames", "node[1-3,7],gpu[01-02]"], "node1\nnode2\nnode3\nnode7\ngpu01\ngpu02\n", "", 0),
        (["show", "hostnames"], "", "scontrol: error: host list is empty\n", 0),
        (["show", "hostlist", "node1,node2,node3,node10,x01,x02"], "node[1-3,10],x[01-02]\n", "", 0),
        (["show", "hostlist", "node3,node1,node2"], "node[3,1-2]\n", "", 0),
        (["show", "hostlistsorted", "node3,node1,node2"], "node[1-3]\n", "", 0),
        (["show", "hostnames", "a[1-2]b[3-4]"], "a1b3\na1b4\na2b3\na2b4\n", "", 0),
        (["show", "hostnames", "a[1-"], "a]\n", "", 0),
        (["show", "hostlist", "n1,n1,n2"], "n[1,1-2]\n", "", 0),
        (["show", "hostnames", "n[3-1]"], "", "scontrol: error: _parse_single_range: Invalid range: `3-1'\nInvalid hostlist: n[3-1]\n", 0),
        (["show", "hostlist", "n[3-1]"], "", "scontrol: error: _parse_single_range: Invalid range: `3-1'\nInvalid hostlist: n[3-1]\n", 1),
        (["show", "hostnames", "n[1-2]x"], "", "Invalid hostlist: n[1-2]x\n", 0),
        (["show", "hostnames=n1,n2"], "n1\nn2\n", "", 0),
        (["-o", "SHOW", "HOSTN", "n1"], "n1\n", "", 0),
        (["show", "hostlist", ""], "\n", "", 0),
        (["show", "hostnames", "n1", "n2"], "", "too many arguments for keyword:show\n", 1),
    ],
)
def test_host_lists_need_no_broker(argv, out, err, code):
    assert hostnames.run(argv, {}) == (out, err, code)
    got = scontrol(*argv)
    assert (got.out, got.err, got.code) == (out, err, code)


def test_host_lists_from_the_job_and_from_files():
    assert hostnames.run(["show", "hostnames"], {"SLURM_NODELIST": "n[1-2]"}) == ("n1\nn2\n", "", 0)
    assert hostnames.run(["show", "hostnames"], {"SLURM_JOB_NODELIST": "n[1-2]"})[1] == "scontrol: error: host list is empty\n"
    got = scontrol("show", "hostlist", "/tmp/hosts", files={"/tmp/hosts": b"n1\nn2 n3\n\nn4,n5\n"})
    assert got.out == "n[1-5]\n"
    assert scontrol("show", "hostlist", "/tmp/nofile").err == "Can not open /tmp/nofile\n"


@pytest.mark.parametrize(
    "argv", [["show", "job"], ["hold", "1"], [], ["show"], ["-M", "x", "show", "hostnames", "n1"], ["show", "hostlist"]]
)
def test_everything_else_is_for_the_broker(argv):
    assert hostnames.run(argv, {}) is None


@given(st.integers(1, 10**6), st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True))
def test_task_lists_read_what_is_written(number, tasks):
    ref = jobrefs.parse(f"{number}_[{','.join(str(task) for task in tasks)}]")
    assert (ref.job, ref.tasks) == (number, tuple(sorted(tasks)))
    head, _, tail = ref.complaint("no").partition(": ")
    assert tail == "no"
    again = jobrefs.parse(head.replace("_", "_[") + "]")
    assert again.tasks == ref.tasks


@given(st.text(max_size=20))
def test_no_text_breaks_the_job_list(text):
    for item in jobrefs.split(text):
        ref = jobrefs.parse(item)
        assert ref.job is None or ref.text == item


def test_partitions_come_and_go():
    made = scontrol("create", "partition=tmp", "nodes=node1", "state=down", uid=0, operator=True)
    assert (made.asked, made.err, made.code) == ([("create_partition", "tmp", {"nodes": ("node1",), "state": "DOWN"})], "", 0)
    gone = scontrol("delete", "partition=gpu", uid=0, operator=True)
    assert (gone.asked, gone.err, gone.code) == ([("delete_partition", "gpu")], "", 0)
    got = scontrol("delete", "partition=nosuch", uid=0, operator=True)
    assert (got.err, got.code) == ("delete_partition partition=nosuch: Invalid partition name specified\n", 1)
