"""Steps over nodes that know each other by TCP only, or not at all: a whole broker with agents that have a port, or none."""

import os
import signal
import socket
import time

import pytest
import system

CONFIG = """
cluster: system
kill_wait: 2
min_job_age: 3600
partitions: [{name: debug, default: true, sites: [here]}]
sites:
  here: {provider: local, nodes: "node[1-4]", cpus: 8, memory: 4000M, ports: %s}
"""


@pytest.fixture(params=["tcp", "broker"])
def nodes(request, tmp_path, monkeypatch):
    """Four nodes that reach each other by TCP, or, since the only port that they may have is taken, through the broker."""
    taken = socket.create_server(("", 0))
    port = taken.getsockname()[1]
    monkeypatch.setattr(system, "CONFIG", CONFIG % (0 if request.param == "tcp" else f'"{port}-{port}"'))
    made = system.System(tmp_path)
    made.way = request.param
    yield made
    made.close()
    taken.close()


def test_many_tasks_several_steps_and_every_kind_of_step_command(nodes):
    out = nodes.ok("srun -N4 -n32 -l sh -c 'echo $SLURMD_NODENAME'").splitlines()
    assert sorted(out, key=lambda line: int(line.split(":")[0])) == ["%2d: node%d" % (rank, rank // 8 + 1) for rank in range(32)]
    nodes.work.joinpath("job.sh").write_text(
        """#!/bin/bash
#SBATCH -N4 -n32 -o job.out
for i in 1 2 3; do srun --exact -N4 -n8 --mem=100 sh -c "echo step $i" & done
wait
seq 20000 > big
sbcast -f big /tmp/sbcast.$SLURM_JOB_ID.$$ && srun -N4 -n4 sh -c 'wc -l < /tmp/sbcast.'$SLURM_JOB_ID.$$
rm -f /tmp/sbcast.$SLURM_JOB_ID.$$
seq 50000 | srun -N4 -n4 -l wc -l
echo only | srun -N4 -n4 -i 2 -l cat
srun -N4 -n4 sh -c 'exit $SLURM_PROCID'
echo rc=$?
"""
    )
    assert nodes.ok("sbatch -W job.sh | wc -l") == "1\n"
    lines = nodes.work.joinpath("job.out").read_text().splitlines()
    for number in (1, 2, 3):
        assert lines.count("step %d" % number) == 8
    assert lines.count("20000") == 4
    assert [line for line in lines if line.endswith(": 50000")] and sum(line.endswith(": 50000") for line in lines) == 4
    assert "2: only" in lines and "rc=3" in lines


def test_signals_and_a_second_step_by_jobid(nodes):
    nodes.ok("sbatch -N3 -n3 -o job.out --wrap 'srun -N3 -n3 sh -c \"trap \\\"echo got; exit 3\\\" USR1; echo ready; while :; do sleep 0.1; done\"'")
    nodes.until("grep -c ready job.out", "3")
    assert len(set(nodes.ok("srun --jobid=1 --overlap -N3 -n3 sh -c 'echo $SLURMD_NODENAME'").split())) == 3
    nodes.ok("scancel --signal=USR1 1")
    nodes.drain()
    assert nodes.work.joinpath("job.out").read_text().count("got\n") == 3


def test_steps_go_on_while_the_broker_is_away(nodes):
    """By TCP the script never misses it; through the broker, steps over other nodes wait for the next one."""
    nodes.ok("sbatch -N3 -n3 -o job.out --wrap 'srun -N3 -n3 hostname >/dev/null; touch ready; while [ ! -e go ]; do sleep 0.1; done; srun -N3 -n3 -l sh -c \"echo after\"'")
    nodes.until("ls ready", "ready")
    nodes.kill_broker()
    nodes.work.joinpath("go").touch()
    if nodes.way == "broker":
        time.sleep(0.5)
        nodes.ok("squeue >/dev/null")  # starts it again
    end = time.monotonic() + 60
    while sorted(nodes.work.joinpath("job.out").read_text().splitlines()) != ["0: after", "1: after", "2: after"]:
        assert time.monotonic() < end, nodes.work.joinpath("job.out").read_text()
        time.sleep(0.1)
    nodes.drain()


def test_agents_that_are_killed_cost_nothing(nodes):
    nodes.ok("sbatch -N3 -n3 -o job.out --wrap 'srun -N3 -n3 -l sh -c \"i=0; while [ \\$i -lt 400 ]; do echo \\$i; i=\\$((i+1)); sleep 0.01; done\"'")
    nodes.until("grep -c : job.out | grep -q ... && echo many", "many")
    for name in ("node2", "node1", "node3"):
        nodes.kill_agent(name)
        time.sleep(0.5)
    nodes.drain()
    lines = nodes.work.joinpath("job.out").read_text().splitlines()
    for rank in range(3):
        assert [line for line in lines if line.startswith(f"{rank}: ")] == [f"{rank}: {number}" for number in range(400)]
    assert nodes.ok("sacct -n -X -j 1 -o state").strip() == "COMPLETED"


def test_a_stopped_supervisor_is_heard_again(nodes):
    """Frozen for longer than its connection lives, thawed before it counts as lost."""
    nodes.ok("sbatch -N2 -n2 -o job.out --wrap 'srun -N2 -n2 -l sh -c \"echo \\$\\$ > pid.\\$SLURM_PROCID; sleep 3; echo here\"'")
    nodes.until("cat pid.0 pid.1 | wc -l", "2")
    pid = supervisor_of(int(nodes.work.joinpath("pid.1").read_text()))
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(pid, signal.SIGCONT)
    nodes.drain()
    assert sorted(nodes.work.joinpath("job.out").read_text().splitlines()) == ["0: here", "1: here"]


def supervisor_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])
