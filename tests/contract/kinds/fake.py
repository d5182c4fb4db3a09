"""The kind fake under the contract suite: `pass_time` lets its machines boot."""

import msgspec

from sbroker.providers import fake

SHAPES = (
    fake.Shape(name="small", capacity=6, price=0.5),
    fake.Shape(name="big", cpus=16, memory=64000, gres="gpu:a100:2", capacity=2, spot=True),
)


def settings(folder):
    return fake.FakeSettings(provider="fake", shapes=SHAPES, max_nodes=6, queue=5, boot=10, list_lag=3, file=str(folder / "cloud.json"))


def pass_time(clock, seconds):
    clock.at += seconds


def lose_reply(settings, call):
    """Settings under which the next `call` is done and its answer lost."""
    return msgspec.structs.replace(settings, script=(fake.Happening(at=0, fail="lost_reply", on=call),))
