"""Which rank went where on a real Slurm, against ours: the allocation is the recorded one."""

import re
import shlex
from pathlib import Path

import pytest

from sbroker.agent.ledger import Busy, Ledger, Never
from slurm_compat import environ, layout, srun

ROWS = [line.split(" | ", 1) for line in (Path(__file__).parent / "layouts.txt").read_text().splitlines()[1:]]


def ranks_of(text):
    out = []
    for item in text.split():
        node, _, times = item.partition("*")
        out += [node] * int(times or 1)
    return out


def shape(ranks):
    """Nodes renamed in order of appearance: which of equal nodes came first does not matter."""
    names = {}
    return [names.setdefault(node, len(names)) for node in ranks]


def option(words, *names):
    """The value of the last of these options, None if there is none."""
    value = None
    for place, word in enumerate(words):
        for name in names:
            if word == name:
                value = words[place + 1] if place + 1 < len(words) and not words[place + 1].startswith("-") else ""
            elif word.startswith(name) and not name.startswith("--"):
                value = word[len(name) :]
            elif name.startswith("--") and word.startswith(name + "="):
                value = word[len(name) + 1 :]
    return value


def info_of(names, cpus, spec=None):
    return {
        "job": 7,
        "imitate": "22.05",
        "name": "x",
        "nodes": [{"node": n, "cpus": c, "mem": 0, "gres": {"gpu:a100": [0, 1, 2, 3]}} for n, c in zip(names, cpus, strict=True)],
        "spec": spec or {},
        "user": {"name": "u", "uid": 1, "gid": 1, "home": "/", "shell": "/bin/sh"},
        "partition": "p",
    }


def run(info, argv, env):
    """Ranks' nodes, or srun's error text."""
    request = srun.parse_step(info, {"argv": [*argv, "x"], "env": env, "cwd": "/", "meta": {}})
    if "refuse" in request:
        return request["refuse"]["err"]
    try:
        placed = Ledger(info["nodes"]).place(0, request)
    except (Never, Busy) as error:
        return "srun: error: Unable to create step for job 7: %s\n" % error
    made = layout.layout(info, request, placed)
    if "error" in made:
        return "srun: error: Unable to create step for job 7: %s\n" % made["error"]
    nodes = {rank: node for node, mine in zip(made["nodes"], made["tasks"], strict=True) for rank in mine}
    return [nodes[rank] for rank in range(len(nodes))]


ALONE = [
    pytest.param(command, ranks, id=command)
    for command, ranks in ROWS
    if command.startswith("srun") and "arbitrary" not in command
]
INSIDE = [pytest.param(command, said, id=command) for command, said in ROWS if command.startswith("salloc")]


@pytest.mark.parametrize(("command", "ranks"), ALONE)
def test_srun_alone(command, ranks):
    want = ranks_of(ranks)
    words = shlex.split(command)[1:]
    nodes = sorted(set(want))
    cpus = int(option(words, "-c") or 1)
    if "--exclusive" in words:
        have = [8] * len(nodes)
    elif "-O" in words:
        have = [1] * len(nodes)
    else:
        have = [want.count(node) * cpus for node in nodes]
    per_node = option(words, "--ntasks-per-node")
    got = run(info_of(nodes, have, {"ntasks_per_node": per_node and int(per_node)}), words, {})
    assert not isinstance(got, str), got
    assert shape(got) == shape(want)


def allocation(words):
    """CPUs of each node that the real salloc gave."""
    nodes, ntasks, per_task = option(words, "-N"), option(words, "-n"), int(option(words, "-c") or 1)
    if "--exclusive" in words:
        return [8] * int(nodes)
    per_node = option(words, "--ntasks-per-node")
    if per_node:
        return [int(per_node)] * int(nodes)
    count = int(ntasks or nodes) * per_task
    if nodes:
        return [count - int(nodes) + 1] + [1] * (int(nodes) - 1) if count - int(nodes) + 1 <= 8 else [8, count - 8]
    return [8] * (count // 8) + ([count % 8] if count % 8 else [])


@pytest.mark.parametrize(("command", "said"), INSIDE)
def test_srun_in_an_allocation(command, said):
    outer, inner = command.split(" : ")
    words, argv = shlex.split(outer)[1:], shlex.split(inner)[1:]
    have = allocation(words)
    spec = {
        "ntasks": int(option(words, "-n") or 0) or None,
        "distribution": option(words, "-m"),
        "cpus_per_task": int(option(words, "-c") or 0) or None,
        "ntasks_per_node": int(option(words, "--ntasks-per-node") or 0) or None,
    }
    info = info_of(["node%d" % (number + 1) for number in range(len(have))], have, spec)
    got = run(info, argv, environ.alloc_environ(info))
    if said.startswith("!"):
        assert got == re.sub(r"job \d+", "job 7", said[2:].partition("  [")[0]) + "\n"
    else:
        assert not isinstance(got, str), got
        assert shape(got) == shape(ranks_of(said))
