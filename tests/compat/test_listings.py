"""squeue and sinfo against what Slurm 22.05.8 printed for the same queue, line by line: data/{squeue,sinfo,columns}.txt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_compat import getopt
from slurm_compat.commands import sinfo, squeue
from slurm_compat.commands.common import Stop
from tests.compat.cluster import ALICE, CONFIG, ENV, FakeView, at, busy, idle

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
