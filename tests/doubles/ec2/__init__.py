"""An EC2 whose instances are real machines: moto answers the API, and behind each instance stands a host of `cloudhosts` with the instance's private address, the
key pair's public key and the user data run as root at boot. Without hosts it is the API alone, which is fast.

What a broker depends on and moto does not do, or does otherwise, is mended here (`backend`, `front`):
  - an instance is `pending` until its host's sshd answers, and `shutting-down` before it is `terminated`
  - ClientToken: the same token returns the same instances; with other parameters it is IdempotentParameterMismatch
  - capacity by type, zone and market: InsufficientInstanceCapacity, and launches between MinCount and MaxCount
  - an instance that powers itself off is stopped or terminated, as InstanceInitiatedShutdownBehavior says
  - spot interruptions: a notice at the metadata endpoint, then the power goes and the state reason says why
  - placement groups, spot prices, the price list, service quotas, and the images' public SSM parameters that moto lacks
  - failures on request: refused calls, and calls that are done while their answer is lost

Not faithful: create_fleet (fails as a whole where AWS has an Errors list), request_spot_instances, security groups (do not filter), EBS and EFA (records only).

`python -m tests.doubles.ec2 --hosts NAME` inside the hub of a set of hosts; `Server` in a test's own process for the API alone.
"""

from __future__ import annotations

import importlib.util


def missing() -> str:
    """Why there can be no EC2 here, "" if there can."""
    lacking = [name for name in ("moto", "flask", "boto3") if importlib.util.find_spec(name) is None]
    return "not installed: %s (pip install 'moto[server,ec2]' boto3)" % ", ".join(lacking) if lacking else ""
