"""Rules: what they are about, and what `#SBROKER data=` says."""

from __future__ import annotations

import pytest

from sbroker.plan import Rule, Source
from sbroker.plan.data import DataError, parse_data
from sbroker.plan.rules import about, below


@pytest.mark.parametrize(
    ("name", "pattern", "so"),
    [
        ("/project/gdpr", "/project/gdpr", True),
        ("/project/gdpr/a/b", "/project/gdpr/", True),
        ("/project/gdprx", "/project/gdpr", False),
        ("/project", "/project/gdpr", False),
        ("/anything", "/", True),
        ("s3://eu-corpus/train", "s3://eu-*", True),
        ("s3://us-corpus/train", "s3://eu-*", False),
        ("/home/alice/gdpr/x", "/home/*/gdpr", True),
    ],
)
def test_what_lies_below(name: str, pattern: str, so: bool) -> None:
    assert below(name, pattern) is so


def test_which_rules_are_about_a_job() -> None:
    every, gdpr, bucket = Rule(spot=False), Rule(path="/project/gdpr", regions=("eu",)), Rule(data="s3://eu-*", regions=("eu",))
    lab, gpu = Rule(accounts=("lab",), max_cost=1.0), Rule(partitions=("gpu",), max_price=1.0)
    known = (every, gdpr, bucket, lab, gpu)
    assert about(known, paths=("/home/alice",)) == (every,)
    assert about(known, paths=("/project/gdpr/alice",), account="lab") == (every, gdpr, lab)
    assert about(known, data=("s3://eu-x",), partition="gpu") == (every, bucket, gpu)
    assert about(known, data=("/project/gdpr/tables",)) == (every, gdpr)  # data on a path is bound as the path is
    assert about(known, partition=None) == (every, gpu)


def test_what_a_job_says_that_it_reads() -> None:
    assert parse_data("s3://corpus/train 500G aws/us-east-1, /scratch/tables 0.5TB, gs://x gcp/europe-west4/europe-west4-a") == (
        Source(name="s3://corpus/train", cloud="aws", region="us-east-1", gigabytes=500.0),
        Source(name="/scratch/tables", gigabytes=500.0),
        Source(name="gs://x", cloud="gcp", region="europe-west4", zone="europe-west4-a"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" , ", "it says nothing"),
        ("corpus", "corpus is neither a path nor a URL"),
        ("s3://x much", "much is neither a size \\(500G\\) nor a place \\(aws/us-east-1\\)"),
    ],
)
def test_what_it_may_not_say(text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        parse_data(text)
