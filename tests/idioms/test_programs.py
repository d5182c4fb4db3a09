"""Programs that other people wrote for Slurm, unchanged, on ours: each folder of programs/ is one of them, used as its own documentation does.

`make idioms` installs each into an environment of its own (.idioms/NAME); a program that is installed neither there nor here is left out and says so.
A folder has `requirements.txt`, whose first line is the package, and `main.py`, which drives it and fails unless the answer is right.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".idioms"
PROGRAMS = sorted(path.name for path in (HERE / "programs").iterdir() if (path / "main.py").exists())
LIMIT = 240  # seconds for one of them


def interpreter(name: str, package: str) -> str | None:
    """A Python that has the package."""
    for python in (str(INSTALLED / name / "bin" / "python3"), sys.executable):
        ask = [python, "-c", "import importlib.metadata as m; m.version(%r)" % package]
        if Path(python).exists() and subprocess.run(ask, capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name, broker, tmp_path):
    package = (HERE / "programs" / name / "requirements.txt").read_text().split()[0]
    python = interpreter(name, package)
    if python is None:
        pytest.skip(f"{name} is left out: {package} is not installed (make idioms installs it)")
    shutil.copytree(HERE / "programs" / name, tmp_path, dirs_exist_ok=True)
    env = {**broker, "PATH": f"{broker['PATH'].split(':')[0]}:{Path(python).parent}:{broker['PATH']}"}
    done = subprocess.run([python, "main.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
