"""What machines need around them: subnets that are there, a security group and placement groups that we make and take away again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sbroker.errors import SbrokerError, Unsatisfiable
from sbroker.providers.aws.session import Aws, code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBNETS = 600.0  # seconds for which they are taken to be the same
_STORE = "sbroker:store"
_THERE = ("InvalidGroup.Duplicate", "InvalidPlacementGroup.Duplicate", "InvalidPermission.Duplicate")


def _many(value: tuple[str, ...] | str) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


class Network:
    """What we have made is known by its tag. `sweep` removes it when nothing uses it."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.name = "sbroker-" + aws.context.store_id
        self._placements: dict[str, set[str] | None] = dict.fromkeys(aws.settings.regions)  # region → names of ours; None: not asked yet
        self._made = set(aws.settings.regions)  # regions where a security group of ours may be

    # -- where machines can be

    def zones(self, region: str) -> dict[str, str]:
        """Zone → the subnet that machines there are put into. Unsatisfiable where there is none."""
        return {zone: subnet for zone, (subnet, _) in self._known(region).items()}

    def _known(self, region: str) -> dict[str, tuple[str, str]]:
        return self.aws.keep(("zones", region), SUBNETS, lambda: self._subnets(region))

    def _subnets(self, region: str) -> dict[str, tuple[str, str]]:
        """Zone → (subnet, its VPC)."""
        settings = self.aws.settings
        filters = [{"Name": "state", "Values": ["available"]}]
        if settings.subnet:
            filters.append({"Name": "subnet-id", "Values": _many(settings.subnet)})
        elif settings.vpc:
            filters.append({"Name": "vpc-id", "Values": _many(settings.vpc)})
        else:
            filters.append({"Name": "default-for-az", "Values": ["true"]})
        found = [one for page in self.aws.pages("ec2", region, "describe_subnets", Filters=filters) for one in page["Subnets"]]
        if not found:
            what = "none of the subnets %s" % ", ".join(_many(settings.subnet)) if settings.subnet else "no subnet of %s" % ", ".join(_many(settings.vpc) or ["a default VPC"])
            raise Unsatisfiable("AWS, %s: there is %s: name vpc or subnet of the site %s, or leave the region out" % (region, what, self.aws.site))
        found.sort(key=lambda one: (one.get("AvailableIpAddressCount", 0), one["SubnetId"]))  # the last of a zone, with most room, stays
        return {one["AvailabilityZone"]: (one["SubnetId"], one["VpcId"]) for one in found}

    # -- the security group

    def groups(self, region: str, zone: str) -> list[str]:
        """Ids of the security groups of a machine there."""
        said = _many(self.aws.settings.security_group)
        if said:
            pages = self.aws.pages("ec2", region, "describe_security_groups", Filters=[{"Name": "group-id", "Values": said}])
            found = [one["GroupId"] for page in pages for one in page["SecurityGroups"]]
            if not found:
                raise Unsatisfiable("AWS, %s: there is none of the security groups %s" % (region, ", ".join(said)))
            return found
        vpc = self._known(region)[zone][1]
        return [self.aws.keep(("group", region, vpc), SUBNETS, lambda: self._group(region, vpc))]

    def _group(self, region: str, vpc: str) -> str:
        """The id of ours, made if it is not there: SSH from outside, anything within."""
        call = self.aws.call
        self._made.add(region)
        found = self._find(region, vpc)
        tags = [{"Key": _STORE, "Value": self.aws.context.store_id}, {"Key": "Name", "Value": self.name}]
        if found is None:
            try:
                found = call(
                    "ec2", region, "create_security_group", GroupName=self.name, Description="machines of sbroker: SSH, and each other", VpcId=vpc,
                    TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
                )  # fmt: skip
            except SbrokerError as error:
                found = self._find(region, vpc) if _is(error, _THERE) else None
                if found is None:
                    raise
        group = str(found["GroupId"])
        own: dict[str, Any] = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        four = [{"CidrIp": block} for block in self.aws.settings.ssh_from if ":" not in block]
        six = [{"CidrIpv6": block} for block in self.aws.settings.ssh_from if ":" in block]
        ssh: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": four, "Ipv6Ranges": six}
        for name, rule in (("authorize_security_group_ingress", own), ("authorize_security_group_ingress", ssh), ("authorize_security_group_egress", own)):
            try:  # EFA wants the group itself named on the way out, too
                call("ec2", region, name, GroupId=group, IpPermissions=[{key: value for key, value in rule.items() if value}])
            except SbrokerError as error:
                if not _is(error, _THERE):
                    raise
        return group

    def _find(self, region: str, vpc: str | None) -> dict[str, Any] | None:
        filters = [{"Name": "tag:" + _STORE, "Values": [self.aws.context.store_id]}]
        if vpc is not None:
            filters.append({"Name": "vpc-id", "Values": [vpc]})
        return next((one for page in self.aws.pages("ec2", region, "describe_security_groups", Filters=filters) for one in page["SecurityGroups"]), None)

    def forget(self, region: str) -> None:
        """Somebody else removed what we knew of."""
        for key in [key for key in self.aws._kept if key[:2] in (("group", region), ("zones", region))]:
            self.aws.forget(key)

    # -- placement groups

    def placement(self, region: str, token: str) -> str:
        """The name of the group's own, made if it is not there: its machines are close to each other."""
        name = "%s-%s" % (self.name, token)
        tags = [{"Key": _STORE, "Value": self.aws.context.store_id}, {"Key": "sbroker:token", "Value": token}]
        try:
            self.aws.call("ec2", region, "create_placement_group", GroupName=name, Strategy="cluster", TagSpecifications=[{"ResourceType": "placement-group", "Tags": tags}])
        except SbrokerError as error:
            if not _is(error, _THERE):
                raise
        known = self._placements[region]
        if known is not None:
            known.add(name)
        return name

    # -- taking away

    def sweep(self, live: Mapping[str, set[str]]) -> None:
        """Region → tokens of groups of which machines are left there. What is still in use is taken away another time; an error here hides no machine."""
        for region, tokens in live.items():
            try:
                self._sweep_placements(region, tokens)
                if not tokens and region in self._made and not self.aws.settings.security_group:
                    self._sweep_groups(region)
            except SbrokerError:
                continue

    def _sweep_placements(self, region: str, tokens: set[str]) -> None:
        known = self._placements[region]
        if known is None:
            answer = self.aws.call("ec2", region, "describe_placement_groups", Filters=[{"Name": "tag:" + _STORE, "Values": [self.aws.context.store_id]}])
            known = self._placements[region] = {one["GroupName"] for one in answer["PlacementGroups"]}
        for name in sorted(known):
            if name.removeprefix(self.name + "-") not in tokens:
                try:
                    self.aws.call("ec2", region, "delete_placement_group", GroupName=name)
                except SbrokerError as error:
                    if not _is(error, ("InvalidPlacementGroup.Unknown",)):
                        continue
                known.discard(name)

    def _sweep_groups(self, region: str) -> None:
        while (found := self._find(region, None)) is not None:
            self.aws.call("ec2", region, "delete_security_group", GroupId=found["GroupId"])
        self._made.discard(region)
        self.forget(region)


def _is(error: SbrokerError, codes: tuple[str, ...]) -> bool:
    return error.__cause__ is not None and code_of(error.__cause__) in codes
