"""What `scontrol show` looks at: one moment of the broker, the caller's way of printing, and how a record is laid out."""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sbroker.api import View
from slurm_compat.grammar import when
from slurm_compat.jobnumbers import World
from slurm_compat.timefmt import Times


class Scene:
    """One call's view. `now`: seconds since the epoch; `config`: sbroker.config.Config; `version`: the release that is imitated."""

    __slots__ = ("config", "detail", "env", "now", "oneliner", "times", "version", "view", "world")

    def __init__(
        self, view: View, config: Any, env: dict[str, str], now: float, *, version: str, detail: bool = False, oneliner: bool = False
    ) -> None:
        self.view, self.config, self.env, self.now, self.version = view, config, env, now, version
        self.detail, self.oneliner = detail, oneliner
        self.times = Times(env, now)
        self.world = World(view.partitions, view.nodes)

    def record(self, lines: Iterable[str], tail: str = "\n\n", one_tail: str = "\n") -> str:
        """Lines of one record: indented below the first, or all on one line."""
        if self.oneliner:
            return " ".join(lines) + one_tail
        return "\n   ".join(lines) + tail

    def user_name(self, uid: int) -> str:
        """The login name, or the number where there is none."""
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def passwd(self, uid: int) -> str:
        """The user's line as /etc/passwd has it, "" where there is none."""
        try:
            one = pwd.getpwuid(uid)
        except KeyError:
            return ""
        return f"{one.pw_name}:x:{one.pw_uid}:{one.pw_gid}:{one.pw_gecos}:{one.pw_dir}:{one.pw_shell}"

    def user_id(self, name: str) -> tuple[int] | None:
        """(uid,) of a login name or number, None if there is none."""
        if name.isdigit():
            return (int(name),)
        try:
            return (pwd.getpwnam(name).pw_uid,)
        except KeyError:
            return None


def clock(env: Mapping[str, str]) -> tuple[Callable[[float], time.struct_time], Callable[[tuple[int, ...]], float]]:
    """The caller's (localtime, mktime), by TZ; mktime takes fields beyond their range, as C's does."""
    name = env.get("TZ")
    if not name:
        return time.localtime, time.mktime  # type: ignore[return-value]
    try:
        zone = ZoneInfo(name.lstrip(":"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return time.gmtime, when.utc

    def mktime(parts: tuple[int, ...]) -> float:
        flat = time.gmtime(when.utc(parts))  # the fields normalised
        return datetime(*flat[:6], tzinfo=zone).timestamp()

    return lambda second: datetime.fromtimestamp(second, zone).timetuple(), mktime
