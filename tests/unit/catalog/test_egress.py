"""Egress at true marginal steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.catalog.egress import Charges, Peering, Place, Rates, rates

EAST, WEST, OREGON_B = Place("aws", "us-east-1", "us-east-1a"), Place("aws", "us-west-2"), Place("aws", "us-east-1", "us-east-1b")
EUROPE = Place("gcp", "europe-west4")


@pytest.mark.parametrize(
    ("source", "target", "gigabytes", "already", "dollars"),
    [
        (EAST, EAST, 1000, 0, 0),
        (EAST, Place("aws", "us-east-1"), 1000, 0, 0),  # a zone that is not known is not paid for
        (EAST, OREGON_B, 1000, 0, 10),
        (EAST, WEST, 1000, 0, 20),
        (EAST, EUROPE, 100, 0, 0),  # the free beginning of a month
        (EAST, EUROPE, 100, 100, 9),
        (EAST, EUROPE, 10240, 0, 912.6),
        (EAST, EUROPE, 200, 10140, 100 * 0.09 + 100 * 0.085),
        (EUROPE, EAST, 2048, 0, 1024 * 0.12 + 1024 * 0.11),
        (Place(), EAST, 1000, 0, 0),
        (Place("lambda", "us-east-1"), EAST, 1000, 0, 0),
        (Place("gcp", "us-central1"), EUROPE, 10, 0, 0.5),
        (Place("azure", "westus2"), Place("azure", "northeurope"), 10, 0, 0.5),
    ],
)
def test_what_moving_costs(source: Place, target: Place, gigabytes: float, already: float, dollars: float) -> None:
    assert rates().cost(source, target, gigabytes, already) == pytest.approx(dollars)


def test_what_nobody_knows_is_not_free() -> None:
    assert rates().cost(Place("newcloud", "x"), EAST, 1) is None


def test_an_agreement_makes_a_pair_cheaper_and_no_other() -> None:
    agreed = rates().agreed([Peering(source="aws", target="gcp", price=0.01, source_regions=("us-*",))])
    assert agreed.cost(EAST, EUROPE, 1000) == pytest.approx(10)
    assert agreed.cost(Place("aws", "eu-west-1"), EUROPE, 1000) == rates().cost(Place("aws", "eu-west-1"), EUROPE, 1000)


steps = st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda found: (*sorted((limit, price) for limit, price in found), (None, 0.01))
)


@given(steps, st.floats(0, 2000), st.floats(0, 1000), st.floats(0, 1000))
def test_two_moves_cost_what_one_does(made, already: float, first: float, second: float) -> None:
    known = Rates(clouds={"c": Charges(internet={"*": made})})
    source, target = Place("c", "r"), Place("d", "r")
    whole = known.cost(source, target, first + second, already)
    parts = known.cost(source, target, first, already) + known.cost(source, target, second, already + first)
    assert whole == pytest.approx(parts)
    assert whole >= 0
