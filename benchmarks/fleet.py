"""How soon machines that were made are at work: on the fake cloud, machines of 8 GPUs with a boot of 40 s, one task a GPU.

python benchmarks/fleet.py [--machines 25] [--boot 40]   Prints: last boot → first task on all GPUs, calls of the cloud, and each phase.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
cluster: bench
kill_wait: 2
partitions: [{name: cloud, default: true, sites: [sky], default_time: 10, suspend_time: 60}]
sites:
  sky: {provider: fake, max_nodes: %d, boot: %d, shared_fs: true, shapes: [{name: gpus, cpus: 8, memory: 64G, gres: "gpu:a100:8", price: 10}]}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=25)
    parser.add_argument("--boot", type=int, default=40)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="sbroker-fleet-"))
    (home / "config.yaml").write_text(CONFIG % (options.machines, options.boot))
    env = {"PATH": "%s:%s:/usr/bin:/bin" % (ROOT / "bin", ROOT / ".venv" / "bin"), "SBROKER_HOME": str(home), "HOME": str(home), "USER": "bench"}

    def run(line: str) -> str:
        return subprocess.run(["bash", "-c", line], env=env, cwd=home, stdout=subprocess.PIPE, text=True, check=True).stdout

    tasks = options.machines * 8
    try:
        run("sinfo")
        (home / "starts").mkdir()
        began = time.time()
        run("sbatch -o /dev/null --gres=gpu:a100:1 --array=1-%d --wrap 'date +%%s.%%N > starts/$SLURM_ARRAY_TASK_ID; sleep 30'" % tasks)
        accepted = time.time() - began
        while len(os.listdir(home / "starts")) < tasks:
            time.sleep(0.2)
            if time.time() - began > options.boot + 300:
                raise SystemExit("only %d of %d tasks have started" % (len(os.listdir(home / "starts")), tasks))
        time.sleep(0.5)  # the last file has its line
        cloud = json.loads((home / "spool" / "sky.cloud").read_text())
        machines = [machine for group in cloud["groups"].values() for machine in group]
        booted = max(machine["created"] for machine in machines) + options.boot
        starts = sorted(float((home / "starts" / name).read_text()) for name in os.listdir(home / "starts"))
        print("%d machines in %d orders, %d tasks; accepted in %.2f s, ordered %.2f s after that" % (
            len(machines), len(cloud["groups"]), tasks, accepted, booted - options.boot - began - accepted))  # fmt: skip
        print("last boot to first task everywhere: %.2f s (asked 3); to the first task %.2f, half %.2f" % (
            starts[-1] - booted, starts[0] - booted, starts[len(starts) // 2] - booted))  # fmt: skip
    finally:
        subprocess.run(["bash", "-c", "sbroker down --cancel"], env=env, cwd=home, capture_output=True, check=False)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
