"""This machine as one node, or virtual nodes on it. Their agents are processes here, and nothing is bought or ended."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sbroker.config.units import Size
from sbroker.errors import Unsatisfiable
from sbroker.hostlist import MAX_HOSTS, expand
from sbroker.model import Gres, Node
from sbroker.providers import base, hardware

MOST = (65536, 1 << 40)  # CPUs and their kind, MiB of memory: what fits Slurm's fields


class LocalSettings(base.SoftwareSettings, frozen=True, kw_only=True):
    """`nodes` missing: this machine with what it has. A pattern or a count: virtual nodes, each with what the keys say."""

    shared_fs: bool | tuple[str, ...] = True
    twin: bool = True  # false: jobs start as on a machine with other software, without the submit host's environment
    nodes: str | None = None
    cpus: int | None = None
    sockets: int | None = None
    cores_per_socket: int | None = None
    threads_per_core: int | None = None
    memory: Size | None = None
    tmp: Size | None = None
    gres: str | None = None
    hostnames: bool = False  # virtual nodes have names of their own without root, too (in user namespaces)


class Provider(base.Provider):
    Settings = LocalSettings
    fixed = True
    remote = False
    dies_by = "never"

    @classmethod
    def check(cls, site: str, settings: LocalSettings) -> None:
        base.check_software(settings)
        names(site, settings.nodes)
        parse_gres(settings.gres or "")
        for key in ("cpus", "sockets", "cores_per_socket", "threads_per_core", "memory"):
            value = getattr(settings, key)
            if value is not None and value < 1:
                raise ValueError("%s: %d is wrong: it must be at least 1" % (key, value))
            if value is not None and value > MOST[key == "memory"]:
                raise ValueError("%s: %.60s is wrong: it must be at most %d" % (key, value, MOST[key == "memory"]))
        if settings.cpus is not None:
            topology(settings.cpus, settings.sockets, settings.cores_per_socket, settings.threads_per_core)

    def nodes(self) -> Iterable[Node]:
        """Every node of the site, in the order configured."""
        settings, machine = self.settings, hardware.look()
        virtual = settings.nodes is not None
        given = (settings.sockets, settings.cores_per_socket, settings.threads_per_core)
        if settings.cpus is None and given == (None, None, None):
            cpus, shape = machine.cpus, (machine.sockets, machine.cores_per_socket, machine.threads_per_core)
        elif settings.cpus is None:
            shape = (settings.sockets or 1, settings.cores_per_socket or 1, settings.threads_per_core or 1)
            cpus = shape[0] * shape[1] * shape[2]
        else:
            cpus, shape = settings.cpus, topology(settings.cpus, *given)
        gres = parse_gres(settings.gres) if settings.gres is not None else () if virtual else machine.gres
        uname = os.uname()
        for name in names(self.context.site, settings.nodes):
            yield Node(
                name=name,
                site=self.context.site,
                hostname=name if virtual else uname.nodename,
                address="127.0.0.1" if virtual else uname.nodename,
                cpus=cpus,
                sockets=shape[0],
                cores_per_socket=shape[1],
                threads_per_core=shape[2],
                memory=int(settings.memory or machine.memory),
                tmp=int(settings.tmp if settings.tmp is not None else 0 if virtual else machine.tmp),
                gres=gres,
                features=settings.features,
                weight=settings.weight,
                arch=uname.machine,
                os=uname.sysname,
            )

    def offers(self, ask: base.Ask) -> Iterable[base.Offer]:
        """Nothing can be had beyond the nodes that are there."""
        return ()

    def create(self, order: base.Order) -> None:
        raise Unsatisfiable("the site %s is this machine: no more nodes can be made there" % self.context.site)

    def list(self) -> base.Listing:
        virtual = self.settings.nodes is not None
        return base.Listing(
            machines=tuple(
                base.Entry(
                    token="",
                    index=index,
                    id=name,
                    endpoint=base.Endpoint(
                        transport="local",
                        node=name,
                        hostname=name if virtual else "",
                        directory=os.path.join(self.context.spool, name),
                        data={"user_namespace": True} if virtual and self.settings.hostnames else {},
                    ),
                )
                for index, name in enumerate(names(self.context.site, self.settings.nodes))
            )
        )

    def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        """Nothing here was ordered, so there is nothing to end."""


def names(site: str, nodes: str | None) -> list[str]:
    """Node names: of this machine, of a pattern, or SITE-1 … SITE-N for a count. ValueError for what is neither."""
    if nodes is None:
        return [os.uname().nodename.partition(".")[0]]
    if nodes.isascii() and nodes.isdigit():
        if not 1 <= int(nodes) <= MAX_HOSTS:
            raise ValueError("nodes: %s is wrong: it must be a number from 1 to %d or names such as node[1-2]" % (nodes, MAX_HOSTS))
        return ["%s-%d" % (site, number) for number in range(1, int(nodes) + 1)]
    try:
        return expand(nodes)
    except ValueError as error:
        raise ValueError("nodes: %s" % error) from error


def topology(cpus: int, sockets: int | None, cores: int | None, threads: int | None) -> tuple[int, int, int]:
    """Sockets, cores a socket, threads a core of `cpus` CPUs; what is not given is made to fit. ValueError if that cannot be."""
    per_core = threads or 1
    if sockets and cores:
        per_core = threads or max(1, cpus // (sockets * cores))
    elif sockets:
        cores = cpus // (sockets * per_core)
    elif cores:
        sockets = cpus // (cores * per_core)
    else:
        # Slurm takes a node that only says CPUs= for so many sockets of one core.
        sockets, cores = cpus // per_core, 1
    if not sockets or not cores or sockets * cores * per_core != cpus:
        raise ValueError(
            "cpus: %d is wrong: it must be sockets x cores_per_socket x threads_per_core (%s x %s x %d)"
            % (cpus, sockets or "?", cores or "?", per_core)
        )
    return sockets, cores, per_core


def parse_gres(text: str) -> tuple[Gres, ...]:
    """``gpu:a100:4,fpga:1`` as values. ValueError for what is not NAME[:TYPE][:COUNT]."""
    found = []
    for item in filter(None, text.split(",")):
        parts = item.strip().split(":")
        count = int(parts.pop()) if len(parts) > 1 and parts[-1].isascii() and parts[-1].isdigit() else 1
        if not 1 <= len(parts) <= 2 or not all(part.replace("_", "").replace("-", "").replace(".", "").isalnum() for part in parts):
            raise ValueError("gres: %r is wrong: write NAME:TYPE:COUNT, for example gpu:a100:4" % item)
        found.append(Gres(name=parts[0], type=parts[1] if len(parts) == 2 else None, count=count))
    return tuple(found)
