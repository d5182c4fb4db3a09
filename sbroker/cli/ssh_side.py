"""The broker's side of `sbroker ssh`, `ssh-proxy` and `ssh-config`. Runs inside the daemon, like `broker_side`."""

from __future__ import annotations

import json

from sbroker.api import Api, Call, Client
from sbroker.errors import LoginRefused, NoLogins, SbrokerError

HOST_KEY = "host-key"  # what a proxy answers with its host key when it is asked to read it
NO_SSHD = 69  # exit code of ssh-proxy where the node has no sshd
NO_LOGIN = 255  # ssh's own code for whatever kept it from a session


async def where(api: Api, arguments: list[str]) -> str:
    """NODE [JOB] → {"job": id, "user": name on that node} of the job that a login would be part of."""
    node, job = _target(arguments)
    number, user = api.login_as(node, job)
    return json.dumps({"job": number, "user": user})


async def users(api: Api, arguments: list[str]) -> str:
    """{node: name under which the caller's jobs run there}."""
    return json.dumps(api.login_users())


async def proxy(call: Call, client: Client, api: Api) -> int:
    """ssh-proxy NODE JOB|- PUBLIC-KEY: bytes both ways. The host key is asked for like a file: nothing secret is in argv."""
    try:
        node, job = _target(list(call.argv[1:3]))
        host_key = (await client.read(HOST_KEY, 1 << 16)).decode("ascii")
        await api.login(client, node, job, call.argv[3], host_key)
    except (LoginRefused, OSError, ValueError) as error:
        if isinstance(error, ConnectionError):
            raise
        await client.out("sbroker: error: %s\n" % error, 2)
        return NO_SSHD if isinstance(error, NoLogins) else NO_LOGIN
    return 0


def _target(arguments: list[str]) -> tuple[str, int | None]:
    node, job = [*arguments, "-", "-"][:2]
    if job != "-" and not job.isdigit():
        raise SbrokerError("%s is no job id" % job)
    return node, None if job == "-" else int(job)
