"""Boot data (EC2's user data, other clouds' startup script): a script that makes a fresh machine one that the broker can log in to, and that ends by itself.

What the script does, in this order (boot.sh): it arms the end of the machine, puts the host key in place, lets the broker in, and has sshd take the key. Between the
start of sshd and that moment the machine shows a host key of its own: a login then is refused by us, and is tried again.
"""

from __future__ import annotations

import shlex
from importlib import resources

from sbroker.model import Value

PAUSE = 15  # seconds between two looks of the watch, at most
HEARD = "heard"  # name of the file in the agent's folder that is touched when the broker was heard (sbroker.agent.relay)


class Keys(Value, frozen=True, kw_only=True):
    """An ed25519 key pair as OpenSSH writes it. The private one ends in a newline, the public one is "ssh-ed25519 AAAA…"."""

    private: str
    public: str


class Boot(Value, frozen=True, kw_only=True):
    """What one group of machines boots with."""

    host: Keys
    authorized: tuple[str, ...]  # public keys that may log in
    user: str = "ubuntu"  # who logs in; made if he is missing
    base: str = "/var/lib/sbroker"  # folder of the agents, see `agent.landing`; ~/ is the user's home
    store: str = "*"  # id of the store; "*": whichever broker was heard
    silence: int = 3600  # seconds without a word from the broker after which the machine ends, counted from its start
    lifetime: int = 7 * 86400  # seconds after which it ends in any case


def keys() -> Keys:
    """A new pair."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
    return Keys(private=private, public=key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode())


def known_hosts(public: str, *addresses: str, port: int = 22) -> str:
    """The line of a known_hosts file that says so of these addresses; without any, of all."""
    names = addresses or ("*",)
    return "%s %s\n" % (",".join(name if port == 22 else "[%s]:%d" % (name, port) for name in names), public.strip())


def render(boot: Boot) -> str:
    """The script. ValueError for what would break it."""
    if not boot.authorized:
        raise ValueError("nobody could log in to the machine: a public key is needed")
    for text in (boot.host.public, *boot.authorized):
        if "\n" in text.strip() or not text.strip():
            raise ValueError("%r is not one line with a public key" % text)
    if min(boot.silence, boot.lifetime) < 60:
        raise ValueError("a machine that ends within a minute of its start is of no use: silence %d, lifetime %d" % (boot.silence, boot.lifetime))
    base = boot.base
    if base.startswith("~/"):
        base = ("/root/" if boot.user == "root" else "/home/%s/" % boot.user) + base[2:]
    fields = {
        "minutes": str(-(-boot.lifetime // 60)),
        "heard": "%s/%s/*/%s" % (shlex.quote(base), "*" if boot.store == "*" else shlex.quote(boot.store), HEARD),
        "silence": str(boot.silence),
        "lifetime": str(boot.lifetime),
        "pause": str(max(1, min(PAUSE, boot.silence // 10))),
        "host_key": boot.host.private.strip(),
        "host_public": shlex.quote(boot.host.public.strip()),
        "user": shlex.quote(boot.user),
        "authorized": "\n".join(key.strip() for key in boot.authorized),
    }
    text = resources.files("sbroker.fleet").joinpath("boot.sh").read_text()
    for name, value in fields.items():
        text = text.replace("@%s@" % name, value)
    return text
