"""Machines of Amazon's EC2, made when they are needed.

What is ours bears the tags sbroker:store and sbroker:token. The number of a machine within its group is its launch index: a group is one launch, and EC2 never gives
that number anew, also when others of the group are gone. A group's token is the launch's ClientToken, so that the same order twice starts once. A machine that shuts
down is terminated, which lets it end itself (`sbroker.fleet.boot`).

`session` speaks with AWS and names its errors, `market` is what is sold, `network` what machines need around them, `launch` one order.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from sbroker.config.units import Seconds, Size
from sbroker.errors import QuotaExceeded
from sbroker.providers import base

if TYPE_CHECKING:
    from sbroker.providers.aws.launch import Launcher
    from sbroker.providers.aws.market import Market
    from sbroker.providers.aws.network import Network
    from sbroker.providers.aws.session import Aws

CREDENTIALS = ("profile", "access_key_id", "secret_access_key", "session_token")
METADATA = "http://169.254.169.254"
STORE, TOKEN, OFFER, PRICE = "sbroker:store", "sbroker:token", "sbroker:offer", "sbroker:price"
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")
_STATES: dict[str, base.MachineState] = {
    "pending": "starting", "running": "running", "shutting-down": "stopping", "stopping": "stopping", "stopped": "stopping", "terminated": "gone",
}  # fmt: skip
_REASONS = {
    "Server.SpotInstanceTermination": "preempted",
    "Server.SpotInstanceShutdown": "preempted",
    "Client.InstanceInitiatedShutdown": "it shut itself down",
    "Client.UserInitiatedShutdown": "terminated",
    "Client.UserInitiatedTerminate": "terminated",
    "Server.InsufficientInstanceCapacity": "no capacity",
}


class AwsSettings(base.ElsewhereSettings, frozen=True, kw_only=True):
    """Which of EC2's machines may be made, and how they are reached. `image`: an AMI, or the name of an SSM parameter that holds one; None: Ubuntu 24.04, with the
    drivers of NVIDIA or Neuron where the machine has such devices."""

    regions: tuple[str, ...]
    zones: tuple[str, ...] = ()  # (): all of the regions
    shapes: tuple[str, ...] = ()  # instance types (p4d.24xlarge, g5.*) or families (c7g); (): all that have a price
    spot: Literal["allow", "only", "never"] = "allow"
    max_nodes: int | None = None
    user: str = "ubuntu"
    become: Literal["sudo", "root"] | None = None  # what the agent is there; None: root where the login is root's
    directory: str = "/var/lib/sbroker"  # of the agents
    disk: Size | None = None  # of the root volume; None: as the image has it
    vpc: tuple[str, ...] | str = ()  # ids, at most one a region; (): the default one
    subnet: tuple[str, ...] | str = ()  # ids, at most one a zone; (): the VPC's
    security_group: tuple[str, ...] | str = ()  # ids, of all regions; (): one that is made
    address: Literal["public", "private"] = "public"  # by which we reach the machines
    ssh_from: tuple[str, ...] = ("0.0.0.0/0",)  # whom the security group that is made lets in
    placement: Literal["cluster", "none"] | None = None  # of machines that must come together; None: cluster where they have accelerators or EFA
    efa: bool | None = None  # interfaces of that kind; None: where machines that must come together have accelerators and it is offered
    instance_profile: str | None = None  # name of the IAM profile that jobs' machines bear
    endpoint_url: str | None = None
    metadata: str = METADATA  # where machines ask for a notice of their end
    credentials: dict[str, str] = {}  # profile; or access_key_id, secret_access_key, session_token; {}: as the SDK finds them
    max_unattended: Seconds = Seconds(3600)  # without a word from the broker, after which a machine ends itself
    max_lifetime: Seconds = Seconds(7 * 86400)
    boot_timeout: Seconds | None = None

    @property
    def is_root(self) -> bool:
        """Whether agents can run jobs as any user: always, by sudo if nothing else."""
        return True


class Provider(base.Provider):
    Settings = AwsSettings
    boots = True
    dies_by = "self"
    list_lag = 60.0  # describe calls lag a launch by seconds, under load by more
    environ = (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_STS_REGIONAL_ENDPOINTS",
    )  # fmt: skip

    settings: AwsSettings

    def __init__(self, settings: AwsSettings, context: base.Context) -> None:
        super().__init__(settings, context)
        self._aws: Aws | None = None

    @classmethod
    def check(cls, site: str, settings: AwsSettings) -> None:
        base.check_software(settings)
        if not settings.regions:
            raise ValueError("regions: at least one is needed, for example [us-east-1]")
        for region in settings.regions:
            if not _REGION.fullmatch(region):
                raise ValueError("regions: %r is not the name of a region: write for example us-east-1" % region)
        for zone in settings.zones:
            if not zone.startswith(settings.regions):
                raise ValueError("zones: %s is in none of the regions %s" % (zone, ", ".join(settings.regions)))
        for key in settings.credentials:
            if key not in CREDENTIALS:
                raise ValueError("credentials: there is no %s; there are: %s" % (key, ", ".join(CREDENTIALS)))
        if "profile" in settings.credentials and len(settings.credentials) > 1:
            raise ValueError("credentials: a profile has its keys already: write profile, or access_key_id and secret_access_key")
        if ("access_key_id" in settings.credentials) != ("secret_access_key" in settings.credentials):
            raise ValueError("credentials: access_key_id and secret_access_key belong together")
        if len(settings.regions) > 1 and (settings.image or "").startswith("ami-"):
            raise ValueError("image: %s is of one region: name an SSM parameter, or make a site for each region" % settings.image)
        for block in settings.ssh_from:
            try:
                ipaddress.ip_network(block)
            except ValueError:
                raise ValueError("ssh_from: %r is not a block of addresses: write 203.0.113.0/24" % block) from None
        if settings.become == "root" and settings.user != "root":
            raise ValueError("become: root is wrong: the login is by %s; write sudo, or user: root" % settings.user)
        for key in ("max_unattended", "max_lifetime"):
            if getattr(settings, key) < 600:
                raise ValueError("%s: %d is too short: a machine takes minutes to boot; at least 600" % (key, getattr(settings, key)))

    # the SDK and what uses it are loaded with the first call, never in the broker

    @property
    def aws(self) -> Aws:
        if self._aws is None:
            from sbroker.providers.aws import launch, market, network, session

            self._aws = session.Aws(self.settings, self.context)
            self._market: Market = market.Market(self._aws)
            self._network: Network = network.Network(self._aws)
            self._launcher: Launcher = launch.Launcher(self._aws, self._network)
        return self._aws

    def offers(self, ask: base.Ask) -> Iterable[base.Offer]:
        aws = self.aws
        return self._market.offers(ask, self._network.zones if aws else None)

    def create(self, order: base.Order) -> None:
        aws, count = self.aws, order.count
        if self.settings.max_nodes is not None:
            ours = [entry for entry in self._entries() if entry.ours]
            if any(entry.token == order.token for entry in ours):
                return
            room = self.settings.max_nodes - sum(entry.state != "gone" for entry in ours)
            if room < order.min:
                raise QuotaExceeded("the site %s may have %d machines (max_nodes), and has %d" % (aws.site, self.settings.max_nodes, self.settings.max_nodes - room))
            count = min(count, room)
        need = count if order.min == order.count else order.min
        self._market.check_quota(order.offer, need)
        self._launcher.launch(order, count)

    def list(self) -> base.Listing:
        entries = self._entries()
        live: dict[str, set[str]] = {region: set() for region in self.settings.regions}
        states: dict[str, set[str]] = {}
        for entry in entries:
            if entry.ours:
                states.setdefault(entry.token, set()).add(entry.state)
                if entry.state != "gone":
                    live[self._regions[entry.id]].add(entry.token)
        self._network.sweep(live)
        groups = tuple(base.Group(token=token, state="gone" if seen == {"gone"} else "active") for token, seen in states.items())
        return base.Listing(machines=entries, groups=groups)

    def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        def end(region: str) -> None:
            found = [one["InstanceId"] for one in self._instances(region, token) if one["State"]["Name"] not in ("terminated", "shutting-down")]
            wanted = [one for one in found if ids is None or one in ids]
            if wanted:
                self.aws.call("ec2", region, "terminate_instances", InstanceIds=wanted)

        self.aws.everywhere(end)

    def close(self) -> None:
        if self._aws is not None:
            self._aws.close()

    # -- what there is

    def _instances(self, region: str, token: str | None = None) -> tuple[dict[str, Any], ...]:
        """As EC2 describes them: of one group of ours, or all that bear our tags, also another store's."""
        filters = [{"Name": "tag-key", "Values": [TOKEN]}]
        if token is not None:
            filters = [{"Name": "tag:" + TOKEN, "Values": [token]}, {"Name": "tag:" + STORE, "Values": [self.context.store_id]}]
        pages = self.aws.pages("ec2", region, "describe_instances", Filters=filters)
        return tuple(one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"])

    def _entries(self) -> tuple[base.Entry, ...]:
        """All machines, ordered by group and index. An error of any region is the error of all: what is not seen must not look as if it were gone."""
        found = self.aws.everywhere(self._instances)
        self._regions = {one["InstanceId"]: region for region, instances in found.items() for one in instances}
        entries = [self._entry(region, one) for region, instances in found.items() for one in instances]
        return tuple(sorted((one for one in entries if one.ours or one.state != "gone"), key=lambda one: (one.token, one.index, one.id)))

    def _entry(self, region: str, one: dict[str, Any]) -> base.Entry:
        settings, tags = self.settings, {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
        state = _STATES.get(one["State"]["Name"], "starting")
        code, public, private = one.get("StateReason", {}).get("Code", ""), one.get("PublicIpAddress"), one.get("PrivateIpAddress")
        reason = _REASONS.get(code, one.get("StateReason", {}).get("Message", "")) if state in ("stopping", "gone") else ""
        address = public if settings.address == "public" else private
        data = {"become": settings.become or ("root" if settings.user == "root" else "sudo"), "region": region}
        if one.get("InstanceLifecycle") == "spot":
            data["spot_notice"] = settings.metadata
        endpoint = base.Endpoint(transport="ssh", address=address, port=22, user=settings.user, directory=settings.directory, data=data) if address else None
        return base.Entry(
            token=tags.get(TOKEN, ""),
            index=int(one.get("AmiLaunchIndex", 0)),
            id=one["InstanceId"],
            state=state,
            reason=reason,
            addresses=tuple(found for found in ((public, private) if settings.address == "public" else (private, public)) if found),
            endpoint=endpoint if state in ("running", "stopping") else None,
            offer=tags.get(OFFER, ""),
            price=float(tags.get(PRICE) or 0),
            created=one["LaunchTime"].timestamp(),
            ours=tags.get(STORE) == self.context.store_id,
        )
