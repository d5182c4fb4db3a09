"""The provider aws on the API alone: which error means what, what is offered, what one order asks for, and that nothing of ours stays."""

from __future__ import annotations

import time

import msgspec
import pytest

from sbroker import errors
from sbroker.model import Gres
from sbroker.providers import aws, base
from tests.doubles.ec2 import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
KEYS = {"access_key_id": "testing", "secret_access_key": "testing"}
CLIENTS: dict = {}


class Clock:
    at = 1_000_000.0

    def now(self):
        return self.at

    boottime = now


@pytest.fixture(scope="module")
def running():
    from tests.doubles.ec2.server import Server

    made = Server(delay=0.02)
    yield made
    made.close()


@pytest.fixture
def server(running):
    running.reset()
    return running


def provider(server, store="abc", **options):
    options = {"provider": "aws", "regions": ("us-east-1",), "shapes": ("m5.large",), "endpoint_url": server.url, "credentials": KEYS, **options}
    made = aws.Provider(aws.AwsSettings(**options), base.Context(site="cloud", store_id=store, clock=Clock()))
    if options["endpoint_url"] == server.url and options["credentials"] == KEYS:
        made.aws._clients = CLIENTS  # making them is what takes its time
    return made


def offer(made, **ask):
    return next(iter(made.offers(base.Ask(**ask))))


def order(made, token="t", count=2, low=1, boot="#!/bin/sh\n", **ask):
    return base.Order(token=token, offer=offer(made, **ask), count=count, min=low, boot=boot)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("InsufficientInstanceCapacity", errors.NoCapacity, "RunInstances"),
        ("VcpuLimitExceeded", errors.QuotaExceeded, "ask for more"),
        ("MaxSpotInstanceCountExceeded", errors.QuotaExceeded, "ask for more"),
        ("UnauthorizedOperation", errors.AuthRefused, "add ec2:RunInstances to the policy"),
        ("ExpiredToken", errors.AuthRefused, "renew them"),
        ("AuthFailure", errors.AuthRefused, "renew them"),
        ("InvalidParameterValue", errors.Unsatisfiable, "InvalidParameterValue"),
        ("Unsupported", errors.Unsatisfiable, "Unsupported"),
        ("RequestLimitExceeded", base.ProviderError, "RequestLimitExceeded"),
        ("InternalError", base.ProviderError, "InternalError"),
    ],
)
def test_errors_name_the_next_move(server, code, kind, words):
    made = provider(server)
    wanted = order(made)
    server.front.fail["RunInstances"] = [code, 1]
    with pytest.raises(kind, match=words):
        made.create(wanted)
    made.create(wanted)  # the same token, once it works


def test_what_cannot_be_read_is_unknown(server):
    made = provider(server)
    server.front.lose["RunInstances"] = 1
    with pytest.raises(base.ProviderError):
        made.create(order(made))
    assert len(made.list().machines) == 2


def test_an_endpoint_that_is_not_there_is_unknown(server):
    made = provider(server, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(base.ProviderError):
        made.list()


def test_no_credentials(server, monkeypatch, tmp_path):
    for name in aws.Provider.environ:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.AuthRefused, match="AWS_PROFILE"):
        provider(server, credentials={}).list()
    with pytest.raises(errors.AuthRefused, match="nobody"):
        provider(server, credentials={"profile": "nobody"}).list()


def test_no_part_of_a_list_is_shown(server):
    made = provider(server, regions=("us-east-1", "eu-west-1"))
    made.create(order(made))
    assert len(made.list().machines) == 2
    server.front.fail["DescribeInstances"] = ["AuthFailure", 1]
    with pytest.raises(errors.AuthRefused):
        made.list()


