"""Cuts, freezes, kills of hosts, of agents and of the broker while jobs run over several nodes with a real sshd; then the books are checked.

usage: python -m tests.chaos.nodes [--faults 300] [--brokers 100] [--hosts 8] [--seed N] [--keep]

Every task appends one line to a ledger of its own when it starts, and writes numbered lines. At the end: every output has each line of
each rank once and in order, every ledger has one line, every exit code is the one asked for; only a job of which a host was killed may have ended
NODE_FAIL, or have run again (under another restart count). Needs root; ends only what it started.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.doubles.cloudhosts import Cloud, missing, sweep
from tests.doubles.machine import Host
from tests.hosts.system import HostsSystem, make_key

CONFIG = """
cluster: chaos
kill_wait: 5
min_job_age: 3600
lost_after: 30
partitions:
  - {name: debug, default: true, sites: [lab], max_time: infinite}
sites:
  lab: {provider: ssh, hosts: "%(hosts)s", user: ubuntu, identity_file: key, known_hosts: known_hosts, shared_fs: true}
"""
TASK = """#!/bin/bash
# a task: its mark in the ledger, its lines, its exit code
echo $$ >> ledger/$1.${SLURM_RESTART_COUNT:-0}.$SLURM_PROCID
for i in $(seq $2); do echo "line $i"; sleep 0.0$3; done
exit $4
"""
JOB = """#!/bin/bash
echo "begin ${{SLURM_RESTART_COUNT:-0}}"
for i in $(seq {lines}); do echo "script $i"; sleep 0.0{pause}; done
srun -l bash task.sh {name} {lines} {pause} {step_code}
echo "rc $?"
exit {code}
"""


@dataclass
class Load:
    name: str
    nodes: int
    tasks: int
    lines: int
    pause: int
    code: int
    step_code: int
    requeue: bool = False
    id: int = 0  # of a batch job
    process: subprocess.Popen[str] | None = None  # of an srun
    begin: float = field(default_factory=time.monotonic)


class Chaos:
    def __init__(self, seed: int, hosts: int) -> None:
        self.random = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="sbroker-chaos-nodes-"))
        self.folder.chmod(0o755)
        self.names = ["c%d" % number for number in range(1, hosts + 1)]
        key = self.folder / "key"
        public = make_key(key)
        room = self.folder / "room"
        room.mkdir()
        self.cloud = Cloud("chaos%d" % os.getpid(), owner=os.getpid())
        self.cloud.add([Host(name, keys=[public], bind=["%s:%s:rw" % (room, room)], disk=True) for name in self.names])
        self.system = HostsSystem(room, self.cloud, key, "c[1-%d]" % hosts, CONFIG)
        self.work = self.system.work
        (self.work / "ledger").mkdir()
        (self.work / "ledger").chmod(0o777)
        (self.work / "task.sh").write_text(TASK)
        self.loads: dict[str, Load] = {}
        self.sick: dict[str, tuple[float, str]] = {}  # host → when it is well again, what it has
        self.kills: list[tuple[str, float]] = []  # of hosts

    # ---- load

    def shape(self, name: str) -> Load:
        dice = self.random
        nodes = dice.randint(1, 4)
        step_code = dice.choice([0, 0, 0, 3])
        tasks = min(nodes + dice.randint(0, 2), nodes * (os.cpu_count() or 1))
        return Load(name, nodes, tasks, dice.randint(10, 60), dice.randint(2, 9), dice.randint(0, 5), step_code, dice.random() < 0.5)

    def submit(self, number: int) -> None:
        load = self.shape("job%d" % number)
        (self.work / (load.name + ".sh")).write_text(JOB.format(**vars(load)))
        line = "sbatch --parsable -N%d -n%d -J %s -o %s.out %s %s.sh" % (
            load.nodes, load.tasks, load.name, load.name, "--requeue" if load.requeue else "--no-requeue", load.name)  # fmt: skip
        done = self.system.sh(line, 120)
        if done.returncode:
            raise SystemExit("%s: exit %d: %s" % (line, done.returncode, done.stderr))
        load.id = int(done.stdout.split(";")[0])
        self.loads[load.name] = load

    def srun(self, number: int) -> None:
        """A job of one step from outside, whose client must live through the broker's death."""
        load = self.shape("srun%d" % number)
        command = "srun -l -J %s -N%d -n%d bash task.sh %s %d %d %d" % (load.name, load.nodes, load.tasks, load.name, load.lines, load.pause, load.step_code)
        with open(self.work / (load.name + ".out"), "w") as out, open(self.work / (load.name + ".err"), "w") as errors:
            load.process = subprocess.Popen(self.system.argv(command), env=self.system.env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, text=True)
        self.loads[load.name] = load

    # ---- faults

    def fault(self) -> str:
        """One of a host or its agent; "" when there was nothing to do it to."""
        well = [name for name in self.names if name not in self.sick]
        if not well:
            return ""
        name, dice = self.random.choice(well), self.random
        what = dice.choices(["cut", "freeze", "agent", "host"], [35, 25, 30, 10])[0]
        lasts = dice.choice([0.2, 0.5, 1, 2, 5])
        if what == "cut":
            self.cloud.cut(name)
        elif what == "freeze":
            self.cloud.freeze(name)
        elif what == "agent":
            pid = self.system.agent_pid(name) if self.system.agent_folder(name).exists() else 0
            if not pid:
                return ""
            os.kill(pid, 9)
            return what
        else:
            self.kills.append((name, time.time()))
            self.cloud.kill(name)
        self.sick[name] = (time.monotonic() + lasts, what)
        return what

    def mend(self, everything: bool = False) -> None:
        for name, (until, what) in list(self.sick.items()):
            if everything or time.monotonic() >= until:
                del self.sick[name]
                if what == "host":
                    self.cloud.boot(name)
                else:
                    {"cut": self.cloud.heal, "freeze": self.cloud.thaw}[what](name)

    def kill_broker(self) -> str:
        done = self.system.sh("sbroker status --json")
        if done.returncode:
            return ""
        self.system.kill_broker()
        return "broker"

    # ---- the books

    def check(self) -> list[str]:
        wrong = []
        rows: dict[str, list[tuple[str, ...]]] = {}
        for line in self.system.ok("sacct -nXP -o jobname,jobid,state,exitcode,nodelist --duplicates").splitlines():
            name, job, state, code, nodes = line.split("|")
            rows.setdefault(name, []).append((job, state, code, nodes))
        for load in self.loads.values():
            wrong += ["%s: %s" % (load.name, sentence) for sentence in self.check_one(load, rows.get(load.name, []))]
        return wrong

    def check_one(self, load: Load, rows: list[tuple[str, ...]]) -> list[str]:
        wrong = []
        if not rows:
            return ["is not in the accounting"]
        job, state, code, _ = rows[-1]
        struck = self.struck(load, rows)
        again = [row for row in rows if row[1] in ("NODE_FAIL", "REQUEUED")]
        if again and not struck:
            wrong.append("%s although no host of it was killed: %s" % (again[0][1], rows))
        path = self.work / (load.name + ".out")
        said = path.read_text().splitlines() if path.exists() else []
        whole = state != "NODE_FAIL"
        if load.process is not None:
            got = load.process.wait()
            whole = whole or got == 0  # a host may die when all is done and said, and the job's end is not yet on record
            errors = (self.work / (load.name + ".err")).read_text()
            if whole and got != load.step_code:
                wrong.append("exit %s, not %d: %s" % (got, load.step_code, errors[-300:]))
        else:
            wanted = ("COMPLETED", "0:0") if load.code == 0 else ("FAILED", "%d:0" % load.code)
            if whole and (state, code) != wanted:
                wrong.append("job %s is %s %s, not %s" % (job, state, code, wanted))
            mine = [line for line in said if line.startswith("script ")]
            wrong += self.compare("script", mine, ["script %d" % i for i in range(1, load.lines + 1)], whole)
            if whole and said[-1:] != ["rc %d" % load.step_code]:
                wrong.append("last line %s, not rc %d" % (said[-1:], load.step_code))
        for rank in range(load.tasks):
            mine = [line.partition(": ")[2] for line in said if line.partition(": ")[0].strip() == str(rank)]
            wrong += self.compare("rank %d" % rank, mine, ["line %d" % i for i in range(1, load.lines + 1)], whole)
        wrong += self.check_ledger(load, whole)
        if wrong and struck:
            wrong.append("for it: %s; killed: %s" % (rows, ["%s %.1f" % kill for kill in self.kills]))
        return wrong

    def struck(self, load: Load, rows: list[tuple[str, ...]]) -> bool:
        """Whether a host that the job was on was killed."""
        killed = {name for name, _ in self.kills}
        nodes = {name for row in rows for name in self.expand(row[3])}
        return bool(killed & nodes)

    def expand(self, nodes: str) -> list[str]:
        from sbroker.hostlist import expand

        return list(expand(nodes)) if nodes and not nodes.startswith("None") else []

    def compare(self, what: str, got: list[str], wanted: list[str], whole: bool) -> list[str]:
        if got == wanted or (not whole and got == wanted[: len(got)]):
            return []
        twice = [line for line, count in Counter(got).items() if count > 1]
        lost = [line for line in wanted if line not in got] if whole else []
        return ["%s: %d of %d lines, lost %s, twice %s" % (what, len(got), len(wanted), lost[:3], twice[:3])]

    def check_ledger(self, load: Load, whole: bool) -> list[str]:
        wrong, last = [], -1
        for path in (self.work / "ledger").glob(load.name + ".*"):
            last = max(last, int(path.name.split(".")[1]))
            if len(path.read_text().splitlines()) != 1:
                wrong.append("ran twice: %s" % path.name)
        ranks = len(list((self.work / "ledger").glob("%s.%d.*" % (load.name, last))))
        if whole and ranks != load.tasks:
            wrong.append("%d of %d tasks ran" % (ranks, load.tasks))
        return wrong

    # ---- the whole

    def go(self, faults: int, brokers: int) -> int:
        self.system.idle("c[1-%d]" % len(self.names))
        number, done, begin = 0, Counter[str](), time.monotonic()
        while sum(done.values()) < faults + brokers:
            busy = len(self.system.sh("squeue -h -o %i", 120).stdout.split())
            for _ in range(min(3, 12 - busy)):
                number += 1
                self.srun(number) if number % 4 == 0 else self.submit(number)
            time.sleep(self.random.uniform(0, 0.5))
            self.mend()
            left = faults - sum(done[kind] for kind in ("cut", "freeze", "agent", "host")), brokers - done["broker"]
            what = self.kill_broker() if self.random.random() * sum(left) < left[1] else self.fault()
            done.update([what] if what else [])
        self.mend(everything=True)
        end = time.monotonic() + 300
        while (queue := self.system.sh("squeue -h", 120).stdout.strip()) and time.monotonic() < end:
            time.sleep(0.5)
        for load in self.loads.values():
            if load.process is not None:
                try:
                    load.process.wait(max(1.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    queue += "\n%s: its client still runs" % load.name
                    load.process.kill()
        wrong = (["still there: " + queue] if queue else []) + self.check()
        jobs, sruns = (sum((load.process is None) == batch for load in self.loads.values()) for batch in (True, False))
        words = ", ".join("%s %d" % item for item in sorted(done.items()))
        print("%d hosts, %.0f s: %s; %d jobs, %d sruns: %d wrong" % (len(self.names), time.monotonic() - begin, words, jobs, sruns, len(wrong)))
        for line in wrong:
            print("  " + line)
        return 1 if wrong else 0

    def close(self, keep: bool) -> None:
        self.mend(everything=True)
        if keep:
            logs = self.folder / "agents"
            for name in self.names:
                shutil.copytree(self.system.agent_folder(name), logs / name, ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True)
        self.system.sh("sbroker down --cancel", 120)
        self.cloud.down()
        if keep:
            print("kept: %s" % self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=300, help="cuts, freezes, kills of hosts and agents")
    parser.add_argument("--brokers", type=int, default=100, help="kills of the broker")
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", action="store_true", help="keep the folder and the agents' folders, for looking at")
    options = parser.parse_args()
    why = missing()
    if why:
        print("left out: " + why)
        return 0
    sweep()
    print("seed %d" % options.seed, flush=True)
    chaos = Chaos(options.seed, options.hosts)
    try:
        return chaos.go(options.faults, options.brokers)
    finally:
        chaos.close(options.keep)


if __name__ == "__main__":
    sys.exit(main())
