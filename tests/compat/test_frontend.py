"""The front end as the broker sees it."""

from __future__ import annotations

import asyncio

import pytest
from submit_fakes import FakeApi, FakeClient, call_of

from slurm_compat.frontend import LATER, FrontEnd


def run(name, argv=()):
    call = call_of(name, argv)
    client = FakeClient()
    return asyncio.run(FrontEnd().run(call, client, FakeApi(call))), client.texts


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_there_yet_says_so_in_one_sentence(name):
    code, texts = run(name)
    assert (code, texts) == (1, {1: "", 2: "%s: error: %s is not there yet\n" % (name, name)})


@pytest.mark.parametrize("name", ["sbatch", "srun", "salloc"])
def test_version(name):
    assert run(name, ["--version"]) == (0, {1: "slurm 22.05.8\n", 2: ""})


@pytest.mark.parametrize("name", ["sbatch", "srun", "salloc"])
def test_help_begins_as_slurms_does(name):
    code, texts = run(name, ["--help"])
    assert code == 0
    assert texts[1].splitlines()[:3] == [texts[1].splitlines()[0], "", "Parallel run options:"]
    assert texts[1].startswith("Usage: %s [OPTIONS(0)..." % name)


def test_node_files_hold_the_module_that_the_agent_loads():
    front = FrontEnd()
    files = front.node_files()
    assert front.node_module().replace(".", "/") + ".py" in files
    assert {"slurm_compat/" + name for name in ("__init__.py", "getopt.py", "optable.py", "grammar/__init__.py")} <= set(files)


def test_option_rows_name_command_option_and_class():
    rows = FrontEnd().option_rows()
    assert {"command": "sbatch", "option": "--array", "class": "honoured", "note": ""} in rows
    assert {row["class"] for row in rows} == {"honoured", "harmless", "refused"}
