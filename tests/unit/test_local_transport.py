"""Reaching the agent of a local node. A small program stands for the agent."""

import asyncio
import os
import signal
import sys

import pytest

from sbroker import transports
from sbroker.providers.base import Endpoint
from sbroker.transports import local

AGENT = """
import os, socket, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
os.chdir(options["--dir"])
server = socket.socket(socket.AF_UNIX)
server.bind("agent.sock")
server.listen()
while True:
    client, _ = server.accept()
    names = ",".join(sorted(os.environ))
    client.sendall(("%d %d %s %s %s" % (os.getpid(), os.getsid(0), options["--node"], options.get("--hostname"), names)).encode())
    client.close()
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "agent.pyz"
    path.write_text(AGENT)
    yield str(path)
    for child in local._children.values():
        child.kill()
        child.wait()
    local._children.clear()


async def ask(endpoint, **options):
    reader, writer = await transports.open(endpoint, **options)
    words = (await reader.read()).decode().split()
    writer.close()
    await writer.wait_closed()
    return words


def endpoint(tmp_path, **fields):
    return Endpoint(transport="local", node="node1", directory=str(tmp_path / "node1"), **fields)


def test_the_agent_is_started_once_in_its_own_session_with_a_clean_environment(tmp_path, program, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    first = asyncio.run(ask(endpoint(tmp_path, hostname="node1"), program=program))
    second = asyncio.run(ask(endpoint(tmp_path, hostname="node1"), program=program))
    assert first == second
    pid, session, node, hostname, names = first
    assert pid == session
    assert pid != str(os.getpid())
    assert (node, hostname) == ("node1", "node1")
    assert not {"SECRET", "HOME", "SBROKER_HOME"} & set(names.split(","))


def test_a_dead_agent_is_started_again(tmp_path, program):
    first = asyncio.run(ask(endpoint(tmp_path), program=program))
    os.kill(int(first[0]), signal.SIGKILL)
    next(iter(local._children.values())).wait()
    os.unlink(tmp_path / "node1" / "agent.sock")
    second = asyncio.run(ask(endpoint(tmp_path), program=program))
    assert second[0] != first[0]
    assert second[3] == "None"


def test_a_folder_with_a_long_name(tmp_path, program):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    assert asyncio.run(ask(endpoint(deep), program=program))[2] == "node1"


def test_an_agent_that_cannot_start_says_why(tmp_path):
    broken = tmp_path / "broken.pyz"
    broken.write_text("raise SystemExit('the disk is full')")
    with pytest.raises(transports.Unreachable, match="agent of node1 does not answer: the disk is full"):
        asyncio.run(ask(endpoint(tmp_path), program=str(broken)))


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "node1").write_text("a file")
    with pytest.raises(transports.Unreachable):
        asyncio.run(ask(endpoint(tmp_path)))


def test_somebody_else_may_start_it(tmp_path, program):
    asked = []

    def start(where):
        asked.append(where.node)
        local.start_agent(where, program)

    assert asyncio.run(ask(endpoint(tmp_path), start=start))[2] == "node1"
    assert asked == ["node1"]


def test_the_command_line():
    argv, environ = local.command(Endpoint(transport="local", node="n", hostname="h", directory="/d"))
    assert argv[0] == sys.executable
    assert argv[-7:] == ["serve", "--dir", "/d", "--node", "n", "--hostname", "h"]
    assert set(environ) == {"PATH", "LANG", "PYTHONPATH"}
