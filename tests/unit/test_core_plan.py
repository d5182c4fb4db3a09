"""Backfill: who is first in line starts no later than it was told, whatever overtakes it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.model import Node, Partition
from sbroker.states import JobState, Reason
from tests.unit.core_cluster import Cluster

NODES = tuple(Node(name="n%d" % number, site="s", cpus=4, cores_per_socket=4, memory=4000) for number in range(3))
PARTS = (Partition(name="p", default=True, nodes=("n0", "n1", "n2"), def_mem_per_cpu=500),)

_job = st.fixed_dictionaries(
    {
        "ntasks": st.integers(1, 9),
        "time_limit": st.integers(1, 20).map(lambda minutes: minutes * 60),
        "exclusive": st.sampled_from(["", "", "", "node"]),
        "mem_per_cpu": st.sampled_from([None, None, 900]),
    }
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(_job, st.integers(0, 300)), min_size=2, max_size=14))
def test_nobody_delays_the_first_in_line(jobs: list[tuple[dict, int]]) -> None:
    """Jobs come at their times and run to their limits; the first estimate that the first in line gets is a promise."""
    cluster = Cluster(NODES, PARTS)
    arrivals, promised, when = [], {}, cluster.now
    for fields, gap in jobs:
        when += gap
        arrivals.append((when, fields))
    while arrivals or any(not job.state.ended for job in cluster.state.jobs.values()):
        ends = [
            job.start_time + job.time_limit
            for job in cluster.state.jobs.values()
            if job.state is JobState.RUNNING and job.start_time is not None
        ]
        cluster.now = min(ends + [arrivals[0][0]] if arrivals else ends)
        for job in list(cluster.state.jobs.values()):
            if job.state is JobState.RUNNING and job.start_time is not None and job.start_time + job.time_limit <= cluster.now:
                cluster.finish(job.id)
        while arrivals and arrivals[0][0] <= cluster.now:
            cluster.submit(**arrivals.pop(0)[1])
        for job in cluster.state.jobs.values():
            if job.state is JobState.RUNNING and job.id in promised:
                assert job.start_time is not None
                assert job.start_time <= promised.pop(job.id)
            estimate = cluster.state.estimate(job.id)
            if job.reason is Reason.RESOURCES and estimate is not None:
                promised.setdefault(job.id, estimate)
