"""EC2 with hosts behind its instances, for a whole module. Left out with a reason where moto, root or namespaces are missing."""

from __future__ import annotations

import os

import pytest

from tests.doubles.ec2 import hub as hubs


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    if hubs.missing():
        pytest.skip(hubs.missing())
    made = hubs.Hub("ec2c%d" % os.getpid(), tmp_path_factory.mktemp("ec2"), os.getpid())
    try:
        yield made
    finally:
        made.close()
