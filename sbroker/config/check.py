"""From a document to a checked `Config`: shapes first, then what must agree."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from sbroker import providers
from sbroker.agent.tcp import parse_ports
from sbroker.catalog import places
from sbroker.catalog.egress import Peering
from sbroker.config import Account, Config, Head, PartitionConfig, Qos, RuleConfig, User, default_config, later
from sbroker.config.text import Document, nearest
from sbroker.core.money import parse_budget
from sbroker.errors import ConfigError
from sbroker.providers.base import SiteSettings

RELEASES = ("22.05",)  # of Slurm, that the front end can be
MPI_KINDS = ("none", "pmi2", "openmpi")  # of srun's --mpi; the last is Slurm's old word for none
LEASE_LEAST = 120  # seconds beside kill_wait
_SECTIONS = ("partitions", "sites", "users", "accounts", "qos", "rules", "peering")
_OVERSUBSCRIBE = re.compile(r"no|exclusive|(?:yes|force)(?::[1-9][0-9]*)?", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")


def load(path: str | os.PathLike, *, files: bool = False) -> Config:
    """The configuration in the file at `path`. ConfigError if it cannot be read or is wrong. `files`: also if a file is missing that a site names; a
    broker does not ask for that, since it would keep all other sites from starting."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError("%s cannot be read: %s" % (path, error.strerror)) from error
    config = parse(os.fspath(path), text)
    if files:
        _check_files(Document(os.fspath(path), text), config)
    return config


def parse(path: str, text: str | bytes) -> Config:
    """The configuration in `text`; `path` is what errors call it."""
    doc = Document(path, text)
    if not isinstance(doc.value, dict):
        raise doc.error((), "a configuration is a group of keys: cluster, partitions, sites, …")
    known = (*Head.__struct_fields__, *_SECTIONS)
    for key in doc.value:
        if key not in known:
            raise doc.error((key,), "there is no such key" + nearest(key, known))
    head = doc.convert((), Head, {key: value for key, value in doc.value.items() if key not in _SECTIONS})
    sites = {name: _site(doc, name, value) for name, value in doc.named("sites")}
    parts = tuple(doc.convert(("partitions", index), PartitionConfig, value) for index, value in enumerate(doc.listed("partitions")))
    rules = tuple(doc.convert(("rules", index), RuleConfig, value) for index, value in enumerate(doc.listed("rules")))
    peering = tuple(doc.convert(("peering", index), Peering, value) for index, value in enumerate(doc.listed("peering")))
    if not sites and not parts:
        sites, parts = dict(default_config().sites), default_config().parts
    config = Config(
        file=path,
        sites=sites,
        parts=parts,
        rules=rules,
        peering=peering,
        users={name: doc.convert(("users", name), User, value) for name, value in doc.named("users")},
        accounts={name: doc.convert(("accounts", name), Account, value) for name, value in doc.named("accounts")},
        qos={name: doc.convert(("qos", name), Qos, value) for name, value in doc.named("qos")},
        **{key: getattr(head, key) for key in Head.__struct_fields__},
    )
    _check_head(doc, config)
    _check_partitions(doc, config)
    _check_users(doc, config)
    _check_rules(doc, config)
    _check_leases(doc, config)
    _check_nodes(doc, config)
    return config


def _site(doc: Document, name: str, value: object) -> SiteSettings:
    path = ("sites", name)
    if not _LABEL.fullmatch(name):
        raise doc.error(path, "%r cannot be the name of a site: letters, digits and dashes, at most 63" % name)
    kind = value.get("provider") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise doc.error(path, "the key provider is missing; it is one of: %s" % ", ".join(providers.kinds()))
    found = providers.find(kind)
    if found is None and kind in later.KINDS:
        doc.convert(path, later.KINDS[kind], value)
        raise doc.error(
            (*path, "provider"), "this release has no provider of the kind %s yet; there are: %s" % (kind, ", ".join(providers.kinds()))
        )
    if found is None:
        raise doc.error((*path, "provider"), "there is no provider of the kind %s%s" % (kind, nearest(kind, providers.kinds())))
    settings = doc.convert(path, found.Settings, value)
    try:
        if settings.ports is not None:
            parse_ports(str(settings.ports))
    except ValueError:
        raise doc.error((*path, "ports"), "%s is wrong: write LOW-HIGH, for example 40000-40100, or 0 for any" % settings.ports) from None
    for index, prefix in enumerate(settings.shared_fs if isinstance(settings.shared_fs, tuple) else ()):
        if not prefix.startswith("/"):
            raise doc.error((*path, "shared_fs", index), "%r is wrong: write a whole path, from /" % prefix)
    try:
        found.check(name, settings)
    except ValueError as error:
        key = str(error).partition(":")[0]
        raise doc.error((*path, key) if (*path, key) in doc.lines else path, str(error).removeprefix(key + ": ")) from error
    return settings


def _check_files(doc: Document, config: Config) -> None:
    for name, settings in config.sites.items():
        kind = providers.find(settings.provider)
        for key, path in kind.files(settings).items() if kind is not None else ():
            found = os.path.join(os.path.dirname(config.file), os.path.expanduser(path))
            try:
                with open(found, "rb"):
                    pass
            except OSError as error:
                raise doc.error(("sites", name, key), "%s cannot be read: %s" % (found, error.strerror)) from error


