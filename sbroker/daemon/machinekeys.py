"""Keys of the machines that are made on demand: one by which the broker logs in, and a host key for each group, known before its machines are.

They lie in STATE/fleet, are on disk before the order that carries them, and go with their group.
"""

from __future__ import annotations

import os
from typing import Any

from sbroker.fleet.boot import Boot, Keys, keys, known_hosts, render

_LOGIN = "login"


class MachineKeys:
    def __init__(self, state: str, store_id: str) -> None:
        self.folder, self.store_id = os.path.join(state, "fleet"), store_id
        self._tokens: set[str] | None = None  # of groups whose keys are here; None: not looked

    def boot(self, token: str, settings: Any) -> str:
        """The boot data of a group, the same each time."""
        return render(
            Boot(
                host=self._pair(token),
                authorized=(self._pair(_LOGIN).public,),
                user=settings.user,
                base=settings.directory,
                store=self.store_id,
                silence=int(settings.max_unattended),
                lifetime=int(settings.max_lifetime),
            )
        )

    def login(self, token: str) -> dict[str, Any]:
        """What the transport ssh needs to know of a group's machines (`Endpoint.data`)."""
        return {
            "store": self.store_id,
            "identity_file": self._path(_LOGIN),
            "known_hosts": self._path(token) + ".known",
            "config": os.devnull,  # nobody's own configuration speaks of these machines
            "boots": True,
        }

    def forget(self, gone: Any) -> None:
        """Remove the keys of groups of which `gone(token)` is true."""
        for token in [token for token in self._known() if gone(token)]:
            for suffix in (".known", ".pub", ""):
                try:
                    os.unlink(self._path(token) + suffix)
                except FileNotFoundError:
                    continue
            self._known().discard(token)

    def _known(self) -> set[str]:
        if self._tokens is None:
            names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
            self._tokens = {name.removesuffix(".pub") for name in names if name.endswith(".pub")} - {_LOGIN}
        return self._tokens

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _pair(self, name: str) -> Keys:
        """Made once; the private half is the last to be put in place."""
        path = self._path(name)
        try:
            with open(path) as private, open(path + ".pub") as public:
                return Keys(private=private.read(), public=public.read().strip())
        except FileNotFoundError:
            made = keys()
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        if name != _LOGIN:
            self._known().add(name)
            _put(path + ".known", known_hosts(made.public))
        _put(path + ".pub", made.public + "\n")
        _put(path, made.private)
        return made


def _put(path: str, text: str) -> None:
    """Whole and durable, or not at all."""
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
