"""What EC2 sells: types by zone, on demand and spot, at prices that were asked for."""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from sbroker.catalog.accelerators import accelerators, canonical, resolve
from sbroker.catalog.kept import snapshot
from sbroker.errors import AuthRefused, QuotaExceeded, SbrokerError
from sbroker.model import Gres
from sbroker.providers.aws.session import Aws
from sbroker.providers.base import Ask, Offer, ProviderError

FACTS, PRICES, SPOT, QUOTA = 6 * 3600.0, 6 * 3600.0, 60.0, 600.0  # seconds for which answers hold
VISIBLE = 0.95  # of a machine's memory: what its system shows, at the least
BOOT, BOOT_ACCELERATED = 60, 180  # usual seconds from the call to sshd
_ARCH = {"x86_64": "x86_64", "arm64": "aarch64"}
_FAMILY = re.compile(r"[a-z]+")
# family → quota codes of vCPUs, on demand and spot
_QUOTAS = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), ("L-1216C47A", "L-34B43A08")),
    **dict.fromkeys(("g", "gr", "vt"), ("L-DB2E81BA", "L-3819A6DF")),
    "p": ("L-417A185B", "L-7212CCBC"),
    "inf": ("L-1945791B", "L-B5D1601B"),
    "trn": ("L-2C3B7624", "L-6B0D517C"),
    "dl": ("L-6E869C2A", "L-85EED4F7"),
    "f": ("L-74FC7D96", "L-88CF9481"),
    "x": ("L-7295265B", "L-E3A00192"),
}


def quota_code(kind: str, spot: bool) -> str:
    """Which quota an instance type counts against, "" where that is not known."""
    family = _FAMILY.match(kind)
    codes = _QUOTAS.get(family[0]) if family else None
    return codes[spot] if codes else ""


def patterns(shapes: tuple[str, ...]) -> list[str]:
    """As instance types: a family alone means all of its sizes."""
    return [shape if "." in shape else shape + ".*" for shape in shapes]


