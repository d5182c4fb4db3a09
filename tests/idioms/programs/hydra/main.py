"""Hydra's submitit launcher: a sweep as an array."""

import os
import pathlib
import subprocess
import sys

if len(sys.argv) == 1:
    sweep = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.timeout_min=3", "+x=1,2", "--multirun"]
    subprocess.run([sys.executable, "main.py", *sweep], check=True)
    said = sorted(line for path in pathlib.Path("multirun").rglob("*.out") for line in path.read_text().split("\n") if line.startswith("swept"))
    assert said == ["swept 1", "swept 2"], said
    raise SystemExit(0)

import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    assert os.environ["SLURM_JOB_ID"]
    print("swept", config.x)


main()
