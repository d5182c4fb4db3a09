"""Names of accelerators, catalogues in CSV, and questions about offers against a plain loop over all rows."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.catalog import imports
from sbroker.catalog.accelerators import UnknownAccelerator, accelerators, canonical, resolve
from sbroker.catalog.index import Catalog
from sbroker.catalog.offers import Row, Wanted

REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
MODELS = ("a100-40gb", "a100-80gb", "t4")


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("a100", ("a100-40gb", "a100-80gb")),
        ("A100-80GB", ("a100-80gb",)),
        ("a100-sxm4-80gb", ("a100-80gb",)),
        ("NVIDIA A100-SXM4-40GB", ("a100-40gb",)),
        ("NVIDIA H100 80GB HBM3", ("h100",)),
        ("Tesla V100-SXM2-16GB", ("v100-16gb",)),
        ("L4 24GB", ("l4",)),
        ("NVIDIA GeForce RTX 4090", ("rtx4090",)),
        ("tpu-v5litepod", ("tpu-v5e",)),
        ("trn1", ("trainium",)),
    ],
)
def test_names_of_accelerators(text: str, models: tuple[str, ...]) -> None:
    assert resolve(text) == models


def test_a_catalogue_means_one_model_by_a_familys_name() -> None:
    assert (canonical("A100"), canonical("V100"), canonical("abacus")) == ("a100-40gb", "v100-16gb", None)


def test_an_unknown_name_is_told_its_neighbours() -> None:
    with pytest.raises(UnknownAccelerator, match="no accelerator is called a1000; is it a100") as caught:
        resolve("a1000")
    assert "a100" in caught.value.near


def test_every_name_of_the_table_means_its_model() -> None:
    for each in accelerators().values():
        for name in (each.name, *each.aliases):
            assert canonical(name) == each.name, name
        for family in each.families:
            assert each.name in resolve(family)


CSV = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch
m5.large,,,2.0,8.0,,0.096,0.03,us-east-1,us-east-1a,x86_64
c7g.large,,,2.0,4.0,,0.07,0.07,us-east-1,us-east-1a,arm64
p4d.24xlarge,A100,8,96.0,1152.0,,32.77,,us-east-1,us-east-1b,x86_64
odd.large,Abacus,1,2,8,,1.0,,us-east-1,us-east-1a,x86_64
bad.large,,,two,8,,1.0,,us-east-1,us-east-1a,x86_64
free.large,,,2,8,,,,us-east-1,us-east-1a,x86_64
"""


def test_a_catalogue_in_csv_is_read_and_what_cannot_be_is_counted() -> None:
    made = imports.parse(CSV.splitlines(), "aws")
    assert [(row.type, row.accelerator, row.count, row.arch) for row in made.rows] == [
        ("m5.large", "", 0, "x86_64"),
        ("c7g.large", "", 0, "aarch64"),
        ("p4d.24xlarge", "a100-40gb", 8, "x86_64"),
    ]
    assert made.left_out == {"no accelerator is called Abacus": 1, "could not convert string to float: 'two'": 1, "no price": 1}
    # the same price for both is no spot market
    assert [(row.type, row.spot, row.price) for row in imports.markets(made.rows)] == [
        ("m5.large", False, 0.096),
        ("m5.large", True, 0.03),
        ("c7g.large", False, 0.07),
        ("p4d.24xlarge", False, 32.77),
    ]


GCP = """InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
n1-standard-8,8,30,,,,us-central1,us-central1-a,0.38,0.08
a2-highgpu-1g,12,85,,,,us-central1,us-central1-a,0.95,0.47
a2-highgpu-1g,12,85,A100,1,,us-central1,us-central1-a,2.93,0.88
a4-highgpu-8g,224,3968,,,,us-central1,us-central1-b,0,0
,,,T4,1,,us-central1,us-central1-a,0.35,0.11
,,,tpu-v5litepod-8,1,,us-central1,us-central1-a,9.6,4.8
,,,tpu-v4-8,1,,us-central1,us-central1-a,12.88,
"""


