"""Who was first, and what a run's directory says after a crash."""

import os

import pytest

from sbroker.agent import rundir
from sbroker.agent.rundir import ACTIVE, ENDED, HELD, NEW, REVOKED, RunDir

INFO = {"kind": "batch", "job": 7, "run": 0}


@pytest.fixture
def run(tmp_path):
    return RunDir(str(tmp_path), 7, 0)


def test_prepare_first_holds_the_run_and_is_repeatable(run):
    assert run.prepare(INFO, b"#!/bin/sh\n", b"A=1\nx\0") == NEW
    assert run.prepare(INFO, b"other", b"") == HELD
    assert run.read("slurm_script") == b"#!/bin/sh\n"
    assert run.record() == (INFO, b"A=1\nx\0")
    assert os.stat(run.path).st_mode & 0o777 == 0o700
    assert os.stat(run.file("held")).st_mode & 0o777 == 0o600


def test_revoke_first_wins_over_a_prepare_that_comes_late(run):
    assert run.revoke() == NEW
    assert run.revoke() == REVOKED
    assert run.prepare(INFO, b"", b"") == REVOKED
    assert os.listdir(run.path) == ["revoked"]
    assert not run.start()


def test_start_and_revoke_of_a_held_run_exclude_each_other(run):
    run.prepare(INFO, b"", b"")
    assert run.revoke() == HELD
    assert run.state() == REVOKED
    assert not run.start()


def test_a_run_starts_once(run):
    run.prepare(INFO, b"", b"")
    assert run.start()
    assert not run.start()
    assert run.revoke() == ACTIVE
    assert run.state() == ACTIVE
    assert run.prepare(INFO, b"", b"") == ACTIVE


def test_an_unfinished_prepare_is_done_again(run):
    run.make()
    with open(run.file("held.new"), "w") as stream:
        stream.write("half")
    assert run.state() == NEW
    assert run.prepare(INFO, b"", b"B=2\0") == NEW
    assert run.record() == (INFO, b"B=2\0")


def test_the_newest_whole_last_word_counts(run):
    run.prepare(INFO, b"", b"A=\n\0")
    run.start()
    assert run.state() == ACTIVE
    assert run.last_word() == []
    run.leave([[1, "started", 5.0, {"pid": 3}], [2, "ended", 6.0, {"code": 0}]])
    assert run.state() == ENDED
    assert [report[1] for report in run.last_word()] == ["started", "ended"]
    run.leave([[3, "empty", 7.0, {}]])
    with open(run.file("started"), "ab") as stream:
        stream.write(b'{"reports": [[4, "torn"')
    assert run.last_word() == [[3, "empty", 7.0, {}]]
    assert run.record() == (INFO, b"A=\n\0")


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"\n", b"{}\n", b'{"info": {}, "environ": 0}\n\n{"reports": [[1]]}\n', b"\xff\n", b'{"info": 3, "environ": "x"}\n'],
)
def test_nonsense_in_the_record_is_no_last_word(run, nonsense):
    run.make()
    rundir.write(run.file("started"), nonsense, 0o600)
    assert run.last_word() == []
    assert run.state() == ACTIVE


def test_links_in_place_of_our_files_are_not_followed(run, tmp_path):
    run.make()
    secret = tmp_path / "secret"
    secret.write_text('{"info": {}, "environ": 0}\n\n{"reports": [[1, "ended", 1.0, {}]]}\n')
    os.symlink(str(secret), run.file("started"))
    assert run.last_word() == []
    os.unlink(run.file("started"))
    os.mkfifo(run.file("started"))
    assert run.last_word() == []


def test_scan_finds_runs_in_order_and_leaves_other_names_alone(tmp_path):
    for name in ("10.0", "9.1", "9.0", "x.1", "3", "03.1", "lost+found"):
        (tmp_path / name).mkdir()
    assert [(found.job, found.run) for found in rundir.scan(str(tmp_path))] == [(9, 0), (9, 1), (10, 0)]
