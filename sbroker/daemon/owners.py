"""Allocations whose owner (srun, salloc) must be there: one that has gone and does not come back must not hold nodes for ever.

While the owner's call runs, the front end itself gives the allocation back. This is for the owners that were lost together with a
broker: they have a while to ask again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sbroker.core.events import Finish, Who
from sbroker.errors import SbrokerError
from sbroker.model import Exit, Job

log = logging.getLogger("sbroker.owners")

PATIENCE = 90.0  # seconds; the thin client asks again for a minute
LOOK = 15.0
OPERATOR = Who(uid=0, operator=True)


def needs_owner(job: Job) -> bool:
    return job.spec.kind == "alloc" and "no-shell" not in job.spec.extra and not job.state.ended


class Owners:
    """Which allocations have a call that waits for them, and since when others have none."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self._present: dict[int, int] = {}
        self._alone: dict[int, float] = {}

    def take(self, job: int) -> None:
        self._present[job] = self._present.get(job, 0) + 1
        self._alone.pop(job, None)

    def leave(self, job: int) -> None:
        self._present[job] -= 1
        if not self._present[job]:
            del self._present[job]

    async def watch(self) -> None:
        """Look now and then; runs as long as the broker."""
        while True:
            self.look(self._daemon.clock.boottime())
            await asyncio.sleep(LOOK)

    def look(self, now: float) -> None:
        """End every allocation that has been alone for too long."""
        jobs = [job for job in self._daemon.broker.state.jobs.values() if needs_owner(job) and job.id not in self._present]
        self._alone = {job.id: self._alone.get(job.id, now) for job in jobs}
        for number, since in self._alone.items():
            if now - since < PATIENCE:
                continue
            log.warning("job %d: its srun or salloc has not come back for %d s; it is ended", number, PATIENCE)
            try:
                self._daemon.broker.apply(Finish(job=number, who=OPERATOR, exit=Exit(code=1)))
            except SbrokerError as error:
                log.warning("job %d: %s", number, error)