def test_offers_have_names_places_and_prices(server):
    made = provider(server, shapes=("m5.large", "p4d", "c7g.xlarge"), zones=("us-east-1a", "us-east-1b"), features=("x",))
    found = {one.name: one for one in made.offers(base.Ask())}
    one = next(one for one in found.values() if one.type == "p4d.24xlarge" and not one.spot)
    assert one.name == "p4d-24xlarge-" + one.zone
    assert (one.cloud, one.region, one.cpus, one.arch, one.price) == ("aws", "us-east-1", 96, "x86_64", server.front.prices["p4d.24xlarge"])
    assert [(gres.name, gres.type, gres.count) for gres in one.gres] == [("gpu", "a100-40gb", 8)]
    assert one.memory == int(1179648 * 0.95)
    assert one.available == 4  # the quota of 384 vCPUs
    spot = next(one for one in found.values() if one.type == "m5.large" and one.spot)
    assert 0 < spot.price < 0.096
    assert {one.zone for one in found.values()} <= {"us-east-1a", "us-east-1b"}
    assert {one.arch for one in found.values() if one.type == "c7g.xlarge"} == {"aarch64"}
    chips = provider(server, shapes=("trn1.2xlarge", "inf2", "g5.xlarge")).offers(base.Ask(gres=(Gres(name="gpu"),)))
    assert {gres.type for one in chips for gres in one.gres} == {"trainium", "inferentia2", "a10g"}
    assert {one.spot for one in provider(server, spot="only").offers(base.Ask())} == {True}
    assert {one.spot for one in provider(server, spot="never").offers(base.Ask())} == {False}


def test_types_without_a_price_are_not_offered(server):
    assert not list(provider(server, shapes=("m5.24xlarge",)).offers(base.Ask()))


def test_who_may_not_read_the_price_list_has_the_prices_that_ship(server):
    server.front.prices = {"m5.large": 7.0}
    assert offer(provider(server), spot=False).price == 7.0
    server.front.fail["GetProducts"] = ["AccessDeniedException", 9]
    assert offer(provider(server), spot=False).price == 0.096


def test_the_second_question_costs_no_calls(server):
    made = provider(server)
    list(made.offers(base.Ask()))
    before = dict(server.front.calls)
    list(made.offers(base.Ask(cpus=2)))
    assert dict(server.front.calls) == before


def test_a_quota_of_nothing_is_said_before_capacity_is_asked(server):
    server.front.quotas["L-1216C47A"] = 0.0
    made = provider(server, spot="never")
    wanted = order(made)
    assert wanted.offer.available == 0
    assert "ask for more (Service Quotas" in wanted.offer.data["quota"]
    with pytest.raises(errors.QuotaExceeded, match="L-1216C47A"):
        made.create(wanted)
    assert server.front.calls["RunInstances"] == 0
    server.front.fail["ListServiceQuotas"] = ["AccessDenied", 9]  # who may not ask hears it from the launch
    assert offer(provider(server)).available is None


def test_an_order_is_one_call(server):
    made = provider(server, disk=102400)
    made.create(order(made, count=5, low=5, boot="#!/bin/sh\nexit\n"))
    assert server.front.calls["RunInstances"] == 1
    instances = server.backend.instances()
    assert len(instances) == 5
    one = instances[0]
    assert one.instance_initiated_shutdown_behavior == "terminate"
    assert one.metadata_options.http_tokens == "required"
    tags = {tag["key"]: tag["value"] for tag in one.get_tags()}
    assert (tags["sbroker:store"], tags["sbroker:token"]) == ("abc", "t")
    assert [entry.index for entry in made.list().machines] == [0, 1, 2, 3, 4]
    assert {entry.price for entry in made.list().machines} == {0.096}


def test_the_index_of_a_machine_is_its_own(server):
    made = provider(server)
    made.create(order(made, count=3))
    before = {entry.id: entry.index for entry in made.list().machines}
    gone = min(before, key=lambda each: before[each])
    made.terminate("t", (gone,))
    left = {entry.id: entry.index for entry in made.list().machines if entry.state != "gone"}
    assert left == {each: index for each, index in before.items() if each != gone}


def test_spot_and_what_comes_together(server):
    made = provider(server, shapes=("g5.xlarge",))
    wanted = order(made, token="gang", count=2, low=2, spot=True)
    made.create(wanted)
    assert {one.lifecycle for one in server.backend.instances()} == {"spot"}
    assert list(server.front.groups) == [("us-east-1", "sbroker-abc-gang")]
    made.create(order(made, token="loose", count=2, low=1))
    assert len(server.front.groups) == 1


def request(made, wanted):
    assert made.aws
    return made._launcher.request(wanted, wanted.count)


