"""Machines from the order to the end, without a broker: they boot with our data, the first login is verified, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest

from sbroker.fleet import boot
from sbroker.providers import base
from tests.doubles.ec2.hub import until

KEYS = {"access_key_id": "testing", "secret_access_key": "testing"}


@pytest.fixture(scope="module")
def site(hub, tmp_path_factory):
    """Settings of a site there, and a key pair to log in by."""
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")], check=True)
    settings = {"regions": ["us-east-1"], "shapes": ["m5.large"], "vpc": hub.vpc("us-east-1"), "endpoint_url": hub.url, "credentials": KEYS,
                "address": "private", "metadata": hub.metadata}  # fmt: skip
    return settings, folder / "id", (folder / "id.pub").read_text().strip()


def drive(hub, what, **said):
    done = hub.run([sys.executable, "-m", "tests.cloud.drive", what, json.dumps(said, default=str)])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def machines(hub, settings, token):
    listing = msgspec.convert(drive(hub, "list", settings=settings), base.Listing)
    return [one for one in listing.machines if one.token == token]


def all_in(hub, settings, token, state):
    def ask():
        found = machines(hub, settings, token)
        return found if {one.state for one in found} == {state} else None

    return until(ask)


def login(hub, one, identity, public, command):
    """[exit status, output], with this host key known; the double says `running` a moment before the boot data have run."""
    endpoint = one.endpoint
    return drive(hub, "login", address=endpoint.address, user=endpoint.user, identity=identity, known=boot.known_hosts(public, endpoint.address), command=command)


def test_from_the_order_to_the_end(hub, site):
    settings, identity, public = site
    pair = boot.keys()
    text = boot.render(boot.Boot(host=pair, authorized=(public,), user="ubuntu", store="abc"))
    drive(hub, "create", settings=settings, token="t1", count=2, boot=text)
    drive(hub, "create", settings=settings, token="t1", count=2, boot=text)  # as after a lost answer
    found = all_in(hub, settings, "t1", "running")
    assert [one.index for one in found] == [0, 1]
    for one in found:
        until(lambda one=one: login(hub, one, identity, pair.public, "true")[0] == 0)
        assert login(hub, one, identity, pair.public, "hostname; sudo -n id -u") == [0, "ip-%s\n0\n" % one.endpoint.address.replace(".", "-")]
        assert login(hub, one, identity, boot.keys().public, "true") == [-1, "another host key"]
    drive(hub, "terminate", settings=settings, token="t1")
    drive(hub, "terminate", settings=settings, token="t1")
    all_in(hub, settings, "t1", "gone")
    assert not any(record["alive"] for record in hub.cloud.hosts().values())
    assert hub.python("said = [one['GroupName'] for one in ec2.describe_security_groups()['SecurityGroups'] if one['GroupName'].startswith('sbroker')]") == []


def test_a_machine_whose_broker_is_silent_ends_itself(hub, site):
    settings, _, public = site
    text = boot.render(boot.Boot(host=boot.keys(), authorized=(public,), silence=60, lifetime=3600)).replace(" -lt 60 ]", " -lt 3 ]").replace("sleep 30", "sleep 1")
    drive(hub, "create", settings=settings, token="t2", count=1, boot=text.replace("sleep 6\n", "sleep 1\n"))
    (one,) = all_in(hub, settings, "t2", "gone")
    assert one.reason == "it shut itself down"