class Market:
    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    def offers(self, ask: Ask, zones: Callable[[str], dict[str, str]] | None) -> list[Offer]:
        """`zones`: of a region, those in which machines can be. A region that does not answer sells nothing now, as long as another one does."""
        failed: list[SbrokerError] = []

        def sold(region: str) -> list[Offer]:
            try:
                return self._region(region, ask, set(zones(region)) if zones else set())
            except SbrokerError as error:
                failed.append(error)
                return []

        found = self.aws.everywhere(sold)
        if failed and len(failed) == len(found):
            raise min(failed, key=lambda error: isinstance(error, ProviderError))
        for error in failed:
            print("site %s: %s" % (self.aws.site, error), file=sys.stderr)
        return [offer for offers in found.values() for offer in offers]

    def _region(self, region: str, ask: Ask, usable: set[str]) -> list[Offer]:
        aws, settings = self.aws, self.aws.settings
        types, places, prices, spot, quotas = aws.together(
            lambda: aws.keep(("types", region), FACTS, lambda: self._types(region)),
            lambda: aws.keep(("places", region), FACTS, lambda: self._places(region)),
            lambda: {} if settings.spot == "only" else aws.keep(("prices", region), PRICES, lambda: self._prices(region)),
            lambda: {} if settings.spot == "never" else aws.keep(("spot", region), SPOT, lambda: self._spot(region)),
            lambda: self._quotas(region),
        )
        found = []
        for kind, one in types.items():
            gres, arch = _gres(one), next((_ARCH[arch] for arch in one["ProcessorInfo"]["SupportedArchitectures"] if arch in _ARCH), "")
            cpus, memory = int(one["VCpuInfo"]["DefaultVCpus"]), int(one["MemoryInfo"]["SizeInMiB"] * VISIBLE)
            if gres is None or not arch or one.get("BareMetal"):
                continue
            if not (cpus >= ask.cpus and memory >= ask.memory and ask.arch in ("", arch) and all(_has(gres, wanted) for wanted in ask.gres)):
                continue
            disk = int(settings.disk or 0)
            if ask.tmp > disk > 0:
                continue
            network = one.get("NetworkInfo", {})
            data: dict[str, Any] = {"image": _image(one)}
            if network.get("EfaSupported"):
                data["efa"] = int(network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 1))
            for zone in sorted(places.get(kind, set()) & usable):
                for market in (False, True):
                    price = spot.get((kind, zone)) if market else prices.get(kind)
                    if price is None or ask.spot not in (None, market):
                        continue
                    code = quota_code(kind, market)
                    limit = quotas.get(code)
                    found.append(
                        Offer(
                            name="%s-%s%s" % (kind.replace(".", "-"), zone, "-spot" if market else ""),
                            shape=kind.replace(".", "-"),
                            cloud="aws",
                            region=region,
                            zone=zone,
                            type=kind,
                            cpus=cpus,
                            memory=memory,
                            tmp=disk,
                            gres=gres,
                            arch=arch,
                            spot=market,
                            price=price,
                            available=None if limit is None else int(limit // cpus),
                            boot_seconds=BOOT_ACCELERATED if gres else BOOT,
                            features=settings.features,
                            data=data if limit is None or limit >= cpus else {**data, "quota": _no_quota(region, code, limit, cpus)},
                        )
                    )
        return found

    # -- each question about a region

    def _types(self, region: str) -> dict[str, dict[str, Any]]:
        shapes = patterns(self.aws.settings.shapes)
        filters = [{"Name": "instance-type", "Values": shapes}] if shapes else []
        pages = self.aws.pages("ec2", region, "describe_instance_types", Filters=filters)
        return {one["InstanceType"]: one for page in pages for one in page["InstanceTypes"]}

    def _places(self, region: str) -> dict[str, set[str]]:
        shapes, zones = patterns(self.aws.settings.shapes), self.aws.settings.zones
        found: dict[str, set[str]] = {}
        for page in self.aws.pages("ec2", region, "describe_instance_type_offerings", LocationType="availability-zone"):
            for one in page["InstanceTypeOfferings"]:
                kind, zone = one["InstanceType"], one["Location"]
                if (not zones or zone in zones) and (not shapes or any(fnmatch.fnmatchcase(kind, shape) for shape in shapes)):
                    found.setdefault(kind, set()).add(zone)
        return found

    def _prices(self, region: str) -> dict[str, float]:
        """On demand, USD an hour; from the price list, which is served by a few regions for all. Where it may not be read, what ships with us must do."""
        try:
            return self._listed(region)
        except AuthRefused as error:
            kept = snapshot()["aws"]
            print("site %s: no price list (%s): taken are %s" % (self.aws.site, error, kept.source), file=sys.stderr)
            return {offer.type: offer.price for offer in kept.offers if offer.region == region and not offer.spot}

    def _listed(self, region: str) -> dict[str, float]:
        wanted = {"regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used", "marketoption": "OnDemand"}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        found: dict[str, float] = {}
        for page in self.aws.pages("pricing", "us-east-1", "get_products", ServiceCode="AmazonEC2", Filters=filters):
            for text in page["PriceList"]:
                row = json.loads(text)
                for term in row["terms"].get("OnDemand", {}).values():
                    for dimension in term["priceDimensions"].values():
                        price = float(dimension["pricePerUnit"].get("USD", 0))
                        if price > 0:
                            found[row["product"]["attributes"]["instanceType"]] = price
        return found

    def _spot(self, region: str) -> dict[tuple[str, str], float]:
        """(type, zone) → USD an hour now."""
        import datetime

        now = datetime.datetime.fromtimestamp(self.aws.context.clock.now(), datetime.timezone.utc)
        exact = [shape for shape in self.aws.settings.shapes if "." in shape and not any(letter in shape for letter in "*?[")]
        narrow = {"InstanceTypes": exact} if exact and len(exact) == len(self.aws.settings.shapes) <= 100 else {}
        pages = self.aws.pages("ec2", region, "describe_spot_price_history", StartTime=now, ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"], **narrow)
        found: dict[tuple[str, str], float] = {}
        for page in pages:
            for one in page["SpotPriceHistory"]:
                found.setdefault((one["InstanceType"], one["AvailabilityZone"]), float(one["SpotPrice"]))  # the newest comes first
        return found

    def _quotas(self, region: str) -> dict[str, float]:
        """Code → vCPUs that the account may have; {} where that may not be asked: then the launch itself says so."""

        def ask() -> dict[str, float]:
            try:
                pages = self.aws.pages("service-quotas", region, "list_service_quotas", ServiceCode="ec2")
                return {one["QuotaCode"]: float(one["Value"]) for page in pages for one in page["Quotas"] if one.get("Value") is not None}
            except SbrokerError:
                return {}

        return self.aws.keep(("quotas", region), QUOTA, ask)

    def check_quota(self, offer: Offer, count: int) -> None:
        """QuotaExceeded where the account may never have so many at once."""
        code = quota_code(offer.type, offer.spot)
        limit = self._quotas(offer.region).get(code)
        if limit is not None and limit < count * offer.cpus:
            raise QuotaExceeded(_no_quota(offer.region, code, limit, count * offer.cpus))


def _no_quota(region: str, code: str, limit: float, need: int) -> str:
    return "AWS, %s: the account may have %d vCPUs of that kind, and %d are needed: ask for more (Service Quotas, Amazon EC2, %s)" % (region, limit, need, code)


def _gres(one: dict[str, Any]) -> tuple[Gres, ...] | None:
    """The accelerators of a type by their names in the catalogue; None for parts of one, which nobody could ask for."""
    found = []
    for gpu in one.get("GpuInfo", {}).get("Gpus", ()):
        if gpu.get("GpuPartitionSize", 1) < 1 or not gpu.get("Count"):
            return None
        found.append(Gres(name="gpu", type=_model(gpu["Name"], gpu.get("MemoryInfo", {}).get("SizeInMiB", 0)), count=int(gpu["Count"])))
    for device in one.get("NeuronInfo", {}).get("NeuronDevices", ()):
        found.append(Gres(name="gpu", type=_model(device["Name"], 0), count=int(device["Count"])))
    return tuple(found)


def _model(name: str, memory: int) -> str:
    """Memory (MiB) tells models apart that AWS calls by one name."""
    try:
        known = resolve(name)
    except SbrokerError:
        return re.sub(r"[^a-z0-9]+", "", name.lower())
    if len(known) > 1 and memory:
        every = accelerators()
        return min(known, key=lambda model: abs(every[model].memory * 1024 - memory))
    return canonical(name) or known[0]


def _image(one: dict[str, Any]) -> str:
    if one.get("NeuronInfo", {}).get("NeuronDevices"):
        return "neuron"
    return "nvidia" if any(gpu.get("Manufacturer") == "NVIDIA" for gpu in one.get("GpuInfo", {}).get("Gpus", ())) else "plain"


def _has(gres: tuple[Gres, ...], wanted: Gres) -> bool:
    return sum(one.count for one in gres if one.name == wanted.name and wanted.type in (None, one.type)) >= wanted.count
