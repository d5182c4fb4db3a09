"""The script of the fake cloud."""

import pytest

from sbroker import errors
from sbroker.config import check
from sbroker.errors import ConfigError
from sbroker.providers import base, fake, make

SITE = """
sites:
  cloud:
    provider: fake
    max_nodes: 5
    queue: 5
    boot: 10
    dies_by: ttl
    shapes:
      - {name: small, price: 0.5}
      - {name: big, cpus: 16, memory: 64G, gres: "gpu:a100:2", price: 3.0, capacity: 2, spot: true}
    script:
      - {at: 100, capacity: {big: 1}, price: {big: 9.0}}
      - {at: 1000, fail: quota, on: create, calls: 2}
      - {at: 300, preempt: big}
      - {at: 1500, fail: auth, on: list}
"""


class Clock:
    def __init__(self) -> None:
        self.at = 5000.0

    def now(self) -> float:
        return self.at

    boottime = now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cloud(clock, monkeypatch):
    monkeypatch.setattr(fake, "_clouds", {})
    settings = check.parse("config.yaml", SITE).sites["cloud"]
    made = make(settings, base.Context(site="cloud", spool="/spool", clock=clock))
    assert made.list() == base.Listing()  # the cloud begins with the first call
    return made


def offer(cloud, name="big"):
    return next(offer for offer in cloud.offers(base.Ask()) if offer.name == name)


def states(cloud):
    return [entry.state for entry in cloud.list().machines]


def test_machines_are_queued_boot_and_run(cloud, clock):
    cloud.create(base.Order(token="t", offer=offer(cloud), count=2))
    seen = []
    for _ in range(4):
        seen.append(states(cloud))
        clock.at += 5
    assert seen == [["queued"] * 2, ["starting"] * 2, ["starting"] * 2, ["running"] * 2]
    entry = cloud.list().machines[0]
    assert (entry.price, entry.offer, entry.endpoint.directory) == (3.0, "big", "/spool/cloud-" + entry.id)


def test_offers_follow_the_script(cloud, clock):
    assert (offer(cloud).price, offer(cloud).available) == (3.0, 2)
    clock.at += 100
    assert (offer(cloud).price, offer(cloud).available) == (9.0, 1)
    assert [found.name for found in cloud.offers(base.Ask(memory=2048))] == ["big"]
    assert [found.name for found in cloud.offers(base.Ask(spot=False))] == ["small"]


def test_capacity_and_quota(cloud):
    with pytest.raises(errors.NoCapacity):
        cloud.create(base.Order(token="t", offer=offer(cloud), count=3, min=3))
    cloud.create(base.Order(token="t", offer=offer(cloud), count=3, min=1))
    assert len(cloud.list().machines) == 2
    with pytest.raises(errors.QuotaExceeded):
        cloud.create(base.Order(token="u", offer=offer(cloud, "small"), count=4, min=4))


def test_failures_happen_so_often_and_then_no_more(cloud, clock):
    clock.at += 1000
    order = base.Order(token="t", offer=offer(cloud, "small"))
    for _ in range(2):
        with pytest.raises(errors.QuotaExceeded):
            cloud.create(order)
    cloud.create(order)
    clock.at += 500
    with pytest.raises(errors.AuthRefused):
        cloud.list()
    assert states(cloud) == ["running"]


def test_a_preemption_gives_notice(cloud, clock):
    cloud.create(base.Order(token="t", offer=offer(cloud)))
    cloud.create(base.Order(token="u", offer=offer(cloud, "small")))
    clock.at += 300
    entry = cloud.list().machines[0]
    assert (entry.state, entry.reason) == ("stopping", "preempted")
    clock.at += fake.NOTICE
    assert states(cloud) == ["gone", "running"]
    clock.at += 2
    assert states(cloud) == ["running"]
    clock.at -= 2
    cloud.create(base.Order(token="v", offer=offer(cloud)))  # what is made after the notice is not meant
    clock.at += 60
    assert states(cloud) == ["running", "running"]


def test_expiry(cloud, clock):
    cloud.create(base.Order(token="t", offer=offer(cloud), expiry=clock.at + 60))
    clock.at += 59
    assert states(cloud) == ["running"]
    clock.at += 1
    assert states(cloud) == ["gone"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shapes: [{name: a}, {name: a}]", "config.yaml:1: sites.x.shapes: two of them have the same name"),
        ("script: [{at: 1, preempt: huge}]", "config.yaml:1: sites.x.script: there is no shape huge; there are: small"),
        ("shapes: [{name: a, cpu: 4}]", "config.yaml:1: sites.x.shapes[1].cpu: there is no such key"),
        ("script: [{at: soon}]", "config.yaml:1: sites.x.script[1].at: 'soon' is not a number of seconds: write 30 or 0:10:00"),
        (
            "shapes: [{name: a, gres: 'gpu:::'}]",
            "config.yaml:1: sites.x.shapes: gres: 'gpu:::' is wrong: write NAME:TYPE:COUNT, for example gpu:a100:4",
        ),
    ],
)
def test_what_no_cloud_can_be(text, message):
    with pytest.raises(ConfigError) as caught:
        check.parse("config.yaml", "sites: {x: {provider: fake, %s}}" % text)
    assert str(caught.value) == message
