"""Kinds of sites and keys that the configuration's contract has and this release does not: their shape is checked all the same."""

from __future__ import annotations

from typing import Any, Literal

from sbroker.config.units import Size
from sbroker.providers.base import ElsewhereSettings, SiteSettings


class Elastic(ElsewhereSettings, frozen=True, kw_only=True):
    max_nodes: int | None = None
    shapes: tuple[str, ...] = ()
    spot: Literal["allow", "only", "never"] | None = None
    disk: Size | None = None
    credentials: dict[str, Any] = {}


class Slurm(ElsewhereSettings, frozen=True, kw_only=True):
    mode: Literal["native", "pilot"] = "native"
    bin: str | None = None
    login: str | None = None
    partition: str | None = None
    max_nodes: int | None = None


class Kubernetes(Elastic, frozen=True, kw_only=True):
    context: str | None = None
    namespace: str | None = None


class GcpTpu(Elastic, frozen=True, kw_only=True):
    project: str
    zones: tuple[str, ...]
    endpoint: str | None = None


KINDS: dict[str, type[SiteSettings]] = {"slurm": Slurm, "kubernetes": Kubernetes, "gcp-tpu": GcpTpu}

