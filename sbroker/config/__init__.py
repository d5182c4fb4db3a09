"""config.yaml as values: read, checked, and turned into what the core is configured with.

check.load(path) → Config   ConfigError names file, line, the wrong value and what would be right
default_config()            no file: this machine as one node in the partition debug
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from sbroker.config.units import Limit, Seconds, Size
from sbroker.model import INFINITE, Node, Partition, Value
from sbroker.paths import Paths

Positive = Annotated[int, msgspec.Meta(ge=1, le=2_000_000_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2_000_000_000)]
Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]
MaxArray = Annotated[int, msgspec.Meta(ge=1, le=4_000_001)]  # Slurm's own bound; a list of tasks is made of each
JobId = Annotated[int, msgspec.Meta(ge=1, le=0x03FFFFFF)]  # Slurm's MaxJobId: programs read ids as 32 bits


class PartitionConfig(Value, frozen=True, kw_only=True):
    """One entry of `partitions`; `Partition` of the model is made of it."""

    name: str
    sites: tuple[str, ...]
    default: bool = False
    state: Literal["UP", "DOWN", "DRAIN", "INACTIVE"] = "UP"
    max_time: Limit = Limit(INFINITE)
    default_time: Limit | None = None
    max_nodes: Positive | None = None
    min_nodes: int = 0
    def_mem_per_cpu: Size | None = None
    def_mem_per_node: Size | None = None
    def_mem_per_gpu: Size | None = None
    def_cpus_per_gpu: Positive | None = None
    max_mem_per_cpu: Size | None = None
    gpu_types: tuple[str, ...] = ()
    oversubscribe: str = "no"
    allow_accounts: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    priority_tier: int = 1
    policy: Literal["", "cheapest", "soonest", "onprem", "weights"] = ""
    burst_after: Seconds = Seconds(0)
    hour_worth: Dollars = 0.0
    spot: Literal["allow", "only", "never"] = "allow"
    max_price: Dollars | None = None
    suspend_time: Seconds | None = None
    idle_timeout: Seconds | None = None
    hidden: bool = False


class User(Value, frozen=True, kw_only=True):
    accounts: tuple[str, ...] = ()
    default_account: str | None = None
    qos: tuple[str, ...] = ()
    default_qos: str | None = None


class Account(Value, frozen=True, kw_only=True):
    budget: str | None = None  # "5000 USD/month"; sites that cost nothing never use it
    on_exhausted: Literal["drain", "cancel", "continue"] = "drain"
    shares: Positive = 1


class Qos(Value, frozen=True, kw_only=True):
    priority: int = 0


class RuleConfig(Value, frozen=True, kw_only=True):
    """One entry of `rules`: what it is about (`data`, `path`, `partitions`, `accounts`), and what it leaves."""

    data: str | None = None
    path: str | None = None
    partitions: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    spot: Literal["allow", "only", "never"] = "allow"
    max_price: Dollars | None = None
    max_cost: Dollars | None = None

    def plain(self) -> dict[str, Any]:
        """A `Rule` of the plan, as JSON values."""
        found = msgspec.to_builtins(self)
        spot = found.pop("spot", "allow")
        return found if spot == "allow" else {**found, "spot": spot == "only"}


class Head(Value, frozen=True, kw_only=True):
    """The keys of the file that are single values."""

    cluster: str = "sbroker"
    imitate: str = "22.05"
    store: str = "sqlite"
    kill_wait: Seconds = Seconds(30)
    min_job_age: Seconds = Seconds(300)
    max_array_size: MaxArray = 100001
    max_requeue: Count = 5
    mpi_default: str = "none"
    first_job_id: JobId = 1
    lost_after: Seconds = Seconds(300)
    purge_job_after: Limit = Limit(INFINITE)
    stage_limit: Size = Size(10 << 10)
    stage_out_grace: Seconds = Seconds(3600)
    min_uid: int = 1000
    operators: tuple[str, ...] = ("root",)
    submit_hook: str | None = None


class Config(Head, frozen=True, kw_only=True):
    """A checked configuration. `sites` holds settings of each site's kind; `file` is "" when there is none."""

    file: str = ""
    parts: tuple[PartitionConfig, ...] = ()
    sites: Mapping[str, Any] = {}
    users: Mapping[str, User] = {}
    accounts: Mapping[str, Account] = {}
    qos: Mapping[str, Qos] = {}
    rules: tuple[RuleConfig, ...] = ()
    peering: tuple[Any, ...] = ()  # egress.Peering

    def nodes(self) -> tuple[Node, ...]:
        """All nodes that are known in advance, site by site in the order written."""
        from sbroker import providers
        from sbroker.providers.base import Context

        return tuple(
            msgspec.structs.replace(node, **_files(settings, provider))
            for site, settings in self.sites.items()
            for provider in [providers.make(settings, Context(site=site))]
            for node in provider.nodes()
        )

    def partitions(self) -> tuple[Partition, ...]:
        """The partitions with the names of their nodes, in the order written."""
        of_site: dict[str, list[str]] = {}
        for node in self.nodes():
            of_site.setdefault(node.site, []).append(node.name)
        return tuple(
            Partition(
                nodes=tuple(name for site in part.sites for name in of_site.get(site, ())),
                **{field: _plain(getattr(part, field)) for field in PartitionConfig.__struct_fields__},
            )
            for part in self.parts
        )

    def settings(self) -> dict[str, Any]:
        """What the core's Configure event carries: plain JSON values."""
        keys = (
            "cluster",
            "imitate",
            "kill_wait",
            "min_job_age",
            "max_array_size",
            "max_requeue",
            "mpi_default",
            "first_job_id",
            "lost_after",
            "stage_out_grace",
            "min_uid",
            "operators",
            "users",
            "accounts",
            "qos",
        )
        from sbroker import providers
        from sbroker.providers.base import Context

        plain: dict[str, Any] = {key: msgspec.to_builtins(getattr(self, key), enc_hook=_plain) for key in keys}
        plain["rules"] = [rule.plain() for rule in self.rules]
        plain["peering"] = msgspec.to_builtins(self.peering)
        plain["sites"] = {
            site: _demand(settings, provider)
            for site, settings in self.sites.items()
            for provider in [providers.make(settings, Context(site=site))]
            if not provider.fixed
        }
        return plain

    def keeps(self) -> float | None:
        """What `Store.keep` wants: seconds, None for ever."""
        return None if self.purge_job_after == INFINITE else float(self.purge_job_after)

    def store_address(self, paths: Paths) -> str:
        """What `Store.open` wants: the database file of `paths`, or the URL."""
        return paths.database if self.store == "sqlite" else self.store


