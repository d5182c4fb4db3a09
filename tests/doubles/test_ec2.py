"""The EC2 that providers are tried on is as the real one where they depend on it, and its instances are machines."""

from __future__ import annotations

import os

import pytest

from tests.doubles.ec2 import hub as hubs
from tests.doubles.ec2 import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def server():
    from tests.doubles.ec2.server import Server

    made = Server()
    yield made
    made.close()


@pytest.fixture
def clean(server):
    server.reset()
    return server


def client(server, service="ec2"):
    import boto3

    return boto3.client(service, "us-east-1", endpoint_url=server.url, aws_access_key_id="testing", aws_secret_access_key="testing")


def launch(server, low=1, high=1, **options):
    image = client(server, "ssm").get_parameter(Name="/aws/service/canonical/ubuntu/x")["Parameter"]["Value"]
    return client(server).run_instances(ImageId=image, MinCount=low, MaxCount=high, InstanceType="m5.large", **options)["Instances"]


def code_of(error):
    return error.value.response["Error"]["Code"]


def test_a_token_starts_once(clean):
    from botocore.exceptions import ClientError

    first = launch(clean, 1, 3, ClientToken="t")
    assert [one["AmiLaunchIndex"] for one in first] == [0, 1, 2]
    assert {one["State"]["Name"] for one in first} == {"pending"}
    assert [one["InstanceId"] for one in launch(clean, 1, 3, ClientToken="t")] == [one["InstanceId"] for one in first]
    with pytest.raises(ClientError) as error:
        launch(clean, 1, 2, ClientToken="t")
    assert code_of(error) == "IdempotentParameterMismatch"


def test_there_is_no_more_than_there_is(clean):
    from botocore.exceptions import ClientError

    clean.backend.capacity = {"m5.large/us-east-1a": 2, "m5.large/spot": 0}
    zone = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    assert len(launch(clean, 1, 5, **zone)) == 2
    with pytest.raises(ClientError) as error:
        launch(clean, **zone)
    assert code_of(error) == "InsufficientInstanceCapacity"
    assert len(launch(clean, 3, 3, Placement={"AvailabilityZone": "us-east-1b"})) == 3


def test_failures_come_before_or_after_the_effect(clean):
    from botocore.exceptions import BotoCoreError, ClientError

    clean.front.fail["RunInstances"] = ["UnauthorizedOperation", 1]
    with pytest.raises(ClientError) as error:
        launch(clean)
    assert code_of(error) == "UnauthorizedOperation"
    assert not client(clean).describe_instances()["Reservations"]
    clean.front.lose["RunInstances"] = 9
    with pytest.raises((BotoCoreError, ClientError)):
        launch(clean, ClientToken="t")
    assert len(client(clean).describe_instances()["Reservations"]) == 1


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    if hubs.missing():
        pytest.skip(hubs.missing())
    made = hubs.Hub("ec2d%d" % os.getpid(), tmp_path_factory.mktemp("ec2"), os.getpid())
    yield made
    made.close()


RUN = """
net = json.loads(words[0])
image = boto3.client('ssm', 'us-east-1', endpoint_url=ec2.meta.endpoint_url, aws_access_key_id='x', aws_secret_access_key='x').get_parameter(Name='/aws/service/canonical/x')
made = ec2.run_instances(ImageId=image['Parameter']['Value'], MinCount=2, MaxCount=2, InstanceType='m5.large', UserData=words[1],
                         SubnetId=list(net['subnets'].values())[0], InstanceInitiatedShutdownBehavior='terminate')['Instances']
said = [(one['InstanceId'], one['PrivateIpAddress']) for one in made]
"""
WHY = "said = [one['StateReason']['Code'] for r in ec2.describe_instances(InstanceIds=words)['Reservations'] for one in r['Instances']]"


def test_instances_are_machines(hub):
    import json

    ask = """
import urllib.request as u
head = {'X-aws-ec2-metadata-token-ttl-seconds': '60'}
token = u.urlopen(u.Request('%(at)s/latest/api/token', method='PUT', headers=head)).read().decode()
print(u.urlopen(u.Request('%(at)s/latest/meta-data/instance-id', headers={'X-aws-ec2-metadata-token': token})).read().decode(), end='')
""" % {"at": hub.metadata}
    made = hub.python(RUN, json.dumps(hub.control("network", region="us-east-1")), "#!/bin/sh\nhostname >/root/booted\n")
    hubs.until(lambda: set(hub.states().values()) == {"running"})
    (first, address), (second, _) = made
    host = "ip-" + address.replace(".", "-")
    assert hubs.until(lambda: hub.cloud.exec(host, ["cat", "/root/booted"], capture_output=True, text=True).stdout.strip()) == host
    assert hub.cloud.exec(host, ["python3", "-c", ask], capture_output=True, text=True).stdout == first
    # a notice, then the end
    hub.control("interrupt", id=second, notice=1)
    hubs.until(lambda: hub.states()[second] == "terminated")
    assert hub.python(WHY, second) == ["Server.SpotInstanceTermination"]
    # a machine that powers itself off is seen to be gone, and for what reason
    hub.cloud.exec(host, ["kill", "-TERM", "1"])
    hubs.until(lambda: hub.states()[first] == "terminated")
    assert hub.python(WHY, first) == ["Client.InstanceInitiatedShutdown"]
