"""salloc and srun against recorded answers of Slurm 22.05.8: what they say while they wait, run a command, are interrupted or refused."""

from __future__ import annotations

import asyncio
import errno
import shlex
import signal
from dataclasses import dataclass, field

import pytest
from msgspec import structs
from submit_fakes import FakeApi, FakeClient, call_of, refusal

from sbroker.model import Exit
from sbroker.states import JobState, Reason
from slurm_compat.commands import salloc, srun

BUSY = "Requested partition configuration not available now"
MODULES = {"salloc": salloc, "srun": srun}


@dataclass
class Case:
    line: str
    err: str = ""
    code: int = 0
    out: str = ""
    api: dict = field(default_factory=dict)
    refused: str = ""
    exits: tuple = (0,)
    signals: tuple = ()
    env: dict = field(default_factory=dict)
    done: tuple = ()  # what the broker was asked to finish
    files: dict = field(default_factory=dict)


def run(case):
    words = shlex.split(case.line)
    call = call_of(words[0], words[1:], case.env)
    client = FakeClient(case.files, exits=case.exits)
    api = FakeApi(call, refuse=refusal(case.refused) if case.refused else None, **case.api)
    for signum in case.signals:
        client.pending_signals.put_nowait(signum)
    code = asyncio.run(MODULES[words[0]].run(call, client, api))
    return code, client, api


WAITS = {"start": False, "reason": Reason.PARTITION_NODE_LIMIT}
STARTS = {"start": False, "moves": [{"state": JobState.RUNNING}]}
CANCELLED = {"state": JobState.CANCELLED}
REFUSED = {"state": JobState.FAILED, "reason_text": "node1: No space left"}
GRANTED, GIVEN_BACK = "salloc: Granted job allocation 7\n", "salloc: Relinquishing job allocation 7\n"

