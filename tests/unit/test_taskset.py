"""Task expressions as Slurm shortens and cuts them; recorded with SLURM_BITSTR_LEN unset, 10, 20 and 0."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.taskset import bitstr_len, pending_text, tasks_text

ODD = tuple(range(1, 48, 2))[:-1] + (47, 50)


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ((7,), "7"),
        ((3, 4, 5), "3-5"),
        ((1, 3), "1,3"),
        ((1, 5, 9, 13, 17), "1,5,9,13,17"),
        ((1, 5, 9, 13, 17, 21), "1-21:4"),
        (tuple(range(1, 200, 3)), "1-199:3"),
        ((1, 5, 9, 11, 12, 13), "1,5,9,11-13"),
        ((), ""),
    ],
)
def test_tasks_text(tasks, text):
    assert tasks_text(tasks) == text


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (None, "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43..."),
        (10, "1,3,5,..."),
        (20, "1,3,5,7,9,11,13,..."),
        (0, "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,50"),
    ],
)
def test_cut(room, text):
    assert pending_text(ODD, None, room) == text
    assert pending_text(ODD, 3, room) == text + "%3"


def test_room():
    assert [bitstr_len({}), bitstr_len({"SLURM_BITSTR_LEN": "0"}), bitstr_len({"SLURM_BITSTR_LEN": "x"})] == [None, 0, None]


@given(st.sets(st.integers(0, 300), min_size=1, max_size=60))
def test_text_names_exactly_these_tasks(tasks):
    found = set()
    for part in tasks_text(sorted(tasks)).split(","):
        span, _, step = part.partition(":")
        low, _, high = span.partition("-")
        found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    assert found == tasks
