"""File name patterns as 22.05.8 wrote them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_compat.filenames import filename, items

BATCH = {"job": 231, "name": "nm", "user": "alice", "node": "node1", "step": "batch", "rank": 0, "node_index": 0}
ARRAY = dict(BATCH, job=234, array_id=232, array_task=12)
STEP = dict(BATCH, job=353, step=0, rank=1)


@pytest.mark.parametrize(
    ("pattern", "fields", "name"),
    [
        ("pat-%j-%A-%a-%N-%n-%t-%s-%u-%x-%%-%4j.txt", BATCH, "pat-231-231-4294967294-node1-0-0-batch-alice-nm-%-0231.txt"),
        ("a-%4A_%3a-%5J-%3s-%3N-%3n-%3x-%3u", BATCH, "a-0231_4294967294-00231-batch-node1-000-nm-alice"),
        ("arr-%A_%a-%3a.txt", ARRAY, "arr-232_12-012.txt"),
        ("b-%b-%z-%", BATCH, "b-%b-%z-%"),
        ("d-%0j-%12t-%04j", BATCH, "d-231-0000000000-0231"),
        ("f-%5J-%3s-%A-%a-%N-%3n-%t", STEP, "f-00353.0-000-353-4294967294-node1-000-1"),
        ("esc\\%j-x.txt", BATCH, "esc%j-x.txt"),
        ("%b", dict(ARRAY, imitate="24.11"), "2"),
    ],
)
def test_patterns(pattern, fields, name):
    assert filename(pattern, fields) == name


def test_what_a_pattern_depends_on():
    assert items("so-%j-%2t-%N.txt") == {"j", "t", "N"}
    assert items("so-\\%t") == set()


@given(st.text(alphabet="ab/%\\0123jAatNnsux J", max_size=30))
def test_never_fails(pattern):
    filename(pattern, STEP)
