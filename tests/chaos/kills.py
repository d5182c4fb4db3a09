"""SIGKILL of broker and agents at random moments under a load of jobs and steps; then the books are checked.

usage: python -m tests.chaos.kills [--kills 200] [--seed N] [--bin DIR] [--keep]

Every job appends one line a task to a ledger file when it starts (O_APPEND) and writes numbered lines through a step and from the
script. At the end: every accepted job ended COMPLETED (0 lost), every ledger has each task once (0 repeated), every output has all of its
lines in order (every output whole). Ends only processes it started, by pid.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
cluster: chaos
kill_wait: 5
min_job_age: 3600
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
sites:
  here: {provider: local, nodes: "node[1-4]", cpus: 8, memory: 16000M}
"""
JOB = """#!/bin/bash
echo "start $SLURM_JOB_ID" >> ledger/$SLURM_JOB_NAME
for i in $(seq 1 {lines}); do echo "line $i"; sleep 0.0{pause}; done
srun -l bash -c 'echo "task $SLURM_PROCID" >> ledger/'$SLURM_JOB_NAME'; for i in $(seq 1 {lines}); do echo "step $i"; sleep 0.0{pause}; done'
echo "rc $?"
"""


class Chaos:
    def __init__(self, bin_dir: str, seed: int) -> None:
        self.bin, self.random = bin_dir, random.Random(seed)
        self.work = Path(tempfile.mkdtemp(prefix="sbroker-chaos-"))
        self.home = self.work / "home"
        self.home.mkdir()
        (self.work / "ledger").mkdir()
        (self.home / "config.yaml").write_text(CONFIG)
        self.env = {"PATH": "%s:/usr/local/bin:/usr/bin:/bin" % bin_dir, "HOME": str(self.work), "SBROKER_HOME": str(self.home), "LANG": "C.UTF-8"}
        self.jobs: dict[str, dict] = {}
        self.sruns: list[tuple[str, subprocess.Popen, Path]] = []

    def run(self, *argv: str) -> subprocess.CompletedProcess:
        return subprocess.run([os.path.join(self.bin, argv[0]), *argv[1:]], cwd=self.work, env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False, timeout=120)  # fmt: skip

    # ---- load

    def submit(self, n: int) -> None:
        shape = self.random.choice([(1, 1), (1, 2), (2, 3), (2, 2)])
        lines, pause = self.random.randint(5, 40), self.random.randint(1, 5)
        name = "job%d" % n
        script = self.work / (name + ".sh")
        script.write_text(JOB.format(lines=lines, pause=pause))
        done = self.run("sbatch", "--parsable", "-N%d" % shape[0], "-n%d" % shape[1], "-J", name, "-o", name + ".out", script.name)
        if done.returncode:
            raise SystemExit("sbatch of %s: exit %d: %s" % (name, done.returncode, done.stderr))
        self.jobs[name] = {"id": int(done.stdout.split(";")[0]), "tasks": shape[1], "lines": lines}

    def srun(self, n: int) -> None:
        """A step from outside, whose client must live through the broker's death."""
        name = "srun%d" % n
        out = self.work / (name + ".out")
        command = "for i in $(seq 1 40); do echo $i; sleep 0.03; done; echo once >> ledger/%s" % name
        process = subprocess.Popen([self.bin + "/srun", "-J", name, "bash", "-c", command], cwd=self.work, env=self.env,
                                   stdin=subprocess.DEVNULL, stdout=out.open("wb"), stderr=subprocess.PIPE)  # fmt: skip
        self.sruns.append((name, process, out))

    # ---- kills

    def broker_pid(self) -> int | None:
        done = self.run("sbroker", "status", "--json")
        return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else None

    def agent_pid(self, node: str) -> int | None:
        """Who listens on the agent's socket: the kernel says."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.home / "spool" / node / "agent.sock"))
            except OSError:
                return None
            return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def kill(self) -> str:
        if self.random.random() < 0.5:
            pid, what = self.broker_pid(), "broker"
        else:
            node = "node%d" % self.random.randint(1, 4)
            pid, what = self.agent_pid(node), "agent of " + node
        if pid is None:
            return ""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return ""
        return what

    # ---- the books

    def check(self) -> list[str]:
        wrong = []
        for name, job in self.jobs.items():
            state = self.run("sacct", "-nXP", "-j", str(job["id"]), "-o", "State").stdout.split()
            if state != ["COMPLETED"]:
                wrong.append("%s (%d): state %s" % (name, job["id"], state))
            ledger = sorted((self.work / "ledger" / name).read_text().splitlines()) if (self.work / "ledger" / name).exists() else []
            if ledger != ["start %d" % job["id"], *("task %d" % rank for rank in range(job["tasks"]))]:
                wrong.append("%s: ledger %s" % (name, ledger))
            out = (self.work / (name + ".out")).read_text().splitlines() if (self.work / (name + ".out")).exists() else []
            if [line for line in out if line.startswith("line ")] != ["line %d" % i for i in range(1, job["lines"] + 1)] or out[-1:] != ["rc 0"]:
                wrong.append("%s: script output is not whole: %d lines, last %s" % (name, len(out), out[-1:]))
            for rank in range(job["tasks"]):
                mine = [line for line in out if line.startswith("%d: " % rank)]
                if mine != ["%d: step %d" % (rank, i) for i in range(1, job["lines"] + 1)]:
                    wrong.append("%s: rank %d has %d lines of %d" % (name, rank, len(mine), job["lines"]))
        for name, process, out in self.sruns:
            errors = process.stderr.read().decode() if process.stderr else ""
            if process.wait(120) or out.read_text() != "".join("%d\n" % i for i in range(1, 41)):
                wrong.append("%s: exit %s, %d bytes, %s" % (name, process.returncode, out.stat().st_size, errors.strip()))
            ledger = self.work / "ledger" / name
            if not ledger.exists() or ledger.read_text() != "once\n":
                wrong.append("%s: did not run just once" % name)
        return wrong

    def go(self, kills: int) -> int:
        count = n = 0
        killed: dict[str, int] = {}
        while count < kills:
            if sum(1 for job in self.run("squeue", "-h").stdout.splitlines() if job) < 24:
                for _ in range(4):
                    n += 1
                    self.submit(n)
                if len([1 for _, process, _ in self.sruns if process.poll() is None]) < 2:
                    self.srun(n)
            time.sleep(self.random.uniform(0, 0.5))
            what = self.kill()
            if what:
                count += 1
                killed[what.split()[0]] = killed.get(what.split()[0], 0) + 1
        end = time.monotonic() + 300
        while self.run("squeue", "-h").stdout.strip() and time.monotonic() < end:
            time.sleep(0.5)
        wrong = self.check()
        print("%d kills (%s), %d jobs, %d sruns: %d wrong" % (count, ", ".join("%s %d" % item for item in sorted(killed.items())), len(self.jobs), len(self.sruns), len(wrong)))
        for line in wrong:
            print("  " + line)
        return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--bin", default=str(ROOT / "bin"))
    parser.add_argument("--keep", action="store_true", help="keep the folder, for looking at")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    chaos = Chaos(options.bin, options.seed)
    try:
        return chaos.go(options.kills)
    finally:
        chaos.run("sbroker", "down", "--cancel")
        if options.keep:
            print("kept: %s" % chaos.work)
        else:
            shutil.rmtree(chaos.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
