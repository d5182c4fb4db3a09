"""squeue and sinfo against what Slurm 22.05.8 printed for the same queue, line by line: data/{squeue,sinfo,columns}.txt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sbroker.states import JobState, NodeState, Reason
from slurm_compat import getopt
from slurm_compat.commands import sinfo, squeue
from slurm_compat.commands.common import Stop
from tests.compat.cluster import ALICE, CONFIG, ENV, NODES, PARTITIONS, FakeView, at, busy, idle, job, node, running, shares

DATA = Path(__file__).parent / "data"
UIDS = {"alice": ALICE, "1001": ALICE, "root": 0}


def ask(command: str, view: FakeView, clock: str) -> tuple[str, str, int]:
    """(standard output, standard error, exit code) of a command line as one types it, variables before it."""
    words, env = shlex.split(command), {}
    while re.match(r"[A-Z_0-9]+=", words[0]):
        name, _, env[name] = words.pop(0).partition("=")
    try:
        raw = getopt.parse(words[0], words[1:], env)
        if words[0] == "squeue":
            request, module = squeue.parse(raw, ALICE, view.nodes, CONFIG.cluster, UIDS.get), squeue
        else:
            request, module = sinfo.parse(raw, view, CONFIG.cluster), sinfo
    except getopt.BadOption as bad:
        return "", bad.text, bad.code
    except Stop as stop:
        return stop.out, stop.err, stop.code
    out, err, code = module.render(request, view, CONFIG, at(clock), {**ENV, **env})
    return out, request.early + err, code


def recorded(name: str) -> Iterator[tuple[str, FakeView, str, str]]:
    """(clock, view, command, what it said) of each block of a file."""
    for block in re.split(r"^@ ", (DATA / name).read_text(), flags=re.M)[1:]:
        head, command, *said = block.split("\n")
        clock, _, kind = head.partition(" ")
        yield clock, idle() if kind == "idle" else busy(), command[2:], "\n".join(said).rstrip("\n")


def said(out: str, err: str, code: int) -> str:
    return out + "".join(f"! {line}\n" for line in err.splitlines()) + f"[exit {code}]"


RECORDED = [*recorded("squeue.txt"), *recorded("sinfo.txt")]


@pytest.mark.parametrize(("clock", "view", "command", "answer"), RECORDED, ids=[command for _, _, command, _ in RECORDED])
def test_recorded(clock, view, command, answer):
    assert said(*ask(command, view, clock)) == answer


COLUMNS = [line.split(" ", 1) for line in (DATA / "columns.txt").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("clock", "line"), COLUMNS, ids=[line.partition(": ")[0] for _, line in COLUMNS])
def test_column(clock, line):
    command, _, answer = line.partition(": ")
    out, err, _ = ask(command, busy(), clock)
    assert " ".join([" | ".join(row.rstrip() for row in out.splitlines()), *err.split("\n")]).strip() == answer


def lines(command: str, view: FakeView) -> list[str]:
    return ask(command, view, "09:22:30")[0].splitlines()


def test_a_job_of_several_partitions():
    """Recorded: the list as it is, or with -P a row for each; -p finds it by either."""
    view = FakeView([job(878, priority=0, spec={"partitions": ("debug", "gpu")})], (), NODES, PARTITIONS)
    assert lines("squeue -h -o '%i %P'", view) == ["878 debug,gpu"]
    assert lines("squeue -h -p gpu -o '%i %P'", view) == ["878 debug,gpu"]
    assert lines("squeue -h -P -o '%i %P'", view) == ["878 debug", "878 gpu"]
    assert lines("squeue -h -P -p gpu -o '%i %P'", view) == ["878 gpu"]
    assert lines("squeue -h -p nosuch", view) == []


def test_states():
    """Recorded states.txt: what each end shows in the last column."""
    over = {"start_time": at("09:20:00"), "end_time": at("09:20:03"), "nodes": shares("node1")}
    view = FakeView(
        [
            job(778, state=JobState.CANCELLED, **over),
            job(771, state=JobState.FAILED, reason=Reason.NON_ZERO_EXIT, **over),
            job(780, state=JobState.TIMEOUT, reason=Reason.TIME_LIMIT, **over),
            job(785, reason=Reason.REQUEUE_HOLD, held="user"),
            job(788, state=JobState.CANCELLED, completing=True, **over),
            job(790, state=JobState.RUNNING, configuring=True, start_time=at("09:22:00"), nodes=shares("node2")),
        ],
        (),
        NODES,
        PARTITIONS,
    )
    assert lines("squeue -t all -h -S i -o '%i %t %T %r %R %M'", view) == [
        "771 F FAILED NonZeroExitCode (NonZeroExitCode) 0:03",
        "778 CA CANCELLED None node1 0:03",
        "780 TO TIMEOUT TimeLimit (TimeLimit) 0:03",
        "785 PD PENDING job requeued in held state (job requeued in held state) 0:00",
        "788 CG COMPLETING None node1 0:03",
        "790 CF CONFIGURING None node2 0:30",
    ]
    assert lines("squeue -h -S i -o %i", view) == ["785", "788", "790"]
    assert lines("squeue -h -t CG,ca -o %i -S i", view) == ["778", "788"]


def test_node_states():
    """Recorded: completing nodes, full ones, drained ones; -t goes by the base state and by flags."""
    jobs = [
        job(745, state=JobState.CANCELLED, completing=True, nodes=shares("node1")),
        running(746, "other", shares("node1"), "09:22:00"),
        job(747, state=JobState.CANCELLED, completing=True, nodes=shares("node2")),
        running(748, "full", shares("node3", cpus=8), "09:22:00"),
    ]
    view = FakeView(jobs, (), NODES, PARTITIONS)
    assert lines("sinfo -h -p debug", view) == [
        "debug*       up   infinite      2   comp node[1-2]",
        "debug*       up   infinite      1  alloc node3",
        "debug*       up   infinite      1   idle node4",
    ]
    assert lines("sinfo -h -N -p debug -O nodelist:6,statelong:12,statecomplete:18,cpusstate", view) == [
        "node1 completing  mixed+completing  1/7/0/8             ",
        "node2 completing  idle+completing   0/8/0/8             ",
        "node3 allocated   allocated         8/0/0/8             ",
        "node4 idle        idle              0/8/0/8             ",
    ]
    assert lines("sinfo -h -o '%A %F'", view) == ["3/1 3/1/0/4"]
    assert lines("sinfo -h -p debug -t alloc -o %N", view) == ["node[1,3]"]
    assert lines("sinfo -h -p debug -t idle -o %N", view) == ["node[2,4]"]
    drained = {"drain": True, "reason": "disk", "reason_time": at("09:00:00")}
    silent = {"state": NodeState.DOWN, "reason": "Not responding", "reason_time": at("09:00:00")}
    nodes = [node(1, **drained), node(2), node(3, **drained), node(4, **silent)]
    view = FakeView(jobs[3:], (), nodes, PARTITIONS)
    assert lines("sinfo -h -N -p debug -o '%N %t %T %C'", view) == [
        "node1 drain drained 0/0/8/8",
        "node2 idle idle 0/8/0/8",
        "node3 drng draining 8/0/0/8",
        "node4 down* down* 0/0/8/8",
    ]
    assert sorted(lines("sinfo -h -R", view), reverse=True) == [
        "disk                 root      2026-11-24T09:00:00 node[1,3]",
        "Not responding       root      2026-11-24T09:00:00 node4",
    ]
    assert lines("sinfo -h -d -o %N", view) == ["node4"]
    mute = FakeView(jobs[3:], (), [node(1, silent=1.0), node(2), node(3, silent=1.0), node(4, state=NodeState.DOWN, silent=1.0)], PARTITIONS)
    assert lines("sinfo -h -N -p debug -o '%N %t'", mute) == ["node1 idle*", "node2 idle", "node3 alloc*", "node4 down*"]
    assert lines("sinfo -h -r -o %N", view) == ["node[1-3]"]
    assert lines("sinfo -h -t 'drain&alloc' -o %N", view) == ["node3"]
    cloud = [node(1, cloud=True, incarnation="", state=NodeState.UNKNOWN)]
    assert lines("sinfo -h -o '%t %T'", FakeView((), (), cloud, PARTITIONS[:1])) == ["idle~ idle~"]
    boots = node(1, cloud=True, token="g1", incarnation="", state=NodeState.UNKNOWN)
    leaves = node(2, cloud=True, token="g1", incarnation="x", releasing=True)
    made = FakeView((), (), [boots, leaves], PARTITIONS[:1])
    assert lines("sinfo -h -N -p debug -o '%N %t'", made) == ["node1 idle#", "node2 idle%"]
    assert lines("sinfo -h -N -p debug -t powering_down -o %N", made) == ["node2"]


def test_waiting_tasks_that_left_their_array_are_shown_in_it():
    """Recorded: an array of 9, task 5 held, 7 with another nice, 9 renamed; then 3 in another partition."""
    array = {"array_id": 12148, "array_size": 9}

    def view(*tasks: int, limit: int | None = None, **moved: str) -> FakeView:
        return FakeView(
            [
                job(12148, reason=Reason.RESOURCES, array_pending=tasks, spec={"array_limit": limit}, **array),
                job(12149, reason=Reason.HELD_USER, held="user", priority=0, array_task=5, spec={"array_limit": limit}, **array),
                job(12150, array_task=7, spec={"nice": 5}, **array),
                job(12152, "foo", array_task=9, **array),
                *([job(12153, array_task=3, partition="gpu", **array)] if moved else []),
            ],
            (),
            NODES,
            PARTITIONS,
        )

    merged = "12148_[1-8]|12148|1-8|Resources,None,JobHeldUser|(Resources,None,JobHeldUser)"
    asked = "squeue -h -S i -o '%i|%A|%K|%r|%R'"
    for limit in (None, 2):
        assert lines(asked, view(1, 2, 3, 4, 6, 8, limit=limit)) == ["12148_9|12152|9|None|(None)", merged]
    assert lines("squeue -h -S i -o '%i %P' -j 12148", view(1, 2, 4, 6, 8, gone="3")) == [
        "12148_3 gpu",
        "12148_9 debug",
        "12148_[1-2,4-8] debug",
    ]
    assert lines("squeue -h -S i -o '%i %r' -j 12148_5,12148_6", view(1, 6)) == ["12148_5 JobHeldUser", "12148_6 Resources"]
    assert lines("squeue -h -r -S i -o '%i %r' -j 12148", view(1, 6)) == [
        "12148_1 Resources",
        "12148_5 JobHeldUser",
        "12148_6 Resources",
        "12148_7 None",
        "12148_9 None",
    ]
