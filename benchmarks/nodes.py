"""Nodes over SSH, measured on hosts with a real sshd on this machine: first contact, a warm srun, and output. No test asserts a time.

usage: python benchmarks/nodes.py [--only contact|srun|output ...] [--hosts 64] [--runs N] [--real BIN]

contact: from no broker and no agents to the end of `srun -N64 hostname`, and as many asyncssh logins at once that run `hostname`; in turn. Also the CPU
         seconds of all that either side runs, where there is a control group to count them: they say more on a machine that others use too.
srun:    `srun hostname` on a warm node, and the same on a real Slurm on loopback (tests/differential/slurm-oracle up), if one is there.
output:  MB/s of standard output from one task and from many; the broker's memory while a reader is slow, and after it has gone.

Needs root (hosts are namespaces). Everything runs inside the hosts' hub.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.doubles.cloudhosts import Cloud, missing, sweep  # noqa: E402
from tests.doubles.machine import Host  # noqa: E402
from tests.hosts.system import HostsSystem, make_key  # noqa: E402

CONFIG = """
cluster: bench
kill_wait: 5
partitions:
  - {name: debug, default: true, sites: [lab], max_time: infinite}
sites:
  lab: {provider: ssh, hosts: "%(hosts)s", user: ubuntu, identity_file: key, known_hosts: known_hosts, shared_fs: true}
"""
LOGINS = """
import asyncio, sys, time
import asyncssh
asyncssh.set_log_level("WARNING")
hosts, key, known = sys.argv[1].split(","), sys.argv[2], sys.argv[3]

async def one(host):
    async with asyncssh.connect(host, username="ubuntu", client_keys=[key], known_hosts=known, config=None) as connection:
        done = await connection.run("hostname", check=True)
        assert done.stdout.strip() == host, done

async def main():
    begin = time.perf_counter()
    await asyncio.gather(*map(one, hosts))
    print(time.perf_counter() - begin)

asyncio.run(main())
"""


class Cpu:
    """CPU seconds of this process and all that it starts from now on, daemons too; `spent` is 0 where no control group can be made."""

    def __init__(self) -> None:
        self._group: Path | None = None
        for parent, self._file in ((Path("/sys/fs/cgroup/cpuacct"), "cpuacct.usage"), (Path("/sys/fs/cgroup"), "cpu.stat")):
            group = parent / ("sbroker-bench-%d" % os.getpid())
            try:
                group.mkdir()
                (group / "cgroup.procs").write_text(str(os.getpid()))
                (group / self._file).read_text()
            except OSError:
                continue
            self._group = group
            return

    def spent(self) -> float:
        if self._group is None:
            return 0.0
        words = (self._group / self._file).read_text().split()
        return int(words[0]) / 1e9 if len(words) == 1 else int(words[words.index("usage_usec") + 1]) / 1e6

    def close(self) -> None:
        """Out of the group again; it goes when all that was started has ended."""
        if self._group is not None:
            (self._group.parent / "cgroup.procs").write_text(str(os.getpid()))
            with suppress(OSError):
                self._group.rmdir()


class Bench:
    def __init__(self, hosts: int) -> None:
        self.cpu = Cpu()  # before the hosts: they are counted
        self.folder = Path(tempfile.mkdtemp(prefix="sbroker-nodes-"))
        self.folder.chmod(0o755)
        self.key, self.names = self.folder / "key", ["h%d" % number for number in range(1, hosts + 1)]
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self.cloud = Cloud("bench%d" % os.getpid(), owner=os.getpid())
        public = make_key(self.key)
        bind = ["%s:%s:rw" % (self.shared, self.shared)]
        self.cloud.add([Host(name, keys=[public], bind=bind) for name in self.names])
        self.count = 0

    @contextmanager
    def system(self, hosts: int = 0) -> Iterator[HostsSystem]:
        """A broker that does not run yet, with the first hosts; nothing of it is on them."""
        self.count += 1
        room = self.shared / ("system%d" % self.count)
        room.mkdir()
        made = HostsSystem(room, self.cloud, self.key, "h[1-%d]" % (hosts or len(self.names)), CONFIG)
        try:
            yield made
        finally:
            stores = made.status()["store"]
            made.close()
            for name in self.names:
                self.cloud.exec(name, ["pkill", "-KILL", "-f", stores])

    def forget(self) -> None:
        """The hosts as they were before the first contact."""
        for name in self.names:
            self.cloud.exec(name, ["sh", "-c", "pkill -KILL -u ubuntu; rm -rf /home/ubuntu/.sbroker"])

    # ---- first contact

    def logins(self) -> tuple[float, float]:
        known = self.folder / "known"
        known.write_text(self.cloud.known_hosts())
        argv = [sys.executable, "-c", LOGINS, ",".join(self.names), str(self.key), str(known)]
        cpu = self.cpu.spent()
        taken = float(subprocess.run(self.cloud.inside(argv), capture_output=True, text=True, check=True).stdout)
        return taken, self.cpu.spent() - cpu

    def contact(self) -> tuple[float, float]:
        with self.system() as system:
            cpu, begin = self.cpu.spent(), time.perf_counter()
            said = system.sh("srun -N%d hostname" % len(self.names)).stdout
            taken = time.perf_counter() - begin, self.cpu.spent() - cpu
            assert sorted(said.split()) == sorted(self.names), said
        self.forget()
        return taken

    # ---- output

    def rate(self, system: HostsSystem, steps: int, tasks: int, mib: int) -> float:
        """MB/s of all together, as `srun | wc` sees it: `steps` at once, each on nodes of its own with `tasks` tasks of `mib` MiB."""
        line = "srun --exclusive -N%d -n%d bash -c 'yes %s | head -c %d' | wc -c &" % (tasks, tasks, "0123456789" * 7, mib << 20)
        begin = time.perf_counter()
        said = system.ok(line * steps + " wait").split()
        taken = time.perf_counter() - begin
        assert [int(word) for word in said] == [tasks * mib << 20] * steps, said
        return (steps * tasks * mib << 20) / 1e6 / taken


def rss(pid: int) -> float:
    """MiB."""
    words = Path("/proc/%d/status" % pid).read_text().partition("VmRSS:")[2].split()
    return int(words[0]) / 1024


def paired(first, second, runs: int) -> tuple[float, float]:
    """Medians of both, measured in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        times[0].append(first())
        times[1].append(second())
    return statistics.median(times[0]), statistics.median(times[1])


