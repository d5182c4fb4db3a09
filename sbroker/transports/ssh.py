"""The agent of a node that is reached by SSH: one login, one command, one byte stream.

The host's key is always checked: against the site's `known_hosts`, else as OpenSSH's configuration says. What is not known is refused,
also where that configuration would not ask. A login finds a Python, brings the agent when this release of it is not there
(`sbroker/agent/landing.py` runs on the node), and becomes the stream.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes.util
import functools
import hashlib
import importlib
import json
import logging
import os
import pwd
import shlex
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sbroker.agent import zipapp
from sbroker.providers.base import Endpoint
from sbroker.transports import Faulty, Streams, Unreachable

CONNECT = 15.0  # seconds for the connection and the login
LANDING = 60.0  # seconds for the agent to be there, after that: its program may have to go over a slow line
ENDING = 5.0  # seconds for the last words of a login that is over: what it has left behind may keep its standard error open
_NOISE = 1 << 16  # bytes that an account's own files (.bashrc, …) may print before the agent's first word
KEEPALIVE = 15
_NO_PYTHON = 127
_FAST = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"  # what today's processors do in hardware comes first

_SHELL = """
for python in %s; do
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -I -S -c "$0" "$@"
  code=$?
  [ $code -eq 125 ] || exit $code
done
exit 127
"""
# what the Python that was found runs: `landing` as byte code where it is of the broker's release (to compile it takes longer than all that it does), else
# its source. Must run under any Python.
_BEGIN = """import sys
if sys.version_info < (3, 6): sys.exit(125)
import _frozen_importlib_external as importing
magic, code, source = sys.argv[1:4]
del sys.argv[1:4]
if "".join("%02x" % byte for byte in importing.MAGIC_NUMBER) == magic:
    import binascii, marshal, zlib
    source = marshal.loads(zlib.decompress(binascii.a2b_base64(code)))
exec(source, {"__name__": "__main__"})
"""
_RELEASE = "import sys\nif sys.version_info < (3, 6): sys.exit(125)\nprint('%d.%d.%d' % sys.version_info[:3])"
PYTHONS = ("python3", "/usr/libexec/platform-python", *("python3.%d" % minor for minor in range(14, 5, -1)), "/usr/local/bin/python3", "/opt/python3/bin/python3")


class Program(Protocol):
    """The agent as it is copied to nodes."""

    hash: str
    magic: str

    async def ready(self) -> None: ...

    async def data(self, form: str) -> bytes: ...


async def open(endpoint: Endpoint, *, program: Program, tell: Callable[[str], None] = lambda doing: None) -> Streams:
    """Log in and reach the agent; `tell` hears in a few words what takes its time. Unreachable: try again later; Faulty: somebody has to mend something, and the text says what."""
    loop = asyncio.get_running_loop()
    asyncssh = await loop.run_in_executor(None, _load)  # calls are answered meanwhile
    connection, noise = await _login(asyncssh, endpoint), bytearray()

    async def land() -> Any:
        await program.ready()
        process = await connection.create_process(_command(endpoint, program), encoding=None, stderr=asyncssh.PIPE)
        await _land(endpoint, process, program, tell, noise)
        return process

    try:
        process = await asyncio.wait_for(land(), LANDING)
    except BaseException as error:
        connection.abort()
        if isinstance(error, (asyncssh.Error, asyncio.TimeoutError, OSError)) and not isinstance(error, Unreachable):
            raise Unreachable("%s: %s" % (_name(endpoint), str(error) or "the agent does not answer%s" % _heard(noise))) from error
        raise
    return _Reader(asyncssh, process.stdout), _Writer(connection, process)  # type: ignore[return-value]


@functools.lru_cache(maxsize=1)
def _load() -> Any:
    """asyncssh. It looks for two libraries that few machines have; where the system's own list lacks them, `ctypes` would run a compiler and a linker to be
    quite certain, which takes as long as to load half of asyncssh."""
    asked, listed = ctypes.util.find_library, getattr(ctypes.util, "_findSoname_ldconfig", None)
    if listed is not None:
        ctypes.util.find_library = listed
    try:
        asyncssh = importlib.import_module("asyncssh")
    finally:
        ctypes.util.find_library = asked
    asyncssh.set_log_level(logging.WARNING)  # else every command is logged whole
    return asyncssh


async def look(endpoint: Endpoint) -> str:
    """Log in, start nothing: the release of the Python that an agent would run by. Unreachable or Faulty as `open`."""
    loop = asyncio.get_running_loop()
    asyncssh = await loop.run_in_executor(None, _load)
    connection = await _login(asyncssh, endpoint)
    try:
        done = await asyncio.wait_for(connection.run(_line(endpoint, _RELEASE), encoding="utf-8", errors="replace", stdin=asyncssh.DEVNULL), CONNECT)
    except (asyncssh.Error, asyncio.TimeoutError, OSError) as error:
        raise Unreachable("%s: %s" % (_name(endpoint), str(error) or "it lets us in, and answers nothing")) from error
    finally:
        connection.abort()
    words = str(done.stdout).split()
    if done.returncode or not words:
        raise _refused(endpoint, done.returncode, (str(done.stdout) + str(done.stderr)).strip())
    return words[-1]


class _Reader:
    """asyncssh's reader; a connection that breaks is the OSError that it is with other streams."""

    def __init__(self, asyncssh: Any, stdout: Any) -> None:
        self._errors, self._stdout = asyncssh.Error, stdout

    async def read(self, size: int = -1) -> bytes:
        try:
            return bytes(await self._stdout.read(size))
        except self._errors as error:
            raise ConnectionResetError(str(error)) from error


