"""Rules of a site's administrators. They only narrow: what is left is what every rule that is about a job leaves."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from sbroker.plan.values import Rule


def about(rules: Iterable[Rule], *, paths: Iterable[str] = (), data: Iterable[str] = (), partition: str | None = "", account: str = "") -> tuple[Rule, ...]:
    """The rules that are about a job with these paths and data; partition None: whatever its partition. A path is meant with all that lies
    below it."""
    paths, data = tuple(paths), tuple(data)
    found = []
    for rule in rules:
        if rule.partitions and partition is not None and partition not in rule.partitions or rule.accounts and account not in rule.accounts:
            continue
        read = rule.data is not None and any(below(each, rule.data) for each in data)
        bound = rule.path is not None and any(below(each, rule.path) for each in (*paths, *data))
        if read or bound or (rule.data is None and rule.path is None):
            found.append(rule)
    return tuple(found)


def below(name: str, pattern: str) -> bool:
    """Whether a path or URL is, or lies below, what the pattern names."""
    pattern = pattern.rstrip("/") or "/"
    return name == pattern or fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern.rstrip("/") + "/*")


def subject(rule: Rule) -> str:
    """What the rule is about, for a sentence."""
    said = [text for text in (rule.data, rule.path) if text]
    if said:
        return "the rule on %s" % " and ".join(said)
    if rule.partitions or rule.accounts:
        return "the rule on %s" % ", ".join(["partition " + name for name in rule.partitions] + ["account " + name for name in rule.accounts])
    return "a rule for all jobs"


def only_sites(rule: Rule) -> str:
    return "%s leaves only the sites %s" % (subject(rule), ", ".join(rule.sites))


def outside(rule: Rule, patterns: tuple[str, ...]) -> str:
    return "%s leaves only what is known to lie in %s" % (subject(rule), ", ".join(patterns))
