"""What of a home folder is brought nowhere."""

from __future__ import annotations

from sbroker.daemon.staging import private


def test_keys_and_credentials_stay_unless_they_are_named() -> None:
    assert {"/home/al/.ssh", "/home/al/.aws", "/home/al/.config"} <= set(private("/home/al/"))
    assert "/home/al/.aws" not in private("/home/al", ["data/*", "/.aws/config"])
    assert "/home/al/.ssh" in private("/home/al", ["/.aws/config"])