def both(first, second, runs: int) -> list[list[float]]:
    """Medians of what either says, [seconds, CPU seconds], measured in turn."""
    times = [(first(), second()) for _ in range(runs)]
    return [[statistics.median(pair[side][kind] for pair in times) for kind in (0, 1)] for side in (0, 1)]


def show(name: str, ours: float, other: float | None, unit: str, asked: str) -> None:
    rest = "" if other is None else "   %s %10.3f %s   ratio %.2f" % ("there" if unit == "s" else "", other, unit, ours / other)
    print("%-44s %10.3f %s%s   (asked: %s)" % (name, ours, unit, rest, asked), flush=True)


def contact(bench: Bench, options: argparse.Namespace) -> None:
    bench.logins()  # byte code, caches
    bench.contact()
    logins, ours = both(bench.logins, bench.contact, options.runs)
    show("%d hosts, from nothing to a task on each" % len(bench.names), ours[0], logins[0], "s", "at most 2.5 times as many logins")
    if logins[1]:
        show("the same in CPU seconds", ours[1], logins[1], "s", "-")


def warm(bench: Bench, options: argparse.Namespace) -> None:
    user = {"user": "alice", "group": "alice", "extra_groups": []}
    real = Path(options.real)
    env = {"PATH": "%s:/usr/bin:/bin" % real, "SLURM_CONF": str(real.parent / "etc" / "slurm.conf"), "HOME": "/tmp"}
    with bench.system(4) as system:
        system.idle("h[1-4]")
        system.ok("srun -N4 true")

        def timed(argv: list[str], **options) -> float:
            begin = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, **options)
            return time.perf_counter() - begin

        inside = system.argv('for i in 1 2 3 4 5 6 7 8 9 10; do begin=$EPOCHREALTIME; srun hostname >/dev/null; echo "$begin $EPOCHREALTIME"; done')

        def ours() -> float:
            said = subprocess.run(inside, env=system.env, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
            return statistics.median(float(end) - float(begin) for begin, end in map(str.split, said.splitlines()))

        if not (real / "srun").exists():
            print("no real Slurm at %s: only ours is measured" % real)
            return show("srun hostname, warm node", statistics.median(ours() for _ in range(options.runs)), None, "s", "at most 2 times the real one")
        timed(["srun", "hostname"], env=env, cwd="/tmp", **user)
        there, here = paired(lambda: statistics.median(timed(["srun", "hostname"], env=env, cwd="/tmp", **user) for _ in range(10)), ours, options.runs)
        show("srun hostname, warm node", here, there, "s", "at most 2 times the real one")


def output(bench: Bench, options: argparse.Namespace) -> None:
    with bench.system(8) as system:
        system.idle("h[1-8]")
        system.ok("srun -N8 true")
        pid = int(json.loads(system.ok("sbroker status --json"))["pid"])
        before = rss(pid)
        for name, steps, tasks, asked in (("of one task", 1, 1, "16"), ("of 8 steps of one task each, in all", 8, 1, "50"), ("of one step of 8 tasks on 8 nodes", 1, 8, "-")):
            show("output " + name, statistics.median(bench.rate(system, steps, tasks, 64) for _ in range(options.runs)), None, "MB/s", asked)
        print("broker memory: %.0f MiB before, %.0f MiB after" % (before, rss(pid)))
        slow = system.start("srun -N8 -n8 bash -c 'yes | head -c 100000000' | (head -c 1000 >/dev/null; sleep 8; cat >/dev/null)")
        most = 0.0
        while slow.poll() is None:
            most = max(most, rss(pid))
            time.sleep(0.1)
        print("broker memory while the reader of 800 MB stood still: at most %.0f MiB" % most)
        gone = system.start("srun -N8 -n8 bash -c 'yes | head -c 100000000' | head -c 1000 >/dev/null")
        most = 0.0
        while gone.poll() is None:
            most = max(most, rss(pid))
            time.sleep(0.1)
        print("broker memory after the reader had gone: at most %.0f MiB" % most)


PARTS = {"contact": (contact, 0), "srun": (warm, 4), "output": (output, 8)}  # what, how many hosts (0: all)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--real", default=os.environ.get("ORACLE_DIR", "/tmp/slurm-oracle") + "/bin")
    options = parser.parse_args()
    why = missing()
    if why:
        print("left out: " + why)
        return 0
    sweep()
    for name in options.only:
        bench = Bench(PARTS[name][1] or options.hosts)
        try:
            PARTS[name][0](bench, options)
        finally:
            bench.cloud.down()
            shutil.rmtree(bench.folder, ignore_errors=True)
            bench.cpu.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
