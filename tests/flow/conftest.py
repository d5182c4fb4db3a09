import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from agentlab import Lab


@pytest.fixture
def lab(tmp_path):
    """A running agent with a broker connected."""
    folder = tmp_path / "agent"
    folder.mkdir()
    lab = Lab(folder)
    lab.start()
    yield lab
    lab.stop()
