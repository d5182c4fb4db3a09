"""Rules of the configuration on nodes that are there: where jobs may start, and what is said of the rest."""

from __future__ import annotations

import pytest

from sbroker.core.events import Configure, Submit
from sbroker.core.explain import explain
from sbroker.errors import Refused
from sbroker.model import JobSpec, Node, Partition
from sbroker.states import JobState
from tests.unit.core_cluster import ALICE, Cluster

NODES = (
    Node(name="here", site="here", cpus=4, cores_per_socket=4, memory=4000, weight=1),
    Node(name="berlin", site="berlin", cpus=4, cores_per_socket=4, memory=4000, weight=5, features=("de", "eu")),
)
PARTS = (Partition(name="p", default=True, nodes=("here", "berlin"), sites=("here", "berlin"), def_mem_per_cpu=10),)
GDPR = {"path": "/project/gdpr", "regions": ["eu"]}
BUCKET = {"data": "s3://eu-*", "countries": ["de"]}
ELSEWHERE = {"accounts": ["lab"], "sites": ["nowhere"]}


def cluster(*rules: dict) -> Cluster:
    return Cluster(NODES, PARTS, rules=list(rules))


def where(found: Cluster, **fields) -> str:
    job = found.job(found.submit(**fields))
    return job.nodes[0].node if job.nodes else ""


def test_a_path_binds_a_job_to_where_its_data_may_be() -> None:
    found = cluster(GDPR)
    assert where(found, work_dir="/home/alice") == "here"
    assert where(found, work_dir="/project/gdpr/alice") == "berlin"


def test_data_that_a_job_names_binds_it() -> None:
    found = cluster(BUCKET)
    assert where(found, sbroker={"data": "s3://us-corpus/x 5G"}) == "here"
    assert where(found, sbroker={"data": "s3://eu-corpus/x 5G aws/eu-central-1"}) == "berlin"
    with pytest.raises(Refused, match="neither a path nor a URL"):
        found.submit(sbroker={"data": "corpus"})


def test_a_rule_that_leaves_nothing_says_so() -> None:
    found = cluster({**GDPR, "sites": ["here"]})
    with pytest.raises(Refused, match="no node of partition p may run this job: the rule on /project/gdpr leaves only the sites here"):
        found.submit(work_dir="/project/gdpr")
    with pytest.raises(Refused, match="the rule on account lab leaves only the sites nowhere"):
        cluster(ELSEWHERE).submit(account="lab")
    assert where(cluster(ELSEWHERE), account="other") == "here"


def test_jobs_that_wait_are_held_to_new_rules() -> None:
    found = cluster()
    first = found.submit(ntasks=4, work_dir="/project/gdpr")
    found.submit(ntasks=4)
    waiting = found.submit(ntasks=4, work_dir="/project/gdpr")
    assert found.job(waiting).state is JobState.PENDING
    found.state.configure({**found.state.settings, "rules": [GDPR]})
    found.do(Configure(nodes=NODES, partitions=PARTS))
    assert "here: the rule on /project/gdpr leaves only what is known to lie in eu." in explain(found.state, found.job(waiting), found.now)
    found.finish(first)
    assert found.job(waiting).state is JobState.PENDING  # here is free, and not for this one


def test_shapes_are_told_apart_by_what_rules_bind_and_not_by_folders() -> None:
    found = cluster(GDPR)
    found.submit(ntasks=4, work_dir="/project/gdpr")
    found.submit(ntasks=4)
    for folder in ("/a", "/b", "/project/gdpr/a", "/project/gdpr/b"):
        found.do(Submit(spec=JobSpec(name="j", ntasks=4, work_dir=folder), who=ALICE))
    assert len(found.state.shapes) == 2
