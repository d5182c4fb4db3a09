"""The kinds of providers: those that lie in this folder, and those that other packages offer as entry points."""

from __future__ import annotations

import importlib.util
import pkgutil

from sbroker.providers.base import Context, Provider, SiteSettings

_NOT_KINDS = frozenset({"base", "hardware", "worker"})
_ENTRY_POINTS = "sbroker.providers"


def kinds() -> list[str]:
    """Names for `provider:` in a site, sorted. `gcp_tpu.py` is the kind gcp-tpu."""
    from importlib import metadata  # slow to import, and rarely wanted

    here = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_KINDS}
    return sorted(here | {point.name for point in metadata.entry_points(group=_ENTRY_POINTS)})


def find(kind: str) -> type[Provider] | None:
    """The class of a kind, None if there is no such kind."""
    module = kind.replace("-", "_")
    if module.isidentifier() and module not in _NOT_KINDS and importlib.util.find_spec("%s.%s" % (__name__, module)) is not None:
        return importlib.import_module("%s.%s" % (__name__, module)).Provider
    from importlib import metadata

    for point in metadata.entry_points(group=_ENTRY_POINTS, name=kind):
        return point.load()
    return None


def make(settings: SiteSettings, context: Context) -> Provider:
    """The provider of one site. KeyError for a kind that is not there (the configuration refuses it before)."""
    found = find(settings.provider)
    if found is None:
        raise KeyError(settings.provider)
    return found(settings, context)
