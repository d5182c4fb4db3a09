"""What a login on a node prints, and what is understood of it: the account's own files may speak first, and nothing may make us wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sbroker.providers.base import Endpoint
from sbroker.transports import Faulty, ssh

READY = b'{"ready": true}\n'


class Stdin:
    def __init__(self) -> None:
        self.said = b""

    def write(self, data: bytes) -> None:
        self.said += data


class Process:
    """As much of asyncssh's as a landing uses. `out`: what has been printed; the streams end only where `ends` says so."""

    def __init__(self, out: bytes, ends: bool = False, err: bytes = b"", code: int = 1) -> None:
        self.stdin, self.stdout, self.stderr, self.returncode = Stdin(), asyncio.StreamReader(), asyncio.StreamReader(), code
        self.stdout.feed_data(out)
        self.stderr.feed_data(err)
        if ends:
            self.stdout.feed_eof()

    async def wait(self) -> None:
        pass


class Program:
    hash, magic = "at-1", "a70d0d0a"

    async def ready(self) -> None:
        pass

    async def data(self, form: str) -> bytes:
        return b"the agent as " + form.encode()


def landed(out: bytes, **options: Any) -> tuple[Process, bytearray]:
    noise = bytearray()

    async def land() -> Process:
        process = Process(out, **options)
        endpoint = Endpoint(transport="ssh", node="n1", directory="~/.sbroker", data={"store": "s"})
        await asyncio.wait_for(ssh._land(endpoint, process, Program(), lambda doing: None, noise), 20)
        return process

    return asyncio.run(land()), noise


@pytest.mark.parametrize("noise", [b"", b"welcome\n", b"\n\nfoo {\n{}\n", b'{"motd": 1}\n', b"no end of line", b"\xff\xfe{\n"])
def test_what_an_account_prints_first_is_passed_over(noise):
    """The streams stay open behind it, as they do when the agent is there: nothing may wait for their end."""
    process, heard = landed(noise + READY)
    assert bytes(process.stdin.said) == b""  # who it is for, the command says
    assert bytes(heard) == (b"" if noise == b"no end of line" else noise)


def test_the_program_is_brought_behind_such_words():
    process, _ = landed(b'hello\n{"want": "pack"}\nhello again\n' + READY)
    assert process.stdin.said.endswith(b"the agent as pack")


def test_a_login_that_ends_says_what_it_printed_though_something_of_it_stays(monkeypatch):
    monkeypatch.setattr(ssh, "ENDING", 0.05)
    with pytest.raises(Faulty, match="the login says: This account is closed"):
        landed(b"This account is closed.\n", ends=True)


def test_a_login_that_never_stops_printing_is_given_up():
    with pytest.raises(Faulty, match="before the agent can speak; the login says: y"):
        landed(b"y\n" * 40000)


def test_what_fails_on_the_node_is_said():
    with pytest.raises(Faulty, match="n1: disk full"):
        landed(b'hello\n{"error": "disk full"}\n')
