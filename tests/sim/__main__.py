"""python -m tests.sim --seeds 5000 [--first 0]: many seeds; the first broken one is told and can be run alone."""

from __future__ import annotations

import argparse
import traceback

from tests.sim.world import World


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--clouds", type=int, default=0, help="sites whose machines are made on demand, beside one node")
    options = parser.parse_args()
    broken = 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            (World(seed, nodes=1, clouds=options.clouds) if options.clouds else World(seed)).run()
        except Exception:
            broken += 1
            print("seed %d" % seed)
            traceback.print_exc()
            if broken >= 3:
                break
    print("%d seeds, %d broken" % (options.seeds, broken))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
