"""PMI_process_mapping, as Slurm 22.05.8 gives it and as MPICH reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent.pmi.mapping import process_mapping


def nodes_of(text, size):
    """The node number of each rank, as MPICH takes it from the text: block after block."""
    assert re.fullmatch(r"\(vector(,\(\d+,\d+,\d+\))+\)", text)
    out = []
    for first, nodes, count in (map(int, found) for found in re.findall(r"\((\d+),(\d+),(\d+)\)", text)):
        out += [first + number for number in range(nodes) for _ in range(count)]
    assert len(out) == size
    return out


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_every_layout_is_said_as_it_is(node_of):
    names = sorted(set(node_of), key=node_of.index)  # the step's nodes are those that have ranks
    tasks = [[rank for rank, node in enumerate(node_of) if node == name] for name in names]
    assert nodes_of(process_mapping(tasks), len(node_of)) == [names.index(node) for node in node_of]


@pytest.mark.parametrize(
    "tasks, text",
    [
        ([[0]], "(vector,(0,1,1))"),
        ([[0, 1, 2, 3, 4], [5], [6]], "(vector,(0,1,5),(1,2,1))"),  # srun -N3 -n7
        ([[0, 1], [2, 3], [4, 5]], "(vector,(0,3,2))"),
        ([[0, 1, 6, 7], [2, 3], [4, 5]], "(vector,(0,3,2),(0,1,2))"),  # -m plane=2
        ([[0, 2], [1]], "(vector,(0,2,1),(0,1,1))"),  # -m cyclic
        ([[0, 1, 2, 3, 4, 5, 6, 7], [8, 9], [10], [11]], "(vector,(0,1,8),(1,1,2),(2,2,1))"),
    ],
)
def test_in_slurms_words(tasks, text):
    assert process_mapping(tasks) == text
