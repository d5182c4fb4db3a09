"""Steps over several hosts: they find each other by name and TCP, and what a cut, a freeze or a loss of a host does to them."""

from __future__ import annotations

import random
import signal
import time

from tests.hosts.system import SHARED as CONFIG

ROOT_CONFIG = CONFIG.replace("user: ubuntu", "user: root")
COUNT = "i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); sleep 0.01; done"


def by_rank(text: str, ranks: int) -> list[list[str]]:
    lines = [line.partition(": ") for line in text.splitlines()]
    return [[line for rank, _, line in lines if rank.strip() == str(number)] for number in range(ranks)]


def test_many_tasks_on_four_hosts_from_the_login_host(system):
    out = system.ok("cd /tmp && srun -N4 -n32 -O -l hostname")
    assert by_rank(out, 32) == [["n%d" % (rank // 8 + 1)] for rank in range(32)]
    out = system.ok("cd /tmp && seq 20000 | srun -N4 -n4 -l wc -l")
    assert by_rank(out, 4) == [["20000"]] * 4
    assert system.ok("cd /tmp && echo one | srun -N4 -n4 -i 2 -l cat") == "2: one\n"
    done = system.sh("cd /tmp && srun -N4 -n4 sh -c 'exit $((SLURM_PROCID * 5))'")
    assert done.returncode == 15


def test_steps_in_a_script_and_by_jobid(system):
    job = system.ok(
        """cd /tmp && sbatch --parsable -N4 -n4 --chdir=/tmp -o /tmp/steps-%j.out <<'END'
#!/bin/bash
for i in 1 2 3; do srun -O --overlap -N4 -n8 sh -c "echo step $i" & done
wait
head -c 300000 /dev/urandom > /tmp/big; md5sum < /tmp/big
sbcast -f /tmp/big /tmp/big.all; srun -N4 -n4 md5sum /tmp/big.all
srun -N4 -n4 --bcast=/tmp/prog /bin/hostname
srun -N4 -n4 sh -c 'trap "echo heard; exit 3" USR1; touch /tmp/ready; while :; do sleep 0.1; done'
echo rc=$?
END"""
    ).strip()
    end = time.monotonic() + 60
    while "ready" not in system.on("n4", "ls /tmp"):
        assert time.monotonic() < end, system.on("n1", "cat /tmp/steps-%s.out" % job)
        time.sleep(0.1)
    hosts = system.ok("cd /tmp && srun --jobid=%s --overlap -N4 -n4 hostname" % job).split()
    assert sorted(hosts) == ["n1", "n2", "n3", "n4"]
    system.ok("scancel --signal=USR1 %s" % job)
    system.drain()
    lines = system.on("n1", "cat /tmp/steps-%s.out" % job).splitlines()
    for number in (1, 2, 3):
        assert lines.count("step %d" % number) == 8
    sums = [line.split()[0] for line in lines if line.endswith(("  -", "big.all"))]
    assert len(sums) == 5 and len(set(sums)) == 1, lines
    assert lines.count("heard") == 4 and lines[-1] == "rc=3", lines


def test_a_terminal_in_a_running_job(system):
    job = system.ok("sbatch --parsable -N2 -n2 --chdir=/tmp -o /dev/null --wrap 'sleep 60'").strip()
    system.until("squeue -h -j %s -o %%T" % job, "RUNNING")
    out = system.ok("cd /tmp && script -qec 'srun --jobid=%s --overlap -w n2 -n1 --pty sh -c \"tty; hostname; stty size\"' /dev/null" % job)
    assert "/dev/pts/" in out and "n2" in out, out
    system.ok("scancel %s" % job)
    system.drain()


def test_steps_while_the_broker_is_away(system):
    job = system.ok(
        "sbatch --parsable -N4 -n4 --chdir=/tmp -o /tmp/away.out --wrap 'srun -N4 -n4 true; touch /tmp/go; sleep 3; srun -N4 -n4 -l hostname; srun -N4 -n4 sh -c \"exit 4\"; echo rc=$?'"
    ).strip()
    end = time.monotonic() + 60
    while "go" not in system.on("n1", "ls /tmp").split():
        assert time.monotonic() < end
        time.sleep(0.1)
    system.kill_broker()
    while "rc=4" not in (out := system.on("n1", "cat /tmp/away.out")):
        assert time.monotonic() < end, out
        time.sleep(0.2)
    assert by_rank(out, 4) == [["n1"], ["n2"], ["n3"], ["n4"]]
    system.until("sacct -nX -j %s -o state | xargs" % job, "COMPLETED", 60)


def start_counting(system, name, count=600):
    job = system.ok(
        """sbatch --parsable -N4 -n4 --chdir=/tmp -o /tmp/%s.out <<'END'
#!/bin/sh
srun -N4 -n4 -l sh -c 'echo ran >> /tmp/%s.ran; %s; exit $SLURM_PROCID'
echo rc=$?
END"""
        % (name, name, COUNT % count)
    ).strip()
    end = time.monotonic() + 60
    while system.on("n1", "cat /tmp/%s.out" % name).count("\n") < 40:
        assert time.monotonic() < end, system.sh("squeue; sacct").stdout
        time.sleep(0.1)
    return job


def check_counting(system, name, job, count=600):
    system.until("sacct -nX -j %s -o state | xargs" % job, "COMPLETED", 120)
    out = system.on("n1", "cat /tmp/%s.out" % name)
    assert by_rank(out, 4) == [[str(number) for number in range(count)]] * 4
    assert "rc=3" in out.splitlines()
    for host in ("n1", "n2", "n3", "n4"):
        assert system.on(host, "cat /tmp/%s.ran" % name) == "ran\n"


def test_cut_and_frozen_hosts_lose_no_line(system):
    job = start_counting(system, "cuts")
    dice = random.Random(5)
    for _ in range(3):
        host = dice.choice(["n2", "n3", "n4"])
        what, back = dice.choice([(system.cloud.cut, system.cloud.heal), (system.cloud.freeze, system.cloud.thaw)])
        what(host)
        time.sleep(dice.uniform(0.5, 3))
        back(host)
    check_counting(system, "cuts", job)


def test_a_cut_that_is_long_enough_to_break_every_connection(system):
    job = start_counting(system, "long", 900)
    system.cloud.cut("n3")
    time.sleep(25)
    system.cloud.heal("n3")
    check_counting(system, "long", job, 900)


def test_killed_agents_and_brokers_cost_nothing(system):
    job = start_counting(system, "kills")
    for host in ("n2", "n1"):
        system.kill_agent(host)
        time.sleep(0.3)
    system.kill_broker()
    system.ok("squeue >/dev/null")
    check_counting(system, "kills", job)


def test_hosts_that_reach_each_other_only_through_the_broker(make_system):
    """The only port that the agents may have is one that is not theirs to take."""
    made = make_system("n[1-4]", CONFIG.replace("user: ubuntu", 'user: ubuntu, ports: "1-1"'))
    made.idle("n[1-4]")
    out = made.ok("cd /tmp && seq 20000 | srun -N4 -n8 -O -l sh -c 'wc -l; hostname'")
    assert by_rank(out, 8) == [["20000", "n%d" % (rank // 2 + 1)] for rank in range(8)]
    job = start_counting(made, "relay", 300)
    made.kill_broker()
    made.ok("squeue >/dev/null")
    made.cloud.cut("n3")
    time.sleep(2)
    made.cloud.heal("n3")
    check_counting(made, "relay", job, 300)


def test_names_of_hosts_that_do_not_resolve(make_system):
    """Nodes that are called otherwise than the hosts' own names: root's agents see to it that jobs find them, and touch no file of the host."""
    made = make_system("alpha,beta", ROOT_CONFIG.replace("user: root", "user: root, addresses: {alpha: n1, beta: n2}"))
    made.idle("alpha,beta")
    before = made.on("n1", "cat /etc/hosts")
    out = made.ok("cd /tmp && srun -N2 -n2 -l getent hosts alpha beta")
    assert [[line.split()[1] for line in lines] for lines in by_rank(out, 2)] == [["alpha", "beta"]] * 2
    assert made.on("n1", "cat /etc/hosts") == before


def test_a_host_that_dies_is_a_node_failure(make_system):
    made = make_system("n[1-4]", CONFIG.replace("lost_after: 60", "lost_after: 5"))
    made.idle("n[1-4]")
    job = made.ok("sbatch --parsable --no-requeue -N2 -n2 -w n3,n4 --chdir=/tmp -o /tmp/dies.out --wrap 'srun -N2 -n2 sleep 100'").strip()
    made.until("squeue -h -j %s -o %%T" % job, "RUNNING")
    time.sleep(1)
    made.cloud.freeze("n4", signal.SIGSTOP)
    try:
        made.until("sacct -nX -j %s -o state | xargs" % job, "NODE_FAIL", 90)
        out = made.on("n3", "cat /tmp/dies.out")
        assert "DUE TO NODE FAILURE" in out, out
    finally:
        made.cloud.thaw("n4")
    made.idle("n[1-4]")
    assert "sleep" not in made.on("n4", "ps -e -o comm"), "what was left there ends when the node is heard again"
