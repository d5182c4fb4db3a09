"""Keys of machines that are made on demand: the same after a restart, and gone with their group."""

import os

from sbroker.config.units import Seconds
from sbroker.daemon.machinekeys import MachineKeys
from sbroker.providers.aws import AwsSettings

SETTINGS = AwsSettings(provider="aws", regions=("us-east-1",), max_lifetime=Seconds(7200), max_unattended=Seconds(700))


def test_an_order_carries_the_same_keys_each_time(tmp_path):
    first = MachineKeys(str(tmp_path), "abc").boot("t1", SETTINGS)
    again = MachineKeys(str(tmp_path), "abc")
    assert again.boot("t1", SETTINGS) == first
    assert again.boot("t2", SETTINGS) != first
    assert "shutdown -h +120 " in first
    assert "-lt 700 " in first
    assert "/var/lib/sbroker/abc/*/heard" in first


def test_what_a_login_needs(tmp_path):
    keys = MachineKeys(str(tmp_path), "abc")
    text = keys.boot("t1", SETTINGS)
    said = keys.login("t1")
    with open(said["known_hosts"]) as stream:
        pattern, _, key = stream.read().strip().partition(" ")
    assert pattern == "*"
    assert key in text
    with open(said["identity_file"] + ".pub") as stream:
        assert stream.read().strip() in text
    for name in os.listdir(tmp_path / "fleet"):
        assert os.stat(tmp_path / "fleet" / name).st_mode & 0o077 == 0


def test_keys_go_with_their_group(tmp_path):
    keys = MachineKeys(str(tmp_path), "abc")
    keys.boot("t1", SETTINGS)
    keys.boot("t2", SETTINGS)
    MachineKeys(str(tmp_path), "abc").forget(lambda token: token == "t1")
    assert sorted(os.listdir(tmp_path / "fleet")) == ["login", "login.pub", "t2", "t2.known", "t2.pub"]
