"""Hosts for the whole test run, and brokers that use them. Left out with a reason where there are no namespaces, no sshd or no root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.cloudhosts import Cloud, missing, sweep
from tests.doubles.machine import Host
from tests.hosts.system import CONFIG, ROOT, SHARED, HostsSystem, make_key

COUNT = 4


class Hub:
    """The hosts n1 … n4, with the accounts ubuntu and root behind one key. `shared` is there as it is here, writable by all."""

    def __init__(self, folder: Path) -> None:
        self.key, self.shared = folder / "key", folder / "shared"
        self.shared.mkdir()
        self.public = make_key(self.key)
        self.cloud = Cloud("test%d" % os.getpid(), owner=os.getpid())
        self.cloud.add([self.host("n%d" % number) for number in range(1, COUNT + 1)])

    def host(self, name: str, **options: object) -> Host:
        options.setdefault("bind", ["%s:%s:rw" % (self.shared, self.shared)])
        return Host(name, keys=[self.public], **options)  # type: ignore[arg-type]

    def room(self, name: str) -> Path:
        """A new folder in `shared` for one broker: what is submitted from there is on the nodes, too."""
        folder = self.shared / name
        folder.mkdir()
        return folder

    def extra(self, name: str, **options: object) -> str:
        """One more host, with other properties."""
        self.cloud.add([self.host(name, **options)])
        return name


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    why = missing()
    if why:
        pytest.skip(why)
    if not (ROOT / ".venv").exists():
        pytest.skip("the launchers of this checkout need its .venv: run `make test`")
    sweep()
    made = Hub(tmp_path_factory.mktemp("hub"))
    try:
        yield made
    finally:
        made.cloud.down()


@pytest.fixture(scope="module")
def system(hub: Hub, request: pytest.FixtureRequest) -> Iterator[HostsSystem]:
    """A personal broker over n1 … n4, with a file system that they share."""
    made = HostsSystem(hub.room(request.module.__name__), hub.cloud, hub.key, "n[1-%d]" % COUNT, SHARED)
    try:
        made.idle("n[1-%d]" % COUNT)
        yield made
    finally:
        made.close()


@pytest.fixture
def make_system(hub: Hub, tmp_path: Path) -> Iterator[Callable[..., HostsSystem]]:
    """Brokers for one test: make_system(hosts, config)."""
    made: list[HostsSystem] = []

    def make(hosts: str, config: str = CONFIG) -> HostsSystem:
        folder = tmp_path / ("system%d" % len(made))
        folder.mkdir()
        made.append(HostsSystem(folder, hub.cloud, hub.key, hosts, config))
        return made[-1]

    yield make
    for one in made:
        one.close()
