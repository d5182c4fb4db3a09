"""Catalogues that are kept, the snapshot that ships, and `sbroker catalog` on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbroker.catalog import kept
from sbroker.catalog.accelerators import accelerators
from sbroker.catalog.kept import Kept
from sbroker.cli import catalog, cli
from sbroker.errors import SbrokerError
from sbroker.machines import Offer
from sbroker.providers.base import ElsewhereSettings

CSV = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,SpotPrice,Region,AvailabilityZone
m5.large,,,2,8,0.096,0.03,us-east-1,us-east-1a
p4d.24xlarge,A100,8,96,1152,32.77,,eu-west-1,eu-west-1b
odd.large,Abacus,1,2,8,1.0,,us-east-1,us-east-1a
"""


class Settings(ElsewhereSettings, frozen=True, kw_only=True):
    regions: tuple[str, ...] = ()
    spot: str = "allow"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SBROKER_HOME", str(tmp_path / "home"))
    return Path(catalog.state())


def run(*argv: str) -> str:
    done = CliRunner().invoke(cli, ["catalog", *argv])
    if isinstance(done.exception, SbrokerError):
        return "error: %s" % done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_the_snapshot_is_dated_and_says_sensible_things() -> None:
    found = kept.snapshot()
    assert set(found) == {"aws", "gcp"}
    for cloud, each in found.items():
        assert each.source.startswith("public list prices, 20")
        assert len(each.offers) >= 20
        for offer in each.offers:
            assert offer.cloud == cloud
            assert 0 < offer.price < 150
            assert 1 <= offer.cpus <= 256
            assert 1024 <= offer.memory <= 3 << 20
            assert all(item.type in accelerators() for item in offer.gres)
        names = [offer.name for offer in each.offers]
        assert len(set(names)) == len(names)


def test_what_is_kept_comes_back_and_goes_before_the_snapshot(tmp_path: Path) -> None:
    offers = tuple(
        Offer(name=name, cloud="aws", region=region, type="x", cpus=1, memory=1024, spot=spot, price=1.0)
        for name, region, spot in (("one", "us-east-1", False), ("two", "eu-west-1", False), ("three", "eu-west-1", True))
    )
    state = str(tmp_path)
    settings = Settings(provider="aws", regions=("eu-west-1", "us-east-1"))
    assert {offer.region for offer in kept.for_site(state, "cloud", settings).offers} == {"us-east-1"}  # of the snapshot, in these regions
    kept.save(state, "aws", Kept(at=5.0, source="imported", offers=offers))
    assert kept.read(state, "aws") == Kept(at=5.0, source="imported", offers=offers)
    assert kept.for_site(state, "cloud", settings).offers == offers
    assert kept.for_site(state, "cloud", Settings(provider="aws", regions=("eu-west-1",), spot="never")).offers == offers[1:2]
    kept.save(state, "cloud", Kept(at=9.0, source="the provider of cloud", offers=offers[:1]))
    assert kept.for_site(state, "cloud", settings) == Kept(at=9.0, source="the provider of cloud", offers=offers[:1])
    assert set(kept.every(state)) == {"aws", "cloud", "gcp"}
    kept.file(state, "aws").write_text("{")
    with pytest.raises(SbrokerError, match=r"aws\.json cannot be read .*`sbroker catalog refresh` or `import` makes another"):
        kept.every(state)


def test_a_catalogue_is_imported_and_listed(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(CSV)
    said = run("import", "aws", str(path))
    assert said.splitlines() == ["%s: 1 lines are left out: no accelerator is called Abacus" % path, "3 offers of aws are kept in %s." % kept.file(str(home), "aws")]
    table = run("list", "a100-sxm4-40gb", "--regions", "eu", "--cloud", "aws").splitlines()
    assert table[1].split() == ["aws", "eu-west-1b", "p4d.24xlarge", "96", "1152G", "a100-40gb:8", "ondemand", "32.7700"]
    assert table[2].startswith("Prices are those of aws: vms.csv, 20")
    found = json.loads(run("list", "m5.*", "--spot", "--json"))
    assert [(each["type"], each["price"]) for each in found] == [("m5.large", 0.03)]
    assert run("list", "h200", "--max-price", "1") == "Nothing that is known is sold like that.\n"


def test_the_cheapest_twenty_are_shown(home: Path) -> None:
    lines = run("list").splitlines()
    assert len(lines) == 23
    assert lines[-2].endswith("more: --all shows them.")
    prices = [float(line.split()[-1]) for line in lines[1:21]]
    assert prices == sorted(prices)
    assert len(run("list", "--all").splitlines()) > 100


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("list", "a1000"), "error: no machine type is called a1000, and no accelerator is called a1000; is it a100"),
        (("show", "g5.xlage"), "error: no machine type is called g5.xlage; is it g5.xlarge"),
        (("import", "aws", __file__), "error: %s is no catalogue: it has no column" % __file__),
    ],
)
def test_what_is_not_known_is_said_with_what_is(home: Path, argv: tuple[str, ...], sentence: str) -> None:
    assert run(*argv).startswith(sentence)


def test_a_broker_keeps_what_providers_of_clouds_say(tmp_path: Path) -> None:
    import asyncio

    from sbroker.daemon import catalog as side

    sold = (Offer(name="one", cloud="aws", region="us-east-1", cpus=1, memory=1024, price=1.0),)
    own = (Offer(name="vm", cpus=1, memory=1024),)
    asyncio.run(side.keep(str(tmp_path), "cloud", sold, 7.0))
    asyncio.run(side.keep(str(tmp_path), "lab", own, 7.0))
    settings = Settings(provider="aws", regions=("us-east-1",))
    assert asyncio.run(side.load(str(tmp_path), "cloud", settings)) == Kept(at=7.0, source="the provider of cloud", offers=sold)
    assert kept.read(str(tmp_path), "lab") is None  # its own machines are asked for each time
    kept.file(str(tmp_path), "cloud").write_text("not JSON")
    assert asyncio.run(side.load(str(tmp_path), "cloud", settings)) == Kept()
