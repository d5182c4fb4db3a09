"""Load all of the installation at once, before a shared broker gives up root.

For two reasons: the account `sbroker` may not be able to read it (an interpreter below /root, say), and a broker that lives for months
must not take half of its modules from the release that replaced it on disk.
"""

from __future__ import annotations

import codecs
import importlib
import logging
import pkgutil
import sys
import tempfile
from types import ModuleType
from typing import Any

log = logging.getLogger("sbroker.preload")

LEFT_OUT = ("__main__", "migrations", "cli")  # programs of their own


def preload(front_end: Any) -> None:
    """Import every module of this package and of the front end's, and what SQLite needs when it is first opened."""
    for name in ("sbroker", type(front_end).__module__.partition(".")[0]):
        _all_of(sys.modules[name])
    import asyncio.unix_events  # noqa: F401
    import concurrent.futures.thread  # noqa: F401

    for encoding in ("idna", "punycode", "unicode_escape", "latin-1", "utf-8-sig"):
        codecs.lookup(encoding)
    from sbroker.clock import SystemClock
    from sbroker.store.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder + "/preload.db", SystemClock())
        store.load()
        store.close()


def _all_of(package: ModuleType) -> None:
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if any(part in LEFT_OUT for part in info.name.split(".")):
            continue
        try:
            importlib.import_module(info.name)
        except ImportError as error:
            # A kind whose library is not installed: whoever configures it is told then.
            log.debug("not loaded: %s: %s", info.name, error)
