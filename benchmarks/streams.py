"""How fast output flows from tasks to srun's standard output, and what it costs: task → supervisor → agent → link → broker → client.

  python benchmarks/streams.py [--mb 64] [--ways local tcp broker ssh]

Prints a line a measurement: what, MB/s, CPU seconds of broker and agents for 100 MB, and how the broker's memory grew. A slow reader takes
1 MB/s for a few seconds, while the tasks would write all they can: the broker's memory must not grow by it. `ssh`: hosts with a real sshd
(tests/doubles, needs root).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
cluster: streams
kill_wait: 2
partitions: [{name: debug, default: true, sites: [here]}]
sites:
  here: {provider: local, nodes: "n[1-4]", cpus: 8, memory: 4000M%s}
"""
LINE = "sh -c 'yes %s | head -c %d'"


class Bench:
    def __init__(self, folder: Path, way: str) -> None:
        self.home, self.cloud = folder / way, None
        self.home.mkdir()
        text = CONFIG % {"tcp": ", ports: 0", "broker": ', ports: "1-1"'}.get(way, "")
        if way == "ssh":
            sys.path.insert(0, str(ROOT))
            from tests.doubles.cloudhosts import Cloud
            from tests.doubles.machine import Host
            from tests.hosts.system import SHARED as HOSTS
            from tests.hosts.system import make_key

            public = make_key(self.home / "key")
            self.cloud = Cloud("streams%d" % os.getpid(), folder / "cloud", owner=os.getpid())
            self.cloud.add([Host("n%d" % number, keys=[public]) for number in range(1, 5)])
            (self.home / "known_hosts").write_text(self.cloud.known_hosts())
            text = HOSTS % {"hosts": "n[1-4]"}
        (self.home / "config.yaml").write_text(text)
        self.env = {"PATH": "%s:/usr/local/bin:/usr/bin:/bin" % (ROOT / "bin"), "HOME": str(folder), "USER": "bench", "SBROKER_HOME": str(self.home), "LANG": "C.UTF-8"}
        self.sh("srun -N4 true")
        self.broker = json.loads(self.sh("sbroker status --json"))["pid"]

    def argv(self, line: str) -> list[str]:
        words = ["bash", "-c", "set -o pipefail; cd /tmp; " + line]
        return self.cloud.inside(words) if self.cloud is not None else words

    def sh(self, line: str) -> str:
        done = subprocess.run(self.argv(line), env=self.env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit("%s: exit %d, said %s and %s" % (line, done.returncode, done.stdout[-500:], done.stderr[-500:]))
        return done.stdout

    def close(self) -> None:
        self.sh("sbroker down --cancel")
        if self.cloud is not None:
            self.cloud.down()

    def processes(self) -> dict[str, float]:
        """CPU seconds so far of the broker, of the agents, of the supervisors and of the clients."""
        found: dict[str, float] = {}
        mark = str(self.home).encode() if self.cloud is None else b"/.sbroker/"
        for path in Path("/proc").iterdir():
            try:
                words = (path / "cmdline").read_bytes()
                name = (path / "comm").read_text().strip()
                stat = (path / "stat").read_text().rpartition(")")[2].split()
            except (OSError, ValueError):
                continue
            if mark not in words and path.name != str(self.broker):
                continue
            kind = "broker" if path.name == str(self.broker) else "supervisor" if name == "sbroker-run" else "agent"
            found[kind] = found.get(kind, 0.0) + (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def rss(self) -> int:
        """KiB of the broker."""
        with open("/proc/%d/status" % self.broker, encoding="ascii") as stream:
            return int(next(line for line in stream if line.startswith("VmRSS")).split()[1])

    def flow(self, what: str, options: str, megabytes: int, tasks: int, width: int) -> None:
        before, rss, began = self.processes(), self.rss(), time.monotonic()
        size = (megabytes << 20) // tasks
        taken = int(self.sh("srun %s %s | wc -c" % (options, LINE % ("x" * width, size))))
        seconds = time.monotonic() - began
        after = self.processes()
        cost = {kind: (after[kind] - before.get(kind, 0.0)) / megabytes * 100 for kind in after}
        assert taken == size * tasks or "-l" in options.split() and taken > size * tasks, (taken, size * tasks)
        print("%-28s %6.1f MB/s   %s   broker +%d KiB" % (
            what, megabytes / seconds, " ".join("%s %.2f" % item for item in sorted(cost.items())), self.rss() - rss), flush=True)  # fmt: skip

    def slow(self) -> None:
        rss, most = self.rss(), 0
        code = "import sys, time\nfor _ in range(4): sys.stdin.buffer.read(1 << 20); time.sleep(1)"
        with subprocess.Popen(self.argv("timeout 4 srun -O -N4 -n8 yes | %s -c '%s'" % (sys.executable, code)), env=self.env, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                most = max(most, self.rss())
                time.sleep(0.1)
        print("%-28s broker +%d KiB" % ("a slow reader", most - rss), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=64)
    parser.add_argument("--ways", nargs="+", default=["local", "tcp", "broker"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for way in options.ways:
            bench = Bench(Path(folder), way)
            try:
                bench.flow(way + ": one task", "-N1 -n1", options.mb, 1, 79)
                bench.flow(way + ": one task, unbuffered", "-u -N1 -n1", options.mb, 1, 79)
                bench.flow(way + ": 8 tasks on 4 nodes", "-O -N4 -n8", options.mb, 8, 79)
                bench.flow(way + ": 8 tasks, labelled", "-O -l -N4 -n8", options.mb, 8, 79)
                bench.slow()
            finally:
                bench.close()


if __name__ == "__main__":
    main()
