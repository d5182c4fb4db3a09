"""Where a broker keeps what it needs: three kinds of home, one value.

`SBROKER_HOME=DIR` isolates a personal broker in DIR; without it the XDG folders; the shared broker of a host uses /etc, /var and /run.
This module creates nothing but folders and reads no configuration.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

from sbroker.model import Value

SHARED_CONFIG = Path("/etc/sbroker/config.yaml")
SUBMIT_AGENT = "_submit"  # the agent that moves users' files on this host, and is no node: no node can have this name
SOCKET_MAX = 107  # bytes that fit in sockaddr_un.sun_path besides the final NUL


class Paths(Value, frozen=True, kw_only=True):
    """Absolute paths of one broker; `shared` is True for the broker of a whole host."""

    config: str  # config.yaml; need not exist
    state: str  # folder of the database and the lock, mode 0700 (0755 when shared)
    database: str
    socket: str  # of the thin clients
    logs: str  # folder
    spool: str  # folder; a folder for each local node inside
    shared: bool = False

    def node_dir(self, node: str) -> str:
        """Folder of the agent of the local node `node`."""
        return os.path.join(self.spool, node)

    def create(self) -> None:
        """Make the folders. OSError when that cannot be done."""
        for folder in (self.state, os.path.dirname(self.socket), self.logs, self.spool):
            os.makedirs(folder, mode=0o755 if self.shared else 0o700, exist_ok=True)

    def ours(self) -> bool:
        """Whether the state folder is the caller's own and others cannot write in it: what lies there is believed, and executed."""
        found = os.stat(self.state)
        return found.st_uid == os.geteuid() and not found.st_mode & 0o002


def personal(environ: Mapping[str, str]) -> Paths:
    """The paths of the caller's own broker: `SBROKER_HOME`, else the XDG folders."""
    home = environ.get("SBROKER_HOME")
    if home:
        base = os.path.abspath(home)
        return Paths(
            config=base + "/config.yaml",
            state=base,
            database=base + "/sbroker.db",
            socket=base + "/sbroker.sock",
            logs=base + "/logs",
            spool=base + "/spool",
        )
    user = environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    config = _xdg(environ, "XDG_CONFIG_HOME", user + "/.config")
    # Beside the database and not in XDG_RUNTIME_DIR: cron and ssh sessions may lack that variable, and would start a second broker.
    state = _xdg(environ, "XDG_STATE_HOME", user + "/.local/state")
    return Paths(
        config=config + "/config.yaml",
        state=state,
        database=state + "/sbroker.db",
        socket=state + "/sbroker.sock",
        logs=state + "/logs",
        spool=state + "/spool",
    )


def shared(config: str | os.PathLike = SHARED_CONFIG) -> Paths:
    """The paths of the shared broker of this host."""
    return Paths(
        config=os.fspath(config),
        state="/var/lib/sbroker",
        database="/var/lib/sbroker/sbroker.db",
        socket="/run/sbroker/sbroker.sock",
        logs="/var/log/sbroker",
        spool="/var/spool/sbroker",
        shared=True,
    )


def _xdg(environ: Mapping[str, str], name: str, default: str) -> str:
    """The XDG rule: a relative value counts as unset."""
    value = environ.get(name, "")
    return os.path.join(value if os.path.isabs(value) else default, "sbroker")


@contextlib.contextmanager
def socket_address(path: str) -> Iterator[str]:
    """An address that reaches the Unix socket `path` however long it is: `path`, or its name below an open folder.

    A socket address holds 107 bytes. A longer path is bound or connected as /proc/self/fd/N/NAME, which works while the block is open;
    the file lies where it was asked for. OSError if the folder is not there.
    """
    if len(os.fsencode(path)) <= SOCKET_MAX:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield "/proc/self/fd/%d/%s" % (folder, os.path.basename(path))
    finally:
        os.close(folder)