def test_gcps_accelerators_are_added_to_their_hosts() -> None:
    rows = imports.parse(GCP.splitlines(), "gcp").rows
    found = {(row.type, row.accelerator): (row.count, round(row.price, 2)) for row in rows}
    assert found == {
        ("n1-standard-8", ""): (0, 0.38),
        ("n1-standard-8", "t4"): (1, 0.73),
        ("a2-highgpu-1g", "a100-40gb"): (1, 3.88),
        ("tpu-v5litepod-8", "tpu-v5e"): (8, 9.6),  # named by chips
        ("tpu-v4-8", "tpu-v4"): (4, 12.88),  # named by cores, two a chip
    }


def test_what_is_no_catalogue_is_told_what_one_has() -> None:
    with pytest.raises(imports.NotACatalog, match="it has no column InstanceType, AcceleratorName"):
        imports.parse(["a,b", "1,2"], "aws")


rows = st.builds(
    Row,
    cloud=st.sampled_from(("aws", "gcp")),
    region=st.sampled_from(REGIONS),
    zone=st.just(""),
    type=st.sampled_from(("small", "big")),
    cpus=st.sampled_from((1.0, 2.0, 8.0, 96.0)),
    memory=st.sampled_from((1.0, 3.75, 64.0)),
    accelerator=st.sampled_from(("", *MODELS)),
    count=st.sampled_from((0.0, 0.5, 1.0, 8.0)),
    arch=st.sampled_from(("x86_64", "aarch64")),
    spot=st.booleans(),
    price=st.floats(0.01, 50),
)
questions = st.builds(
    Wanted,
    cpus=st.sampled_from((0, 1, 2, 9)),
    memory=st.sampled_from((0, 2, 64, 65)),
    accelerators=st.lists(st.sampled_from(MODELS), max_size=2, unique=True).map(tuple),
    count=st.sampled_from((0, 1, 4)),
    exact_count=st.booleans(),
    arch=st.sampled_from(("", "x86_64")),
    spot=st.sampled_from((None, True, False)),
    clouds=st.sampled_from(((), ("aws",))),
    regions=st.sampled_from(((), ("us-*",), ("eu-west-1",))),
    max_price=st.none() | st.floats(0.01, 50),
)


def meets(row: Row, wanted: Wanted) -> bool:
    """The question, row by row."""
    return (
        row.cpus >= wanted.cpus
        and row.memory >= wanted.memory
        and (not wanted.accelerators or row.accelerator in wanted.accelerators)
        and (bool(wanted.accelerators or wanted.count) or not row.accelerator)
        and (not wanted.count or (row.count == wanted.count if wanted.exact_count else row.count >= wanted.count))
        and wanted.arch in ("", row.arch)
        and wanted.spot in (None, row.spot)
        and (not wanted.clouds or row.cloud in wanted.clouds)
        and (not wanted.regions or any(fnmatch.fnmatch(row.region, pattern) for pattern in wanted.regions))
        and (wanted.max_price is None or row.price <= wanted.max_price)
    )


@given(st.lists(rows, max_size=60), questions)
def test_answers_are_those_of_a_plain_loop(rows: list[Row], wanted: Wanted) -> None:
    catalog = Catalog(rows)
    expected = sorted((row for row in rows if meets(row, wanted)), key=lambda row: row.price)
    assert [row.price for row in catalog.find(wanted, most=1000)] == [row.price for row in expected]
    by_place = catalog.cheapest_by_place(wanted)
    assert {place: row.price for place, row in by_place.items()} == {
        place: min(row.price for row in expected if (row.cloud, row.region) == place) for place in {(row.cloud, row.region) for row in expected}
    }
    # every place either has something or is dropped with a reason
    dropped = {(each.cloud, each.region) for each in catalog.dropped(wanted)}
    assert dropped | set(by_place) == {(row.cloud, row.region) for row in rows}
    assert not dropped & set(by_place)
    assert bool(catalog.why_nothing(wanted)) == (not expected)
