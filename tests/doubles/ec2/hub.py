"""The double inside the hub of its own set of hosts, for tests that reach instances."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.doubles import cloudhosts, ec2
from tests.doubles.cloudhosts import Cloud

ROOT = Path(__file__).resolve().parents[3]
PORT, CONTROL = 5000, 5001  # the hub's own: nobody else is there


def missing() -> str:
    return ec2.missing() or cloudhosts.missing()


class Hub:
    """`url`: endpoint for clients inside the hub; `metadata`: that of instances. Python code that talks to either runs by `python`."""

    def __init__(self, name: str, folder: Path, owner: int) -> None:
        cloudhosts.sweep()
        self._vpcs: dict[str, str] = {}
        self.cloud = Cloud(name, owner=owner)
        self.url, self.metadata = "http://127.0.0.1:%d" % PORT, "http://%s:%d" % (self.cloud.gateway, CONTROL)
        argv = [sys.executable, "-m", "tests.doubles.ec2", "--hosts", name, "--port", str(PORT), "--control-port", str(CONTROL)]
        with open(folder / "ec2.log", "w") as log:
            self.process = subprocess.Popen(self.cloud.inside(argv, ROOT), stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("ready"):
            self.close()
            raise OSError("the double did not start: " + (folder / "ec2.log").read_text()[-2000:])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.cloud.down()

    def run(self, argv: list[str], *, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.cloud.inside(argv, ROOT), text=True, capture_output=True, timeout=timeout, check=False, **options)

    def python(self, code: str, *words: str, timeout: float = 60) -> Any:
        """What the code, which has `ec2` (a client) and `words`, puts into `said`."""
        head = (
            "import boto3, json, sys\nwords, said = sys.argv[1:], None\n"
            "ec2 = boto3.client('ec2', 'us-east-1', endpoint_url=%r, aws_access_key_id='testing', aws_secret_access_key='testing')\n" % self.url
        )
        done = self.run([sys.executable, "-c", head + code + "\nprint(json.dumps(said, default=str))", *words], timeout=timeout)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def control(self, what: str, **said: Any) -> Any:
        code = (
            "import json, sys, urllib.request\n"
            "request = urllib.request.Request('http://127.0.0.1:%d/_double/' + sys.argv[1], sys.argv[2].encode(), method='POST')\n"
            "print(urllib.request.urlopen(request).read().decode())" % CONTROL
        )
        done = self.run([sys.executable, "-c", code, what, json.dumps(said)])
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def vpc(self, region: str) -> str:
        """The one whose subnets are in the hosts' range; made once."""
        if region not in self._vpcs:
            self._vpcs[region] = str(self.control("network", region=region, number=len(self._vpcs))["vpc"])
        return self._vpcs[region]

    def states(self) -> dict[str, str]:
        return dict(self.control("states"))


def until(condition: Callable[[], Any], patience: float = 60.0) -> Any:
    """What the condition says once it is true."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)
    return found
