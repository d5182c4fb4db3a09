"""Who may be put on machines that may be taken away at any moment: batch jobs that asked for it, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbroker.core import features
from sbroker.model import JobSpec

SPOT, ONDEMAND = "spot", "ondemand"  # as features, in --constraint
WORDS = ("allow", "only", "never")  # of a site's `spot`


def asked(spec: JobSpec) -> bool:
    """Whether the job asked for what spot machines need: to be run again. Only batch jobs can, by --requeue or a constraint that names the
    market; the cluster's default of requeueing is no such wish."""
    return spec.kind == "batch" and spec.requeue is not False and (bool(spec.requeue) or SPOT in _words(spec)) and not _excluded(spec)


def may_use_spot(spec: JobSpec, settings: Mapping[str, Any], requeues: int = 0) -> bool:
    """Whether a spot machine will do for the job's next run. `requeues`: how often the broker has requeued it already."""
    return asked(spec) and requeues < int(settings.get("max_requeue", 0))


def market(spec: JobSpec, settings: Mapping[str, Any], requeues: int = 0) -> bool | None:
    """What the plan is asked for: True only spot machines, False none, None either. One that names the market keeps to it: when it was
    requeued too often it is held, as any job is."""
    if SPOT in _words(spec) and not _excluded(spec):
        return True if asked(spec) else False
    return None if may_use_spot(spec, settings, requeues) else False


def _words(spec: JobSpec) -> frozenset[str]:
    return frozenset(features.names(features.parse(spec.constraint))) if spec.constraint else frozenset()


def _excluded(spec: JobSpec) -> bool:
    return ONDEMAND in _words(spec) and SPOT not in _words(spec)


def forbidden(site: str, word: str | None) -> dict[tuple[str, str, str, bool], str]:
    """What a site's `spot` (allow, only, never; None: allow) leaves out, as places to avoid (`Question.avoid`)."""
    if word == "never":
        return {(site, "", "", True): "the configuration does not let its spot market be used (spot: never)"}
    if word == "only":
        return {(site, "", "", False): "the configuration lets only its spot market be used (spot: only)"}
    return {}
