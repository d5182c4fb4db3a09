"""How steps end before their time: Ctrl-C, bad exits, patience, limits, orders, and a client that dies."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from agentlab import ROOT, wait_for
from steplab import Cluster


@pytest.fixture
def one(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.allocate(kill_wait=5)
    yield cluster
    cluster.stop()


def plain(text):
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", text)


def started(cluster, *argv, mark="up", **kwargs):
    """srun whose tasks have all written a line, so that it is known to run."""
    process = cluster.srun(*argv, **kwargs)
    assert process.stdout.readline().strip().endswith(mark.encode())
    return process


def end(process):
    _out, err = process.communicate(timeout=20)
    return plain(err.decode()), process.returncode


CANCELLED = "slurmstepd-node1: error: *** STEP 1.0 ON node1 CANCELLED AT TIME ***\n"
ABORTED = "srun: Job step aborted: Waiting up to 7 seconds for job step to finish.\n"


def test_interrupt_once_shows_the_tasks(one):
    process = started(one, "-n3", "sh", "-c", "test $SLURM_PROCID = 1 && exit 3; sleep 0.4; test $SLURM_PROCID = 0 && echo up; sleep 1")
    process.send_signal(signal.SIGINT)
    err, code = end(process)
    assert err == (
        "srun: error: node1: task 1: Exited with exit code 3\nsrun: interrupt (one more within 1 sec to abort)\n"
        "srun: StepId=1.0 tasks 0,2: running\nsrun: StepId=1.0 task 1: exited abnormally\n"
    )
    assert code == 3


def test_interrupt_twice_ends_the_step(one):
    process = started(one, "-n2", "sh", "-c", "echo up; exec sleep 60")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"srun: interrupt (one more within 1 sec to abort)\n"
    assert process.stderr.readline() == b"srun: StepId=1.0 tasks 0-1: running\n"
    process.send_signal(signal.SIGINT)
    err, code = end(process)
    assert err == "srun: sending Ctrl-C to StepId=1.0\nsrun: forcing job termination\n" + ABORTED
    assert code == 130


def test_quit_on_interrupt(one):
    process = started(one, "--quit-on-interrupt", "sh", "-c", "echo up; exec sleep 60")
    process.send_signal(signal.SIGINT)
    assert end(process) == ("srun: sending Ctrl-C to StepId=1.0\nsrun: forcing job termination\n" + ABORTED, 130)


def test_tasks_that_do_not_heed_the_interrupt_are_killed(one):
    process = started(one, "--quit-on-interrupt", "sh", "-c", "trap '' INT; echo up; exec sleep 60")
    process.send_signal(signal.SIGINT)
    err, code = end(process)
    assert err == "srun: sending Ctrl-C to StepId=1.0\nsrun: forcing job termination\n" + ABORTED + CANCELLED
    assert code == 137


def catches(folder):
    """Whether the srun that was called in `folder` has taken its signals over: before that they are not its own to speak of."""
    wanted = 1 << (signal.SIGCONT - 1) | 1 << (signal.SIGTERM - 1)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder) and b"\0srun\0" in (process / "cmdline").read_bytes().replace(b"/srun\0", b"\0srun\0"):
                caught = next(line for line in (process / "status").read_text().splitlines() if line.startswith("SigCgt:"))
                if int(caught.split()[1], 16) & wanted == wanted:
                    return True
        except OSError:
            continue  # it ended meanwhile
    return False


def slow_client(folder):
    """The names in a folder of their own, and a client that gets round to its signals only when its step is long over."""
    shutil.copytree(ROOT / "bin", folder / "bin")
    (folder / "slurm_compat").mkdir()
    for name in ("client.py", "attach.py", "reach.py"):
        text = (ROOT / "slurm_compat" / name).read_text()
        if name == "attach.py":
            before = "    def signals(self):\n"
            assert before in text
            text = text.replace(before, before + "        select.poll().poll(1000)\n")
        (folder / "slurm_compat" / name).write_text(text)
    return folder / "bin" / "srun"


@pytest.mark.parametrize("slow", [False, True])
def test_an_srun_of_a_cancelled_script_has_its_last_words(tmp_path, slow):
    cluster = Cluster(tmp_path)
    srun = slow_client(tmp_path / "slow") if slow else "srun"
    cluster.begin(f"#!/bin/sh\n{srun} sh -c 'touch up; exec sleep 60'\n", kill_wait=5)
    wait_for(lambda: (tmp_path / "up").exists() and catches(tmp_path))
    cluster.head.order("end", 1, why="cancel", uid=0)
    cluster.head.wait("empty", 1)
    lines = plain(cluster.output()).splitlines()
    cluster.stop()
    said = [line for line in lines if line.startswith("srun:") or "STEP" in line]
    assert said == [
        "srun: got SIGCONT",
        "srun: forcing job termination",
        ABORTED.strip(),
        CANCELLED.strip(),
        "srun: error: node1: task 0: Terminated",
    ]


def test_term(one):
    process = started(one, "sh", "-c", "echo up; exec sleep 60")
    process.send_signal(signal.SIGTERM)
    assert end(process) == ("srun: forcing job termination\n" + ABORTED + CANCELLED + "srun: error: node1: task 0: Killed\n", 137)


def test_other_signals_go_to_the_tasks(one):
    process = started(one, "sh", "-c", 'trap "exit 5" USR1; echo up; while :; do sleep 0.05; done')
    process.send_signal(signal.SIGUSR1)
    err, code = end(process)
    assert err.endswith("srun: error: node1: task 0: Exited with exit code 5\n")  # the shell may tell of its sleep's end before
    assert code == 5


def test_kill_on_bad_exit(one):
    err, code = end(one.srun("-n2", "-K", "sh", "-c", "test $SLURM_PROCID = 0 && exit 5; exec sleep 60"))
    assert err == (
        "srun: error: node1: task 0: Exited with exit code 5\nsrun: launch/slurm: _step_signal: Terminating StepId=1.0\n"
        + CANCELLED
        + "srun: error: node1: task 1: Terminated\nsrun: Force Terminated StepId=1.0\n"
    )
    assert code == 143


def test_wait(one):
    err, code = end(one.srun("-n2", "-W1", "sh", "-c", "test $SLURM_PROCID = 0 && exit 0; exec sleep 60"))
    assert err == (
        "srun: First task exited 1s ago\nsrun: StepId=1.0 task 1: running\nsrun: StepId=1.0 task 0: exited\n"
        "srun: launch/slurm: _step_signal: Terminating StepId=1.0\n" + ABORTED + CANCELLED + "srun: error: node1: task 1: Killed\n"
    )
    assert code == 137


def test_scancel_of_a_step(one):
    process = started(one, "-n2", "sh", "-c", "echo up; exec sleep 60")
    one.head.order("signal", signum=9, step=0)
    assert end(process) == (ABORTED + CANCELLED + "srun: error: node1: tasks 0-1: Killed\n", 137)
    assert one.head.wait("step_end")["data"]["state"] == "CANCELLED"


def test_end_of_the_job(one):
    process = started(one, "-n2", "sh", "-c", "echo up; exec sleep 60")
    assert process.stdout.readline() == b"up\n"
    one.head.order("end", why="cancel", uid=0)
    err, code = end(process)
    assert err == ABORTED + CANCELLED + "srun: error: node1: tasks 0-1: Terminated\n"
    assert code == 143


def test_a_dead_client_ends_its_step(one):
    process = started(one, "sh", "-c", "echo up; exec sleep 60")
    process.kill()
    process.communicate()
    data = one.head.wait("step_end")["data"]
    assert (data["state"], data["signal"]) == ("CANCELLED", 9)


def test_steps_wait_for_room(one):
    first = started(one, "-n8", "sh", "-c", "echo up; read line", stdin=subprocess.PIPE)
    assert one.ask("-n1", "-I", "true") == ("", "srun: error: Unable to create step for job 1: Requested nodes are busy\n", 1)
    assert one.ask("-n8", "--overlap", "true") == ("", "", 0)
    second = one.srun("-n1", "true")
    assert second.stderr.readline() == b"srun: Job 1 step creation temporarily disabled, retrying (Requested nodes are busy)\n"
    third = one.srun("-n1", "true")
    assert third.stderr.readline() == b"srun: Job 1 step creation temporarily disabled, retrying (Requested nodes are busy)\n"
    third.send_signal(signal.SIGINT)
    assert end(third) == (
        "srun: Cancelled pending job step with signal 2\n"
        "srun: error: Unable to create step for job 1: Job/step already completing or completed\n",
        1,
    )
    first.communicate(b"go\n")
    assert end(second) == ("srun: Step created for job 1\n", 0)


def test_exact_steps_run_side_by_side(one):
    steps = [started(one, "-n1", "--exact", "sh", "-c", "echo up; read line", stdin=subprocess.PIPE) for _ in range(8)]
    ninth = one.srun("-n1", "--exact", "true")
    assert b"temporarily disabled" in ninth.stderr.readline()
    for step in steps:
        step.communicate(b"\n")
    assert end(ninth)[1] == 0


def test_nothing_of_a_step_is_left(one):
    pid = int(one.ask("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")[0])
    wait_for(lambda: not alive(pid))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_refusals(one):
    said = {
        ("-n99", "x"): "srun: error: Unable to create step for job 1: More processors requested than permitted\n",
        ("-N3", "x"): "srun: error: Only allocated 1 nodes asked for 3\n",
        ("-w", "node4", "x"): "srun: error: Unable to create step for job 1: Requested node configuration is not available\n",
        ("-n1", "--mem=99999", "x"): "srun: error: Unable to create step for job 1: Memory required by task is not available\n",
        ("-n", "abc", "x"): 'srun: error: Invalid numeric value "abc" for --ntasks.\n',
        ("-r5", "x"): "srun: error: --relative and SLURM_JOB_NUM_NODES option incompatible with count of allocated nodes (5+1>1)\n",
        ("-r0", "-w", "node1", "x"): "srun: error: -r,--relative not allowed with -w,--nodelist or -x,--exclude.\n",
        ("--gres=gpu:1", "x"): "srun: error: Step requested GRES but job doesn't have GRES\n"
        "srun: error: Unable to create step for job 1: Invalid generic resource (gres) specification\n",
        ("--multi-prog", "nosuch"): "srun: error: Could not open multi_prog config file nosuch\n",
    }
    got = {argv: one.ask(*argv) for argv in said}
    assert {argv: err for argv, (_, err, _) in got.items()} == said
    assert {code for _, _, code in got.values()} == {1}


def test_multi_prog(one):
    (one.folder / "mp.conf").write_text("# comment\n0 echo t%t o%o \"a  b\" %% x\n1,3 echo t%t o%o \\\n  more\n* echo rest 'a  b'\n")
    out, err, code = one.ask("-n4", "-l", "--multi-prog", "mp.conf", "--extra")
    assert sorted(out.splitlines()) == [
        '0: t0 o0 "a b"  x --extra',
        "1: t1 o0 more --extra",
        "2: rest a  b --extra",
        "3: t3 o1 more --extra",
    ]
    assert (err, code) == ("", 0)


def test_time_passes(one):
    """Output that comes in the middle of a line waits for its end, unless unbuffered."""
    process = one.srun("-u", "sh", "-c", "printf a; sleep 0.5; echo b")
    assert process.stdout.read(1) == b"a"
    began = time.monotonic()
    assert process.communicate()[0] == b"b\n"
    assert time.monotonic() >= began


def test_the_jobs_time_limit(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.allocate(kill_wait=5, time_limit=1)
        err, code = end(cluster.srun("sleep", "60"))
        assert err == ABORTED + CANCELLED.replace(" ***\n", " DUE TO TIME LIMIT ***\n") + "srun: error: node1: task 0: Terminated\n"
        assert code == 143
    finally:
        cluster.stop()
