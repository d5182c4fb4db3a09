"""What every provider promises. A kind takes part by lying in sbroker/providers; `kinds/KIND.py` here says how to set it up.

settings(folder) → its settings      pass_time(clock, seconds), lose_reply(settings, call): for kinds that create
"""

import importlib
import re

import msgspec
import pytest

from sbroker import errors, providers
from sbroker.providers import base


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    boottime = now


FIXED = [kind for kind in providers.kinds() if providers.find(kind).fixed]
ELASTIC = [kind for kind in providers.kinds() if kind not in FIXED]


class World:
    """One site, and providers for it: `restart` is what a restart of the broker makes of it."""

    def __init__(self, kind, folder) -> None:
        self.kind, self.clock = kind, Clock()
        self.double = importlib.import_module("kinds." + kind.replace("-", "_"))
        self.settings = self.double.settings(folder)
        self.spool = str(folder / "spool")

    def provider(self, settings=None):
        context = base.Context(site="here", spool=self.spool, store_id="abc", clock=self.clock)
        return providers.make(settings or self.settings, context)

    def wait(self, seconds):
        self.double.pass_time(self.clock, seconds)


@pytest.fixture(params=[*FIXED, *ELASTIC])
def world(request, tmp_path):
    return World(request.param, tmp_path)


@pytest.fixture(params=FIXED)
def fixed(request, tmp_path):
    return World(request.param, tmp_path)


@pytest.fixture(params=ELASTIC)
def elastic(request, tmp_path):
    return World(request.param, tmp_path)


def order(provider, count=2, minimum=None, token="t1", **ask):
    offer = next(iter(provider.offers(base.Ask(**ask))))
    return base.Order(token=token, offer=offer, count=count, min=count if minimum is None else minimum)


def shown(provider, token="t1"):
    return [entry for entry in provider.list().machines if entry.token == token and entry.state != "gone"]


def settle(world, provider, until, token="t1", patience=600):
    """Let time pass until all machines of a group are in the state `until`."""
    for _ in range(patience):
        if [entry.state for entry in shown(provider, token)] and {entry.state for entry in shown(provider, token)} == {until}:
            return shown(provider, token)
        world.wait(1)
    raise AssertionError("never %s: %s" % (until, provider.list()))


def test_facts(world):
    provider = world.provider()
    assert issubclass(provider.Settings, base.SiteSettings)
    assert provider.Settings.__doc__
    assert provider.list_lag >= 0
    assert isinstance(provider.atomic, bool)
    assert provider.dies_by in ("self", "ttl", "broker", "never")
    assert providers.find(world.kind) is type(provider)


def test_values_go_through_json(world):
    """What a worker process would send."""
    provider = world.provider()
    listing, offers = provider.list(), list(provider.offers(base.Ask()))
    assert msgspec.json.decode(msgspec.json.encode(listing), type=base.Listing) == listing
    assert msgspec.json.decode(msgspec.json.encode(offers), type=list[base.Offer]) == offers
    for node in provider.nodes():
        assert msgspec.json.decode(msgspec.json.encode(node), type=type(node)) == node


def test_offers_satisfy_what_was_asked(world):
    provider = world.provider()
    offers = list(provider.offers(base.Ask()))
    assert len({offer.name for offer in offers}) == len(offers)
    assert all(re.fullmatch("[a-z0-9-]+", offer.name) and offer.price >= 0 for offer in offers)
    assert not list(provider.offers(base.Ask(cpus=1_000_000)))
    assert not list(provider.offers(base.Ask(arch="pdp11")))
    if any(offer.gres for offer in offers):
        wanted = next(offer.gres[0] for offer in offers if offer.gres)
        assert all(any(one.name == wanted.name for one in offer.gres) for offer in provider.offers(base.Ask(gres=(wanted,))))


def test_what_nobody_ordered_can_be_terminated_without_harm(world):
    provider = world.provider()
    before = provider.list()
    provider.terminate("nobody")
    provider.terminate("nobody", ("i-1", "i-2"))
    assert provider.list() == before


def test_nodes_of_a_fixed_site(fixed):
    provider = fixed.provider()
    nodes, machines = list(provider.nodes()), provider.list().machines
    assert [entry.endpoint.node for entry in machines] == [node.name for node in nodes]
    assert len({node.name for node in nodes}) == len(nodes)
    assert {node.site for node in nodes} == {"here"}
    assert all(entry.token == "" and entry.state == "running" and entry.endpoint.transport for entry in machines)
    with pytest.raises(errors.Unsatisfiable):
        provider.create(base.Order(token="t", offer=base.Offer(name="x", cpus=1, memory=1)))


def test_a_group_is_made_runs_and_goes(elastic):
    provider = elastic.provider()
    provider.create(order(provider))
    entries = settle(elastic, provider, "running")
    assert sorted(entry.index for entry in entries) == [0, 1]
    assert len({entry.id for entry in entries}) == 2
    assert all(entry.endpoint and entry.ours and entry.offer for entry in entries)
    provider.terminate("t1")
    provider.terminate("t1")
    elastic.wait(provider.list_lag + 1)
    assert shown(provider) == []


def test_the_same_token_makes_nothing_more(elastic):
    provider = elastic.provider()
    wanted = order(provider)
    provider.create(wanted)
    provider.create(wanted)
    before = {entry.id for entry in settle(elastic, provider, "running")}
    elastic.provider().create(wanted)
    elastic.wait(provider.list_lag + 1)
    assert {entry.id for entry in shown(provider)} == before
    assert len(before) == 2


def test_a_restart_sees_the_same(elastic):
    provider = elastic.provider()
    provider.create(order(provider))
    entries = settle(elastic, provider, "running")
    assert shown(elastic.provider()) == entries


def test_some_of_a_group_can_go(elastic):
    provider = elastic.provider()
    provider.create(order(provider))
    first, second = settle(elastic, provider, "running")
    provider.terminate("t1", (first.id,))
    elastic.wait(provider.list_lag + 1)
    assert [entry.id for entry in shown(provider)] == ([] if provider.atomic else [second.id])


def test_a_group_that_is_still_queued_can_go(elastic):
    provider = elastic.provider()
    provider.create(order(provider))
    provider.terminate("t1")
    elastic.wait(provider.list_lag + 1)
    assert shown(provider) == []


def test_without_room_nothing_is_made(elastic):
    provider = elastic.provider()
    with pytest.raises((errors.NoCapacity, errors.QuotaExceeded)):
        provider.create(order(provider, count=1000))
    elastic.wait(provider.list_lag + 1)
    assert shown(provider) == []


@pytest.mark.parametrize("call", ["create", "terminate", "list"])
def test_a_lost_reply_is_found_out_by_listing(elastic, call):
    wanted = order(elastic.provider())
    losing = elastic.provider(elastic.double.lose_reply(elastic.settings, call))
    if call != "create":
        losing.create(wanted)
        elastic.wait(losing.list_lag + 1)
    with pytest.raises(base.ProviderError):
        {"create": lambda: losing.create(wanted), "terminate": lambda: losing.terminate("t1"), "list": losing.list}[call]()
    elastic.wait(losing.list_lag + 1)
    assert len(shown(losing)) == (0 if call == "terminate" else 2)
    if call == "create":
        losing.create(wanted)
        elastic.wait(losing.list_lag + 1)
        assert len(shown(losing)) == 2
