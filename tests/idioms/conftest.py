"""A personal broker with two virtual nodes for the programs of other people, and the interpreters that have them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
cluster: idioms
kill_wait: 5
partitions:
  - {name: debug, default: true, sites: [here], default_time: 30:00, max_time: 1-00:00:00, def_mem_per_cpu: 500M}
sites:
  here: {provider: local, nodes: "node[1-2]", cpus: 8, memory: 16000M}
users:
  %s: {accounts: [lab, other], default_account: lab}
qos:
  high: {priority: 100}
"""


@pytest.fixture(scope="session")
def broker() -> Iterator[dict[str, str]]:
    """The environment in which Slurm's names are ours."""
    with tempfile.TemporaryDirectory(prefix="idioms-") as folder:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        Path(folder, "config.yaml").write_text(CONFIG % user)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SBROKER_", "SQUEUE_", "SACCT_"))}
        env.update(SBROKER_HOME=folder, HOME=folder, USER=user, LOGNAME=user, PATH=f"{ROOT / 'bin'}:{env['PATH']}")
        try:
            yield env
        finally:
            subprocess.run([ROOT / "bin" / "sbroker", "down", "--cancel"], env=env, capture_output=True, timeout=60)
