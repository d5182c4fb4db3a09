"""The driver of ray.sh: counts primes on every CPU of the Ray cluster."""

import os

import ray

ray.init(address=os.environ["ip_head"], log_to_driver=False)


@ray.remote
def primes(low: int, high: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(max(low, 2), high))


parts = ray.get([primes.remote(low, low + 1000) for low in range(0, 10000, 1000)])
print("%d nodes, %d CPUs, %d primes below 10000" % (len(ray.nodes()), ray.cluster_resources()["CPU"], sum(parts)), flush=True)
if sum(parts) != 1229:
    raise SystemExit("wrong count")
