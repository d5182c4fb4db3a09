"""Steps with real processes: srun inside a batch script, on one node and on several."""

import pytest
from steplab import Cluster


@pytest.fixture
def one(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def two(tmp_path):
    cluster = Cluster(tmp_path, ("node1", "node2"))
    yield cluster
    cluster.stop()


def test_a_step_in_a_batch_script(one):
    out = one.run("srun -n2 -l sh -c 'echo hi from $SLURM_PROCID of $SLURM_NTASKS'; srun -n1 sh -c 'exit 3'; echo rc=$?")
    lines = sorted(out.splitlines())
    assert lines == ["0: hi from 0 of 2", "1: hi from 1 of 2", "rc=3", "srun: error: node1: task 0: Exited with exit code 3"]
    kinds = [report["kind"] for report in one.head.reports if report["data"].get("step", -1) >= 0]
    assert kinds == ["step_start", "step_end"] * 2


def test_tasks_on_two_nodes(two):
    out = two.run("srun -n4 -l sh -c 'echo $SLURMD_NODENAME $SLURM_LOCALID'", cpus=[3, 1])
    assert sorted(out.splitlines()) == ["0: node1 0", "1: node1 1", "2: node1 2", "3: node2 0"]


@pytest.fixture
def foreign(tmp_path):
    """A folder with the srun and squeue of some other Slurm."""
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("srun", "python3"):
        (folder / name).write_text("#!/bin/sh\necho a stranger\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("path", ["{other}:/usr/bin:/bin", "/usr/bin:/bin"])
def test_a_job_finds_our_commands(one, foreign, path, monkeypatch):
    monkeypatch.setenv("PATH", path.format(other=foreign))
    out = one.run("srun echo one\nsrun -n1 sh -c 'srun --version; command -v python3'")
    python = f"{foreign}/python3" if "other" in path else "/usr/bin/python3"  # whatever else lies beside our names hides nothing
    assert out == f"one\nslurm 22.05.8\n{python}\n"


@pytest.mark.parametrize("path", ["{other}:/usr/bin:/bin", "/usr/bin:/bin"])
def test_an_interactive_step_finds_our_commands(held, foreign, path):
    done = held.ask("sh", "-c", "srun --version", env={"PATH": path.format(other=foreign)})
    assert done == ("slurm 22.05.8\n", "", 0)


@pytest.fixture
def held(one):
    """An allocation without script."""
    one.allocate(time_limit=-1)
    return one


def test_exit_codes(held):
    assert held.ask("sh", "-c", "exit 7") == ("", "srun: error: node1: task 0: Exited with exit code 7\n", 7)
    assert held.ask("-n3", "sh", "-c", "exit $SLURM_PROCID")[1:] == (
        "srun: error: node1: task 1: Exited with exit code 1\nsrun: error: node1: task 2: Exited with exit code 2\n",
        2,
    )
    assert held.ask("-n6", "sh", "-c", "exit $((SLURM_PROCID%2))")[1] == "srun: error: node1: tasks 1,3,5: Exited with exit code 1\n"


def test_signals(held):
    assert held.ask("sh", "-c", "kill -9 $$") == ("", "srun: error: node1: task 0: Killed\nsrun: Force Terminated StepId=1.0\n", 137)
    assert held.ask("-n2", "sh", "-c", "kill -USR1 $$") == ("", "srun: error: node1: tasks 0-1: User defined signal 1\n", 138)


def test_no_command(held):
    assert held.ask("nosuchcommand") == (
        "",
        "slurmstepd-node1: error: execve(): nosuchcommand: No such file or directory\n"
        "srun: error: node1: task 0: Exited with exit code 2\n",
        2,
    )
    assert held.ask("/tmp")[2] == 13
    assert held.ask() == ("", "srun: fatal: No command given to execute.\n", 1)


def test_standard_input(held):
    assert held.ask("-n2", "-l", "cat", input="data\n")[0].splitlines() in (["0: data", "1: data"], ["1: data", "0: data"])
    assert held.ask("-n3", "-l", "-i", "1", "cat", input="data\n")[0] == "1: data\n"
    assert held.ask("-n2", "-i", "none", "cat", input="data\n")[0] == ""


def test_a_megabyte_in_and_out(held):
    text = "".join("line %d\n" % number for number in range(100_000))
    assert held.ask("cat", input=text) == (text, "", 0)
    assert held.ask("-n2", "sh", "-c", "sleep 0.3; wc -c", input=text)[0].split() == [str(len(text))] * 2


def test_files(held):
    said = held.ask("-n2", "-o", "so-%t.txt", "-e", "se-%j.%s.txt", "sh", "-c", "echo o; echo e >&2")
    assert said == ("", "", 0)
    assert [(held.folder / f"so-{rank}.txt").read_text() for rank in (0, 1)] == ["o\n", "o\n"]
    assert (held.folder / "se-1.0.txt").read_text() == "e\ne\n"
    assert held.ask("-o", "nosuchdir/x", "echo", "x") == ("", "srun: error: Could not open stdout file: No such file or directory\n", 1)
    assert held.ask("-n2", "-i", "in-%t.txt", "cat") == (
        "",
        "srun: error: task 0 launch failed: Slurmd could not connect IO\nsrun: error: task 1 launch failed: Slurmd could not connect IO\n",
        0,
    )


def test_files_of_input(held):
    (held.folder / "in-0").write_text("zero\n")
    (held.folder / "in-1").write_text("one\n" * 200_000)
    out = held.ask("-n2", "-l", "-i", "in-%t", "sh", "-c", "wc -l")[0]
    assert sorted(out.splitlines()) == ["0: 1", "1: 200000"]
    assert held.ask("-n2", "-i", "in-0", "cat")[0] == "zero\nzero\n"


def script(held, name, text):
    path = held.folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_task_prolog_and_epilog(held):
    before = script(held, "before", "echo print hello\necho export WORD=a b\necho unset GONE\necho other $SLURM_PROCID")
    after = script(held, "after", "echo bye $SLURM_PROCID $WORD")
    out = held.ask("-n2", "-l", "--task-prolog", before, "--task-epilog", after, "sh", "-c", "echo [$WORD] [$GONE]", env={"GONE": "x"})
    assert out[1:] == ("", 0)
    for rank in "01":
        assert [line for line in out[0].splitlines() if line[0] == rank] == [
            f"{rank}: hello",
            f"{rank}: [a b] []",
            f"{rank}: bye {rank} a b",
        ]


def test_hooks_that_are_not_there(held):
    said = (
        "slurmstepd-node1: error: run_command: user task_prolog can not be executed (/no/such) No such file or directory\n"
        "slurmstepd-node1: error: user task_prolog did not exit normally. reason: Run command failed - configuration error\n"
        "slurmstepd-node1: error: --task-prolog failed status=1\n"
    )
    assert held.ask("-n2", "--task-prolog=/no/such", "true") == (
        "",
        2 * said + "srun: error: node1: tasks 0-1: Exited with exit code 1\n",
        1,
    )
    assert held.ask("--task-epilog=/no", "true") == (
        "",
        "slurmstepd-node1: error: Could not run user task_epilog [/no]: access denied\n"
        "slurmstepd-node1: error: TaskEpilog failed status=-1\n",
        0,
    )
    assert held.ask("--prolog=/no/such", "true") == ("", "srun: Access denied for /no/such: No such file or directory\n", 0)


def test_prolog_and_epilog_of_srun(held):
    hook = script(held, "hook", "echo hook; pwd >&2")
    out, err, code = held.ask("--prolog", hook, "--epilog", hook, "sh", "-c", "echo task")
    assert (out, err, code) == ("hook\ntask\nhook\n", f"{held.folder}\n" * 2, 0)


def test_folder(held):
    out, err, _ = held.ask("-D", "/no/such", "pwd")
    assert (out, err) == (
        "/tmp\n",
        2 * "slurmstepd-node1: error: couldn't chdir to `/no/such': No such file or directory: going to /tmp instead\n",
    )
    assert held.ask("-D", "/usr", "pwd")[0] == "/usr\n"
