"""Simulated time: what happens next is whatever is due first; equal times in the order they were asked for."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable


class Clock:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000_000.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(time, self.now), self._count, call))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.at(self.now + seconds, call)

    def soon(self, call: Callable[[], None], most: float = 0.02) -> None:
        """After a little while that the seed decides."""
        self.later(self.rng.random() * most, call)

    def step(self) -> bool:
        """Make the next thing happen; False if nothing is due any more."""
        if not self._heap:
            return False
        time, _, call = heapq.heappop(self._heap)
        self.now = time
        call()
        return True

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability
