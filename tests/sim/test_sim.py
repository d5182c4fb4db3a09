from __future__ import annotations

import pytest

from tests.sim.world import World


@pytest.mark.parametrize("block", range(20))
def test_invariants_hold_whatever_goes_wrong(block: int) -> None:
    """Fifteen seeds each; `python -m tests.sim --first SEED --seeds 1` runs a broken one alone."""
    for seed in range(block * 15, block * 15 + 15):
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            raise AssertionError("seed %d" % seed) from error


def test_without_trouble_every_job_runs_once() -> None:
    for seed in range(10):
        world = World(seed, trouble=0)
        world.run()
        assert all(count == 1 for count in world.execs.values())
