"""Keys of `sbroker ssh-proxy`: made when needed, in a folder of the user's own, and thrown away some minutes later.

What a key opens is one connection: sshd inside the job is started for it, told that key and no other, and ends with it. Who steals the
files gains nothing without the right to ask the broker. They are cached only because `ssh` reads them from files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sbroker import paths
from sbroker.clock import SystemClock
from sbroker.errors import SbrokerError

CLOCK = SystemClock()
ALIAS = "sbroker-node"  # the name of all nodes in known_hosts
LIFETIME = 600.0  # seconds after which the last one out throws the keys away
RETURNS = 10.0  # seconds in which they can be had back: an ssh that began just then has read them already
# not id_ed25519.pub: ssh would take what is in it for the key while there is none
IDENTITY, PUBLIC, HOST, KNOWN = "id_ed25519", "public", "host_ed25519", "known_hosts"


class Keys(NamedTuple):
    """public: one line, what enters; identity: its private key; host: the private key that sshd shows; known: its line for known_hosts."""

    public: str
    identity: str
    host: str
    known: str


def fresh() -> Keys:
    """New ones, in memory."""
    import asyncssh  # not needed where there are some already

    def pair() -> tuple[str, str]:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return key.export_private_key("openssh").decode(), " ".join(key.export_public_key("openssh").decode().split()[:2])

    (identity, public), (host, host_public) = pair(), pair()
    return Keys(public, identity, host, "%s %s\n" % (ALIAS, host_public))


def folder(environ: Mapping[str, str]) -> Path:
    """Where this user's keys lie: below XDG_RUNTIME_DIR, which does not outlive the login, else beside the personal broker's state."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if environ.get("SBROKER_HOME") or not os.path.isabs(runtime) or not os.path.isdir(runtime):
        return Path(paths.personal(environ).state) / "ssh"
    return Path(runtime) / "sbroker" / "ssh"


@contextlib.contextmanager
def held(place: Path) -> Iterator[Keys]:
    """The keys in `place`, made if there are none; nobody throws them away while the block is open. The last one out throws away old ones."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.geteuid() or stat.S_IMODE(place.stat().st_mode) & 0o077:
        raise SbrokerError("%s is not a folder of yours alone: keys are not put there" % place)
    users = os.open(place / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # held shared by each that needs the keys
    try:
        with _changing(place):
            fcntl.flock(users, fcntl.LOCK_SH)
            keys = _read(place) or _returned(place) or _make(place)
        yield keys
        with _changing(place), contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _throw_away(place)
    finally:
        os.close(users)


@contextlib.contextmanager
def _changing(place: Path) -> Iterator[None]:
    """One at a time, and never for long."""
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(place: Path) -> Keys | None:
    try:
        public, identity, host, known = ((place / name).read_text() for name in (PUBLIC, IDENTITY, HOST, KNOWN))
    except FileNotFoundError:
        return None
    return Keys(public.strip(), identity, host, known)


def _make(place: Path) -> Keys:
    keys = fresh()
    # the identity last: ssh must find all of them or none
    for name, text in ((KNOWN, keys.known), (HOST, keys.host), (PUBLIC, keys.public + "\n"), (IDENTITY, keys.identity)):
        new = place / (name + ".new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
        new.rename(place / name)
    return keys


def _throw_away(place: Path) -> None:
    try:
        old = CLOCK.now() - (place / IDENTITY).stat().st_mtime > LIFETIME
    except FileNotFoundError:
        return
    if old:
        gone = place / (IDENTITY + ".gone")
        (place / IDENTITY).rename(gone)
        os.utime(gone)


def _returned(place: Path) -> Keys | None:
    gone = place / (IDENTITY + ".gone")
    with contextlib.suppress(FileNotFoundError):
        if CLOCK.now() - gone.stat().st_mtime < RETURNS:
            gone.rename(place / IDENTITY)
            return _read(place)
        gone.unlink()
    return None
