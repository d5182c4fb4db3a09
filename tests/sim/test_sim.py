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


def test_a_job_that_kills_its_own_supervisors_is_held_at_last() -> None:
    for seed in range(20):
        world = World(seed, jobs=4, dying=2, trouble=seed % 3)
        try:
            world.run()
        except Exception as error:
            raise AssertionError("seed %d" % seed) from error
        most = int(world.broker.state.settings["max_requeue"])
        jobs = [job for job in world.broker.state.jobs.values() if job.spec.name == "dying"]
        # a run that its node refuses by its own fault is one more, and costs the job nothing
        assert [(job.held, job.reason.value, job.requeues, job.run >= most) for job in jobs] == [("admin", "JobHoldMaxRequeue", most, True)] * 2, seed


def test_a_job_that_stops_its_supervisor_times_out() -> None:
    for seed in range(20):
        world = World(seed, jobs=4, stopping=("stops", "stops-again"), trouble=seed % 3)
        try:
            world.run()
        except Exception as error:
            raise AssertionError("seed %d" % seed) from error
        jobs = {job.spec.name: job for job in world.broker.state.jobs.values() if job.spec.name in ("stops", "stops-again")}
        assert [job.state.value for job in jobs.values()] == ["TIMEOUT"] * 2, (seed, jobs)


def test_runs_with_a_lease_are_fenced_by_it_and_never_run_twice() -> None:
    """Nodes that are silent for longer than the lease, and machines that freeze with orders in their buffers."""
    fenced = 0
    for seed in range(60):
        world = World(seed, lease=20)
        try:
            world.run()
        except Exception as error:
            raise AssertionError("seed %d" % seed) from error
        fenced += world.fenced
    assert fenced > 20


def test_without_trouble_every_job_runs_once() -> None:
    for seed in range(10):
        world = World(seed, trouble=0)
        world.run()
        assert all(count == 1 for count in world.execs.values())


@pytest.mark.parametrize("block", range(6))
def test_no_machine_and_no_job_is_lost_whatever_clouds_do(block: int) -> None:
    """Ten seeds each; `python -m tests.sim --clouds 2 --first SEED --seeds 1` runs a broken one alone."""
    bought = 0
    for seed in range(block * 10, block * 10 + 10):
        world = World(seed, nodes=1, clouds=2)
        try:
            world.run()
        except Exception as error:
            raise AssertionError("seed %d" % seed) from error
        bought += sum(len(cloud.machines) for cloud in world.clouds.values())
    assert bought > 10
