"""How long files take between two workers on this machine: `python -m benchmarks.files [FILES] [MEGABYTES] [--folder DIR]`.

Prints seconds, bytes moved and the most memory that a worker had; nothing is judged, machines differ. `cp -r` of the same is there to compare.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sbroker.agent.files import worker


def child(sock: socket.socket, options: dict[str, Any], other: socket.socket | None) -> int:
    pid = os.fork()
    if pid == 0:
        if other is not None:
            other.close()
        outcome = worker.run(sock, options)
        if outcome["error"]:
            print(outcome["error"], file=sys.stderr)
        os._exit(1 if outcome["error"] else 0)
    sock.close()
    return pid


def sync(top: Path, root: Path, do: str) -> tuple[float, float, int]:
    """(seconds, seconds of processor of both workers, the most memory of a worker in KiB)."""
    options = {"do": do, "job": "1", "node": "n1", "roots": [{"path": str(root)}]}
    one, two = socket.socketpair()
    start = time.perf_counter()
    pids = [child(one, dict(options, side="submit", state=str(top / "submit")), two)]
    pids.append(child(two, dict(options, side="node", state=str(top / "node")), None))
    busy, most = 0.0, 0
    for pid in pids:
        _, status, used = os.wait4(pid, 0)
        busy, most = busy + used.ru_utime + used.ru_stime, max(most, used.ru_maxrss)
        if status:
            raise SystemExit(1)
    return time.perf_counter() - start, busy, most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="?", type=int, default=10000)
    parser.add_argument("megabytes", nargs="?", type=int, default=1000)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        top = Path(folder)
        root, node = top / "work", Path(str(top / "node") + str(top / "work"))
        for side in ("submit", "node"):
            (top / side).mkdir()
        rng = random.Random(1)
        for number in range(options.files):
            path = root / ("d%03d" % (number // 100)) / ("f%d.py" % number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d\n" % rng.getrandbits(64) * rng.randrange(1, 400))

        def say(what: str, do: str) -> None:
            seconds, busy, most = sync(top, root, do)
            print("%-46s %8.3f s   %8.3f s of processor   %6d MiB at most" % (what, seconds, busy, most >> 10), flush=True)

        start = time.perf_counter()
        subprocess.run(["cp", "-r", root, top / "copy"], check=True)
        print("%-46s %8.3f s" % ("cp -r of %d files" % options.files, time.perf_counter() - start))
        shutil.rmtree(top / "copy")
        say("first in of %d files" % options.files, "in")
        say("in, nothing changed", "in")
        (root / "d000" / "f0.py").write_text("changed")
        say("in, one file changed", "in")
        say("out, nothing changed", "out")
        (node / "d000" / "result").write_text("result")
        say("out, one new file", "out")
        with open(root / "big", "wb") as stream:
            for _ in range(options.megabytes):
                stream.write(rng.randbytes(1 << 20))
        os.sync()
        start = time.perf_counter()
        subprocess.run(["cp", root / "big", top / "copy"], check=True)
        os.sync()
        print("%-46s %8.3f s" % ("cp of %d MiB, sync" % options.megabytes, time.perf_counter() - start))
        say("in, a file of %d MiB" % options.megabytes, "in")
        say("in, nothing changed", "in")
        print("memory of this program: %d MiB" % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


if __name__ == "__main__":
    main()
