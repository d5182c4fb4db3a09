"""The main job end to end: an unchanged batch script is submitted, queued, placed, launched, watched and accounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    made = System(tmp_path_factory.mktemp("system"))
    try:
        yield made
    finally:
        made.close()


def script(system: System, name: str, text: str) -> None:
    Path(system.work, name).write_text(text)


def test_a_batch_script_from_submission_to_accounting(system: System) -> None:
    """Directives count, the step runs, the output is at Slurm's path, and sacct has job, batch and step."""
    script(system, "job.sh", "#!/bin/bash\n#SBATCH -J first -n 2\n#SBATCH --output=%x-%j.out\necho $SLURM_JOB_NAME $SLURM_NTASKS $1\nsrun -l echo hi\n")
    job = system.ok("sbatch --parsable -W job.sh argument").strip()
    said = Path(system.work, "first-%s.out" % job).read_text().splitlines()
    assert said[0] == "first 2 argument"
    assert sorted(said[1:]) == ["0: hi", "1: hi"]
    assert system.ok("sacct -nP -o jobid,jobname,state,exitcode -j " + job).splitlines() == [
        "%s|first|COMPLETED|0:0" % job, "%s.batch|batch|COMPLETED|0:0" % job, "%s.0|echo|COMPLETED|0:0" % job,
    ]  # fmt: skip


def test_exit_codes_reach_the_waiting_sbatch(system: System) -> None:
    assert system.sh("sbatch -W --wrap 'exit 7'").returncode == 7
    assert system.sh("sbatch -W --array=1-3 -o /dev/null --wrap 'exit $SLURM_ARRAY_TASK_ID'").returncode == 3


def test_an_array_keeps_to_its_limit(system: System) -> None:
    job = system.ok("sbatch --parsable --array=1-4%1 -o a-%a.out --wrap 'sleep 0.3; echo $SLURM_ARRAY_TASK_ID'").strip()
    system.until("squeue -h -t R -o %%t -j %s | wc -l" % job, "1")
    system.drain()
    assert [Path(system.work, "a-%d.out" % task).read_text() for task in range(1, 5)] == ["1\n", "2\n", "3\n", "4\n"]


def test_dependencies_order_and_forbid(system: System) -> None:
    first = system.ok("sbatch --parsable -o /dev/null --wrap 'sleep 0.3; exit 1'").strip()
    never = system.ok("sbatch --parsable -o /dev/null -d afterok:%s --wrap true" % first).strip()
    killed = system.ok("sbatch --parsable -o /dev/null -d afterok:%s --kill-on-invalid-dep=yes --wrap true" % first).strip()
    after = system.ok("sbatch --parsable -o /dev/null -d afterany:%s --wrap true" % first).strip()
    system.until("squeue -h -t all -o %%T -j %s" % after, "COMPLETED")
    assert system.ok("squeue -h -o '%%T %%r' -j %s" % never).strip() == "PENDING DependencyNeverSatisfied"
    system.until("squeue -h -t all -o %%T -j %s" % killed, "CANCELLED")
    system.ok("scancel " + never)


def test_gpus_are_handed_out_once(system: System) -> None:
    lines = "sbatch -p gpu --gres=gpu:1 -o g%d.out -Q --wrap 'echo $CUDA_VISIBLE_DEVICES; sleep 1'"
    for number in (1, 2):
        system.ok(lines % number)
    system.drain()
    assert {Path(system.work, "g%d.out" % number).read_text() for number in (1, 2)} == {"0\n", "1\n"}


def test_a_requeued_job_runs_again(system: System) -> None:
    job = system.ok("sbatch --parsable -o r.out --open-mode=append --wrap 'echo r$SLURM_RESTART_COUNT; sleep 30'").strip()
    system.until("cat r.out", "r")
    system.ok("scontrol requeue " + job)
    system.until("squeue -h -o '%%T %%r' -j %s" % job, "PENDING BeginTime")
    system.ok("scontrol update jobid=%s starttime=now" % job)
    system.until("tail -n 1 r.out", "r1")
    system.ok("scancel " + job)
    system.until("squeue -h -t all -o %%T -j %s" % job, "CANCELLED")


