"""Machines that are there already and are reached by SSH: the lab's servers, a rented box, anything with an account."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Literal

from sbroker.config.units import Hosts
from sbroker.errors import Unsatisfiable
from sbroker.model import Node
from sbroker.providers import base, local

_JUMP = re.compile(r"(?:[^@\s-][^@\s]*@)?[^@:\s-][^@:\s]*(?::[0-9]{1,5})?")
_USER = re.compile(r"[^@:\s/-][^@:\s/]*")
_ADDRESS = re.compile(r"[^@\s/-][^@\s/]*")


class SshSettings(base.ElsewhereSettings, frozen=True, kw_only=True):
    """Each host is a node of that name. What is not said here comes from ~/.ssh/config of who runs the broker."""

    hosts: Hosts
    addresses: dict[str, str] = {}  # of hosts that are reached, and called by their peers, by another name than theirs
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    jump: str | None = None  # [user@]host[:port]
    config: str | None = None  # instead of ~/.ssh/config
    become: Literal["none", "sudo", "root"] | None = None  # what the agent is there; None: root where the login is root's
    directory: str | None = None  # of the agent on the nodes
    gres: str | None = None  # None: what the machine has
    python: str | None = None  # on the nodes; None: it is looked for

    @property
    def is_root(self) -> bool:
        """Whether agents of this site can run jobs as any user."""
        return self.become in ("root", "sudo") or self.become is None and self.user == "root"


class Provider(base.Provider):
    Settings = SshSettings
    fixed = True
    remote = False  # what it does asks nobody: the transport logs in
    dies_by = "never"

    @classmethod
    def check(cls, site: str, settings: SshSettings) -> None:
        base.check_software(settings)
        local.parse_gres(settings.gres or "")
        if settings.become == "root" and settings.user not in (None, "root"):
            raise ValueError("become: root is wrong: the login is by %s; write sudo, or user: root" % settings.user)
        if settings.become == "none" and settings.user == "root":
            raise ValueError("become: none is wrong: a login by root is root's agent; write root, or another user")
        if settings.port is not None and not 0 < settings.port < 65536:
            raise ValueError("port: %d is wrong: it must be from 1 to 65535" % settings.port)
        for name, address in settings.addresses.items():
            if name not in settings.hosts:
                raise ValueError("addresses: %s is not among the hosts" % name)
            if not _ADDRESS.fullmatch(address):
                raise ValueError("addresses: %r is no address: write a name, or an IP address" % address)
        if settings.user is not None and not _USER.fullmatch(settings.user):
            raise ValueError("user: %r cannot be the name of an account" % settings.user)
        if settings.directory is not None and not settings.directory.startswith(("/", "~/")):
            raise ValueError("directory: %r is wrong: write a whole path, from / or ~/" % settings.directory)
        if settings.jump is not None and not _JUMP.fullmatch(settings.jump):
            raise ValueError("jump: %r is wrong: write host, user@host or user@host:port" % settings.jump)

    @classmethod
    def files(cls, settings: SshSettings) -> dict[str, str]:
        named = {"identity_file": settings.identity_file, "known_hosts": settings.known_hosts, "config": settings.config}
        return {key: path for key, path in named.items() if path is not None}

    def nodes(self) -> Iterable[Node]:
        """A node a host, in the order configured. Their size is what they say themselves (`measured`)."""
        settings = self.settings
        for name in settings.hosts:
            yield Node(
                name=name,
                site=self.context.site,
                address=settings.addresses.get(name, name),
                measured=True,
                one_user=not settings.is_root,
                gres=local.parse_gres(settings.gres or ""),
                features=settings.features,
                weight=settings.weight,
                lease=int(settings.lease or 0),
            )

    def offers(self, ask: base.Ask) -> Iterable[base.Offer]:
        """Nothing can be had beyond the hosts that are there."""
        return ()

    def create(self, order: base.Order) -> None:
        raise Unsatisfiable("the site %s is a list of hosts: no more nodes can be made there" % self.context.site)

    def list(self) -> base.Listing:
        return base.Listing(
            machines=tuple(base.Entry(token="", index=index, id=name, endpoint=self._endpoint(name)) for index, name in enumerate(self.settings.hosts))
        )

    def _endpoint(self, name: str) -> base.Endpoint:
        settings = self.settings
        data = {
            "store": self.context.store_id,
            "become": "root" if settings.is_root and settings.become is None else settings.become or "none",
            "identity_file": self._file(settings.identity_file),
            "known_hosts": self._file(settings.known_hosts),
            "config": self._file(settings.config),
            "jump": settings.jump,
            "pythons": [settings.python] if settings.python else None,
        }
        return base.Endpoint(
            transport="ssh",
            node=name,
            address=settings.addresses.get(name, name),
            port=settings.port or 0,
            user=settings.user or ("root" if settings.become == "root" else ""),
            directory=settings.directory or ("/var/lib/sbroker" if settings.is_root else "~/.sbroker"),
            data={key: value for key, value in data.items() if value is not None},
        )

    def _file(self, path: str | None) -> str | None:
        """A file that the configuration names: relative to the configuration's own folder, ~ as the broker's user."""
        return None if path is None else os.path.join(self.context.folder, os.path.expanduser(path))

    def terminate(self, token: str, ids: tuple[str, ...] | None = None) -> None:
        """Nothing here was ordered, so there is nothing to end."""
