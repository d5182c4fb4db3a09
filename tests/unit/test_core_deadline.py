"""The deadline-aware policy: never late where on demand would not have been, and not dearer than it need be."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from sbroker.core.deadline import ONDEMAND, Record, advise

HOUR = 3600
_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "spot_replay.py"
_SPEC = importlib.util.spec_from_file_location("spot_replay", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
spot_replay = importlib.util.module_from_spec(_SPEC)
sys.modules["spot_replay"] = spot_replay
_SPEC.loader.exec_module(spot_replay)


def advice(record: Record | None = None, **fields):
    given = {"now": 0.0, "since": 0.0, "deadline": 20.0 * HOUR, "total": 4 * HOUR, "left": 4 * HOUR, "lost": 600, "boot": 120, "prices": {"a": 0.3}}
    return advise(record or Record(), **{**given, **fields})


def test_spot_while_there_is_time():
    found = advice()
    assert found.place == "a" and "960 min" in found.why


def test_on_demand_when_the_time_is_needed():
    assert advice(deadline=4.1 * HOUR).place == ONDEMAND
    assert "too few to lose a spot machine" in advice(deadline=4.1 * HOUR).why


def test_without_checkpoints_all_of_the_work_may_be_lost():
    """Twice the work must fit before the deadline."""
    assert advice(deadline=6 * HOUR).place == "a"
    assert advice(deadline=6 * HOUR, lost=4 * HOUR).place == ONDEMAND
    assert advice(deadline=9 * HOUR, lost=4 * HOUR).place == "a"


def test_waits_for_a_machine_no_longer_than_the_slack_allows():
    found = advice(prices={})
    assert found.place is None and found.look == 60
    assert advice(prices={}, deadline=4.05 * HOUR).place == ONDEMAND
    late = advice(prices={}, now=15.9 * HOUR)
    assert late.place == ONDEMAND and "no spot machine is to be had" in late.why


def test_the_zone_that_lasts_is_worth_its_price():
    record = Record()
    for tick in range(600):
        record.look(["steady"] if tick % 2 else ["steady", "flaky"], 0.1)
    assert advice(record, prices={"steady": 0.34, "flaky": 0.3}).place == "steady"


def test_short_outages_are_waited_for():
    """Though the job is behind the straight line to its deadline."""
    short, long = Record(), Record()
    for _ in range(20):
        for record, out in ((short, 2), (long, 30)):
            for _ in range(30):
                record.look(["a"], 0.1)
            for _ in range(out):
                record.look([], 0.1)
    for record in (short, long):
        record.look(["a"], 0.1)
        record.look([], 0.1)
    behind = {"now": 10 * HOUR, "deadline": 50.0 * HOUR, "total": 40 * HOUR, "left": 38 * HOUR, "prices": {}}
    assert advice(short, **behind).place is None
    assert advice(long, **behind).place == ONDEMAND


@pytest.mark.parametrize("seed", range(60))
def test_a_job_that_could_end_in_time_does(seed):
    """On random traces, with any slack that on demand has at all, and zones that fail at the worst moments."""
    chance = random.Random(seed)
    step = chance.choice((0.02, 0.05, 0.1))
    length = int(spot_replay.WORK * 2.2 / step)
    ticks: list[dict[str, float]] = []
    up = {"a": True, "b": False, "c": True}
    rate = chance.choice((0.001, 0.02, 0.3))
    for _ in range(length):
        up = {zone: there != (chance.random() < rate) for zone, there in up.items()}
        ticks.append({zone: chance.choice((0.2, 0.33, 0.9)) for zone, there in up.items() if there})
    trace = spot_replay.Trace("random", step, ticks)
    slack = 1 + (spot_replay.CHANGEOVER + 3 * step) / spot_replay.WORK + chance.choice((0.0, 0.005, 0.02, 0.15, 0.6))
    outcome = spot_replay.replay(trace, 0, slack, spot_replay.ours)
    assert not outcome.missed
    assert outcome.cost <= 1.0 + (outcome.starts * spot_replay.CHANGEOVER) / spot_replay.WORK + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_who_asks_only_when_a_job_waits_is_in_time_too(seed):
    """As the broker asks: no moving while it runs; each lost machine undoes `lost` seconds of work."""
    chance = random.Random(1000 + seed)
    total, boot, step = 10 * HOUR, 300, 60
    lost = chance.choice((0, 1800, total))
    deadline, now, left = total + boot + 3 * step + chance.choice((0, HOUR, 12 * HOUR, 40 * HOUR)), 0.0, float(total)
    record, place, booted = Record(), None, 0.0
    while left > 0:
        there = {zone: 0.3 for zone in ("a", "b") if chance.random() < 0.6}
        record.look(tuple(there), step / HOUR)
        if place not in (None, ONDEMAND) and chance.random() < 0.004:
            place, left = None, min(left + lost, total)
        if place is None:
            place = advise(
                record, now=now, since=0.0, deadline=deadline, total=total, left=int(left), lost=min(lost, total), boot=boot, prices=there, step=step
            ).place
            booted = 0.0
        if place is not None:
            worked = step - min(step, boot - booted)
            booted += step - worked
            left -= worked
        now += step
    assert now <= deadline
