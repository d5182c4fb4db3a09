"""Replays public spot traces: what a job with a deadline costs by each policy, over what it costs on demand.

    python benchmarks/spot_replay.py FOLDER [--starts 200] [--seed 1]

FOLDER holds folders of JSON traces ({"metadata": {"gap_seconds"}, "data": [machines available], "prices"?}), a file a zone; the zones of
one folder are replayed together. A job of 48 compute hours, deadlines of 1.15, 1.3, 1.5 and 2 times that, 0.2 hours for each start
(paid, no progress), spot at the trace's price or a third of on-demand.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sbroker.core.deadline import ONDEMAND, Record, View, choose

WORK, CHANGEOVER, THIRD = 48.0, 0.2, 1 / 3
SLACK = (1.15, 1.3, 1.5, 2.0)
FULL = {"v100_1": 3.06, "intel_64": 4.032}  # USD an hour on demand, of the traces that have prices


class Trace(NamedTuple):
    """One folder: ticks of `step` hours, and for each the zones that have a machine, with their price over on-demand."""

    name: str
    step: float
    ticks: list[dict[str, float]]


class Outcome(NamedTuple):
    cost: float  # over on-demand's for the bare work
    missed: bool
    starts: int


Policy = Callable[[View, "Memory"], "str | None"]


class Memory:
    """What a policy may remember of one run."""

    def __init__(self) -> None:
        self.record, self.final = Record(), False


def load(folder: Path, root: Path, priced: bool) -> Trace | None:
    """A folder's zones on one clock; with `priced` only folders that have prices."""
    zones = {}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        zones[path.stem] = (found["metadata"]["gap_seconds"], found["data"], found.get("prices"))
    if not zones or priced and not any(prices for _, _, prices in zones.values()):
        return None
    gap = next(iter(zones.values()))[0]
    length = min(len(data) for _, data, _ in zones.values())
    ticks: list[dict[str, float]] = [{} for _ in range(length)]
    for zone, (_, data, prices) in zones.items():
        need = max(data)
        full = next((price for kind, price in FULL.items() if zone.endswith(kind)), None)
        for index in range(length):
            if data[index] >= need:
                ticks[index][zone] = min(prices[index] / full, 1.0) if priced and prices and full else THIRD
    return Trace("%s%s" % (folder.relative_to(root), " (prices)" if priced else ""), gap / 3600, ticks)


def replay(trace: Trace, start: int, slack: float, policy: Policy) -> Outcome:
    """One job from tick `start` on."""
    window, step, memory = WORK * slack, trace.step, Memory()
    elapsed = cost = changing = 0.0
    work, place, starts = WORK, None, 0
    for tick in trace.ticks[start:]:
        if place is not None and place != ONDEMAND and place not in tick:
            place = None
        memory.record.look(tuple(tick), step)
        wanted = policy(View(window - elapsed, work, WORK, window, CHANGEOVER, step, place, changing if place else 0.0, tick), memory)
        if wanted is not None and wanted != place:
            changing, starts = CHANGEOVER, starts + 1
        place = wanted
        if place is not None:
            lost = min(changing, step)
            changing -= lost
            worked = min(step - lost, work)
            work -= worked
            cost += (lost + worked) * (1.0 if place == ONDEMAND else tick[place])
            if work <= 1e-9:
                return Outcome(cost / WORK, elapsed + lost + worked > window + 1e-9, starts)
        elapsed += step
    return Outcome(cost / WORK, True, starts)


def ondemand(view: View, memory: Memory) -> str | None:
    return ONDEMAND


def _stay(view: View) -> str | None:
    """The present zone, else the cheapest."""
    if view.place in view.prices:
        return view.place
    return min(view.prices, key=lambda zone: view.prices[zone]) if view.prices else None


def _last_moment(view: View) -> bool:
    return view.left - view.work - view.changing <= view.changeover + 2 * view.step


def greedy(view: View, memory: Memory) -> str | None:
    """Spot until the slack is gone, then on demand to the end."""
    if view.place == ONDEMAND:
        return ONDEMAND
    spot = _stay(view)
    if spot is not None and (spot == view.place or view.left - view.work > 2 * view.changeover + 2 * view.step):
        return spot
    return ONDEMAND if _last_moment(view) or spot is not None else None


def uniform(view: View, memory: Memory) -> str | None:
    """Spot whenever there is one; without, on demand while the work is behind a straight line to the deadline."""
    slack = view.left - view.work - view.changing
    spot = _stay(view)
    if view.place == ONDEMAND and slack <= 2 * view.changeover + 2 * view.step:
        return ONDEMAND
    if spot is not None and (spot == view.place or slack > 2 * view.changeover + 2 * view.step):
        return spot
    if _last_moment(view) or spot is not None:
        return ONDEMAND
    behind = view.total - view.work < (view.window - view.left) * view.total / view.window
    return ONDEMAND if behind else None


def ours(view: View, memory: Memory) -> str | None:
    return choose(view, memory.record)


POLICIES: dict[str, Policy] = {"on-demand": ondemand, "greedy": greedy, "uniform": uniform, "ours": ours}


def bound(trace: Trace, start: int, slack: float) -> float:
    """Who knows the future and changes for nothing: the cheapest spot hours first, the rest on demand."""
    ticks = trace.ticks[start : start + int(WORK * slack / trace.step)]
    prices = sorted(min(tick.values()) for tick in ticks if tick)
    left, cost = WORK, 0.0
    for price in prices:
        hours = min(trace.step, left)
        cost += hours * min(price, 1.0)
        left -= hours
        if left <= 0:
            break
    return (cost + left) / WORK


def traces(root: Path) -> Iterator[Trace]:
    for folder in sorted({path.parent for path in root.rglob("*.json")}):
        for priced in (False, True):
            trace = load(folder, root, priced)
            if trace is not None:
                yield trace


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("%-44s %5s  %s  %6s" % ("trace", "D/C", "  ".join("%9s cost miss starts" % name for name in POLICIES), "bound"))
    worse = missed = 0
    for trace in traces(options.folder):
        for slack in SLACK:
            room = len(trace.ticks) - int(WORK * slack / trace.step) - 2
            if room < 1:
                print("%-44s %5.2f  the trace is too short" % (trace.name, slack))
                continue
            draw = random.Random(options.seed)
            starts = [draw.randrange(room) for _ in range(options.starts)]
            cells, least = [], {}
            for name, policy in POLICIES.items():
                outcomes = [replay(trace, start, slack, policy) for start in starts]
                mean = sum(outcome.cost for outcome in outcomes) / len(outcomes)
                late = sum(outcome.missed for outcome in outcomes)
                least[name] = mean
                cells.append("%14.3f %4d %6.1f" % (mean, late, sum(outcome.starts for outcome in outcomes) / len(outcomes)))
                missed += late if name == "ours" else 0
            floor = sum(bound(trace, start, slack) for start in starts) / len(starts)
            good = least["ours"] <= 1.01 * min(least["greedy"], least["uniform"])
            worse += not good
            print("%-44s %5.2f  %s  %6.3f  gap %+.3f%s" % (trace.name, slack, "  ".join(cells), floor, least["ours"] - floor, "" if good else "  WORSE"), flush=True)
    print("ours: %d deadlines missed, %d cells worse than the better of greedy and uniform by more than 1 %%" % (missed, worse))


if __name__ == "__main__":
    main()
