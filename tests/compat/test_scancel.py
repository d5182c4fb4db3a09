"""scancel: what it says and returns, against answers of Slurm 22.05.8 (ids as in the queue of cluster.py), and what it asks for."""

from __future__ import annotations

import asyncio

import pytest

from sbroker.api import Call, Target
from sbroker.errors import Code, Refused
from sbroker.states import JobState
from slurm_compat.commands import scancel
from slurm_compat.commands.common import Stop
from slurm_compat.getopt import parse
from tests.compat.cluster import ALICE, CONFIG, FakeView, busy, job, steps


class Client:
    """`lines`: what standard input holds."""

    def __init__(self, lines: str = "") -> None:
        self.said, self.input = {1: "", 2: ""}, lines.encode()

    async def out(self, data, fd=1):
        self.said[fd] += data

    async def lines(self):
        for line in self.input.splitlines():
            yield line


class Broker:
    """Knows the jobs of its view and refuses as the broker does; `asked` is what it was asked to end or signal."""

    def __init__(self, view: FakeView, call: Call) -> None:
        self.view, self.config, self.caller, self.asked = view, CONFIG, call, []

    async def cancel(self, target, **how):
        found = self.view.jobs.get(target.job) or next(iter(self.view.array(target.job)), None)
        if found is None:
            raise Refused(Code.INVALID_JOB_ID)
        if target.tasks is not None and not any(set(target.tasks) & {j.array_task, *j.array_pending} for j in self.view.array(target.job)):
            raise Refused(Code.INVALID_JOB_ID)
        if found.uid != self.caller.uid:
            raise Refused(Code.ACCESS_DENIED)
        if found.state.ended:
            raise Refused(Code.ALREADY_DONE)
        if target.step is not None and target.step not in self.view.steps.get(target.job, {}):
            raise Refused(Code.INVALID_JOB_ID)
        self.asked.append((target, {k: v for k, v in how.items() if v}))

    async def cancel_many(self, jobs, **how):
        self.asked.append((jobs, {k: v for k, v in how.items() if v}))


def view() -> FakeView:
    """The queue, a job of bob's, and one that is over."""
    base = busy()
    more = [job(900, "theirs", uid=1002, user="bob"), job(901, "done", state=JobState.CANCELLED)]
    return FakeView([*base.jobs.values(), *more], steps(), base.nodes.values(), base.partitions.values())


def scancelled(line: str, typed: str = "", env: dict | None = None) -> tuple[int, str, str, list]:
    """(exit code, standard output, standard error, what the broker was asked) of a command line."""
    call = Call(id="1", name="scancel", argv=tuple(line.split()), env=env or {}, cwd="/", uid=ALICE, user="alice")
    client, broker = Client(typed), Broker(view(), call)
    code = asyncio.run(scancel.run(call, client, broker))
    return code, client.said[1], client.said[2], broker.asked


ERROR = "scancel: error: "
SAYS = [  # line, exit code, standard error
    ("", 1, ERROR + "No job identification provided\n"),
    ("999999", 0, ""),
    ("-Q 999999", 0, ""),
    ("-v 999999", 0, "scancel: Terminating job 999999\n" + ERROR + "Kill job error on job id 999999: Invalid job id specified\n"),
    ("abc", 1, ERROR + "Invalid job id abc\n"),
    ("1.x", 1, ERROR + "Invalid job id 1.x\n"),
    ("0", 1, ERROR + "Invalid job id 0\n"),
    ("790 abc", 1, ERROR + "Invalid job id abc\n"),
    ("797_x", 1, ERROR + "Invalid job id 797_x\n"),
    ("797_[]", 1, ERROR + "_parse_single_range: Invalid range: `'\n" + ERROR + "Invalid job id 797_[]\n"),
    ("797_1_2", 1, ERROR + "Invalid job id 797_1_2\n"),
    ("-1", 1, "scancel: invalid option -- '1'\nTry \"scancel --help\" for more information\n"),
    ("--bogus", 1, "scancel: unrecognized option '--bogus'\nTry \"scancel --help\" for more information\n"),
    ("-s USR9 790", 1, "Unknown job signal: USR9\n"),
    ("-s 0 790", 1, "Unknown job signal: 0\n"),
    ("-t BOGUS", 1, "Invalid job state specified: BOGUS\nValid job states are PENDING, RUNNING, and SUSPENDED\n"),
    ("-u nosuch-user", 1, ERROR + "Invalid user name: nosuch-user\n"),
    ("-n nosuchname", 0, ""),
    ("-p nosuch", 0, ""),
    ("-w nosuch", 0, ""),
    ("-M nosuch 5", 1, ERROR + "No cluster 'nosuch' known by database.\n"
     + ERROR + "'nosuch' can't be reached now, or it is an invalid entry for --cluster.  "
     "Use 'sacctmgr list clusters' to see available clusters.\n"),
    ("900", 210, ERROR + "Kill job error on job id 900: Access/permission denied\n"),
    ("-v 900", 210, "scancel: Terminating job 900\n" + ERROR + "Kill job error on job id 900: Access/permission denied\n"),
    ("901", 0, ""),
    ("-v 901", 0, "scancel: Terminating job 901\n" + ERROR + "Kill job error on job id 901: Job/step already completing or completed\n"),
    ("-s KILL 901", 1, ERROR + "Kill job error on job id 901: Invalid job id specified\n"),
    ("790.99", 225, 2 * (ERROR + "Kill job error on job step id 790: Invalid job id specified\n")),
    ("794.0", 0, ""),
    ("-v 999999.0", 1, ERROR + "Kill job error on job step id 999999.0: Invalid job id specified\n"),
    ("-v 797_99", 0, "scancel: Terminating job 797_99\n" + ERROR + "Kill job error on job id 797_99: Invalid job id specified\n"),
    ("-v -n nosuch 790", 1, ERROR + "Kill job error on job id 790: Invalid job id specified\n"
     + ERROR + "No active jobs match ALL job filters, including: job_name=nosuch \n"),
    ("-v --me -p nosuch", 0, ERROR + "No active jobs match ALL job filters, including: partition=nosuch user_name=1001 \n"),
    ("-s USR1 -v 797", 0, "scancel: Signal 10 to job 797_[3-10%2]\nscancel: Signal 10 to job 797_1\nscancel: Signal 10 to job 797_2\n"),
    ("-s CONT -b -v 790", 0, "scancel: Signal 18 to batch job 790\n"),
    ("-s CONT -f -v 790", 0, "scancel: Signal 18 to full job 790\n"),
    ("-b -v 790", 0, "scancel: Terminating batch job 790\n"),
    ("-v 790.0", 0, "scancel: Terminating step 790.0\n"),
    ("--me -t PD -v -p gpu", 0, "scancel: Terminating job 799\n"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "err"), SAYS, ids=[line or "(nothing)" for line, _, _ in SAYS])
