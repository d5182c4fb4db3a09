"""Jobs and steps on nodes over SSH are like those here, and outlive connections, agents and brokers."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import termios
import time
from pathlib import Path


def script(system, name: str, text: str) -> None:
    Path(system.work, name).write_text("#!/bin/bash\n" + text)


def lines(text: str) -> dict[str, list[str]]:
    """Labelled output by rank."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        rank, _, rest = line.partition(": ")
        found.setdefault(rank.strip(), []).append(rest)
    return found


def test_a_step_over_four_nodes(system):
    said = lines(system.ok("srun -N4 -n8 -l bash -c 'hostname; echo $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID'"))
    assert said == {str(rank): ["n%d" % (rank // 2 + 1), "%d %d %d" % (rank, rank // 2, rank % 2)] for rank in range(8)}


def test_exit_codes_and_signals(system):
    assert system.sh("srun -N2 bash -c 'exit $((SLURM_PROCID * 3))'").returncode == 3
    done = system.sh("srun -n1 -w n3 bash -c 'kill -9 $$'")
    assert (done.returncode, done.stderr.splitlines()[0]) == (137, "srun: error: n3: task 0: Killed")
    assert system.sh("srun /nonexistent").returncode == 2


def test_standard_input_to_all_and_to_one(system):
    assert lines(system.ok("seq 3 | srun -N3 -l cat")) == {str(rank): ["1", "2", "3"] for rank in range(3)}
    assert lines(system.ok("seq 3 | srun -N3 -l -i 1 cat")) == {"1": ["1", "2", "3"]}
    wanted = "".join("%d\n" % i for i in range(1, 200001))
    assert system.ok("seq 200000 | srun -n1 -w n4 cat") == wanted


def test_a_batch_script_with_steps_on_all_nodes(system):
    script(system, "job.sh", "#SBATCH -N4 -o %x.out -J spread\necho head $(hostname) $SLURM_JOB_NODELIST\nsrun hostname | sort\nsrun -n2 -N2 false\necho $?\nexit 4\n")
    done = system.sh("sbatch -W --parsable job.sh")
    assert done.returncode == 4
    job = done.stdout.strip()
    said = Path(system.work, "spread.out").read_text().splitlines()
    assert said[:5] == ["head n1 n[1-4]", "n1", "n2", "n3", "n4"]
    assert said[-1] == "1"
    assert system.ok("sacct -nP -o jobid,state,exitcode -j " + job).splitlines() == [
        "%s|FAILED|4:0" % job, "%s.batch|FAILED|4:0" % job, "%s.0|COMPLETED|0:0" % job, "%s.1|FAILED|1:0" % job,
    ]  # fmt: skip


def test_steps_at_once_in_one_allocation(system):
    script(system, "steps.sh", "#SBATCH -N4 -n4 -o steps.out\nfor i in 1 2 3 4; do srun -n1 -N1 --exact bash -c \"echo step $i; sleep 0.5\" & done\nwait\n")
    system.ok("sbatch -W steps.sh >/dev/null")
    assert sorted(Path(system.work, "steps.out").read_text().splitlines()) == ["step %d" % i for i in range(1, 5)]


def test_an_allocation_from_here_with_steps_there(system):
    done = system.sh("salloc -N2 bash -c 'srun hostname; hostname; echo $SLURM_JOB_NODELIST'")
    words = done.stdout.split()
    assert (done.returncode, sorted(words[:2]), words[3]) == (0, ["n1", "n2"], "n[1-2]")
    assert "salloc: Granted job allocation" in done.stderr


def test_a_terminal_there(system):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")
    shell = subprocess.Popen(system.argv("srun -w n2 --pty bash --norc"), cwd=system.work, env=system.env, stdin=slave, stdout=slave, stderr=slave,
                             start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
    os.close(slave)
    text = ""

    def until(pattern: str) -> None:
        nonlocal text
        end = time.monotonic() + 20
        while not re.search(pattern, text):
            assert time.monotonic() < end, text
            text += os.read(master, 65536).decode(errors="replace")

    os.write(master, b"hostname; stty size; echo ready\n")
    until(r"n2\r\n30 100\r\nready")
    os.write(master, b"sleep 100\n")
    until(r"sleep 100\r\n")
    time.sleep(0.3)
    os.write(master, b"\x03")
    os.write(master, b"echo code $?\n")
    until(r"code 130")
    os.write(master, b"exit 5\n")
    assert shell.wait(20) == 5
    os.close(master)


def test_cancelling_ends_it_everywhere(system):
    job = system.ok("sbatch --parsable -N4 -o /dev/null --wrap 'srun sleep 987'").strip()
    for node in ("n1", "n2", "n3", "n4"):
        system.until_there(node, "pgrep -fc '^[^ ]*sleep 987$'", "1")
    system.ok("scancel " + job)
    system.until("squeue -h -t all -o %%T -j %s" % job, "CANCELLED")
    assert [system.on(node, "pgrep -f '^[^ ]*sleep 987$'") for node in ("n1", "n2", "n3", "n4")] == [""] * 4


def test_jobs_and_agents_outlive_the_connection(system):
    """Every login is killed on the nodes: the same agents go on, and so does the srun."""
    agents = [system.agent_pid(node) for node in ("n1", "n2")]
    running = system.start("srun -N2 -l bash -c 'for i in $(seq 60); do echo $i; sleep 0.05; done; exit 3'")
    for node in ("n1", "n2") * 2:
        time.sleep(0.4)
        system.on(node, "pkill -KILL -f 'sshd: ubuntu'")
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 3, errors
    assert lines(out) == {rank: [str(i) for i in range(1, 61)] for rank in ("0", "1")}
    assert [system.agent_pid(node) for node in ("n1", "n2")] == agents


def test_jobs_outlive_the_agent(system):
    agents = [system.agent_pid(node) for node in ("n1", "n2")]
    script(system, "long.sh", "#SBATCH -N2 -o long.out\nsrun -l bash -c 'echo once >> once.$SLURM_PROCID; for i in $(seq 60); do echo $i; sleep 0.05; done'\nexit 6\n")
    job = system.ok("sbatch --parsable long.sh").strip()
    system.until("squeue -h -t R -o %%i -j %s" % job, job)
    for node in ("n1", "n2"):
        time.sleep(0.5)
        system.kill_agent(node)
    system.until("sacct -nXP -o state,exitcode -j " + job, "FAILED|6:0", 60)
    assert lines(Path(system.work, "long.out").read_text()) == {rank: [str(i) for i in range(1, 61)] for rank in ("0", "1")}
    assert [Path(system.work, "once.%d" % rank).read_text() for rank in range(2)] == ["once\n"] * 2
    assert not set(agents) & {system.agent_pid(node) for node in ("n1", "n2")}


def test_jobs_outlive_the_broker(system):
    job = system.ok("sbatch --parsable -N4 -o away.out --wrap 'srun -l bash -c \"sleep 1; echo \\$SLURM_PROCID\"; srun hostname | sort; exit 2'").strip()
    running = system.start("srun -N2 -l --overlap bash -c 'for i in $(seq 30); do echo $i; sleep 0.05; done'")
    system.until("squeue -h -t R -o %%i -j %s" % job, job)
    system.kill_broker()
    out, errors = running.communicate(timeout=60)
    assert (running.returncode, lines(out)) == (0, {rank: [str(i) for i in range(1, 31)] for rank in ("0", "1")}), errors
    system.until("sacct -nXP -o state,exitcode -j " + job, "FAILED|2:0", 60)
    said = Path(system.work, "away.out").read_text().splitlines()
    assert sorted(said[:4]) == ["%d: %d" % (rank, rank) for rank in range(4)]
    assert said[4:] == ["n1", "n2", "n3", "n4"]


def test_a_node_says_how_big_it_is(system):
    there = system.on("n1", "nproc").strip()
    assert system.ok("sinfo -h -N -n n1 -o %c").strip() == there
    assert int(system.ok("sinfo -h -N -n n1 -o %m")) > 100
    assert "Arch=%s" % os.uname().machine in system.ok("scontrol show node n1")
