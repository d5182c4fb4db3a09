"""The kind aws under the contract suite: on the API of `tests.doubles.ec2` without hosts, which is fast."""

import time

import msgspec
import pytest

from sbroker.providers import aws
from tests.doubles.ec2 import missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

from tests.doubles.ec2.server import Server

CALLS = {"create": "RunInstances", "list": "DescribeInstances", "terminate": "TerminateInstances"}
server = Server(delay=0.05)


def settings(folder):
    server.reset()
    return aws.AwsSettings(
        provider="aws",
        regions=("us-east-1", "eu-west-1"),
        shapes=("m5.large", "g5.xlarge"),
        max_nodes=6,
        endpoint_url=server.url,
        credentials={"access_key_id": "testing", "secret_access_key": "testing"},
    )


def pass_time(clock, seconds):
    clock.at += seconds
    time.sleep(0.03)  # the double's own clock goes on


def lose_reply(settings, call):
    """Settings under which the next `call` is done and its answer lost, as often as it is tried."""
    server.front.lose[CALLS[call]] = {"create": 1, "list": 6, "terminate": 3}[call]  # reads three times, in both regions
    return msgspec.structs.replace(settings, max_nodes=None)  # else `create` lists, too
