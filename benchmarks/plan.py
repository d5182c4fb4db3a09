"""How long the plan takes over a full catalogue, warm: `python -m benchmarks.plan [FOLDER]`.

FOLDER holds catalogues as CLOUD/*.csv[.gz] in SkyPilot's format (default: what tests/unit/reference.py finds). Beside each figure stands
what SkyPilot 0.14.1 took for the like on a 2-core machine. Nothing is judged, machines differ.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from sbroker.machines import Ask, Offer
from sbroker.model import Gres
from sbroker.plan import Market, Policy, Question, Rule, Source, cheapest, rank, tell
from sbroker.plan.chain import Edge, place

GB = 200.0


def question(**fields: Any) -> Question:
    gres = fields.pop("gres", ())
    return Question(
        **{"ask": Ask(cpus=fields.pop("cpus", 8), memory=16000, gres=gres, arch="x86_64"), "fit": lambda offer: 1, "seconds": 4 * 3600, **fields}
    )


def gpu(kind: str | None, count: int) -> tuple[Gres, ...]:
    return (Gres(name="gpu", type=kind, count=count),)


def timed(what: str, call: Callable[[], Any], beside: str = "", times: int = 15) -> Any:
    result, spent = call(), []
    for _ in range(times):
        began = time.perf_counter()
        result = call()
        spent.append((time.perf_counter() - began) * 1000)
    print("%-62s %8.2f ms (best %.2f)%s" % (what, statistics.median(spent), min(spent), "   SkyPilot: " + beside if beside else ""))
    return result


def machines(offer: Offer) -> int:
    """Of a job of 64 tasks, one a CPU."""
    return -(-64 // offer.cpus)


def main(argv: list[str]) -> int:
    if argv:
        os.environ["SBROKER_TEST_CATALOG"] = argv[0]
    from tests.unit.reference import catalogues

    known = catalogues()
    if known is None:
        print("no catalogues: name their folder", file=sys.stderr)
        return 1
    markets = [Market(site, tuple(offers)) for site, offers in known.items()]
    print("%d offers in %d markets" % (sum(len(market.offers) for market in markets), len(markets)))
    began = time.perf_counter()
    for market in markets:
        market.prepare()
    print("columns of all markets, once: %.2f s" % (time.perf_counter() - began))
    a100 = question(gres=gpu("a100", 8))
    timed("8 CPUs", lambda: rank(markets, question()), "0.5-3.2 s")
    timed("8 a100", lambda: rank(markets, a100), "0.5-3.2 s")
    timed("8 a100, and every place dropped with its sentence", lambda: tell(rank(markets, a100)))
    rules = (Rule(regions=("eu",)), Rule(spot=False, max_price=60.0))
    timed("1 h100 or a100, in the European Union, on demand", lambda: rank(markets, question(gres=gpu(None, 1), types=("h100", "a100"), rules=rules)))
    data = (Source(name="s3://train", cloud="aws", region="us-east-1", gigabytes=5000.0),)
    timed("8 CPUs, 5 TB of data in aws us-east-1", lambda: rank(markets, question(sources=data)))
    timed("64 tasks on machines of any size", lambda: rank(markets, question(cpus=1, fit=machines, total=Ask(cpus=64))))
    timed("soonest", lambda: rank(markets, question(policy=Policy(kind="soonest"))))
    timed("an accelerator that nobody knows, with sentences", lambda: tell(rank(markets, question(gres=gpu("a1000", 1)))))
    kinds = [(), gpu("a100", 1), gpu("tpu-v5e", 8), gpu("inferentia2", 1), gpu("t4", 1), gpu("h100", 8), gpu("l4", 1), (), gpu("v100", 4), ()]
    shapes = [question(gres=gres, cpus=4) for gres in kinds]
    chain = [Edge(source=number, target=number + 1, gigabytes=GB) for number in range(len(shapes) - 1)]

    def plan(some: list[Question], edges: list[Edge]) -> Any:
        stages = [cheapest(markets, each) for each in some]
        found = place(stages, edges)
        if found is None:
            lacking = [number for number, stage in enumerate(stages) if not stage]
            raise SystemExit("no machine for the stages %s" % lacking)
        return found

    timed("a chain of 10 stages, %d GB between" % GB, lambda: plan(shapes, chain), "10.5 s", 9)
    diamond = [Edge(source=0, target=middle, gigabytes=GB) for middle in range(1, 7)] + [Edge(source=middle, target=7, gigabytes=GB) for middle in range(1, 7)]
    found = timed("a diamond of 8 stages, %d GB between" % GB, lambda: plan(shapes[:8], diamond), "38 s", 5)
    print("    exact: %s; %.2f USD, %.2f of it for moving data" % (found.exact, found.cost, found.moving))
    stages = [cheapest(markets, each) for each in shapes]
    timed("    of the chain, what joins the stages alone", lambda: place(stages, chain))
    heavy = [Edge(source=edge.source, target=edge.target, gigabytes=20_000.0) for edge in chain]
    timed("    the same with 20 TB between, nothing pruned", lambda: place(stages, heavy))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
