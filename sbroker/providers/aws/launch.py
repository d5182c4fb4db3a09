"""One order as one call to EC2."""

from __future__ import annotations

from typing import Any

from sbroker.errors import SbrokerError, Unsatisfiable
from sbroker.providers.aws.network import Network
from sbroker.providers.aws.session import Aws, code_of
from sbroker.providers.base import Offer, Order

USER_DATA = 16384  # bytes that EC2 takes
IMAGES = 3600.0  # seconds for which the answer of an SSM parameter holds
_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/%s/hvm/ebs-gp3/ami-id"
_NVIDIA = "/aws/service/deeplearning/ami/%s/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_NEURON = "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id"


class Launcher:
    def __init__(self, aws: Aws, network: Network) -> None:
        self.aws, self.network = aws, network

    def launch(self, order: Order, count: int) -> None:
        """Start `count` machines, or at least `order.min`; all of it in one call, which with the same token starts nothing more."""
        if len(order.boot.encode()) > USER_DATA:
            raise Unsatisfiable("the boot data has %d bytes, and EC2 takes %d" % (len(order.boot.encode()), USER_DATA))
        region = order.offer.region
        try:
            self.aws.call("ec2", region, "run_instances", **self.request(order, count))
        except SbrokerError as error:
            code = code_of(error.__cause__) if error.__cause__ is not None else ""
            if code == "IdempotentParameterMismatch":
                return  # the token has been used: its machines were started, with the image or group of that time
            if code not in ("InvalidGroup.NotFound", "InvalidGroupId.NotFound", "InvalidSubnetID.NotFound"):
                raise
            self.network.forget(region)
            self.aws.call("ec2", region, "run_instances", **self.request(order, count))

    def request(self, order: Order, count: int) -> dict[str, Any]:
        """The parameters of run_instances."""
        settings, offer, region = self.aws.settings, order.offer, order.offer.region
        gang = order.min > 1
        subnet = self.network.zones(region).get(offer.zone)
        if subnet is None:
            raise Unsatisfiable("AWS, %s: no subnet of the site %s is in the zone %s" % (region, self.aws.site, offer.zone))
        image = self.image(order.image or settings.image, offer)
        groups = self.network.groups(region, offer.zone)
        efa = int(offer.data.get("efa", 0)) if settings.efa or (settings.efa is None and gang and offer.gres) else 0
        asked: dict[str, Any] = {
            "ImageId": image,
            "InstanceType": offer.type,
            "MinCount": min(order.min, count),
            "MaxCount": count,
            "ClientToken": order.token,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
            "NetworkInterfaces": self._interfaces(subnet, groups, efa),
            "TagSpecifications": [{"ResourceType": kind, "Tags": self._tags(order)} for kind in ("instance", "volume")],
        }
        if order.boot:
            asked["UserData"] = order.boot
        if offer.spot:
            asked["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}}
        if settings.placement == "cluster" or (settings.placement is None and (efa or offer.gres)):
            if gang:
                asked["Placement"] = {"GroupName": self.network.placement(region, order.token)}
        if settings.disk:
            ebs = {"VolumeSize": -(-int(settings.disk) // 1024), "VolumeType": "gp3", "DeleteOnTermination": True}
            asked["BlockDeviceMappings"] = [{"DeviceName": self._root_device(region, image), "Ebs": ebs}]
        if settings.instance_profile:
            asked["IamInstanceProfile"] = {"Name": settings.instance_profile}
        return asked

    def _interfaces(self, subnet: str, groups: list[str], efa: int) -> list[dict[str, Any]]:
        """One; of EFA as many as the type has, but EC2 gives an address of the internet only to a machine with one."""
        public = self.aws.settings.address == "public"
        first: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": groups, "DeleteOnTermination": True, "AssociatePublicIpAddress": public}
        if not efa:
            return [first]
        first["InterfaceType"] = "efa"
        if public:
            return [first]
        del first["AssociatePublicIpAddress"]
        others = ({**first, "DeviceIndex": 1, "NetworkCardIndex": card} for card in range(1, efa))
        return [{**first, "NetworkCardIndex": 0}, *others]

    def _tags(self, order: Order) -> list[dict[str, str]]:
        tags = {
            "sbroker:store": self.aws.context.store_id,
            "sbroker:token": order.token,
            "sbroker:offer": order.offer.name,
            "sbroker:price": "%.6f" % order.offer.price,
            "Name": "sbroker %s" % self.aws.site,
        }
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def image(self, said: str | None, offer: Offer) -> str:
        """The AMI: as configured, or what fits the machine."""
        if said and said.startswith("ami-"):
            return said
        amd = offer.arch != "aarch64"
        defaults = {"nvidia": _NVIDIA % ("x86_64" if amd else "arm64"), "neuron": _NEURON}
        name = said or defaults.get(str(offer.data.get("image")), _UBUNTU % ("amd64" if amd else "arm64"))
        name = name.removeprefix("ssm:").removeprefix("resolve:ssm:")
        return self.aws.keep(("image", offer.region, name), IMAGES, lambda: self._parameter(offer.region, name))

    def _parameter(self, region: str, name: str) -> str:
        try:
            return str(self.aws.call("ssm", region, "get_parameter", Name=name)["Parameter"]["Value"])
        except Unsatisfiable as error:
            raise Unsatisfiable("AWS, %s: there is no image by the SSM parameter %s: name another one by image of the site %s" % (region, name, self.aws.site)) from error

    def _root_device(self, region: str, image: str) -> str:
        def ask() -> str:
            found = self.aws.call("ec2", region, "describe_images", ImageIds=[image])["Images"]
            return str(found[0]["RootDeviceName"]) if found else "/dev/sda1"

        return self.aws.keep(("root", region, image), IMAGES, ask)
