"""Jobs placed as a whole, against trying every combination."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.catalog.egress import Peering, Place
from sbroker.machines import Offer
from sbroker.plan import chain
from sbroker.plan.chain import Edge, place, spent
from sbroker.plan.freight import move
from sbroker.plan.values import Placement

PLACES = (
    Place("aws", "us-east-1", "us-east-1a"), Place("aws", "us-east-1", "us-east-1b"), Place("aws", "us-west-2"), Place("aws", "eu-west-1", "eu-west-1a"),
    Place("gcp", "us-central1", "us-central1-a"), Place("gcp", "us-central1", "us-central1-b"), Place("gcp", "europe-west4"), Place("gcp", "asia-east1"),
    Place("azure", "westus2"), Place("azure", "eastus"), Place(), Place("unheard", "of"),
)  # fmt: skip


def had(where: Place, money: float) -> Placement:
    offer = Offer(name="x", cloud=where.cloud, region=where.region, zone=where.zone, cpus=1, memory=1, price=money)
    return Placement(site=where.cloud or "lab", offer=offer, count=1, rate=money, cost=money, egress=0.0, start=0.0)


stages = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from((0.0, 1.0, 2.0, 5.0, 9.0, 30.0))).map(lambda pair: had(*pair)), min_size=1, max_size=5)
agreements = st.sampled_from(((), (Peering(source="aws", target="gcp", price=0.001),), (Peering(source="*", target="*", price=0.0, source_regions=("us-*",)),)))


@st.composite
def graphs(draw) -> tuple[list[list[Placement]], list[Edge]]:
    """Stages and edges from each to later ones: chains, trees, diamonds and worse."""
    found = draw(st.lists(stages, min_size=1, max_size=5))
    pairs = [(low, high) for high in range(len(found)) for low in range(high)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=7)) if pairs else []
    return found, [Edge(source=low, target=high, gigabytes=draw(st.sampled_from((0.0, 20.0, 100.0, 700.0, 12000.0)))) for low, high in chosen]


def total(chosen, edges, peering, moved) -> float:
    cost = sum(map(spent, chosen))
    for edge in edges:
        ends = [Place(each.offer.cloud, each.offer.region, each.offer.zone) for each in (chosen[edge.source], chosen[edge.target])]
        more = move(peering, *ends, edge.gigabytes, moved.get(ends[0].cloud, 0.0)) if edge.gigabytes else 0.0
        cost += float("inf") if more is None else more
    return cost


@settings(max_examples=500, deadline=None)
@given(graphs(), agreements, st.sampled_from(({}, {"aws": 90.0, "gcp": 1000.0})))
def test_no_combination_costs_less(graph, peering, moved) -> None:
    found, edges = graph
    best = min(total(chosen, edges, peering, moved) for chosen in product(*found))
    plan = place(found, edges, peering=peering, moved=moved)
    if best == float("inf"):
        assert plan is None
        return
    assert plan is not None
    assert plan.exact
    assert plan.cost == pytest.approx(best)
    assert total(plan.placements, edges, peering, moved) == pytest.approx(plan.cost)
    assert plan.moving == pytest.approx(plan.cost - sum(map(spent, plan.placements)))


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_what_is_not_tried_to_the_end_says_its_bound(graph) -> None:
    found, edges = graph
    best = min(total(chosen, edges, (), {}) for chosen in product(*found))
    kept, chain.TRIED = chain.TRIED, 0
    try:
        plan = place(found, edges)
    finally:
        chain.TRIED = kept
    if plan is not None:
        assert plan.bound <= best + 1e-6
        assert plan.cost >= best - 1e-6


def test_data_keeps_stages_together_only_as_far_as_it_weighs() -> None:
    """Prepare, train, serve: training is 4 USD cheaper elsewhere."""
    east, europe = PLACES[0], PLACES[6]
    prepare, serve = [had(east, 1.0)], [had(europe, 1.0)]
    train = [had(east, 10.0), had(europe, 6.0)]

    def where(*gigabytes: float) -> str:
        plan = place([prepare, train, serve], [Edge(source=0, target=1, gigabytes=gigabytes[0]), Edge(source=1, target=2, gigabytes=gigabytes[1])])
        assert plan is not None
        return plan.placements[1].site

    assert where(500.0, 1.0) == "aws"
    assert where(120.0, 1.0) == "gcp"
    assert where(500.0, 500.0) == "gcp"


def test_a_stage_without_a_place_leaves_no_plan() -> None:
    assert place([[had(PLACES[0], 1.0)], []], []) is None