def _check_head(doc: Document, config: Config) -> None:
    if not _WORD.fullmatch(config.cluster):
        raise doc.error(("cluster",), "%r cannot be the name of a cluster: letters, digits, dot, dash, underscore" % config.cluster)
    if config.imitate not in RELEASES:
        raise doc.error(
            ("imitate",), "%r is not a release of Slurm that this sbroker can be; there are: %s" % (config.imitate, ", ".join(RELEASES))
        )
    if config.mpi_default not in MPI_KINDS:
        raise doc.error(("mpi_default",), "srun has no --mpi=%s here; there are: %s" % (config.mpi_default, ", ".join(MPI_KINDS)))
    if config.store != "sqlite" and not config.store.startswith(("postgresql://", "sqlite:///")):
        raise doc.error(("store",), "%r is not a store: write sqlite, or postgresql://USER@HOST/NAME" % config.store.partition(":")[0])


def _check_partitions(doc: Document, config: Config) -> None:
    names: set[str] = set()
    default = ""
    for index, part in enumerate(config.parts):
        path = ("partitions", index)
        if not _WORD.fullmatch(part.name):
            raise doc.error((*path, "name"), "%r cannot be the name of a partition" % part.name)
        if part.name in names:
            raise doc.error((*path, "name"), "there are two partitions %s" % part.name)
        names.add(part.name)
        if part.default and default:
            raise doc.error((*path, "default"), "the partition %s is the default already" % default)
        default = part.name if part.default else default
        for at, site in enumerate(part.sites):
            if site not in config.sites:
                raise doc.error((*path, "sites", at), "there is no site %s%s" % (site, nearest(site, config.sites)))
        if not _OVERSUBSCRIBE.fullmatch(part.oversubscribe):
            raise doc.error((*path, "oversubscribe"), "%r is wrong: write no, exclusive, yes, yes:4, force or force:4" % part.oversubscribe)
        if part.default_time is not None and 0 <= part.max_time < part.default_time:
            raise doc.error((*path, "default_time"), "it is more than max_time")
        if part.def_mem_per_cpu and part.def_mem_per_node:
            raise doc.error((*path, "def_mem_per_node"), "def_mem_per_cpu is set too: only one of them can be")


def _check_users(doc: Document, config: Config) -> None:
    for name, account in config.accounts.items():
        try:
            if account.budget is not None:
                parse_budget(account.budget)
        except ValueError as error:
            raise doc.error(("accounts", name, "budget"), str(error)) from None
    for name, user in config.users.items():
        if user.default_account is not None and user.default_account not in user.accounts:
            raise doc.error(
                ("users", name, "default_account"),
                "%s is not among the user's accounts%s" % (user.default_account, nearest(user.default_account, user.accounts)),
            )
        if user.default_qos is not None and user.default_qos not in (user.qos or config.qos):
            raise doc.error(
                ("users", name, "default_qos"),
                "there is no QOS %s%s" % (user.default_qos, nearest(user.default_qos, user.qos or config.qos)),
            )


def _check_rules(doc: Document, config: Config) -> None:
    partitions = [part.name for part in config.parts]
    for index, rule in enumerate(config.rules):
        path = ("rules", index)
        named: list[tuple[str, tuple[str, ...], Collection[str]]] = [
            ("sites", rule.sites, config.sites),
            ("partitions", rule.partitions, partitions),
            ("countries", rule.countries, {*places.countries(), *places.groups()}),
        ]
        if config.accounts:
            named.append(("accounts", rule.accounts, config.accounts))
        for key, names, right in named:
            for at, name in enumerate(names):
                if name not in right:
                    raise doc.error((*path, key, at), "there is no %s %s%s" % (_SINGULAR[key], name, nearest(name, right)))
        if rule.path is not None and not rule.path.startswith("/"):
            raise doc.error((*path, "path"), "%r is not an absolute path: begin it with /" % rule.path)
        if not (rule.sites or rule.regions or rule.countries or rule.spot != "allow" or rule.max_price is not None or rule.max_cost is not None):
            raise doc.error(path, "it leaves all as it is: say sites, regions, countries, spot, max_price or max_cost")


_SINGULAR = {"sites": "site", "partitions": "partition", "countries": "country, or group of countries,", "accounts": "account"}


def _check_leases(doc: Document, config: Config) -> None:
    least = config.kill_wait + LEASE_LEAST
    for name, settings in config.sites.items():
        lease = getattr(settings, "lease", None)
        if lease is not None and lease < least:
            raise doc.error(
                ("sites", name, "lease"),
                "%d is too short: kill_wait and two minutes are the least (%d), so that no job ends for a short break of the connection"
                % (lease, least),
            )


def _check_nodes(doc: Document, config: Config) -> None:
    """Names of nodes are unique over all sites."""
    owner: dict[str, str] = {}
    for node in config.nodes():
        if node.name in owner:
            raise doc.error(("sites", node.site), "its node %s is also a node of the site %s" % (node.name, owner[node.name]))
        if not _NODE.fullmatch(node.name):
            raise doc.error(
                ("sites", node.site, "nodes"), "%r cannot be the name of a node: letters, digits, dot, dash, underscore" % node.name
            )
        owner[node.name] = node.site