BOGUS_MPI = (
    "Couldn't find the specified plugin name for mpi/bogus looking at all files",
    "cannot find mpi plugin for mpi/bogus",
    "MPI: Cannot create context for mpi/bogus",
    "MPI: Unable to load any plugin",
    "Invalid MPI type 'bogus', --mpi=list for acceptable types",
)
CASES = [
    Case("salloc true", GRANTED + GIVEN_BACK, done=(("finish", 7, 0, 0),)),
    Case("salloc -n2 bash -c 'exit 4'", GRANTED + GIVEN_BACK, 4, exits=(4 << 8,), done=(("finish", 7, 4, 0),)),
    Case("salloc bash -c 'kill -9 $$'", GRANTED + GIVEN_BACK, 0, exits=(9,), done=(("finish", 7, 0, 9),)),
    Case("salloc bash -c 'kill -TERM $$'", GRANTED + GIVEN_BACK, 1, exits=(15,), done=(("finish", 7, 0, 15),)),
    Case("salloc nosuch", GRANTED + 'salloc: error: _fork_command: Unable to find command "nosuch"\n' + GIVEN_BACK, 1,
         exits=(OSError(errno.ENOENT, "No such file or directory"),), done=(("finish", 7, 1, 0),)),
    Case("salloc -Q true"),
    Case("salloc --x11 true", "salloc: error: No DISPLAY variable set, cannot setup x11 forwarding.\n", 255),
    Case("salloc --x11=last true", "salloc: error: Job submit/allocate failed: X11 forwarding not available\n", 1, env={"DISPLAY": ":10"}),
    Case("srun --x11=first true", "srun: error: No DISPLAY variable set, cannot setup x11 forwarding.\n", 255),
    Case("srun --x11 -N99 true", "srun: error: Unable to allocate resources: X11 forwarding not available\n", 1, env={"DISPLAY": "localhost:10.0"}),
    Case("salloc --no-shell -n1", GRANTED),
    Case("salloc -N99 true", "salloc: %s\nsalloc: Pending job allocation 7\nsalloc: job 7 queued and waiting for resources\n"
         "salloc: Job allocation 7 has been revoked.\nsalloc: Job aborted due to signal\n" % BUSY, 1, api=WAITS, signals=(signal.SIGINT,)),
    Case("srun -N99 true", "srun: %s\nsrun: job 7 queued and waiting for resources\nsrun: Job allocation 7 has been revoked\n"
         "srun: Force Terminated JobId=7\n" % BUSY, 1, api=WAITS, signals=(signal.SIGINT,)),
    Case("srun -N99 true", "srun: %s\nsrun: job 7 queued and waiting for resources\nsrun: Job allocation 7 has been revoked\n" % BUSY, 1,
         api=WAITS, signals=(signal.SIGTERM,)),
    Case("salloc --begin=now+2 true", "salloc: Pending job allocation 7\nsalloc: job 7 queued and waiting for resources\n"
         "salloc: job 7 has been allocated resources\n" + GRANTED + GIVEN_BACK, api=STARTS),
    Case("srun --begin=now+2 hostname", "srun: job 7 queued and waiting for resources\nsrun: job 7 has been allocated resources\n",
         api=STARTS),
    Case("srun -H -t1 hostname", "srun: Job is in held state, pending scheduler release\nsrun: job 7 queued and waiting for resources\n"
         "srun: Job has been cancelled\nsrun: error: Unable to allocate resources: Job/step already completing or completed\n", 1,
         api={"start": False, "reason": Reason.HELD_USER, "moves": [CANCELLED]}),
    Case("salloc -H true", "salloc: Job is in held state, pending scheduler release\nsalloc: Pending job allocation 7\n"
         "salloc: job 7 queued and waiting for resources\nsalloc: Job allocation 7 has been revoked.\nsalloc: Job has been cancelled\n"
         "salloc: error: Job submit/allocate failed: Job/step already completing or completed\n", 1,
         api={"start": False, "reason": Reason.HELD_USER, "moves": [CANCELLED]}),
    # ours: why a launch was refused, which Slurm leaves to its log
    Case("srun --begin=now+2 true", "srun: job 7 queued and waiting for resources\nsrun: error: Unable to allocate resources: node1: No space left\n", 1,
         api={"start": False, "moves": [REFUSED]}),
    Case("salloc --begin=now+2 true", "salloc: Pending job allocation 7\nsalloc: job 7 queued and waiting for resources\n"
         "salloc: Job allocation 7 has been revoked.\nsalloc: error: Job submit/allocate failed: node1: No space left\n", 1,
         api={"start": False, "moves": [REFUSED]}),
    Case("salloc -I -n33 true", "salloc: error: Job submit/allocate failed: %s\nsalloc: Job allocation 7 has been revoked.\n" % BUSY, 1,
         api=WAITS),
    Case("srun -I -N99 true", "srun: error: Unable to allocate resources: %s\n" % BUSY, 1, api=WAITS),
    Case("srun -I -n1 true", "srun: error: Unable to allocate resources: Immediate execution impossible, insufficient priority\n", 1,
         api={"start": False, "reason": Reason.PRIORITY}),
    Case("salloc -I -N99 true", "salloc: error: Job submit/allocate failed: %s\nsalloc: Job allocation 7 has been revoked.\n" % BUSY, 42,
         api=WAITS, env={"SLURM_EXIT_ERROR": "42"}),
    Case("srun -t abc true", "srun: error: Invalid --time specification\n", 255, env={"SLURM_EXIT_ERROR": "42"}),
    Case("srun -n abc true", 'srun: error: Invalid numeric value "abc" for --ntasks.\n', 1, env={"SLURM_EXIT_ERROR": "42"}),
    Case("salloc --mem=1T true", "salloc: error: Memory specification can not be satisfied\nsalloc: Job allocation 1 has been revoked.\n"
         "salloc: error: Job submit/allocate failed: Requested node configuration is not available\n", 1, refused="MEMORY"),
    Case("srun --mem=1T true", "srun: error: Memory specification can not be satisfied\n"
         "srun: error: Unable to allocate resources: Requested node configuration is not available\n", 1, refused="MEMORY"),
    Case("srun --gres=gpu:99 true", "srun: error: Unable to allocate resources: Requested node configuration is not available\n", 1,
         refused="NODE_CONFIG"),
    Case("salloc -C nosuch true", "salloc: error: Job submit/allocate failed: Invalid feature specification\n", 1,
         refused="INVALID_FEATURE"),
    Case("srun -p nosuch hostname", "srun: error: invalid partition specified: nosuch\n"
         "srun: error: Unable to allocate resources: Invalid partition name specified\n", 1, refused="INVALID_PARTITION nosuch"),
    Case("srun", "srun: fatal: No command given to execute.\n", 1),
    Case("srun --bogus hostname", "srun: unrecognized option '--bogus'\nTry \"srun --help\" for more information\n", 255),
    Case("salloc --bogus true", "salloc: unrecognized option '--bogus'\nTry \"salloc --help\" for more information\n", 255),
    Case("srun -t abc hostname", "srun: error: Invalid --time specification\n", 255),
    Case("salloc -t abc true", "salloc: error: Invalid --time specification\n", 255),
    Case("srun -n abc hostname", 'srun: error: Invalid numeric value "abc" for --ntasks.\n', 1),
    Case("srun -r1 -N1 hostname", "srun: fatal: --relative option invalid for job allocation request\n", 1),
    Case("srun -N2 -n1 hostname", "srun: Warning: can't run 1 processes on 2 nodes, setting nnodes to 1\n"),
    Case("srun -N2 -n5 --ntasks-per-node=3 true", "srun: Warning: can't honor --ntasks-per-node set to 3 which doesn't match the requested "
         "tasks 5 with the number of requested nodes 2. Ignoring --ntasks-per-node.\n"),
    Case("srun -N3 -n2 --ntasks-per-node=2 true", "srun: Warning: can't run 2 processes on 3 nodes, setting nnodes to 2\n"),
    Case("srun -N2 -n4 --ntasks-per-node=2 true"),
    Case("salloc -N2 -n5 --ntasks-per-node=3 true", GRANTED + GIVEN_BACK),
    Case("srun --mpi=bogus true", "".join("srun: error: %s\n" % line for line in BOGUS_MPI), 42, env={"SLURM_EXIT_ERROR": "42"}),
    Case("srun --cpu-bind=v,bogus true", 'srun: cluster configuration lacks support for cpu binding\nsrun: error: unrecognized --cpu-bind '
         'argument "bogus"\nsrun: fatal: Failed to parse --cpu-bind= values.\n', 1),
    Case("srun true", env={"SLURM_DISTRIBUTION": "plane", "SLURM_DIST_PLANESIZE": "3"}),
    Case("srun --test-only -N2 hostname",
         "srun: Job 7 to start at 2026-11-24T09:24:12 using 2 processors on nodes node[1-2] in partition debug\n"),
    Case("srun --jobid=999999 hostname", "srun: error: Unable to confirm allocation for job 999999: Invalid job id specified\n"
         "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 999999\n", 1),
    Case("srun hostname", "srun: error: Unable to confirm allocation for job 999999: Invalid job id specified\n"
         "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 999999\n", 1, env={"SLURM_JOB_ID": "999999"}),
    Case("srun -V", out="slurm 22.05.8\n"),
    Case("salloc -V", out="slurm 22.05.8\n"),
    Case("srun -n5 true", "srun: error: Too few NodeNames in Slurm Hostfile\nsrun: error: Failure getting NodeNames from hostfile\n", 1,
         env={"SLURM_HOSTFILE": "hosts"}, files={"hosts": b"node2\nnode1\nnode2\n"}),
    Case("srun a : b", 'srun: error: heterogeneous jobs (components separated by ":") are not supported\n', 1),
    Case("salloc -n1 : -n1 true", 'salloc: error: heterogeneous jobs (components separated by ":") are not supported\n', 1),
    Case("salloc -D /nosuch pwd", "salloc: error: chdir(/nosuch): No such file or directory\n", 1),
    Case("srun -r1 -w node1 true", "srun: error: -r,--relative not allowed with -w,--nodelist or -x,--exclude.\n", 1),
    Case("salloc --kill-command=x true", "salloc: error: Invalid --kill-command specification\n", 255),
    Case("srun --wait=abc true", 'srun: error: Invalid numeric value "abc" for --wait.\n', 1),
    Case("srun -p nosuch true", "srun: error: invalid partition specified: nosuch\n"
         "srun: error: Unable to allocate resources: Invalid partition name specified\n", 42, refused="INVALID_PARTITION nosuch",
         env={"SLURM_EXIT_ERROR": "42"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_recorded_answer(case):
    code, client, api = run(case)
    assert (client.texts[2], client.texts[1], code) == (case.err, case.out, case.code)
    if case.done:
        assert tuple(api.done) == case.done


def test_srun_makes_a_job_of_its_own_and_ends_it_with_the_step():
    code, _client, api = run(Case("srun -n2 /bin/sleep 1", api={"returns": 3}))
    assert code == 3
    assert (api.specs[0].kind, api.specs[0].name, api.specs[0].command, api.specs[0].ntasks) == ("alloc", "sleep", "/bin/sleep", 2)
    assert [job for job, _ in api.sessions] == [7]
    assert api.done == [("finish", 7, 3, 0)]


def test_a_host_file_says_where_the_tasks_of_srun_go():
    _code, _client, api = run(Case("srun true", env={"SLURM_HOSTFILE": "hosts"}, files={"hosts": b"node2\nnode1\nnode2\n"}))
    spec = api.specs[0]
    assert (spec.nodelist, spec.ntasks, spec.distribution) == (("node2", "node1"), 3, "arbitrary")


def test_srun_killed_by_a_signal_ends_its_job_with_that_signal():
    code, _client, api = run(Case("srun true", api={"returns": 137}))
    assert code == 137
    assert api.done == [("finish", 7, 0, 9)]


def test_salloc_gives_its_command_the_variables_of_the_allocation():
    _code, client, _api = run(Case("salloc -J nm true", env={"FOO": "1"}))
    argv, variables = client.spawned[0]
    assert argv == ["true"]
    assert (variables["FOO"], variables["SLURM_JOB_ID"], variables["SLURM_JOB_NODELIST"]) == ("1", "7", "node1")


def _revoked(line, ttys=()):
    """(client, api, code) of a salloc whose job is cancelled while the command runs; the command ends when it is signalled."""

    async def play():
        words = shlex.split(line)
        call = call_of("salloc", words[1:], ttys=frozenset(ttys))
        client = FakeClient(exits=(15,))
        client.release.clear()
        api = FakeApi(call, moves=[CANCELLED])
        return client, api, await salloc.run(call, client, api)

    return asyncio.run(play())


KILLS = [("salloc -K sleep 9", (), signal.SIGTERM), ("salloc -K9 sleep 9", (), 9), ("salloc", (0, 1), 1)]


@pytest.mark.parametrize(("line", "ttys", "signum"), KILLS)
def test_a_revoked_allocation_is_told_and_the_command_signalled(line, ttys, signum):
    client, _api, code = _revoked(line, ttys)
    assert client.texts[2] == GRANTED + "salloc: Job allocation 7 has been revoked.\n"
    assert client.killed == [signum]
    assert code == 1


def test_hangup_ends_salloc_at_once():
    async def play():
        call = call_of("salloc", ["sleep", "9"])
        client = FakeClient(exits=(0,))
        client.release.clear()
        api = FakeApi(call)
        task = asyncio.ensure_future(salloc.run(call, client, api))
        await client.began.wait()
        client.pending_signals.put_nowait(signal.SIGHUP)
        return client, api, await task

    client, api, code = asyncio.run(play())
    assert (client.texts[2], code) == (GRANTED + GIVEN_BACK, 1)
    assert api.done == [("finish", 7, 0, 1)]


LEAVE = [(lambda task, _client: task.cancel(), []), (lambda _task, client: client.left.set(), [("finish", 7)])]


@pytest.mark.parametrize("name", ["srun", "salloc"])
@pytest.mark.parametrize(("how", "done"), LEAVE, ids=["broken off", "gone"])
def test_an_allocation_is_given_back_when_its_user_goes_away_but_not_when_the_call_is_broken_off(name, how, done):
    async def play():
        call = call_of(name, ["true"])
        client, api = FakeClient(), FakeApi(call, start=False)
        task = asyncio.ensure_future(MODULES[name].run(call, client, api))
        await client.spoke.wait()
        how(task, client)
        await asyncio.gather(task, return_exceptions=True)
        return api

    assert [what[:2] for what in asyncio.run(play()).done] == done


@pytest.mark.parametrize("name", ["srun", "salloc"])
@pytest.mark.parametrize(("state", "exit_", "code"), [
    (JobState.COMPLETED, Exit(), 0), (JobState.FAILED, Exit(code=3), 3), (JobState.FAILED, Exit(signal=9), 137), (JobState.NODE_FAIL, Exit(), 1)])  # fmt: skip
def test_a_client_that_comes_back_after_its_end_was_recorded_gets_that_end(name, state, exit_, code):
    """The broker died between recording the end and saying it: nothing is said twice, and the exit code is the recorded one; a job that lost its
    node has none, and was no success."""

    class Ended(FakeApi):
        async def submit(self, spec, script, environ):
            job = await super().submit(spec, script, environ)
            self.view.jobs[7] = structs.replace(job, state=state, exit=exit_)
            return self.view.jobs[7]

    call = call_of(name, ["true"], resume=(1, 12) if name == "srun" else (0, 4))
    client = FakeClient()
    assert asyncio.run(MODULES[name].run(call, client, Ended(call))) == code
    assert client.texts[2] == ""