def _files(settings: Any, provider: Any) -> dict[str, Any]:
    """What a site's settings say of its nodes' files, as fields of `Node`."""
    grace = settings.stage_out_grace
    return {
        "shared_fs": settings.shared_fs,
        "stage": provider.stage if settings.stage is None else settings.stage == "allow",
        "stage_out_grace": None if grace is None else int(grace),
    }


def _demand(settings: Any, provider: Any) -> dict[str, Any]:
    """What the core knows of a site whose machines are made on demand."""
    limits = {key: getattr(settings, key, None) for key in ("max_nodes", "boot_timeout", "max_lifetime", "spot")}
    node = {**_files(settings, provider), "weight": settings.weight, "lease": int(getattr(settings, "lease", None) or 0)}
    return {"list_lag": provider.list_lag, "atomic": provider.atomic, "node": node, **{key: _plain(value) for key, value in limits.items()}}


def _plain(value: Any) -> Any:
    """Sizes and times as the plain numbers that JSON has."""
    return int(value) if isinstance(value, (Size, Limit, Seconds)) else value


def default_config() -> Config:
    """Without a file: this machine as one node, partition debug."""
    from sbroker.providers import local

    parts = (PartitionConfig(name="debug", default=True, sites=("local",)),)
    return Config(parts=parts, sites={"local": local.LocalSettings(provider="local")})
