"""Rules of the configuration, as jobs meet them: what of a job they are about, and where they leave it to run. What is bought is the plan's
to narrow (`sbroker.plan.rules`); here it is nodes that are there, whoever bought them."""

from __future__ import annotations

import fnmatch
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from sbroker.catalog.egress import Peering
from sbroker.core.draft import Draft
from sbroker.errors import Code, Refused
from sbroker.model import JobSpec, Node, Partition, Within
from sbroker.plan.data import DataError, parse_data
from sbroker.plan.rules import about, below, only_sites, outside
from sbroker.plan.values import Rule, Source
from sbroker.states import JobState


def rules(draft: Draft) -> tuple[Rule, ...]:
    return _read(draft, "rules", tuple[Rule, ...])


def peering(draft: Draft) -> tuple[Peering, ...]:
    return _read(draft, "peering", tuple[Peering, ...])


def _read(draft: Draft, key: str, kind: Any) -> Any:
    memo = draft.state.memo.configured
    if key not in memo:
        memo[key] = msgspec.convert(draft.state.settings.get(key) or (), kind)
    return memo[key]


def of(draft: Draft, partition: Partition) -> tuple[Rule, ...]:
    """All rules, and what the partition itself says of the market."""
    if partition.spot == "allow":
        return rules(draft)
    return (*rules(draft), Rule(partitions=(partition.name,), spot=partition.spot == "only"))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[Source, ...]:
    return parse_data(text)


def sources(spec: JobSpec) -> tuple[Source, ...]:
    """What the job says with `#SBROKER data=` that it reads. Refused if that cannot be read."""
    try:
        return _parsed(spec.sbroker["data"]) if "data" in spec.sbroker else ()
    except DataError as error:
        raise Refused(Code.POLICY, "#SBROKER data=: %s" % error) from None


def admitted(draft: Draft, spec: JobSpec, account: str | None) -> JobSpec:
    """The specification with what rules are about in it, and what they leave."""
    data = [source.name for source in sources(spec)]
    words = dict.fromkeys(
        pattern
        for rule in rules(draft)
        for pattern, names in ((rule.data, data), (rule.path, [*data, spec.work_dir]))
        if pattern is not None and any(below(name, pattern) for name in names)
    )
    left = []
    for rule in about(rules(draft), paths=words, data=words, account=account or "", partition=None):
        places = tuple(patterns for patterns in (rule.regions, rule.countries) if patterns)
        if rule.sites or places:
            ends = [outside(rule, patterns) for patterns in places] if places else []
            why = "; ".join(([only_sites(rule)] if rule.sites else []) + ends)
            left.append(Within(partitions=rule.partitions, sites=rule.sites, places=places, why=why))
    if tuple(words) == spec.bound and tuple(left) == spec.within:
        return spec
    return replace(spec, bound=tuple(words), within=tuple(left))


def lets(spec: JobSpec, partition: str, node: Node) -> str:
    """Why rules do not let the job run on this node, "" if they do."""
    for each in spec.within:
        if each.partitions and partition not in each.partitions:
            continue
        if each.sites and node.site not in each.sites:
            return each.why
        for patterns in each.places:
            if not any(fnmatch.fnmatchcase(word, pattern) for word in node.features for pattern in patterns):
                return each.why
    return ""


def again(draft: Draft) -> None:
    """Jobs that wait are held to the rules as they are now."""
    for job in list(draft.state.jobs.values()):
        if job.state is JobState.PENDING:
            spec = admitted(draft, job.spec, job.account)
            if spec is not job.spec:
                draft.change(job, spec=spec)
