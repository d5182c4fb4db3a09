"""Who may be put on machines that may be taken away at any moment: batch jobs that asked for it, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbroker import features
from sbroker.model import JobSpec

SPOT, ONDEMAND = "spot", "ondemand"  # as features, in --constraint
WORDS = ("allow", "only", "never")  # of a site's `spot`


def asked(spec: JobSpec) -> bool:
    """Whether the job asked for what spot machines need: to be run again. Only batch jobs can, by --requeue or by a constraint that names the
    market; that the cluster requeues jobs by default is no such wish."""
    words = _words(spec)
    return spec.kind == "batch" and (SPOT in words or (bool(spec.requeue) and ONDEMAND not in words))


def may_use_spot(spec: JobSpec, settings: Mapping[str, Any], requeues: int = 0) -> bool:
    """Whether a spot machine will do for the job's next run. `requeues`: how often the broker has requeued it already."""
    return asked(spec) and requeues < int(settings["max_requeue"])


def market(spec: JobSpec, settings: Mapping[str, Any], requeues: int = 0) -> bool | None:
    """What the plan is asked for: True only spot machines, False none, None either. Whose machine was taken away too often gets one on
    demand; who will have nothing but the spot market keeps to it, and is held when even that run is lost."""
    words = _words(spec)
    if SPOT in words and ONDEMAND not in words:
        return spec.kind == "batch"
    return None if may_use_spot(spec, settings, requeues) else False


def _words(spec: JobSpec) -> frozenset[str]:
    return frozenset(features.names(features.parse(spec.constraint))) if spec.constraint else frozenset()


def forbidden(site: str, word: str | None) -> dict[tuple[str, str, str, bool], str]:
    """What a site's `spot` (allow, only, never; None: allow) leaves out, as places to avoid (`Question.avoid`)."""
    if word == "never":
        return {(site, "", "", True): "the configuration does not let its spot market be used (spot: never)"}
    if word == "only":
        return {(site, "", "", False): "the configuration lets only its spot market be used (spot: only)"}
    return {}