def test_efa_has_all_its_interfaces_only_where_no_public_address_is_wanted(server):
    wanted = order(provider(server, shapes=("p4d.24xlarge",)), low=2)
    private = request(provider(server, shapes=("p4d.24xlarge",), address="private"), wanted)["NetworkInterfaces"]
    assert [(one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"]) for one in private] == [(0, 0, "efa"), (1, 1, "efa"), (2, 1, "efa"), (3, 1, "efa")]
    public = request(provider(server, shapes=("p4d.24xlarge",)), wanted)["NetworkInterfaces"]
    assert [(one["InterfaceType"], one["AssociatePublicIpAddress"]) for one in public] == [("efa", True)]
    loose = request(provider(server, shapes=("p4d.24xlarge",)), msgspec.structs.replace(wanted, min=1))["NetworkInterfaces"]
    assert "InterfaceType" not in loose[0]


def test_which_image(server):
    made = provider(server, shapes=("m5.large", "c7g.xlarge", "g5.xlarge", "inf2.xlarge"))
    assert made.aws
    asked = []
    made._launcher._parameter = lambda region, name: asked.append(name) or "ami-1"
    for one in {one.type: one for one in made.offers(base.Ask())}.values():
        made._launcher.image(None, one)
    made._launcher.image("/mine", offer(made))
    assert made._launcher.image("ami-7", offer(made)) == "ami-7"
    assert {name.split("/")[3] for name in asked if name != "/mine"} == {"canonical", "deeplearning", "neuron"}
    assert any("/arm64/" in name for name in asked)
    assert "/mine" in asked


def test_boot_data_that_is_too_big(server):
    made = provider(server)
    with pytest.raises(errors.Unsatisfiable, match="16384"):
        made.create(order(made, boot="x" * 20000))


def test_nothing_of_ours_stays(server):
    made = provider(server, shapes=("g5.xlarge",))
    made.create(order(made, token="one", count=2, low=2))
    made.create(order(made, token="two", count=2, low=2))
    groups = lambda: [one["GroupName"] for one in made.aws.call("ec2", "us-east-1", "describe_security_groups")["SecurityGroups"] if one["GroupName"].startswith("sbroker-")]
    assert groups() == ["sbroker-abc"]
    made.terminate("one")
    made.list()
    assert [name for _, name in server.front.groups] == ["sbroker-abc-two"]
    assert groups() == ["sbroker-abc"]
    made.terminate("two")
    made.list()
    assert server.front.groups == {}
    assert groups() == []
    made.create(order(made, token="three", count=1))  # and it is made anew
    assert groups() == ["sbroker-abc"]


def test_the_security_group_lets_in_ssh_and_its_own(server):
    made = provider(server, ssh_from=("203.0.113.0/24",))
    made.create(order(made))
    made.create(order(made, token="u"))
    (group,) = [one for one in made.aws.call("ec2", "us-east-1", "describe_security_groups")["SecurityGroups"] if one["GroupName"] == "sbroker-abc"]
    rules = {rule["IpProtocol"]: rule for rule in group["IpPermissions"]}
    assert [one["CidrIp"] for one in rules["tcp"]["IpRanges"]] == ["203.0.113.0/24"]
    assert rules["tcp"]["FromPort"] == rules["tcp"]["ToPort"] == 22
    assert [one["GroupId"] for one in rules["-1"]["UserIdGroupPairs"]] == [group["GroupId"]]


def test_machines_of_another_store_are_shown_and_left_alone(server):
    made = provider(server)
    other = provider(server, "xyz")
    other.create(order(other))
    assert [entry.ours for entry in made.list().machines] == [False, False]
    made.terminate("t")
    assert {entry.state for entry in made.list().machines} != {"gone"}
    assert len(other.list().machines) == 2


def test_reasons(server):
    made = provider(server)
    made.create(order(made, count=2))
    first, second = made.list().machines
    server.backend.interrupt(first.id, 0.0)
    for _ in range(200):
        if made.list().machines[0].state == "gone":
            break
        time.sleep(0.02)
    made.terminate("t", (second.id,))
    assert [(entry.state, entry.reason) for entry in made.list().machines] == [("gone", "preempted"), ("gone", "terminated")]
