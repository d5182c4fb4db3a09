"""The plan's answers against a plain loop over all offers, and what it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.catalog import places
from sbroker.catalog.egress import Place
from sbroker.catalog.index import model, models
from sbroker.machines import Ask, Offer
from sbroker.model import Gres
from sbroker.plan import Market, Policy, Question, Rule, Source, cheapest, rank, tell
from sbroker.plan.freight import bill

REGIONS = {"aws": ("us-east-1", "eu-west-1"), "gcp": ("us-central1", "europe-west4"), "": ("",)}

offers = st.builds(
    lambda cloud, which, zone, **fields: Offer(
        name="x", cloud=cloud, region=REGIONS[cloud][which % len(REGIONS[cloud])], zone=zone, **fields
    ),
    cloud=st.sampled_from(("aws", "gcp", "")),
    which=st.integers(0, 1),
    zone=st.sampled_from(("", "a", "b")),
    type=st.sampled_from(("small", "big")),
    cpus=st.sampled_from((1, 2, 8, 96)),
    memory=st.sampled_from((1024, 4000, 65536)),
    gres=st.sampled_from(
        ((), *(((Gres(name="gpu", type=kind, count=count)),) for kind in ("a100", "a100-80gb", "t4") for count in (1, 8)))
    ),
    arch=st.sampled_from(("x86_64", "aarch64")),
    spot=st.booleans(),
    price=st.sampled_from((0.0, 0.1, 0.11, 0.5, 3.0, 20.0)),
    boot_seconds=st.sampled_from((0, 60, 600)),
    available=st.sampled_from((None, None, 0, 1, 40)),
)
questions = st.builds(
    lambda least, tasks, totals, **fields: Question(
        fit=lambda offer: None if offer.memory == 4000 else max(least, -(-tasks // offer.cpus)),
        total=Ask(cpus=tasks) if totals else None,
        **fields,
    ),
    least=st.just(1),
    tasks=st.sampled_from((1, 1, 16, 200)),
    totals=st.booleans(),
    ask=st.builds(
        Ask,
        cpus=st.sampled_from((1, 2, 9)),
        memory=st.sampled_from((0, 2000)),
        gres=st.sampled_from(((), (Gres(name="gpu", count=1),), (Gres(name="gpu", type="a100", count=1),), (Gres(name="gpu", type="a100-80gb", count=8),))),
        arch=st.sampled_from(("", "x86_64")),
        spot=st.sampled_from((None, True, False)),
    ),
    seconds=st.sampled_from((None, 600, 36000)),
    policy=st.builds(Policy, kind=st.sampled_from(("cheapest", "soonest", "onprem", "weights")), hour_worth=st.sampled_from((0.0, 1.0))),
    types=st.sampled_from(((), ("t4",), ("a100", "t4"))),
    constraint=st.sampled_from((None, "spot", "eu", "aws&us", "aarch64|fast", "(gcp|aws)&ondemand")),
    rules=st.lists(
        st.sampled_from(
            (Rule(regions=("eu",)), Rule(countries=("us",)), Rule(sites=("one",)), Rule(spot=False), Rule(max_price=2.0), Rule(max_cost=5.0), Rule(path="/gdpr", regions=("eu-*",)))
        ),
        max_size=1,
    ).map(tuple),
    paths=st.sampled_from(((), ("/gdpr/alice",))),
    sources=st.sampled_from(
        (
            (),
            (Source(name="s3://x", cloud="aws", region="eu-west-1", gigabytes=400),),
            (Source(name="a", cloud="aws", region="eu-west-1", gigabytes=80), Source(name="b", cloud="aws", region="us-east-1", gigabytes=80)),
            (Source(name="s3://x", cloud="unheard", region="of", gigabytes=1),),
        )
    ),
    room=st.sampled_from(({}, {"one": 1})),
    max_price=st.sampled_from((None, 1.0)),
    avoid=st.sampled_from(({}, {("one", "a", "big", True): "none left"}, {("two", "", "", False): "credentials refused"})),
    deadline=st.sampled_from((None, 700.0)),
)  # fmt: skip


def wanted(question: Question, site: str, offer: Offer) -> tuple[int, float] | None:
    """(machines, egress) if a placement of this offer would do, as one reads it in the contract."""
    ask = question.ask
    words = set(places.features(offer))
    if offer.cpus < ask.cpus or offer.memory < ask.memory or (ask.spot is not None and offer.spot != ask.spot):
        return None
    named = {"eu": {"eu"}, "spot": {"spot"}, "aws&us": {"aws", "us"}, None: set()}.get(question.constraint)
    if named is not None and not named <= words:
        return None
    if question.constraint == "aarch64|fast" and not words & {"aarch64", "fast"}:
        return None
    if question.constraint == "(gcp|aws)&ondemand" and not (words & {"aws", "gcp"} and "ondemand" in words):
        return None
    if question.constraint != "aarch64|fast" and ask.arch and offer.arch != ask.arch:
        return None
    for item in ask.gres:
        kinds = {name for kind in question.types for name in models("gpu", kind)} if item.type is None else set(models("gpu", item.type))
        if item.type is None and not question.types:
            if not offer.gres or offer.price:
                return None
            continue
        if sum(each.count for each in offer.gres if model(each) in kinds) < item.count:
            return None
    for where, place, kind, spot in question.avoid:
        if (
            where == site
            and spot == offer.spot
            and (not kind or kind == offer.type)
            and (not place or place == (offer.zone or offer.region))
        ):
            return None
    if question.deadline is not None and offer.boot_seconds + (question.seconds or 0) > question.deadline:
        return None
    egress, _ = bill(question, Place(offer.cloud, offer.region, offer.zone))
    count = question.fit(offer)
    if egress is None or count is None or count > question.room.get(site, 1e9) or (offer.available is not None and offer.available < count):
        return None
    rate = offer.price * count
    if question.max_price is not None and rate > question.max_price:
        return None
    hours = ((3600 if question.seconds is None else question.seconds) + offer.boot_seconds) / 3600
    for rule in question.rules:
        if rule.path and not any(path.startswith(rule.path) for path in question.paths):
            continue
        if (
            (rule.sites and site not in rule.sites)
            or (rule.spot is False and offer.spot)
            or (rule.max_price is not None and rate > rule.max_price)
        ):
            return None
        if (
            "eu" in rule.regions
            and "eu" not in words
            or "us" in rule.countries
            and "us" not in words
            or "eu-*" in rule.regions
            and not offer.region.startswith("eu-")
        ):
            return None
        if rule.max_cost is not None and rate + egress > 0 and (question.seconds is None or rate * hours + egress > rule.max_cost):
            return None
    return count, egress


def order(question: Question, offer: Offer, count: int, egress: float) -> tuple:
    rate, boot, policy = offer.price * count, offer.boot_seconds, question.policy
    spent = rate * ((3600 if question.seconds is None else question.seconds) + boot) / 3600 + egress
    return {
        "cheapest": (spent, boot),
        "soonest": (boot, spent),
        "onprem": (offer.cloud != "", spent, boot),
        "weights": (spent + policy.hour_worth * boot / 3600, spent),
    }[policy.kind]


def near(one: tuple, other: tuple) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(one, other))


@settings(max_examples=400, deadline=None)
@given(st.lists(offers, max_size=30), st.lists(offers, max_size=12), questions)
def test_the_best_are_those_of_a_plain_loop(one: list[Offer], two: list[Offer], question: Question) -> None:
    markets = [Market("one", tuple(one)), Market("two", tuple(two))]
    expected = sorted(
        order(question, offer, *found)
        for market in markets
        for offer in market.offers
        if (found := wanted(question, market.site, offer)) is not None
    )
    answer = rank(markets, question, most=100)
    got = [order(question, each.offer, each.count, each.egress) for each in answer.placements]
    assert len(got) == len(expected)
    assert all(near(mine, theirs) for mine, theirs in zip(got, expected))
    best = rank(markets, question).placements
    assert len(best) == min(10, len(expected))
    assert all(near(order(question, each.offer, each.count, each.egress), key) for each, key in zip(best, expected))
    # every region with nothing has a sentence, or all of its site has
    said = {(drop.site, drop.place) for drop in answer.dropped}
    served = {(each.site, each.offer.region) for each in answer.placements}
    for market in markets:
        for region in {offer.region for offer in market.offers}:
            assert (market.site, region) in served or (market.site, region) in said or (market.site, "") in said
    # and of each place, the best there
    by_place: dict[tuple, tuple] = {}
    for market in markets:
        for offer in market.offers:
            found = wanted(question, market.site, offer)
            if found is not None:
                key = (market.site, offer.cloud, offer.region, offer.zone)
                by_place[key] = min(by_place.get(key, (math.inf,)), order(question, offer, *found))
    each_best = {(each.site, each.offer.cloud, each.offer.region, each.offer.zone): each for each in cheapest(markets, question)}
    assert each_best.keys() == by_place.keys()
    assert all(near(order(question, each.offer, each.count, each.egress), by_place[key]) for key, each in each_best.items())


def big(name: str = "big", **fields) -> Offer:
    return Offer(**{"name": name, "cpus": 8, "memory": 32000, "cloud": "aws", "region": "us-east-1", "type": name, "price": 1.0, **fields})


def ask(**fields) -> Question:
    return Question(**{"ask": Ask(), "fit": lambda offer: 1, "seconds": 3600, **fields})


def test_a_gpu_of_any_type_is_never_bought() -> None:
    market = Market("aws", (big(gres=(Gres(name="gpu", type="k80", count=1),)),))
    answer = rank([market], ask(ask=Ask(gres=(Gres(name="gpu", count=1),)), partition="gpu"))
    assert answer.best is None
    assert (
        tell(answer)[1]
        == "aws: no machine is bought for a GPU of any type: write --gres=gpu:TYPE:1, or set gpu_types of the partition gpu."
    )
    free = Market("k8s", (big(gres=(Gres(name="gpu", type="k80", count=1),), price=0.0, cloud=""),))
    assert rank([free], ask(ask=Ask(gres=(Gres(name="gpu", count=1),)))).best is not None
    assert rank([market], ask(ask=Ask(gres=(Gres(name="gpu", count=1),)), types=("k80",))).best is not None


def test_an_unknown_accelerator_is_told_its_neighbours() -> None:
    answer = rank([Market("aws", (big(),))], ask(ask=Ask(gres=(Gres(name="gpu", type="a1000", count=1),))))
    assert tell(answer)[1].startswith("No accelerator is called a1000; is it a100")


def test_one_reason_is_said_once_with_its_places() -> None:
    regions = ["us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "eu-west-1"]
    sold = [big(region=region) for region in regions] + [
        big("gpu", region="eu-west-1", gres=(Gres(name="gpu", type="h100", count=8),), price=50.0)
    ]
    answer = rank([Market("aws", tuple(sold))], ask(ask=Ask(gres=(Gres(name="gpu", type="h100", count=8),))))
    assert tell(answer) == [
        "Chosen: gpu in eu-west-1 of aws, 50.00 USD an hour, 50.00 USD in all; the cheapest of 1 offers that would do.",
        "aws, ca-central-1, us-east-1, us-east-2, us-west-1 and 1 more: no machine there has gpu:h100:8.",
    ]


def test_a_place_that_refused_is_avoided_and_said() -> None:
    sold = (big(zone="us-east-1a"), big(zone="us-east-1b", price=2.0))
    answer = rank([Market("aws", sold)], ask(avoid={("aws", "us-east-1a", "big", False): "no capacity"}))
    assert answer.best is not None
    assert answer.best.offer.zone == "us-east-1b"
    assert tell(answer)[1:] == ["aws, big in us-east-1a: it is not tried for a while: no capacity."]


def test_data_draws_the_job_to_it() -> None:
    """Half a dollar cheaper, and 45 dollars of egress away."""
    data = (Source(name="s3://train", cloud="aws", region="us-east-1", gigabytes=600),)
    markets = [Market("aws", (big(),)), Market("gcp", (big(cloud="gcp", region="us-central1", price=0.5),))]
    assert rank(markets, ask()).best.site == "gcp"  # type: ignore[union-attr]
    answer = rank(markets, ask(sources=data))
    assert [(each.site, round(each.egress, 2)) for each in answer.placements] == [("aws", 0.0), ("gcp", 45.0)]
    # what left this month already has used up the cheap beginning
    assert rank(markets, ask(sources=data, moved={"aws": 100.0})).placements[1].egress == pytest.approx(54.0)


def test_the_whole_of_a_market_is_what_could_be_had_some_day() -> None:
    market = Market("fake", (big(available=0),))
    assert rank([market], ask()).best is None
    assert rank([market.whole()], ask()).best is not None
    assert market.whole() is market.whole()


def test_a_job_of_many_tasks_takes_few_big_machines_where_those_are_cheaper() -> None:
    sold = [big("small", cpus=2, price=0.5), big("large", cpus=64, price=8.0)]
    for total in (None, Ask(cpus=64)):
        answer = rank([Market("aws", tuple(sold))], ask(fit=lambda offer: -(-64 // offer.cpus), total=total))
        assert [(each.offer.name, each.count, each.rate) for each in answer.placements] == [("large", 1, 8.0), ("small", 32, 16.0)]


def test_over_a_full_catalogue_the_answer_is_that_of_a_plain_loop(reference: dict[str, list[Offer]]) -> None:
    markets = [Market(site, tuple(sold)) for site, sold in reference.items()]
    assert sum(len(market.offers) for market in markets) >= 200_000
    question = ask(ask=Ask(cpus=8, memory=32000, gres=(Gres(name="gpu", type="a100", count=2),), arch="x86_64"), constraint="spot&(us|eu)")
    best = min(
        offer.price
        for sold in reference.values()
        for offer in sold
        if offer.spot and offer.cpus >= 8 and offer.memory >= 32000 and {"us", "eu"} & set(places.features(offer))
        and offer.gres and offer.gres[0].type in ("a100-40gb", "a100-80gb") and offer.gres[0].count >= 2
    )  # fmt: skip
    answer = rank(markets, question)
    assert answer.best is not None
    assert answer.best.rate == best
    assert len(tell(answer)) < 20
