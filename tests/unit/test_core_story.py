"""One story of what would be bought: --test-only, explain and the reason of a job that waits."""

from __future__ import annotations

import pytest

from sbroker.core.events import Submit
from sbroker.core.explain import explain
from sbroker.errors import Refused
from sbroker.machines import Offer
from sbroker.model import Gres, JobSpec, Partition
from sbroker.plan import Market
from tests.unit.core_cluster import ALICE, Cluster, gpu

PARTS = (Partition(name="p", default=True, sites=("cloud",), def_mem_per_cpu=100, gpu_types=("a100",), default_time=3600),)


def cloud(*rules: dict) -> Cluster:
    found = Cluster((), PARTS, sites={"cloud": {}}, rules=list(rules))
    sold = (
        Offer(name="cpu", cloud="aws", region="us-east-1", type="cpu", cpus=8, memory=16000, price=0.5),
        Offer(name="gpu", cloud="aws", region="eu-west-1", type="gpu", cpus=8, memory=16000, price=4.0, gres=(Gres(name="gpu", type="a100-80gb", count=2),)),
    )
    found.state.sell(Market("cloud", sold, at=1.0))
    return found


def rehearsal(found: Cluster, **fields):
    return found.do(Submit(spec=JobSpec(name="j", **fields), who=ALICE, test=True)).answer


def test_a_rehearsal_says_what_would_be_bought() -> None:
    assert rehearsal(cloud()).said == (
        "Chosen: cpu in us-east-1 of cloud, 0.50 USD an hour, 0.50 USD in all; the cheapest of 2 offers that would do.",
        "Runner-up: gpu in eu-west-1 of cloud, 4.00 USD an hour, 4.00 USD in all; 3.50 USD more.",
    )


def test_a_family_of_accelerators_gets_one_of_its_models() -> None:
    """The node has what was bought, and the job what it asked for."""
    found = cloud()
    for wanted in (gpu(1, "a100"), gpu(2, "A100-80GB"), gpu(1)):
        placement = rehearsal(found, gres=wanted)
        assert placement.nodes == ("cloud-gpu-1",)
        assert placement.said[1] == "cloud, us-east-1: no machine there has %s." % (
            "gpu:%s:%d" % (wanted[0].type, wanted[0].count) if wanted[0].type else "gpu:1 of the partition's gpu_types (a100)"
        )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"gres": gpu(1, "a1000")}, "no machine can be had: No accelerator is called a1000; is it a100"),
        ({"gres": gpu(3, "a100")}, "no machine can be had: cloud: no machine there has gpu:a100:3"),
        ({"work_dir": "/gdpr", "ntasks": 1}, "the rule on /gdpr leaves only what is known to lie in ch"),
        ({"sbroker": {"data": "s3://x nonsense"}}, "#SBROKER data=: nonsense is neither a size"),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_sentence_at_a_rehearsal_already(fields: dict, sentence: str) -> None:
    found = cloud({"path": "/gdpr", "countries": ["ch"]})
    with pytest.raises(Refused, match=sentence.replace("(", r"\(")):
        rehearsal(found, **fields)
    with pytest.raises(Refused):
        found.submit(**fields)


def test_data_of_a_job_counts_where_it_is_bought() -> None:
    """3.50 USD dearer, and 20 USD of egress nearer."""
    near = rehearsal(cloud(), sbroker={"data": "s3://corpus 1000G aws/eu-west-1"})
    assert near.nodes == ("cloud-gpu-1",)
    assert near.said[1] == (
        "Runner-up: cpu in us-east-1 of cloud, 0.50 USD an hour, 20.50 USD in all (20.00 USD of it for moving data); 16.50 USD more."
    )


def test_a_job_that_waits_is_told_the_same() -> None:
    found = cloud()
    waiting = found.submit(gres=gpu(1, "a100"), hold=True)
    said = explain(found.state, found.job(waiting), found.now)
    assert said[0] == "It is held by its user."
    assert said[1].startswith("Chosen: gpu in eu-west-1 of cloud, 4.00 USD an hour")
