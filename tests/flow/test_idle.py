"""A run whose description has an idle_timeout, with real supervisors."""

import pytest
from steplab import Cluster

ALLOC = {"mpi_default": "none", "idle_timeout": 1}


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()


def test_it_ends_when_nothing_runs_in_it_but_not_under_a_step(cluster):
    """The step takes three times as long as the timeout; the script would wait for ever after it."""
    cluster.begin("#!/bin/bash\nsrun sh -c 'sleep 3; echo worked'\nwhile :; do sleep 1; done\n", settings=ALLOC)
    ended = cluster.end()
    assert ended["why"] == "idle"
    assert "worked" in (cluster.folder / "1.out").read_text()