class _Writer:
    """asyncssh's writer; closing it ends the whole connection, which carries this one stream."""

    def __init__(self, connection: Any, process: Any) -> None:
        self._connection, self._stdin = connection, process.stdin

    def write(self, data: bytes) -> None:
        if not self._stdin.is_closing():
            self._stdin.write(data)

    async def drain(self) -> None:
        await self._stdin.drain()

    def is_closing(self) -> bool:
        return bool(self._stdin.is_closing())

    def close(self) -> None:
        self._connection.abort()

    async def wait_closed(self) -> None:
        await self._connection.wait_closed()


def _name(endpoint: Endpoint) -> str:
    address = endpoint.address or endpoint.node
    return endpoint.node if address == endpoint.node else "%s (%s)" % (endpoint.node, address)


async def _login(asyncssh: Any, endpoint: Endpoint) -> Any:
    """A connection, its host's key checked."""
    data = endpoint.data
    tunnel = await _jump(asyncssh, data) if data.get("jump") else ()
    try:
        return await _connect(asyncssh, endpoint.address or endpoint.node, endpoint.port or (), endpoint.user or (), data, tunnel)
    except asyncssh.HostKeyNotVerifiable as error:
        raise Faulty(
            "the key of %s is not the one known, or none is: compare it and put it into %s" % (_name(endpoint), data.get("known_hosts") or "~/.ssh/known_hosts")
        ) from error
    except asyncssh.PermissionDenied as error:
        raise Faulty("%s does not let %s in: %s" % (_name(endpoint), endpoint.user or "us", error.reason)) from error
    except PermissionError as error:
        reader = pwd.getpwuid(os.geteuid()).pw_name
        raise Faulty("%s: %s cannot be read by %s, who runs the broker: make it that user's own" % (_name(endpoint), error.filename, reader)) from error
    except socket.gaierror as error:
        name = data["jump"] if tunnel == () and data.get("jump") else endpoint.address or endpoint.node
        raise Faulty("%s: the name %s does not resolve here (%s): give it an address by `addresses`" % (endpoint.node, name, error.strerror)) from error
    except (asyncssh.KeyImportError, asyncssh.ConfigParseError, FileNotFoundError, ValueError) as error:
        raise Faulty("%s: %s" % (_name(endpoint), error)) from error
    except asyncio.TimeoutError as error:
        raise Unreachable("%s accepts the connection and does not answer" % _name(endpoint)) from error
    except (OSError, asyncssh.Error) as error:
        raise Unreachable("%s: %s" % (_name(endpoint), getattr(error, "strerror", None) or error)) from error


_read: dict[tuple[str, str], tuple[Any, Any]] = {}  # (kind, path) → (state of the file, what was read)


def _once(kind: str, path: str, read: Callable[[str], Any]) -> Any:
    """What `read` makes of a file, read again when it is another one or has changed: many nodes share a site's key and list of known hosts. OSError."""
    status = os.stat(os.path.expanduser(path))
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if _read.get((kind, path), (None,))[0] != state:
        _read[kind, path] = (state, read(path))
    return _read[kind, path][1]


async def _connect(asyncssh: Any, host: str, port: Any, user: Any, data: dict[str, Any], tunnel: Any) -> Any:
    options: dict[str, Any] = {"client_keys": [data["identity_file"]]} if data.get("identity_file") else {}
    if data.get("known_hosts"):
        options["known_hosts"] = _once("known_hosts", data["known_hosts"], asyncssh.read_known_hosts)
    options["config"] = [data["config"]] if data.get("config") else ()  # (): ~/.ssh/config; left out, the options below would not read it
    options = {
        **options, "keepalive_interval": KEEPALIVE, "keepalive_count_max": 3, "login_timeout": CONNECT, "encryption_algs": _FAST,
        "compression_algs": None, "connect_timeout": CONNECT,
    }  # fmt: skip
    if data.get("config") or Path("~/.ssh/config").expanduser().exists():
        said = asyncssh.SSHClientConnectionOptions(host=host, port=port, username=user, **{**options, "client_keys": None})
        if any("ssh-proxy" in str(word) for word in said.proxy_command or ()):
            options["config"] = None  # what `sbroker ssh-config` wrote: it leads through us, and would wait for this very login
    if "known_hosts" not in options and asyncssh.SSHClientConnectionOptions(host=host, port=port, username=user, **options).known_hosts is None:
        # "UserKnownHostsFile none" in the configuration: not here
        options["known_hosts"] = [str(path) for path in (Path("~/.ssh/known_hosts").expanduser(),) if path.exists()] or b""
    return await asyncio.wait_for(asyncssh.connect(host, port, username=user, tunnel=tunnel, **options), 2 * CONNECT)


