"""Names of accelerators, catalogues in CSV, where regions lie, and masks of offers against a plain loop over all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker import features
from sbroker.catalog import imports, places
from sbroker.catalog.accelerators import UnknownAccelerator, accelerators, canonical, means, resolve
from sbroker.catalog.index import ANY, Index, models, size_of
from sbroker.catalog.offers import Row, sold
from sbroker.machines import Offer
from sbroker.model import Gres

REGIONS = ("us-east-1", "us-west-2", "eu-west-1")


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


@pytest.mark.parametrize(
    ("asked", "has", "so"),
    [
        ("a100", "a100-80gb", True),
        ("a100-80gb", "a100", False),
        ("A100-SXM4-80GB", "a100-80gb", True),
        ("own", "own", True),
        ("own", "OWN", True),
        ("own", "a100", False),
        ("a100", "own", False),
    ],
)
def test_what_somebody_means(asked: str, has: str, so: bool) -> None:
    assert means(asked, has) is so


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


offers = st.builds(
    Offer,
    name=st.just("x"),
    cloud=st.sampled_from(("aws", "gcp", "")),
    region=st.sampled_from((*REGIONS, "")),
    zone=st.sampled_from(("", "a", "b")),
    type=st.sampled_from(("small", "big")),
    cpus=st.sampled_from((1, 2, 8, 96)),
    memory=st.sampled_from((1024, 4000, 65536)),
    gres=st.sampled_from(
        ((), *(((Gres(name="gpu", type=kind, count=count)),) for kind in ("a100", "a100-80gb", "T4", "odd") for count in (1, 8)))
    ),
    arch=st.sampled_from(("x86_64", "aarch64", "")),
    spot=st.booleans(),
    price=st.floats(0.01, 50),
    features=st.sampled_from(((), ("eu",), ("fast", "de"))),
)


def positions(index: Index, mask: int) -> list[int]:
    return list(index.each(mask))


@given(st.lists(offers, max_size=60), st.sampled_from((0, 1, 2, 9, 97)), st.sampled_from((0, 2000, 65536, 65537)), st.floats(0, 60))
def test_masks_are_what_a_plain_loop_finds(found: list[Offer], cpus: int, memory: int, price: float) -> None:
    index = Index(found)

    def those(passes) -> list[int]:
        return [number for number, offer in enumerate(index.offers) if passes(offer)]

    assert positions(index, index.all) == list(range(len(found)))
    assert positions(index, index.cpus(cpus)) == those(lambda offer: offer.cpus >= cpus)
    assert positions(index, index.memory(memory)) == those(lambda offer: offer.memory >= memory)
    assert positions(index, index.below(price)) == those(lambda offer: offer.price <= price)
    assert positions(index, index.region.like("us-*")) == those(lambda offer: offer.region.startswith("us-"))
    assert positions(index, index.place["aws", "us-east-1", "a"]) == those(
        lambda offer: (offer.cloud, offer.region, offer.zone) == ("aws", "us-east-1", "a")
    )
    for word in ("eu", "de", "ie", "spot", "ondemand", "aws", "us-west-2", "a", "big", "aarch64", "fast", "nothing"):
        assert positions(index, index.feature(word)) == those(lambda offer, word=word: word in places.features(offer)), word
    for text in ("spot&eu", "aws|fast", "(us|eu)&ondemand", "[us-east-1|eu-west-1]&small", "fast*2"):
        assert positions(index, index.holds(features.parse(text))) == those(
            lambda offer, text=text: features.holds(features.parse(text), set(places.features(offer)))
        ), text
    for kind, has in (("a100", {"a100", "a100-80gb"}), ("a100-80gb", {"a100-80gb"}), ("nvidia-t4", {"T4"}), ("odd", {"odd"})):
        mask = 0
        for model in models("gpu", kind):
            mask |= index.devices("gpu", model, 8)
        assert positions(index, mask) == those(
            lambda offer, has=has: bool(offer.gres) and offer.gres[0].type in has and offer.gres[0].count >= 8
        ), kind
    assert positions(index, index.devices("gpu", ANY, 1)) == those(lambda offer: bool(offer.gres))
    assert dict(index.sizes(index.all)) == {
        size: min(those(lambda offer, size=size: size_of(offer) == size)) for size in map(size_of, found)
    }


def test_rows_become_offers_with_whole_devices_only() -> None:
    rows = imports.parse(GCP.splitlines(), "gcp").rows
    half = Row(cloud="azure", region="eastus", type="half", cpus=6, memory=55, accelerator="a10", count=0.5, price=0.4)
    made = {offer.name: offer for offer in sold(imports.markets([*rows, half]))}
    assert "n1-standard-8+t4:1/us-central1-a/spot" in made
    t4 = made["n1-standard-8+t4:1/us-central1-a"]
    assert (t4.shape, t4.cpus, t4.memory, t4.gres) == ("n1-standard-8-t4-1", 8, 30720, (Gres(name="gpu", type="t4", count=1),))
    assert made["tpu-v5litepod-8/us-central1-a"].gres == (Gres(name="gpu", type="tpu-v5e", count=8),)
    assert (made["tpu-v5litepod-8/us-central1-a"].cpus, made["tpu-v5litepod-8/us-central1-a"].memory) == (224, 384 * 1024)
    pod = Row(cloud="gcp", region="r", type="tpu-v5litepod-16", cpus=0, memory=0, accelerator="tpu-v5e", count=16, price=19.2)
    assert list(sold([pod])) == []  # two hosts
    assert not any(name.startswith("half") for name in made)


@pytest.mark.parametrize(
    ("cloud", "region", "words"),
    [
        ("aws", "eu-central-1", ("de", "eu", "eea", "europe")),
        ("aws", "eu-west-2", ("gb", "europe")),
        ("aws", "eu-central-2", ("ch", "europe")),
        ("gcp", "europe-west1", ("be", "eu", "eea", "europe")),
        ("gcp", "europe-west10", ("de", "eu", "eea", "europe")),
        ("azure", "norwayeast", ("no", "eea", "europe")),
        ("azure", "southeastasia", ("sg", "asia")),
        ("aws", "us-gov-east-1", ("us", "northamerica")),
        ("lab", "cellar", ()),
    ],
)
def test_where_regions_lie(cloud: str, region: str, words: tuple[str, ...]) -> None:
    assert places.words(cloud, region) == words


def test_every_region_of_the_clouds_lies_somewhere(reference: dict[str, list[Offer]]) -> None:
    """Reference data, where there is any."""
    for cloud in ("aws", "gcp", "azure"):
        for offer in reference[cloud]:
            assert places.country(cloud, offer.region) in places.countries(), (cloud, offer.region)
