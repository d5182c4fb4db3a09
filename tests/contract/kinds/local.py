"""The kind local under the contract suite: two virtual nodes."""

from sbroker.providers import local


def settings(folder):
    shape = {"cpus": 8, "sockets": 2, "cores_per_socket": 4, "gres": "gpu:a100:4"}
    return local.LocalSettings(provider="local", nodes="node[1-2]", features=("cpu",), **shape)
