"""The same work on a real Slurm and on ours, in one run; prints both figures and the ratio. No test asserts a time.

usage: vs_slurm.py [--real BIN] [--ours BIN] [--only NAME ...] [--runs N]

--real: folder of the real commands (tests/differential/slurm-oracle up; default: where its `env` says), with SLURM_CONF set.
--ours: folder of our commands (default: bin/ of this checkout). A personal broker with the same four nodes is started in a
temporary SBROKER_HOME and stopped at the end. The real one gets `alice` as user when run as root, and so do we.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
cluster: bench
kill_wait: 5
min_job_age: 3600
partitions:
  - {name: debug, default: true, sites: [cpu], max_time: infinite, def_mem_per_cpu: 1000M}
sites:
  cpu: {provider: local, nodes: "node[1-4]", cpus: 8, sockets: 2, cores_per_socket: 4, threads_per_core: 1, memory: 16000M}
"""


class Side:
    """One of the two: how to run its commands."""

    def __init__(self, name: str, bin_dir: str, env: dict[str, str], user: str | None, cwd: str) -> None:
        self.name, self.bin, self.env, self.cwd = name, bin_dir, env, cwd
        self.kw = {"user": user, "group": user, "extra_groups": []} if user else {}

    def run(self, *argv: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> bytes:
        done = subprocess.run([os.path.join(self.bin, argv[0]), *argv[1:]], cwd=self.cwd, env=dict(self.env, **(env or {})), input=stdin,
                              stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True, **self.kw)  # fmt: skip
        if done.returncode:
            raise SystemExit("%s: %s: exit %d: %s" % (self.name, " ".join(argv), done.returncode, done.stderr.decode()[-500:]))
        return done.stdout

    def timed(self, *argv: str) -> float:
        start = time.perf_counter()
        self.run(*argv)
        return time.perf_counter() - start

    def wait_empty(self, limit: float = 300) -> None:
        end = time.monotonic() + limit
        while self.run("squeue", "-h").strip():
            if time.monotonic() > end:
                raise SystemExit("%s: the queue does not empty" % self.name)
            time.sleep(0.05)

    def clear(self) -> None:
        self.run("scancel", "-u", subprocess.run(["id", "-un"], capture_output=True, text=True, **self.kw).stdout.strip())
        self.wait_empty()


def paired(sides: list[Side], runs: int, *argv: str) -> list[float]:
    """Medians of the sides, run in turn."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for side in sides:
        side.run(*argv)
    for _ in range(runs):
        for side in sides:
            times[side.name].append(side.timed(*argv))
    return [statistics.median(times[side.name]) for side in sides]


def each(sides: list[Side], measure: Callable[[Side], float]) -> list[float]:
    return [measure(side) for side in sides]


def many_true(side: Side, count: int = 500) -> float:
    start = time.perf_counter()
    for _ in range(count):
        side.run("sbatch", "-Q", "-o", "/dev/null", "--wrap", "true")
    side.wait_empty()
    return time.perf_counter() - start


def array_true(side: Side, count: int = 500) -> float:
    start = time.perf_counter()
    side.run("sbatch", "-Q", "-o", "/dev/null", "--array=1-%d" % count, "--wrap", "true")
    side.wait_empty()
    return time.perf_counter() - start


def fill(side: Side, count: int, environment: int = 0) -> None:
    """`count` pending jobs, each with an environment of its own of that many bytes."""

    def one(n: int) -> None:
        env = {"BULK%d" % n: "x%07d" % n * (environment // 8)} if environment else {}
        side.run("sbatch", "-Q", "-H", "-o", "/dev/null", "-J", "fill%d" % n, "--wrap", "true", env=env)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))


def rss_mib(pid: int) -> float:
    for line in Path("/proc/%d/status" % pid).read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def show(name: str, values: list[float], unit: str = "ms", factor: float = 1000.0) -> None:
    cells = ["%10.1f %s" % (value * factor, unit) for value in values]
    ratio = "   ours/real %.2f" % (values[1] / values[0]) if len(values) == 2 and values[0] else ""
    print("%-44s %s%s" % (name, " ".join(cells), ratio), flush=True)


def cold(bin_dir: str, user_kw: dict) -> float:
    """A personal broker that does not run yet: from the command to its answer."""
    home = tempfile.mkdtemp(prefix="sbroker-cold-")
    if user_kw.get("user"):
        shutil.chown(home, user_kw["user"], user_kw["user"])
    env = {"PATH": "/usr/bin:/bin", "HOME": home, "SBROKER_HOME": home}
    try:
        start = time.perf_counter()
        subprocess.run([bin_dir + "/squeue"], env=env, check=True, stdout=subprocess.DEVNULL, **user_kw)
        taken = time.perf_counter() - start
        subprocess.run([bin_dir + "/sbroker", "down"], env=env, check=True, stdout=subprocess.DEVNULL, **user_kw)
        return taken
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", default=os.environ.get("ORACLE_DIR", "/tmp/slurm-oracle") + "/bin")
    parser.add_argument("--ours", default=str(ROOT / "bin"))
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    options.real, options.ours = (str(Path(folder).absolute()) for folder in (options.real, options.ours))  # they are run from elsewhere
    user = "alice" if os.geteuid() == 0 else None
    work = tempfile.mkdtemp(prefix="sbroker-bench-")
    os.chmod(work, 0o777)
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": work, "USER": user or os.environ.get("USER", ""), "LANG": "C.UTF-8"}
    real_conf = str(Path(options.real).parent / "etc" / "slurm.conf")
    sides = []
    if Path(options.real, "squeue").exists():
        sides.append(Side("real", options.real, dict(base, SLURM_CONF=real_conf), user, work))
    else:
        print("no real Slurm at %s: only ours is measured" % options.real)
    home = tempfile.mkdtemp(prefix="sbroker-home-")
    Path(home, "config.yaml").write_text(CONFIG)
    if user:
        shutil.chown(home, user, user)
    ours = Side("ours", options.ours, dict(base, SBROKER_HOME=home), user, work)
    sides.append(ours)
    ours.run("sinfo")
    pid = int(json.loads(ours.run("sbroker", "status", "--json"))["pid"])

    def wanted(name: str) -> bool:
        return not options.only or name in options.only

    print("%-44s %s" % ("", " ".join("%13s" % side.name for side in sides)))
    try:
        if wanted("single"):
            for argv in (["squeue"], ["sinfo"], ["scontrol", "show", "node"], ["sbatch", "-H", "-o", "/dev/null", "--wrap", "true"]):
                show(" ".join(argv), paired(sides, options.runs, *argv))
            each(sides, lambda side: (side.clear(), 0.0)[1])
            show("srun hostname", paired(sides, options.runs // 2, "srun", "hostname"))
        if wanted("throughput"):
            show("500 true jobs, submit to all ended", each(sides, many_true), "s", 1)
            show("500 true jobs, one array", each(sides, array_true), "s", 1)
        if wanted("array"):
            show("an array of 10,000 accepted", paired(sides, 5, "sbatch", "-H", "-o", "/dev/null", "--array=1-10000", "--wrap", "true"))
            each(sides, lambda side: (side.clear(), 0.0)[1])
        if wanted("queue"):
            each(sides, lambda side: (fill(side, 10000), 0.0)[1])
            show("squeue, 10,000 pending", paired(sides, 7, "squeue"))
            show("scancel -u of 10,000", each(sides, lambda side: side.timed("scancel", "-u", user or os.environ["USER"])))
            each(sides, lambda side: (side.wait_empty(), 0.0)[1])
        if wanted("memory"):
            fill(ours, 10000, 30000)
            show("broker memory, 10,000 pending with 30 kB each", [rss_mib(pid)], "MiB", 1)
            show("scancel -u of those", [ours.timed("scancel", "-u", user or os.environ["USER"])])
        if wanted("cold"):
            show("cold personal broker, first answer", [statistics.median(cold(options.ours, ours.kw) for _ in range(5))])
    finally:
        subprocess.run([options.ours + "/sbroker", "down", "--cancel"], env=ours.env, check=False, stdout=subprocess.DEVNULL, **ours.kw)
        for path in (work, home):
            shutil.rmtree(path, ignore_errors=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
