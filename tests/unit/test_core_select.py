"""Selection against what the real one was seen to allocate (22.05, cons_tres, CR_Core_Memory), and against brute force."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from sbroker.core import usage
from sbroker.core.events import Submit
from sbroker.core.select import Miss, place
from sbroker.core.shape import want
from sbroker.model import JobSpec, Node, NodeShare, Partition
from tests.unit.core_cluster import ALICE, BOB, Cluster, gpu, machines, per_node

# fields of the JobSpec → CPUs on each node, or the code of the refusal, on idle nodes
SEEN: list[tuple[dict[str, Any], str]] = [
    ({"nodes_min": 4, "nodes_max": 4, "ntasks": 8, "cpus_per_task": 2}, "6(x2),2(x2)"),
    ({"nodes_min": 2, "nodes_max": 2, "ntasks": 5, "ntasks_per_node": 3}, "3(x2)"),
    ({"nodes_min": 4, "nodes_max": 4, "ntasks": 6, "ntasks_per_node": 2}, "2(x4)"),
    ({"ntasks": 5, "ntasks_per_node": 2}, "2(x3)"),
    ({"ntasks": 7, "ntasks_per_node": 2}, "2(x4)"),
    ({"nodes_min": 2, "nodes_max": 4, "ntasks": 6}, "3,1(x3)"),
    ({"nodes_min": 1, "nodes_max": 3, "ntasks": 9}, "7,1(x2)"),
    ({"nodes_min": 1, "nodes_max": 3, "ntasks": 2}, "1(x2)"),
    ({"nodes_min": 2, "nodes_max": 4}, "1(x4)"),
    ({"nodes_min": 1, "nodes_max": 0}, "1"),
    ({"nodes_min": 2, "nodes_max": 0}, "1(x2)"),
    ({"nodes_min": 3, "nodes_max": 3, "ntasks": 20}, "8(x2),4"),
    ({"ntasks": 6, "cpus_per_task": 4}, "8(x3)"),
    ({"ntasks": 5, "cpus_per_task": 3}, "6(x2),3"),
    ({"ntasks": 12, "cpus_per_task": 2}, "8(x3)"),
    ({"nodes_min": 2, "nodes_max": 2, "ntasks": 12, "cpus_per_task": 2}, "node_config"),
    ({"nodes_min": 4, "nodes_max": 4, "ntasks": 12, "cpus_per_task": 2}, "8(x2),6,2"),
    ({"nodes_min": 2, "nodes_max": 2, "ntasks": 6, "cpus_per_task": 3}, "node_config"),
    ({"spread": True, "ntasks": 6}, "3,1(x3)"),
    ({"spread": True, "ntasks": 10, "nodes_min": 3, "nodes_max": 3}, "8,1(x2)"),
    ({"mincpus": 4, "nodes_min": 2, "nodes_max": 2}, "4(x2)"),
    ({"mincpus": 4, "ntasks": 2}, "4"),
    ({"mincpus": 4, "ntasks": 5, "nodes_min": 2, "nodes_max": 2}, "4(x2)"),
    ({"mem_per_node": 4096, "ntasks": 5, "nodes_min": 2, "nodes_max": 2}, "4,1"),
    ({"mem_per_cpu": 3000, "ntasks": 16}, "5(x3),1"),
    ({"mem_per_cpu": 3000, "ntasks": 4}, "4"),
    ({"mem_per_cpu": 3000, "cpus_per_task": 8}, "node_config"),
    ({"ntasks": 6, "ntasks_per_socket": 1}, "2(x3)"),
    ({"ntasks": 8, "ntasks_per_socket": 2}, "4(x2)"),
    ({"ntasks": 3, "exclusive": "node"}, "8"),
    ({"ntasks": 3, "exclusive": "node", "nodes_min": 2, "nodes_max": 2}, "8(x2)"),
    ({"cpus_per_task": 3, "exclusive": "node", "nodes_min": 2, "nodes_max": 2}, "8(x2)"),
    ({"overcommit": True, "ntasks": 20, "nodes_min": 2, "nodes_max": 2}, "1(x2)"),
    ({"overcommit": True, "ntasks": 20, "cpus_per_task": 3, "nodes_min": 2, "nodes_max": 2}, "3(x2)"),
    ({"overcommit": True, "ntasks": 40}, "1"),
    ({"nodelist": ("node2", "node3"), "ntasks": 4}, "3,1"),
    ({"nodelist": ("node3",), "ntasks": 9}, "1,8"),
    ({"nodelist": ("node1", "node2", "node3"), "ntasks": 9}, "7,1(x2)"),
    ({"constraint": "gpu", "ntasks": 3, "nodes_min": 2, "nodes_max": 2}, "2,1"),
    ({"gpus": gpu(3), "ntasks": 4, "nodes_min": 2, "nodes_max": 2}, "3,1"),
    ({"gpus": gpu(5), "nodes_min": 2, "nodes_max": 2}, "1(x2)"),
    ({"gpus": gpu(5)}, "1(x2)"),
    ({"gpus": gpu(6), "ntasks": 3}, "2,1"),
    ({"gpus_per_task": gpu(2), "ntasks": 3}, "2,1"),
    ({"gpus_per_task": gpu(1), "ntasks": 6, "cpus_per_task": 2}, "8,4"),
    ({"gpus_per_node": gpu(2), "ntasks": 4}, "4"),
    ({"gpus_per_node": gpu(2), "ntasks": 5, "nodes_min": 2, "nodes_max": 2}, "4,1"),
    ({"gpus_per_socket": gpu(1), "sockets_per_node": 2}, "1"),
    ({"gpus": gpu(2), "cpus_per_gpu": 3, "ntasks": 2}, "6"),
    ({"gpus": gpu(4), "cpus_per_gpu": 3, "nodes_min": 2, "nodes_max": 2}, "6(x2)"),
    ({"gres": gpu(2), "cpus_per_gpu": 2}, "4"),
    ({"gres": gpu(2), "cpus_per_gpu": 2, "nodes_min": 2, "nodes_max": 2}, "4(x2)"),
    ({"gpus": gpu(2), "mem_per_gpu": 3072}, "1"),
    ({"ntasks_per_gpu": 2, "ntasks": 4}, "4"),
    ({"gpus": gpu(3), "ntasks_per_gpu": 2, "ntasks": 6, "nodes_min": 2, "nodes_max": 2}, "3(x2)"),
    ({"gpus": gpu(5), "ntasks_per_gpu": 2, "ntasks": 10, "nodes_min": 2, "nodes_max": 2}, "5(x2)"),
    ({"gpus": gpu(3), "ntasks_per_gpu": 2, "ntasks": 6, "cpus_per_task": 2, "nodes_min": 2, "nodes_max": 2}, "6(x2)"),
    ({"gpus": gpu(5), "ntasks_per_gpu": 1, "ntasks": 5}, "4,1"),
    ({"gpus": gpu(7), "ntasks_per_gpu": 1, "ntasks": 7}, "6,1"),
    ({"ntasks_per_gpu": 3, "ntasks": 6, "nodes_min": 2, "nodes_max": 2}, "3(x2)"),
    ({"gpus_per_task": gpu(1), "ntasks": 4, "nodes_min": 2, "nodes_max": 2}, "3,1"),
    ({"ntasks": 2, "cpus_per_task": 5}, "5(x2)"),
    ({"ntasks": 3, "cpus_per_task": 5}, "5(x3)"),
    ({"cpus_per_task": 2, "nodes_min": 3, "nodes_max": 3}, "2(x3)"),
    ({"cpus_per_task": 8, "nodes_min": 2, "nodes_max": 2}, "8(x2)"),
    ({"ntasks_per_node": 4, "cpus_per_task": 2, "nodes_min": 2, "nodes_max": 2}, "8(x2)"),
    ({"ntasks_per_node": 2, "cpus_per_task": 2, "ntasks": 8}, "4(x4)"),
    ({"mem_per_node": 0, "ntasks": 3, "nodes_min": 2, "nodes_max": 2}, "2,1"),
    ({"ntasks": 4, "cpus_per_task": 2, "nodes_min": 2, "nodes_max": 2}, "6,2"),
    ({"ntasks": 5, "cpus_per_task": 2, "nodes_min": 2, "nodes_max": 2}, "8,2"),
    ({"ntasks": 4, "cpus_per_task": 2, "nodes_min": 3, "nodes_max": 3}, "4,2(x2)"),
    ({"ntasks": 31, "nodes_min": 4, "nodes_max": 4}, "8(x3),7"),
    ({"ntasks": 17}, "8(x2),1"),
    ({"ntasks": 9, "use_min_nodes": True, "nodes_min": 1, "nodes_max": 4}, "8,1"),
    ({"ntasks": 4, "use_min_nodes": True, "nodes_min": 2, "nodes_max": 3}, "3,1"),
]


@pytest.mark.parametrize(("fields", "expected"), SEEN, ids=lambda value: value if isinstance(value, str) else "")
def test_cpus_of_each_node_are_those_of_the_real_one(fields: dict[str, Any], expected: str) -> None:
    cluster = Cluster()
    if expected[0].isdigit():
        assert per_node(cluster.job(cluster.submit(**fields))) == expected
    else:
        assert cluster.refusal(Submit(spec=JobSpec(name="x", **fields), who=ALICE)) == expected


def where(cluster: Cluster, **fields: Any) -> tuple[str, str]:
    job = cluster.job(cluster.submit(**fields))
    return ",".join(share.node for share in job.nodes), per_node(job)


def test_one_node_that_is_enough_goes_before_pieces_of_two() -> None:
    cluster = Cluster()
    cluster.submit(ntasks=6, nodelist=("node1",))
    assert where(cluster, ntasks=4) == ("node2", "4")
    assert where(cluster, ntasks=2) == ("node1", "2")


def test_pieces_where_no_node_is_enough() -> None:
    cluster = Cluster()
    cluster.submit(ntasks=6, nodelist=("node1",))
    assert where(cluster, ntasks=9) == ("node1,node2", "2,7")


def test_as_many_nodes_as_allowed() -> None:
    cluster = Cluster()
    cluster.submit(ntasks=6, nodelist=("node1",))
    assert where(cluster, nodes_min=1, nodes_max=2, ntasks=4) == ("node1,node2", "2(x2)")


def test_memory_in_use_bounds_the_cpus() -> None:
    cluster = Cluster()
    cluster.submit(ntasks=2, nodelist=("node1",))
    assert where(cluster, ntasks=16, mem_per_cpu=3000) == ("node1,node2,node3,node4", "4,5(x2),2")


def test_the_node_asked_for_gives_most() -> None:
    assert where(Cluster(), ntasks=9, nodelist=("node3",)) == ("node2,node3", "1,8")


def test_cores_come_from_the_sockets_in_turn() -> None:
    cluster = Cluster()
    assert cluster.job(cluster.submit(ntasks=3)).nodes[0].cpu_ids == "0-1,4"
    assert cluster.job(cluster.submit(ntasks=2)).nodes[0].cpu_ids == "2,5"


def test_devices_are_given_by_index() -> None:
    cluster = Cluster()
    assert cluster.job(cluster.submit(gres=gpu(2))).nodes[0].gres == {"gpu:a100": (0, 1)}
    assert cluster.job(cluster.submit(gres=gpu(1, "a100"))).nodes[0].gres == {"gpu:a100": (2,)}
    both = cluster.job(cluster.submit(gpus=gpu(3), nodes_min=2, nodes_max=2))
    assert [len(share.gres["gpu:a100"]) for share in both.nodes] == [1, 2] or [len(share.gres["gpu:a100"]) for share in both.nodes] == [
        2,
        1,
    ]


def test_nodes_of_heavier_weight_come_last() -> None:
    assert where(Cluster(), nodes_min=3, nodes_max=3)[0] == "node1,node2,node3"
    assert where(Cluster(), constraint="gpu")[0] == "node3"


def test_one_feature_for_all_nodes() -> None:
    assert where(Cluster(), constraint="[cpu|gpu]", nodes_min=2, nodes_max=2)[0] == "node1,node2"
    cluster = Cluster()
    cluster.submit(ntasks=8, nodelist=("node2",), exclusive="node")
    assert where(cluster, constraint="[cpu|gpu]", nodes_min=2, nodes_max=2)[0] == "node3,node4"
    assert where(Cluster(), constraint="[cpu*1&gpu*1]", nodes_min=2, nodes_max=2)[0] == "node1,node3"


def test_nodes_alone_or_with_the_same_user_only() -> None:
    cluster = Cluster()
    cluster.submit(ntasks=1)
    assert where(cluster, exclusive="node", ntasks=1) == ("node2", "8")
    assert where(cluster, exclusive="user", ntasks=1)[0] == "node1"


def test_a_node_of_one_user_serves_one_submitter_at_a_time() -> None:
    nodes = tuple(structs.replace(node, one_user=node.name in ("node1", "node2")) for node in machines())
    cluster = Cluster(nodes)
    mine = cluster.submit(ntasks=1)
    assert where(cluster, ntasks=1) == ("node1", "1")
    theirs = [cluster.submit(BOB, ntasks=1) for _ in range(2)]
    assert [cluster.job(job).nodes[0].node for job in theirs] == ["node2", "node2"]
    later = cluster.submit(BOB, ntasks=1, nodelist=("node1",))
    assert cluster.job(later).nodes == ()
    for job in sorted(cluster.state.jobs):
        if cluster.job(job).uid == ALICE.uid and cluster.job(job).nodes and job != mine:
            cluster.finish(job)
    cluster.begin(mine)
    cluster.report("node1", "ended", mine, code=0, signal=0, why="exit")
    cluster.tick()
    assert cluster.job(later).nodes == ()  # not before nothing is left of the other one there
    cluster.report("node1", "empty", mine)
    cluster.tick(100)
    assert [share.node for share in cluster.job(later).nodes] == ["node1"]


def test_cores_of_two_threads_are_given_whole() -> None:
    node = Node(name="node1", site="local", cpus=8, sockets=1, cores_per_socket=4, threads_per_core=2, memory=16000)
    parts = (Partition(name="debug", default=True, nodes=("node1",)),)
    assert where(Cluster((node,), parts), ntasks=1)[1] == "2"
    assert where(Cluster((node,), parts), ntasks=3)[1] == "4"
    assert where(Cluster((node,), parts), ntasks=3, threads_per_core=1)[1] == "6"
    assert where(Cluster((node,), parts), ntasks=3, hint="nomultithread")[1] == "6"


def test_jobs_share_cores_where_the_partition_says_so() -> None:
    parts = (Partition(name="debug", default=True, nodes=("node1",), oversubscribe="force:2"),)
    cluster = Cluster(machines(), parts)
    assert [where(cluster, ntasks=8)[1] for _ in range(2)] == ["8", "8"]
    assert where(cluster, ntasks=8)[1] == ""


class _Pool:
    def __init__(self, nodes: list[Node], used: list[int]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.used = {
            node.name: usage.add(usage.EMPTY, node, 1, NodeShare(node=node.name, cpus=n, cpu_ids=usage.ids((1 << n) - 1)), 7, "")
            if n
            else usage.EMPTY
            for node, n in zip(nodes, used, strict=True)
        }

    def node(self, name: str) -> Node | None:
        return self.nodes[name]

    def use(self, name: str) -> usage.Use:
        return self.used[name]

    def order(self, name: str) -> int:
        return int(name[1:])


@settings(max_examples=300, deadline=None)
@given(
    free=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=4),
    tasks=st.none() | st.integers(1, 12),
    cpt=st.integers(1, 3),
    nodes=st.none() | st.tuples(st.integers(1, 4), st.integers(0, 3)),
    frugal=st.booleans(),
)
def test_a_place_is_found_just_when_there_is_one(
    free: list[tuple[int, int]], tasks: int | None, cpt: int, nodes: tuple[int, int] | None, frugal: bool
) -> None:
    """Brute force over all sets of nodes: whether some set of an allowed size can hold the tasks."""
    machines = [Node(name="n%d" % index, site="s", cpus=size, cores_per_socket=size) for index, (size, _) in enumerate(free)]
    used = [min(size, taken) for size, taken in free]
    low, high = (nodes[0], nodes[0] + nodes[1]) if nodes else (None, None)
    if tasks is not None and low is not None:
        low = min(low, tasks)  # as sbatch corrects it
        high = max(low, min(high or low, tasks))
    spec = JobSpec(name="x", ntasks=tasks, cpus_per_task=cpt, nodes_min=low, nodes_max=high, use_min_nodes=frugal)
    partition = Partition(name="p", nodes=tuple(node.name for node in machines))
    found = place(spec, want(spec, partition), partition, _Pool(machines, used), 1)
    rooms = [(size - taken) // cpt for (size, _), taken in zip(free, used, strict=True)]
    sizes = range(low or 1, (high or len(machines)) + 1)
    possible = any(
        all(rooms[index] >= 1 for index in group) and (tasks is None or sum(rooms[index] for index in group) >= tasks)
        for size in sizes
        for group in combinations(range(len(machines)), size)
        if tasks is None or size <= tasks
    )
    assert isinstance(found, tuple) == possible
    if not isinstance(found, tuple):
        assert isinstance(found, Miss)
        return
    assert len(found) in sizes
    for share in found:
        index = int(share.node[1:])
        taken = usage.mask(share.cpu_ids)
        assert taken.bit_count() == share.cpus
        assert share.cpus >= cpt
        assert share.cpus % cpt == 0
        assert taken < 1 << free[index][0]
        assert not taken & ((1 << used[index]) - 1)
    if tasks is not None:
        assert sum(share.cpus for share in found) == tasks * cpt