def test_the_time_limit_signals_and_ends(system: System) -> None:
    job = system.ok("sbatch --parsable -t 1 --signal=B:USR1@58 -o t.out --wrap 'trap \"echo told; exit 5\" USR1; while :; do sleep 0.1; done'").strip()
    system.until("squeue -h -t all -o %%T -j %s" % job, "FAILED", 45)
    assert Path(system.work, "t.out").read_text() == "told\n"


def test_a_job_cancelled_leaves_no_process(system: System) -> None:
    job = system.ok("sbatch --parsable -o c.out --wrap 'setsid sleep 4711 & echo $!; wait'").strip()
    system.until("cat c.out | wc -l", "1")
    pid = int(Path(system.work, "c.out").read_text())
    assert Path("/proc/%d" % pid).exists()
    system.ok("scancel " + job)
    system.drain()
    assert not Path("/proc/%d" % pid).exists()


def test_salloc_runs_its_command_and_gives_back(system: System) -> None:
    done = system.sh("salloc -N2 bash -c 'srun hostname | sort | tr \"\\n\" \" \"; exit 4'")
    assert done.returncode == 4
    assert len(done.stdout.split()) == 2
    system.drain()


@pytest.mark.parametrize("line", ["sbatch nothere.sh", "sbatch -p nowhere --wrap true", "sbatch -t x --wrap true", "sbatch -p gpu --gres=gpu:99 --wrap true"])
def test_bad_input_changes_nothing(system: System, line: str) -> None:
    before = system.ok("squeue -h -t all -o %i")
    done = system.sh(line)
    assert done.returncode != 0
    assert "error" in done.stderr
    assert system.ok("squeue -h -t all -o %i") == before


def test_what_no_frame_can_hold_is_refused_at_submission(system: System) -> None:
    """Arguments of megabytes: a job that could never reach its node must not be accepted."""
    script(system, "arg.sh", "#!/bin/bash\ntrue\n")
    done = system.sh("sbatch arg.sh $(for i in $(seq 15); do head -c 100000 /dev/zero | tr '\\0' x; echo; done)")
    assert done.returncode == 1
    assert "larger than 2 MiB: put what they say into a file" in done.stderr


# ---- kills


def test_the_broker_dies_while_jobs_and_clients_wait(system: System) -> None:
    """A job runs on, a step's client gets every line once, salloc keeps its command, a waiting sbatch gets its exit code."""
    job = system.ok("sbatch --parsable -o k.out --wrap 'for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.2; done; srun echo step'").strip()
    srun = system.start("srun bash -c 'for i in $(seq 1 20); do echo $i; sleep 0.1; done'")
    salloc = system.start("salloc -Q bash -c 'sleep 2; srun echo inside'")
    wait = system.start("sbatch -Q -W -o /dev/null --wrap 'sleep 2; exit 6'")
    system.until("squeue -h -t R | wc -l", "4")
    system.kill_broker()
    assert srun.communicate(timeout=60) == ("".join("%d\n" % i for i in range(1, 21)), "")
    assert salloc.communicate(timeout=60)[0] == "inside\n"
    wait.communicate(timeout=60)
    assert (srun.returncode, salloc.returncode, wait.returncode) == (0, 0, 6)
    system.drain()
    assert Path(system.work, "k.out").read_text() == "1\n2\n3\n4\n5\n6\n7\n8\n9\nstep\n"
    assert system.ok("sacct -nXP -o state -j " + job) == "COMPLETED\n"


def test_an_agent_dies_under_a_step(system: System) -> None:
    srun = system.start("srun -w node1 bash -c 'for i in $(seq 1 20); do echo $i; sleep 0.1; done; exit 3'")
    system.until("squeue -h -t R -o %N", "node1")
    system.kill_agent("node1")
    out, _ = srun.communicate(timeout=60)
    assert (out, srun.returncode) == ("".join("%d\n" % i for i in range(1, 21)), 3)
    system.drain()


def test_a_client_that_dies_takes_its_allocation_along(system: System) -> None:
    srun = system.start("exec srun sleep 300")
    system.until("squeue -h -t R | wc -l", "1")
    srun.kill()
    srun.communicate()
    system.drain()
