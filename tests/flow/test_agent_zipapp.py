"""The agent as one file, on its own: nothing of this installation but the interpreter."""

import sys
from pathlib import Path

from agentlab import Lab

from sbroker.agent import zipapp


def test_a_job_runs_under_the_zipapp(tmp_path):
    program = tmp_path / "agent.pyz"
    zipapp.build(str(program), {"fakefront.py": (Path(__file__).parent / "fakefront.py").read_bytes()})
    again = tmp_path / "again.pyz"
    zipapp.build(str(again), {"fakefront.py": (Path(__file__).parent / "fakefront.py").read_bytes()})
    assert program.read_bytes() == again.read_bytes()
    folder = tmp_path / "agent"
    folder.mkdir()
    lab = Lab(folder)
    lab.command = [sys.executable, "-S", "-I", str(program)]
    lab.start()
    lab.run("echo from the zip; exit 2")
    assert lab.wait("ended")["data"]["code"] == 2
    lab.wait("empty")
    assert lab.output() == "from the zip\n"
    lab.stop()
