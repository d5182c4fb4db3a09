"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest

from sbroker.machines import Offer
from tests.unit.reference import catalogues


@pytest.fixture
def reference() -> dict[str, list[Offer]]:
    found = catalogues()
    if found is None:
        pytest.skip("no reference catalogues: name their folder in SBROKER_TEST_CATALOG")
    return found
