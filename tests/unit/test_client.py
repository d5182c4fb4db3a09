"""The thin client on its plain path: what it sends, and how it carries out output, reading, files and ends."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from scripted import BIN, Server, client, close, environ, exit_with, open_file, out, read

from sbroker.agent import wire


def answer(*frames):
    def script(conn):
        conn.send(*frames)
        conn.drain()

    return script


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


def test_output_and_exit_code(path):
    with Server(path, answer(out(b"one\n"), out(b"two\n", 2), out(b"three\n"), exit_with(3))):
        done = client(path, "squeue")
    assert (done.stdout, done.stderr, done.returncode) == (b"one\nthree\n", b"two\n", 3)


def test_the_call_says_who_asks_and_what(path, tmp_path):
    with Server(path, answer(exit_with(0))) as server:
        more = {"ODD": "x=y\nz", "BASH_FUNC_module%%": "() { :; }"}
        client(path, "sbatch", "--wrap", "a b", "", "\udcff", cwd=tmp_path, umask=0o027, env=more)
    call = server.calls[0]
    assert call["name"] == "sbatch"
    assert call["argv"] == [b"--wrap", b"a b", b"", b"\xff"]
    assert call["cwd"] == os.fsencode(tmp_path)
    assert call["env"][b"ODD"] == b"x=y\nz"
    assert call["env"][b"BASH_FUNC_module%%"] == b"() { :; }"
    assert b"SHLVL" not in call["env"]
    meta = call["meta"]
    assert meta["umask"] == "27"
    assert meta["tty"] == ""
    assert meta["host"] == os.uname().nodename
    assert meta["sid"] == str(os.getsid(0))
    soft, hard = meta["limit.NOFILE"].split(":")
    assert int(soft) <= int(hard) or hard == "-1"
    assert len(call["id"]) == 32


def test_limits_are_sent_only_where_jobs_inherit_them(path):
    with Server(path, answer(exit_with(0))) as server:
        client(path, "squeue")
    assert not [key for key in server.calls[0]["meta"] if key.startswith("limit.")]


def test_reads_a_file_relative_to_its_folder(path, tmp_path):
    (tmp_path / "job.sh").write_bytes(b"#!/bin/sh\n")
    got = []

    def script(conn):
        conn.send(read(7, b"job.sh"), read(8, b"absent"), read(9, b"."), read(10, b"a\0b"), read(11, b"job.sh", 4))
        got.extend(conn.reply() for _ in range(5))
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        client(path, "sbatch", cwd=tmp_path)
    assert got == [(7, 0, b"#!/bin/sh\n"), (8, 2, b""), (9, 21, b""), (10, 22, b""), (11, 0, b"#!/bi")]


def test_an_empty_path_is_standard_input_from_where_it_stands(path, tmp_path):
    got = []

    def script(conn):
        conn.send(read(1, b""))
        got.append(conn.reply())
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        client(path, "sbatch", input=b"#!/bin/sh\ntrue\n")
    assert got == [(1, 0, b"#!/bin/sh\ntrue\n")]


def test_standard_input_is_there_again_when_the_command_runs_again(path):
    def first(conn):
        conn.send(read(1, b""))
        assert conn.reply() == (1, 0, b"#!/bin/sh")

    def second(conn):
        first(conn)
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, first, second):
        assert client(path, "sbatch", input=b"#!/bin/sh").returncode == 0


def test_opens_writes_and_closes_files(path, tmp_path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

    def script(conn):
        conn.send(open_file(1, 9, flags, b"out.txt", 0o640), out(b"abc", 9), out(b"def", 9), close(9))
        conn.send(open_file(2, 10, flags, b"no/such", 0o640))
        number, errno, found = conn.reply()
        made = (tmp_path / "out.txt").stat()
        assert (number, errno, found.split()[0]) == (1, 0, b"%o" % made.st_mode)
        assert len(found.split()) == 3  # the times too
        assert conn.reply() == (2, 2, b"")
        conn.send(exit_with(0))
        conn.drain()

    with Server(path, script):
        client(path, "srun", cwd=tmp_path, umask=0)
    assert (tmp_path / "out.txt").read_bytes() == b"abcdef"
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_dies_of_the_signal_it_is_told(path, signum):
    with Server(path, answer(out(b"x"), wire.call_frame(wire.DIE, bytes((signum,))))):
        done = client(path, "srun")
    assert (done.stdout, done.returncode) == (b"x", -signum)


def test_a_closed_pipe_ends_it_without_a_word(path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Server(path, answer(out(b"x" * 1000000), exit_with(0))), subprocess.Popen([BIN / "squeue"], env=environ(path), **pipes) as process:
        process.stdout.close()
        error = process.stderr.read()
        process.wait(30)
    assert (process.returncode, error) == (-signal.SIGPIPE, b"")


def test_closed_descriptors_do_not_become_the_socket(path):
    with Server(path, answer(out(b"lost"), out(b"seen", 2), exit_with(0))):
        done = subprocess.run(["bash", "-c", "exec %s <&- >&-" % (BIN / "squeue")], env=environ(path), capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"seen", 0)


def test_works_through_links_under_the_name_of_the_link(path, tmp_path):
    os.makedirs(tmp_path / "deep")
    (tmp_path / "deep" / "squeue").symlink_to(BIN / "squeue")
    (tmp_path / "sinfo").symlink_to("deep/squeue")
    with Server(path, answer(exit_with(0))) as server:
        for name in ("deep/squeue", "sinfo"):
            assert subprocess.run([str(tmp_path / name)], env=environ(path), check=False).returncode == 0
        assert subprocess.run(["sinfo"], env=environ(path, PATH="%s:/usr/bin:/bin" % tmp_path), check=False).returncode == 0
    assert [call["name"] for call in server.calls] == ["squeue", "sinfo", "sinfo"]


def test_a_socket_beside_the_name_comes_first(path, tmp_path):
    os.makedirs(tmp_path / "in")
    (tmp_path / "in" / "srun").symlink_to(BIN / "srun")
    with Server(path, answer(exit_with(1))), Server(tmp_path / "in" / "sbroker.sock", answer(exit_with(0))):
        assert subprocess.run([str(tmp_path / "in" / "srun")], env=environ(path), check=False).returncode == 0
        assert client(path, "srun").returncode == 1


def test_a_path_longer_than_a_socket_address(tmp_path):
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    here = os.getcwd()
    os.chdir(folder)
    try:
        with Server("sbroker.sock", answer(exit_with(5))):
            assert client(folder / "sbroker.sock", "squeue").returncode == 5
    finally:
        os.chdir(here)


def test_all_launchers_are_one_text():
    names = {"sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "srun", "sshare"}
    assert len({(BIN / name).read_bytes() for name in names}) == 1
