"""The provider aws and asyncssh inside the hub: python -m tests.cloud.drive COMMAND JSON. What it finds is JSON on its standard output.

create: {settings, token, count, boot} → offer      list: {settings} → listing      terminate: {settings, token}
login: {address, user, identity, known, command} → [exit status, output]
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

from sbroker.clock import SystemClock
from sbroker.config.units import hook
from sbroker.providers import aws, base


def provider(said: dict[str, Any]) -> aws.Provider:
    settings = msgspec.convert({"provider": "aws", **said["settings"]}, aws.AwsSettings, dec_hook=hook)
    return aws.Provider(settings, base.Context(site="cloud", store_id="abc", clock=SystemClock()))


async def login(said: dict[str, Any]) -> list[Any]:
    import asyncssh

    known = asyncssh.import_known_hosts(said["known"])
    try:
        async with asyncssh.connect(said["address"], username=said["user"], client_keys=[said["identity"]], known_hosts=known, config=None, connect_timeout=10) as connection:
            done = await connection.run(said["command"], check=False)
            return [done.exit_status, done.stdout]
    except asyncssh.HostKeyNotVerifiable:
        return [-1, "another host key"]
    except (OSError, asyncssh.Error) as error:
        return [-2, str(error)]


def main() -> Any:
    command, said = sys.argv[1], json.loads(sys.argv[2])
    if command == "login":
        return asyncio.run(login(said))
    made = provider(said)
    if command == "create":
        offer = next(iter(made.offers(base.Ask(spot=said.get("spot", False)))))
        made.create(base.Order(token=said["token"], offer=offer, count=said["count"], min=said["count"], boot=said["boot"]))
        return msgspec.to_builtins(offer)
    if command == "terminate":
        return made.terminate(said["token"])
    return msgspec.to_builtins(made.list())


if __name__ == "__main__":
    print(json.dumps(main()))
