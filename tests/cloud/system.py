"""A personal broker inside the hub of the double, with a site of the kind aws on it."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.ec2.hub import Hub
from tests.flow.system import System

CONFIG = """
cluster: cloud
kill_wait: 2
min_job_age: 3600
lost_after: 60
partitions:
  - {name: cloud, default: true, sites: [aws], max_time: 1-00:00:00, default_time: 10:00, suspend_time: %(suspend)s}
sites:
  aws: {provider: aws, regions: [us-east-1], shapes: [%(shapes)s], zones: [us-east-1a, us-east-1b], max_nodes: 70, endpoint_url: "%(url)s", metadata: "%(metadata)s",
        vpc: "%(vpc)s", address: private, credentials: {access_key_id: testing, secret_access_key: testing}}
"""


class CloudSystem(System):
    def __init__(self, folder: Path, hub: Hub, *, shapes: str = "m5.large", suspend: str = "5") -> None:
        self.hub = hub
        vpc = hub.vpc("us-east-1")
        super().__init__(folder, CONFIG % {"url": hub.url, "metadata": hub.metadata, "vpc": vpc, "shapes": shapes, "suspend": suspend})
        self.work.chmod(0o777)

    def argv(self, line: str) -> list[str]:
        return self.hub.cloud.inside(super().argv(line), self.work)

    def instances(self, *states: str) -> list[str]:
        """Ids of the instances in one of these states."""
        return [one for one, state in self.hub.states().items() if state in states]

    def log(self) -> str:
        return (self.home / "logs" / "sbrokerd.log").read_text()[-6000:]

    def close(self) -> None:
        self.sh("scancel -u root; sbroker down --cancel", timeout=90)
