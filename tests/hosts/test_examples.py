"""The scripts of examples/ on hosts that share no file system leave the same files behind as on this machine."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.system import ROOT, System
from tests.hosts.system import CONFIG, HostsSystem

EXAMPLES = ROOT / "examples"
RUN = {
    "hello": "sbatch -W hello.sh",
    "array": "sbatch -W array.sh",
    "chain": "bash chain.sh",
    "fanout": "sbatch -W -n4 fanout.sh",  # a host may have two CPUs only
    "rendezvous": "sbatch -W rendezvous.sh",
    "checkpoint": "ITEMS=3 sbatch -W checkpoint.sh",
}
HERE = """
cluster: examples
kill_wait: 5
partitions:
  - {name: debug, default: true, sites: [here], max_time: infinite}
sites:
  here: {provider: local, nodes: "n[1-2]", cpus: %(cpus)d, memory: 4000M, hostnames: true}
"""


def anew(hub, **options: object) -> None:
    """n1 and n2 are other machines from here on."""
    for name in ("n1", "n2"):
        hub.cloud.kill(name)
        hub.cloud.remove(name)
        hub.cloud.add([hub.host(name, **options)])


@pytest.fixture(scope="module")
def sides(hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, System]]:
    """A broker with two virtual nodes here, and one with two hosts of the same names, which see nothing of this machine's files."""
    anew(hub, bind=[])
    here = System(tmp_path_factory.mktemp("here"), HERE % {"cpus": os.cpu_count() or 1})  # as many as the hosts have
    folder = Path("/tmp") / ("sbroker-examples-%s" % hub.cloud.name)  # open to all: what runs there is made at the same place
    folder.mkdir()
    there = HostsSystem(folder, hub.cloud, hub.key, "n[1-2]", CONFIG)
    try:
        there.idle("n[1-2]")
        yield here, there
    finally:
        here.close()
        there.close()
        shutil.rmtree(folder)
        anew(hub)


def left(system: System, name: str) -> dict[str, list[str]]:
    """Run the example in a folder of its own: every file that it leaves, with what may differ folded. Lines of parallel tasks come in any order."""
    folder = system.work / name
    shutil.copytree(EXAMPLES, folder)
    folder.chmod(0o777)
    before = {path.name for path in folder.iterdir()}
    done = system.sh("cd %s && %s" % (name, RUN[name]), 120)
    assert done.returncode == 0, done
    system.drain(120)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in before]
    return {str(path.relative_to(folder)): fold(path.read_text(), system) for path in files}


def fold(text: str, system: System) -> list[str]:
    return sorted(re.sub(r"\s+", " ", line) for line in text.replace(str(system.work), "WORK").splitlines())


@pytest.mark.parametrize("name", sorted(RUN))
def test_the_same_files_are_left(sides: tuple[System, System], name: str) -> None:
    here, there = (left(side, name) for side in sides)
    assert there == here
    assert here, "it leaves nothing"