def test_says(line, code, err):
    assert scancelled(line)[:3] == (code, "", err)


ASKS = [  # line, what the broker is asked
    ("790", [(Target(job=790), {})]),
    ("790 999999 791", [(Target(job=790), {}), (Target(job=791), {})]),
    ("790,791", [(Target(job=790), {}), (Target(job=791), {})]),
    ("797_[5-6]", [(Target(job=797, tasks=(5, 6)), {})]),
    ("797_7", [(Target(job=797, tasks=(7,)), {})]),
    ("790.0", [(Target(job=790, step=0), {})]),
    ("-s USR1 790", [(Target(job=790), {"signal": 10})]),
    ("-s KILL 790", [(Target(job=790), {})]),
    ("-b 790", [(Target(job=790), {"signal": 9, "batch": True})]),
    ("-b -s TERM 790", [(Target(job=790), {"signal": 15, "batch": True})]),
    ("-f -s 18 790", [(Target(job=790), {"signal": 18, "full": True})]),
    ("-n held", [([795], {})]),
    ("-n arr", [([797, 800, 801], {})]),
    ("-n arr -t PENDING", [(Target(job=797, tasks=tuple(range(3, 11))), {})]),
    ("-n arr -w node1", [([800, 801], {})]),
    ("-s USR1 797_1", [(Target(job=797, tasks=(1,)), {"signal": 10})]),
    ("-A other", [([798], {})]),
    ("-w node3", [([791], {})]),
    ("-t R -p debug", [([790, 800, 801], {})]),
    ("-s USR1 --me", [([790, 791, 800, 801], {"signal": 10})]),
    ("-n run 790 791", [(Target(job=790), {})]),
    ("--hurry --ctld 790", [(Target(job=790), {})]),
]


@pytest.mark.parametrize(("line", "asked"), ASKS, ids=[line for line, _ in ASKS])
def test_asks(line, asked):
    assert scancelled(line)[3] == asked


def test_all_of_a_user_go_in_one_change():
    code, _, err, asked = scancelled("--me")
    assert (code, err, len(asked)) == (0, "", 1)
    assert asked[0][0] == list(range(790, 802))


def test_jobs_of_others_are_refused_and_the_rest_goes():
    code, _, err, asked = scancelled("-p debug -t PENDING")
    assert (code, err) == (210, ERROR + "Kill job error on job id 900: Access/permission denied\n")
    assert asked == [([792, 793, 794, 795, 796, 798], {}), (Target(job=797, tasks=tuple(range(3, 11))), {})]


ANSWERS = [("n\n", 1, False), ("y\n", 1, True), ("what\nYes\n", 2, True), ("", 1, False), ("y", 1, True)]


@pytest.mark.parametrize(("typed", "asks", "ended"), ANSWERS)
def test_confirmation(typed, asks, ended):
    code, out, _, asked = scancelled("-i 794", typed)
    assert (code, out) == (0, "Cancel job_id=794 name=dep partition=debug [y/n]? " * asks)
    assert bool(asked) == ended


def test_variables():
    assert scancelled("", env={"SCANCEL_NAME": "held"})[3] == [([795], {})]
    assert scancelled("790", env={"SCANCEL_BATCH": "true"})[3] == [(Target(job=790), {"signal": 9, "batch": True})]
    assert scancelled("790", env={"SCANCEL_BATCH": "false"})[3] == [(Target(job=790), {})]
    assert scancelled("999999", env={"SCANCEL_VERBOSE": "1"})[2] == ERROR + "Unrecognized SCANCEL_VERBOSE value: 1\n"
    code, _, err, _ = scancelled("790", env={"SCANCEL_STATE": "BOGUS"})
    assert (code, err) == (1, "Unrecognized SCANCEL_STATE value: BOGUS\nValid job states are PENDING, RUNNING, and SUSPENDED\n")


def test_the_last_of_me_and_user_counts():
    def uid(*argv: str) -> int | None:
        return scancel.parse(parse("scancel", list(argv)), ALICE, "oracle", uid_of={"root": 0}.get).uid

    assert uid("--me", "-u", "root") == 0
    assert uid("-u", "root", "--me") == ALICE
    with pytest.raises(Stop):
        uid("-u", "nobody-here")