_jumps: dict[tuple[str, str], asyncio.Task[Any]] = {}


async def _jump(asyncssh: Any, data: dict[str, Any]) -> Any:
    """The connection to the site's jump host, shared by all nodes behind it and made anew when it broke."""
    key = (data["jump"], data.get("identity_file") or "")
    task = _jumps.get(key)
    if task is not None and task.done() and (task.cancelled() or task.exception() is not None or task.result().is_closed()):
        task = None
    if task is None:
        user, _, rest = data["jump"].rpartition("@")
        host, _, port = rest.partition(":")
        task = _jumps[key] = asyncio.get_running_loop().create_task(_connect(asyncssh, host, int(port) if port else (), user or (), data, ()))
    try:
        return await asyncio.shield(task)
    except asyncssh.HostKeyNotVerifiable as error:
        raise Faulty("the key of the jump host %s is not known: put it into %s" % (data["jump"], data.get("known_hosts") or "~/.ssh/known_hosts")) from error
    except asyncssh.PermissionDenied as error:
        raise Faulty("the jump host %s does not let us in: %s" % (data["jump"], error.reason)) from error
    except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
        raise Unreachable("jump host %s: %s" % (data["jump"], error or "it does not answer")) from error


@functools.lru_cache(maxsize=1)
def _landing() -> list[str]:
    """What `_BEGIN` takes first: magic number, byte code and source of `landing`."""
    code, source = zipapp.module("sbroker.agent.landing")
    return [zipapp.magic(), base64.b64encode(zlib.compress(code)).decode(), source.decode()]


def _command(endpoint: Endpoint, program: Program) -> str:
    """What the login runs, whatever shell the account has. Nothing in it is secret: the node's users see it."""
    told = [endpoint.directory, endpoint.data["store"], endpoint.node, program.hash, program.magic]
    return _line(endpoint, _BEGIN, *_landing(), *told)


def _line(endpoint: Endpoint, text: str, *arguments: str) -> str:
    """`text` by the first Python there that is new enough."""
    words = ["sh", "-c", _SHELL % " ".join(endpoint.data.get("pythons") or PYTHONS), text, *arguments]
    return shlex.join((["sudo", "-n", "-H"] if endpoint.data.get("become") == "sudo" else []) + words)


async def _land(endpoint: Endpoint, process: Any, program: Program, tell: Callable[[str], None], noise: bytearray) -> None:
    """Until the agent is at the other end of the stream. `noise` gets what else the login prints."""
    said = await _answer(endpoint, process, noise)
    if said.get("want"):
        data = await program.data("pack" if said["want"] == "pack" else "pyz")
        tell("copying the agent (%d kB)" % (len(data) >> 10))
        process.stdin.write(b"%d %s\n" % (len(data), _digest(data).encode()))
        process.stdin.write(data)
        said = await _answer(endpoint, process, noise)
    if not said.get("ready"):
        raise Faulty("%s: %s" % (_name(endpoint), said.get("error") or said))


@functools.lru_cache(maxsize=4)
def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def _answer(endpoint: Endpoint, process: Any, noise: bytearray) -> dict[str, Any]:
    """The next word of `landing.py`. The account's shell reads its own files first, and what they print comes before it."""
    while line := await process.stdout.readline():
        said = _word(line)
        if said is not None:
            return said
        noise += line
        if len(noise) > _NOISE:
            raise Faulty("%s: the login prints and prints before the agent can speak%s" % (_name(endpoint), _heard(noise)))
    words = bytes(noise[-1000:]).decode("utf-8", "replace").strip()
    with contextlib.suppress(asyncio.TimeoutError):
        words += (await asyncio.wait_for(process.stderr.read(2000), ENDING)).decode("utf-8", "replace")
        await asyncio.wait_for(process.wait(), ENDING)
    raise _refused(endpoint, process.returncode, words.strip())


def _refused(endpoint: Endpoint, code: int | None, words: str) -> Faulty:
    """Why a login's command ended so: its exit code, and what it printed."""
    if code == _NO_PYTHON:
        return Faulty("%s has no Python 3.6 or later (looked for: %s): install python3" % (_name(endpoint), ", ".join(endpoint.data.get("pythons") or PYTHONS[:2])))
    if endpoint.data.get("become") == "sudo" and "sudo" in words:
        return Faulty("%s: %s: become: sudo needs sudo without a password" % (_name(endpoint), words.splitlines()[-1]))
    return Faulty("%s: the login says: %s" % (_name(endpoint), words or "nothing, and ends with %s" % code))


def _word(line: bytes) -> dict[str, Any] | None:
    """What `landing.py` says, also behind something without a line's end. None: it was not it that spoke."""
    at = line.find(b'{"')
    try:
        said = json.loads(line[at:]) if at >= 0 else None
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.keys() & {"want", "ready", "error"} else None


def _heard(noise: bytearray) -> str:
    """For the end of a sentence: the first of what the login printed."""
    words = bytes(noise[:2000]).decode("utf-8", "replace").split("\n")[0].strip()
    return "; the login says: %.200s" % words if words else ""
