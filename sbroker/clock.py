"""The only place that reads a clock. The core never does: `now` is given to it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def boottime(self) -> float:
        """Seconds since boot, suspended time included: for durations."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
