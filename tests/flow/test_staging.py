"""Nodes that do not share the submit host's files: virtual nodes whose replicas lie below their own folders, so that both sides are seen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System

CONFIG = """
cluster: system
kill_wait: 2
min_job_age: 3600
stage_limit: 20M
partitions:
  - {name: debug, default: true, sites: [far], max_time: infinite}
  - {name: near, sites: [here]}
sites:
  far: {provider: local, nodes: "far[1-2]", cpus: 4, memory: 4000M, shared_fs: [/nowhere]}
  here: {provider: local, nodes: "here1", cpus: 4, memory: 4000M}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("staging"), CONFIG)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def folder(system: System, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A submit directory of the test's own."""
    path, before = system.work / request.node.name, system.work
    path.mkdir()
    system.work = path
    yield path
    system.work = before


def replica(system: System, folder: Path, node: str = "far1") -> Path:
    return Path("%s/spool/%s/files/%s%s" % (system.home, node, system.ok("id -un").strip(), folder))


def script(folder: Path, text: str, name: str = "job.sh") -> None:
    (folder / name).write_text("#!/bin/bash\n" + text)


def test_files_go_there_and_come_back(system: System, folder: Path) -> None:
    (folder / "in.txt").write_text("from here\n")
    (folder / "sub").mkdir()
    script(folder, 'cat in.txt; [ "$PWD" = "$SLURM_SUBMIT_DIR" ] || echo "elsewhere: $PWD"; echo made > sub/out.txt; rm in.txt\n')
    system.ok("sbatch -W --parsable -o %x.out job.sh")
    assert (folder / "job.sh.out").read_text() == "from here\n"
    assert (folder / "sub/out.txt").read_text() == "made\n"
    assert not (folder / "in.txt").exists()
    assert (replica(system, folder) / "sub/out.txt").read_text() == "made\n"


def test_the_next_job_sees_what_changed_here(system: System, folder: Path) -> None:
    script(folder, "cat a; date +%s%N > b\n")
    for text in ("one\n", "two\n"):
        (folder / "a").write_text(text)
        system.ok("sbatch -W -w far1 -o out job.sh")
        assert (folder / "out").read_text() == text
    assert system.ok("sbatch -W --parsable -p near -o out --wrap 'cat a b'") and (folder / "out").read_text().startswith("two\n1")


def test_a_dependent_starts_when_the_files_are_back(system: System, folder: Path) -> None:
    script(folder, "echo result > result\n")
    first = system.ok("sbatch --parsable -w far1 -o /dev/null job.sh").strip()
    system.ok("sbatch -W -p near -d afterok:%s -o out --wrap 'cat result'" % first)
    assert (folder / "out").read_text() == "result\n"


def test_steps_over_nodes_each_have_the_files(system: System, folder: Path) -> None:
    (folder / "data").write_text("x\n")
    script(folder, "srun -N2 -n2 bash -c 'cat data; echo $SLURM_PROCID > $SLURM_SUBMIT_DIR/rank$SLURM_PROCID; basename $PWD'\n")
    system.ok("sbatch -W -N2 -n2 -o out job.sh")
    assert sorted((folder / "out").read_text().split()) == sorted(2 * ["x", folder.name])
    assert [(folder / ("rank%d" % rank)).read_text() for rank in (0, 1)] == ["0\n", "1\n"]


def test_output_is_written_while_the_job_runs(system: System, folder: Path) -> None:
    """Standard output and error apart, under Slurm's pattern, with the job's umask; standard input from a file of the directory."""
    (folder / "words").write_text("typed\n")
    script(folder, "read word; echo $word; echo oops >&2; until [ -e go ]; do sleep 0.05; done; echo end\n")
    job = system.ok("umask 027; sbatch --parsable -i words -o out-%j-%x -e err-%u-%j job.sh").strip()
    out, err = folder / ("out-%s-job.sh" % job), folder / ("err-%s-%s" % (system.ok("id -un").strip(), job))
    system.until("cat %s" % out, "typed")
    system.until("cat %s" % err, "oops")
    assert system.ok("squeue -h -o %%T -j %s" % job).strip() == "RUNNING"
    assert out.stat().st_mode & 0o777 == 0o640
    (replica(system, folder) / "go").touch()
    system.drain()
    assert out.read_text() == "typed\nend\n"


def test_output_may_be_appended(system: System, folder: Path) -> None:
    (folder / "log").write_text("before\n")
    for number in (1, 2):
        system.ok("sbatch -W --open-mode=append -o log --wrap 'echo %d'" % number)
    assert (folder / "log").read_text() == "before\n1\n2\n"
    system.ok("sbatch -W -o log --wrap 'echo new'")
    assert (folder / "log").read_text() == "new\n"


def test_output_that_cannot_be_opened_is_a_launch_failure(system: System, folder: Path) -> None:
    job = system.ok("sbatch --parsable -o missing/out --wrap true").strip()
    system.until("sacct -nXP -o state,exitcode -j %s" % job, "FAILED|0:53")


@pytest.mark.parametrize("whom", ["broker", "far1", "_submit"])
def test_no_line_is_lost_or_twice_when_somebody_is_killed(system: System, folder: Path, whom: str) -> None:
    script(folder, "for i in $(seq 4000); do echo line $i; [ $((i % 400)) = 0 ] && sleep 0.1; done; echo done > done\n")
    for mode in ("append", "truncate"):
        job = system.ok("sbatch --parsable -w far1 --open-mode=%s -o out-%s job.sh" % (mode, mode)).strip()
        system.until("grep -c . out-%s | xargs test 300 -lt && echo yes" % mode, "yes")
        if whom == "broker":
            system.kill_broker()
        else:
            system.kill_agent(whom)
        system.until("squeue -h -o %%i -j %s" % job, "")
        assert (folder / ("out-" + mode)).read_text() == "".join("line %d\n" % number for number in range(1, 4001))
        assert (folder / "done").read_text() == "done\n"
        assert system.ok("sacct -nXP -o state -j %s" % job).strip() == "COMPLETED"


@pytest.mark.parametrize("mode", ["append", "truncate"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "agent"])
def test_what_a_killed_supervisor_had_not_sent_is_sent_after_it(system: System, folder: Path, mode: str, again: bool) -> None:
    """The script has ended, and the submit host takes nothing: what is spooled is all there is."""
    (folder / "out").write_text("before\n")
    script(folder, "echo first; until [ -e go ]; do sleep 0.05; done; seq 200000; touch over\n")
    job = system.ok("sbatch --parsable -w far1 --open-mode=%s -o out job.sh" % mode).strip()
    system.until("tail -n1 out", "first")
    there = replica(system, folder)
    submit = system.agent_pid("_submit")
    stopped = [submit, *map(int, system.sh("pgrep -P %d" % submit).stdout.split())]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        (there / "go").touch()
        system.until("ls %s/over" % there, "%s/over" % there)
        system.until("cat %s/spool/far1/runs/%s.0/output1.0 | tail -n1" % (system.home, job), "200000")
        if again:
            system.kill_agent("far1")
        killed = []
        for pid in system.sh("pgrep -x sbroker-run").stdout.split():
            if ("%s.0" % job).encode() in b" ".join(os.fsencode(os.readlink(fd)) for fd in Path("/proc/%s/fd" % pid).iterdir() if fd.exists()):
                os.kill(int(pid), signal.SIGKILL)
                killed.append(pid)
        assert len(killed) == 1
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    system.until("squeue -h -o %%i -j %s" % job, "")
    whole = "".join("%d\n" % number for number in range(1, 200001))
    assert (folder / "out").read_text() == ("before\n" if mode == "append" else "") + "first\n" + whole


def test_what_is_too_large_is_refused_with_a_sentence(system: System, folder: Path) -> None:
    with open(folder / "big", "wb") as big:
        for number in range(30):
            big.write(bytes([number]) * (1 << 20))
    job = system.ok("sbatch --parsable -o /dev/null --wrap true").strip()
    system.until("sacct -nXP -o state -j %s" % job, "FAILED")
    assert "31.5_MB_in_1_files_would_have_to_be_brought_over,_and_the_limit_is_21.0_MB:" in system.ok("scontrol show job %s" % job)
    (folder / ".gitignore").write_text("big\n")
    system.ok("sbatch -W -o out --wrap 'ls -A'")
    assert (folder / "out").read_text().split() == [".gitignore"]


def test_what_is_too_large_does_not_come_back(system: System, folder: Path) -> None:
    """A file of a terabyte that is nearly all holes: nobody reads it through before he sees that."""
    script(folder, "truncate -s 1T big; echo made > made\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    system.until("sacct -nXP -o state -j %s" % job, "FAILED", 30)
    said = system.ok("scontrol show job %s" % job).replace("_", " ")
    assert "1099.5 GB in 2 files would have to be brought back, and the limit is 21.0 MB: the biggest are big (1099.5 GB), made (5 bytes)." in said
    assert "They stay in %s on far1." % str(replica(system, folder)).replace("_", " ") in said
    assert system.ok("squeue -h") == "" and not (folder / "big").exists()
    system.ok("sbatch -W -w far1 -o out --wrap 'rm big'")
    assert (folder / "made").read_text() == "made\n"


def test_who_cancels_a_completing_job_does_not_wait_for_its_files(system: System, folder: Path) -> None:
    script(folder, "echo made > made; until [ -e go ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    there = replica(system, folder)
    system.until("cat %s/made" % there, "made")
    state = Path("%s/spool/far1/files/%s/.sbroker/roots" % (system.home, system.ok("id -un").strip()))
    with contextlib.ExitStack() as held:
        for path in state.glob("*/lock"):  # whoever would bring the files back waits for these
            fcntl.flock(held.enter_context(path.open()), fcntl.LOCK_EX)
        (there / "go").touch()
        system.until("squeue -h -o %%t -j %s" % job, "CG")
        system.ok("scancel " + job)
        system.until("squeue -h -j %s" % job, "", 20)
    assert system.ok("sacct -nXP -o state -j %s" % job).strip() == "FAILED"
    assert "cancelled_while_the_files_were_brought_back" in system.ok("scontrol show job %s" % job)
    assert not (folder / "made").exists()
    system.ok("sbatch -W -w far1 -o out --wrap true")
    assert (folder / "made").read_text() == "made\n"


def test_sbcast_writes_into_each_nodes_own_folder(system: System, folder: Path) -> None:
    """By a path below the submit directory, from inside and from outside; srun --bcast, too."""
    (folder / "data").write_text("x\n")
    (folder / "tool").write_text("#!/bin/sh\necho tool $SLURM_PROCID\n")
    (folder / "tool").chmod(0o755)
    script(folder, "sbcast data copy; sbcast -f data $SLURM_SUBMIT_DIR/copy2; srun -N2 -n2 cat copy copy2; srun -N2 -n2 --bcast=./sent ./tool | sort\n"
           "touch ready; until [ -e $SLURM_SUBMIT_DIR/outside ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -N2 -n2 -o out job.sh").strip()
    there = [replica(system, folder, node) for node in ("far1", "far2")]
    system.until("ls %s/ready" % there[0], "%s/ready" % there[0])
    assert (folder / "out").read_text().split("\n") == ["x"] * 4 + ["tool 0", "tool 1", ""]
    system.ok("sbcast --jobid=%s data %s/outside" % (job, folder))
    system.drain()
    for node in there:
        assert all((node / name).is_file() for name in ("copy", "copy2", "sent", "outside")), sorted(node.iterdir())
    assert system.ok("sacct -nXP -o state -j " + job).strip() == "COMPLETED"


def test_a_command_says_why_its_launch_was_refused(system: System, folder: Path) -> None:
    with open(folder / "big", "wb") as big:
        big.truncate(30 << 20)
    for command, lead in (("srun", "Unable to allocate resources"), ("salloc", "Job submit/allocate failed")):
        done = system.sh(command + " -w far1 true")
        assert done.returncode == 1 and "cancelled" not in done.stderr, done
        assert "%s: error: %s: far1: %s: 31.5 MB in 1 files would have to be brought over" % (command, lead, folder) in done.stderr, done
    (folder / "big").unlink()


def test_a_conflict_overwrites_nothing_and_is_said(system: System, folder: Path) -> None:
    (folder / "f").write_text("old\n")
    script(folder, "echo theirs > f; until [ -e go ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    there = replica(system, folder)
    system.until("cat %s/f" % there, "theirs")
    (folder / "f").write_text("ours\n")
    (there / "go").touch()
    system.drain()
    assert (folder / "f").read_text() == "ours\n"
    beside = [path for path in folder.iterdir() if path.name.startswith("f.sbroker-")]
    assert [path.read_text() for path in beside] == ["theirs\n"]
    assert beside[0].name in system.ok("scontrol show job %s" % job)
    assert (folder / "out").read_text().startswith("sbroker: warning: ") and beside[0].name in (folder / "out").read_text()


def test_a_job_cancelled_brings_its_files_back(system: System, folder: Path) -> None:
    script(folder, "echo half > partial; echo started; sleep 300\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    system.until("cat out", "started")
    system.ok("scancel " + job)
    system.drain()
    assert (folder / "partial").read_text() == "half\n"
    assert system.ok("sacct -nXP -o state -j %s" % job).split()[0] == "CANCELLED"


def test_a_job_submits_from_inside(system: System, folder: Path) -> None:
    """A chain: each link finds what the one before made, on whatever node, and paths that the parent names as its node has them are known."""
    script(folder, """
n=$(cat n); echo $((n + 1)) > n
[ $n -lt 3 ] && sbatch --parsable -w far$((n % 2 + 1)) -o $PWD/out$((n + 1)) next.sh $PWD/n
exit 0
""")  # fmt: skip
    (folder / "next.sh").write_text('#!/bin/bash\n[ "$1" = "$SLURM_SUBMIT_DIR/n" ] || echo "other: $1"\n' + (folder / "job.sh").read_text())
    (folder / "n").write_text("1\n")
    system.ok("sbatch -w far1 -o out1 job.sh")
    system.until("cat n", "4")
    system.drain()
    assert (folder / "out2").read_text().strip().isdigit()
    assert (folder / "out3").read_text() == ""
    assert system.ok("scontrol show job $(cat out2) | grep -c WorkDir=%s$" % folder).strip() == "1"


def test_what_is_no_pattern_is_refused_at_submission(system: System, folder: Path) -> None:
    script(folder, "#SBROKER stage=../elsewhere\n")
    said = system.sh("sbatch job.sh")
    assert said.returncode == 1 and "is no pattern below the submit directory" in said.stderr


def test_a_folder_that_each_machine_has_for_itself_is_not_brought(system: System, folder: Path) -> None:
    """A job from /tmp works, and nobody moves what else lies there; what the job makes comes back."""
    mark = "sbroker-test-%s" % folder.parent.parent.name
    here = Path("/tmp") / mark
    here.write_text("of others\n")
    made = Path("/tmp") / (mark + "-made")
    try:
        assert system.ok("srun -D /tmp sh -c 'cat %s 2>/dev/null; echo made > %s'" % (mark, made.name)) == ""
        assert made.read_text() == "made\n"
    finally:
        here.unlink()
        made.unlink(missing_ok=True)


def test_sync_brings_both_sides_up_to_date(system: System, folder: Path) -> None:
    (folder / "f").write_text("old\n")
    (folder / "old").write_text("old\n")
    script(folder, "echo theirs > f; echo more > more; rm old; echo ready; until [ -e go ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    system.until("cat out", "ready")
    (folder / "new").write_text("0123456789")
    assert system.ok("sbroker sync " + job) == "far1: 2 brought here (12 B), 1 removed here, 1 taken there (10 B)\n"
    assert [(folder / name).read_text() for name in ("f", "more")] == ["theirs\n", "more\n"]
    assert (replica(system, folder) / "new").read_text() == "0123456789"
    assert system.ok("sbroker sync " + job) == "far1: nothing had changed\n"
    (folder / "f").write_text("ours\n")
    (replica(system, folder) / "f").write_text("changed again\n")
    done = system.sh("sbroker sync " + job)
    assert done.returncode == 0 and "%s/f: changed on both sides" % folder in done.stderr
    (folder / "go").touch()
    system.ok("sbroker sync " + job)
    system.drain()
    near = system.ok("sbatch --parsable -W -p near -o /dev/null --wrap true").strip()
    assert "nothing to do" in system.ok("sbroker sync " + near)
    assert system.sh("sbroker sync 99999").stderr == "sbroker: error: There is no job 99999.\n"


def test_tasks_of_an_array_write_into_one_folder(system: System, folder: Path) -> None:
    """What one task's output grows by is nothing to bring to the others, and nothing to warn of."""
    script(folder, "for i in $(seq 200); do echo $SLURM_ARRAY_TASK_ID; sleep 0.005; done; echo x > done$SLURM_ARRAY_TASK_ID\n")
    system.ok("sbatch -W --array=1-12 -o out-%a job.sh")
    for task in range(1, 13):
        assert (folder / ("out-%d" % task)).read_text() == "%d\n" % task * 200
        assert (folder / ("done%d" % task)).read_text() == "x\n"


def test_a_script_and_its_steps_see_each_others_files(system: System, folder: Path) -> None:
    script(folder, "echo made > made\nsrun -N2 -n2 sh -c 'cat made; hostname; echo $SLURM_PROCID > r$SLURM_PROCID' | sort\ncat r0 r1\nsrun -N1 -n1 -r1 sh -c 'cat r0 r1'\n")
    system.ok("sbatch -W -N2 -n2 -o out job.sh")
    assert (folder / "out").read_text().split() == ["far1", "far2", "made", "made", "0", "1", "0", "1"]


def test_the_brokers_own_folder_goes_nowhere(system: System, folder: Path) -> None:
    """Submitted from a folder that holds the broker's home: database, secret and sockets stay here."""
    above = system.home.parent
    (above / "f").write_text("here\n")
    done = system.ok("cd %s; sbatch -W -o out --wrap 'cat f; ls home'; cat out" % above)
    assert "here\n" in done and "config.yaml" not in done and "sbroker.db" not in done and "spool" not in done, done


def test_what_a_running_job_changed_stays_there(system: System, folder: Path) -> None:
    (folder / "f").write_text("old\n")
    script(folder, "echo theirs > f; echo ready; until [ -e go ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -w far1 -o out job.sh").strip()
    system.until("cat out", "ready")
    (folder / "f").write_text("ours\n")
    done = system.sh("srun --jobid=%s --overlap cat f" % job)
    assert done.stdout == "theirs\n" and "the version there stays there" in done.stderr
    assert {path.read_text() for path in folder.glob("f*")} == {"ours\n", "theirs\n"}
    (replica(system, folder) / "go").touch()
    system.drain()


def test_standard_input_from_elsewhere_is_brought_along(system: System, folder: Path) -> None:
    other = system.work.parent / "inputs"
    other.mkdir()
    for name in ("words-1%", "other"):
        (other / name).write_text(name + "\n")
    (folder / "here").touch()
    system.ok("sbatch -W --array=1 -i %s/words-%%a%%%% -o out --wrap 'cat; ls -A'" % other)
    assert (folder / "out").read_text() == "words-1%\nhere\n"
    assert [path.name for path in (replica(system, other)).iterdir()] == ["words-1%"]
    assert sorted(path.name for path in other.iterdir()) == ["other", "words-1%"]


def test_files_that_cannot_come_back_are_tried_again_and_said(system: System, folder: Path) -> None:
    """A file is where the submit directory was when the job ends: the job completes until it is there again."""
    (folder / "go").touch()
    script(folder, "echo made > made; echo ready; while [ -e go ]; do sleep 0.05; done\n")
    job = system.ok("sbatch --parsable -w far1 -o %s.out job.sh" % folder).strip()
    there = replica(system, folder)
    system.until("cat %s/made" % there, "made")
    away = folder.with_name("away")
    folder.rename(away)
    folder.touch()
    system.work = away
    (there / "go").unlink()
    try:
        system.until("squeue -h -o %%t -j %s" % job, "CG")
        system.until("scontrol show job %s | grep -c Reason=far1:_" % job, "1")
    finally:
        folder.unlink()
        away.rename(folder)
        system.work = folder
    system.drain()
    assert (folder / "made").read_text() == "made\n"
    assert system.ok("sacct -nXP -o state -j %s" % job).strip() == "COMPLETED"
