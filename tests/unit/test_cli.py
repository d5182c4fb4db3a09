"""The command `sbroker`: what it asks of a broker, what it does here, and what it finds on a machine."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from scripted import Server, exit_with, out, read

from sbroker import cli, paths
from sbroker.cli import ask, broker_side, checkup
from sbroker.errors import Code, Refused
from sbroker.states import JobState, NodeState


class FakeFront:
    def option_rows(self):
        return [{"command": "sbatch", "option": "--account", "class": "honoured", "note": ""},
                {"command": "squeue", "option": "--clusters", "class": "refused", "note": "one cluster"}]


def run(*argv: str) -> int:
    return cli.main(list(argv), FakeFront)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SBROKER_HOME", str(tmp_path / "h"))
    monkeypatch.delenv("SBROKER_SOCKET", raising=False)
    (tmp_path / "h").mkdir()
    return tmp_path / "h"


def test_options_are_listed_by_command_and_class(capsys):
    assert run("options") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert run("options", "--class", "refused") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["squeue", "--clusters", "refused", "one", "cluster"]
    assert run("options", "sbatchh") == 1
    assert capsys.readouterr().err == "Error: no such options of sbatchh\n"


def test_says_when_no_broker_runs(capsys, home):
    for command in (["status"], ["explain", "1"], ["plan", "--wrap=true"]):
        assert run(*command) == 1
        assert capsys.readouterr().err == "sbroker: error: No broker runs at %s/sbroker.sock.\n" % home


def test_relays_to_the_broker(capfd, home, tmp_path):
    (tmp_path / "job.sh").write_bytes(b"#!/bin/sh\n")
    asked = []

    def script(conn):
        asked.append((conn.call["name"], conn.call["argv"]))
        if conn.call["name"] == "sbatch":
            conn.send(read(1, os.fsencode(tmp_path / "job.sh")))
            asked.append(conn.reply())
        conn.send(out(b"to out\n"), out(b"to err\n", 2), exit_with(3))
        conn.drain()

    with Server(home / "sbroker.sock", script):
        assert run("status") == 3
        assert run("plan", "-N2", "job.sh", "-x") == 3
    assert asked == [("sbroker", [b"status"]), ("sbatch", [b"--test-only", b"-N2", b"job.sh", b"-x"]), (1, 0, b"#!/bin/sh\n")]
    assert capfd.readouterr() == ("to out\n" * 2, "to err\n" * 2)


def test_knows_the_pid_at_the_other_end(home):
    with Server(home / "sbroker.sock", lambda conn: conn.drain()), ask.connect(str(home / "sbroker.sock")) as sock:
        assert ask.broker_pid(sock) == os.getpid()


def test_down_asks_whether_jobs_are_left(home, capfd):
    asked = []

    def script(conn):
        asked.append(conn.call["argv"])
        conn.send(out(b"sbroker: error: 2 jobs wait or run\n", 2), exit_with(1))
        conn.drain()

    with Server(home / "sbroker.sock", script):
        assert run("down") == 1
        assert run("down", "--cancel") == 1
    assert asked == [[b"before-down"], [b"before-down", b"cancel"]]
    assert capfd.readouterr().err == "sbroker: error: 2 jobs wait or run\nsbroker: error: The broker goes on.\n" * 2


def test_a_broker_that_breaks_off(home, capfd):
    with Server(home / "sbroker.sock", lambda conn: None):
        assert run("status") == 1
    assert capfd.readouterr().err == "sbroker: error: The broker broke off; its log says why.\n"


@pytest.mark.parametrize("shared", [False, True])
def test_down_ends_broker_and_agents(home, capsys, monkeypatch, shared):
    if shared:  # one that lies where a test may write
        here = msgspec.structs.replace(paths.personal(os.environ), shared=True)
        monkeypatch.setattr(paths, "shared", lambda: here)
        monkeypatch.setattr(paths, "personal", lambda environ: paths.Paths(config="", state="", database="", socket="", logs="", spool=""))
        monkeypatch.setattr(ask, "whom", lambda: here.socket)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    code = "import os, socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(5)\nprint('up', flush=True)\ntime.sleep(60)"
    agent = home / "spool" / "node1" / "agent.sock"
    agent.parent.mkdir(parents=True)
    processes = []
    for path in (home / "sbroker.sock", agent):
        processes.append(subprocess.Popen([sys.executable, "-IS", "-c", code, str(path)], stdout=subprocess.PIPE))
        assert processes[-1].stdout.readline() == b"up\n"
    assert run("down", "--keep") == 0
    pids = [process.pid for process in processes]
    assert capsys.readouterr().out == "The broker (pid %d) has ended.\nThe agent of node1 (pid %d) has ended.\n" % tuple(pids)
    for process in processes:
        process.stdout.close()
        assert process.wait(10) == -15
    assert run("down") == 0
    assert capsys.readouterr().out == "No broker runs at %s/sbroker.sock.\n" % home


class Listener:
    def __init__(self) -> None:
        self.said: dict[int, str] = {1: "", 2: ""}

    async def out(self, data: str, fd: int = 1) -> None:
        self.said[fd] += data


def broker(argv: list[str], api: Any) -> tuple[int, str, str]:
    client: Any = Listener()
    call: Any = SimpleNamespace(argv=tuple(argv))
    code = asyncio.run(broker_side.run(call, client, api))
    return code, client.said[1], client.said[2]


def test_status_counts_nodes_and_jobs():
    def job(state, completing=False, array_pending=()):
        return SimpleNamespace(state=state, completing=completing, array_pending=array_pending)

    def node(state, drain=False, token="", name=""):
        return SimpleNamespace(state=state, drain=drain, token=token, incarnation="", name=name)

    jobs = [job(JobState.RUNNING), job(JobState.RUNNING, completing=True), job(JobState.PENDING, array_pending=(1, 2, 3)), job(JobState.PENDING)]
    view = SimpleNamespace(jobs=dict(enumerate(jobs)), nodes={"a": node(NodeState.IDLE), "b": node(NodeState.IDLE, True), "c": node(NodeState.DOWN)})
    view.nodes.update(d=node(NodeState.UNKNOWN, token="g1"), e=node(NodeState.IDLE, name="busy"))
    view.node_jobs = lambda name: [jobs[0]] if name == "busy" else [jobs[1]]
    code, said, _ = broker(["status"], SimpleNamespace(view=view))
    assert code == 0
    first, *rest = said.splitlines()
    assert first.startswith("broker: pid %d, sbroker " % os.getpid())
    assert rest == ["nodes: 1 booting, 1 down, 1 drained, 1 idle, 1 in use", "jobs: 1 completing, 4 pending, 1 running"]


def test_down_does_not_wait_for_what_will_not_end():
    class View:
        jobs = {number: SimpleNamespace(id=number, state=JobState.CANCELLED, completing=True) for number in (7, 8)}

    class Api:
        view, caller = View(), SimpleNamespace(operator=True, uid=0)
        slow = [8]  # which of them only takes its time

        async def cancel_many(self, jobs):
            assert jobs == []

        def stuck(self, job):
            return "" if job in self.slow else "Job %d may still be on n1: tell it down" % job

        async def changed(self, job, timeout):
            assert job == 8
            self.slow.clear()

    api = Api()
    code, said, err = broker(["before-down", "cancel"], api)
    assert (code, said) == (1, "") and api.slow == []
    assert err.startswith("sbroker: error: Job 7 may still be on n1: tell it down.\nJob 8 may still be on n1: tell it down. (sbroker down --keep")


def test_explain_asks_the_api_and_knows_missing_jobs():
    class Api:
        async def explain(self, job):
            if job == 7:
                return ["It waits for node1.", "node2 has no GPU."]
            raise Refused(Code.ACCESS_DENIED if job == 9 else Code.INVALID_JOB_ID, job=job)

    assert broker(["explain", "7"], Api()) == (0, "It waits for node1.\nnode2 has no GPU.\n", "")
    assert broker(["explain", "8"], Api()) == (1, "", "sbroker: error: There is no job 8.\n")
    assert broker(["explain", "9"], Api()) == (1, "", "sbroker: error: Job 9 is another user's.\n")
    assert broker(["explain", "x"], Api()) == (1, "", "sbroker: error: explain needs a job id, not 'x'.\n")
    assert broker(["fly"], Api())[0] == 2


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def test_doctor_quotes_a_broken_configuration(home):
    (home / "config.yaml").write_text("cluster: [\n")
    where = paths.personal(os.environ)
    (finding,) = checkup.config(where)
    assert finding.level == checkup.BAD
    assert str(home / "config.yaml") in finding.sentence


def test_doctor_looks_at_the_folder_of_the_state(home, monkeypatch):
    where = paths.personal(os.environ)
    assert levels(checkup.state(where)) in ([checkup.GOOD], [checkup.GOOD, checkup.NOTE])
    monkeypatch.setattr(checkup, "file_system", lambda path: "nfs4")
    bad, *_ = checkup.state(where)
    assert bad.level == checkup.BAD
    assert "SBROKER_HOME" in bad.sentence


def test_doctor_finds_the_type_of_a_file_system():
    assert checkup.file_system("/proc") == "proc"
    assert checkup.file_system("/proc/self") == "proc"
    assert checkup.file_system("/") != "unknown"


def test_doctor_names_another_slurm_on_path(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert levels(checkup.launchers(paths.personal(os.environ)))[-1] == checkup.NOTE


def test_doctor_reports_a_name_that_does_not_resolve(monkeypatch):
    def refuse(*args, **more):
        raise socket.gaierror("unknown")

    monkeypatch.setattr(checkup.socket, "getaddrinfo", refuse)
    (finding,) = checkup.names(paths.personal(os.environ))
    assert finding.level == checkup.NOTE
    assert "/etc/hosts" in finding.sentence


def test_doctor_reports_virtual_nodes_that_nothing_can_connect_to(home, monkeypatch):
    (home / "config.yaml").write_text("""
partitions: [{name: debug, default: true, sites: [here]}]
sites: {here: {provider: local, nodes: "sb-no-such-[1-2]", cpus: 1, memory: 1G}}
""")
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    *_, last = checkup.names(paths.personal(os.environ))
    assert last.level == checkup.NOTE
    assert "sb-no-such-1, sb-no-such-2" in last.sentence
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert all("sb-no-such" not in finding.sentence for finding in checkup.names(paths.personal(os.environ)))


def test_doctor_does_not_ask_a_user_to_write_where_only_the_shared_broker_may(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert list(checkup.state(paths.shared())) == []


def test_doctor_exits_with_1_only_when_something_does_not_work(home, capsys):
    assert run("doctor") == 0
    (home / "config.yaml").write_text("kill_wait: soon\n")
    assert run("doctor") == 1
    assert "BAD " in capsys.readouterr().out
