"""Host names in short: ``gpu[01-03,07]`` ↔ the names one by one. For what administrators write; sbroker's own names need no more."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

MAX_HOSTS = 65536
_NAME = re.compile(r"[A-Za-z0-9_.:-]*")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})$")


def expand(pattern: str) -> list[str]:
    """``node[1-3],login`` → ["node1", "node2", "node3", "login"], in the order written. Several brackets multiply, the last one fastest.

    ValueError with a sentence for an empty or malformed pattern, a name twice, or more than 65,536 hosts.
    """
    hosts: list[str] = []
    for item in _split(pattern):
        parts = [list(_part(text)) for text in re.split(r"(\[[^\[\]]*\])", item) if text]
        total = 1
        for numbers in parts:
            total *= len(numbers)
        if len(hosts) + total > MAX_HOSTS:
            raise ValueError("%r names more than %d hosts" % (pattern, MAX_HOSTS))
        hosts += ["".join(combination) for combination in itertools.product(*parts)]
    seen: set[str] = set()
    for host in hosts:
        if host in seen:
            raise ValueError("%r names %s twice" % (pattern, host))
        seen.add(host)
    return hosts


def _split(pattern: str) -> list[str]:
    """Items between the commas outside brackets."""
    items = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", pattern)
    if not items or ",".join(items) != pattern:
        raise ValueError("%r is not a list of hosts such as node1 or node[1-8,11]" % pattern)
    return items


def _part(text: str) -> Iterable[str]:
    if not text.startswith("["):
        if not _NAME.fullmatch(text):
            raise ValueError("%r has characters that no host name has" % text)
        return [text]
    numbers: list[str] = []
    for item in text[1:-1].split(","):
        match = _RANGE.fullmatch(item)
        if not match:
            raise ValueError("%r is not a range such as [1-8] or [01-08,11]" % text)
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first) or int(last) - int(first) >= MAX_HOSTS:
            raise ValueError("%r is not a range from a smaller to a larger number" % text)
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def fold(hosts: Iterable[str]) -> str:
    """The inverse of `expand`, for messages: neighbours that differ in their last number only share brackets."""
    items: list[str] = []
    for (prefix, numbered), group in itertools.groupby(hosts, key=_family):
        members = list(group)
        if len(members) == 1 or not numbered:
            items += members
            continue
        ranges: list[list[str]] = []
        for number in (host[len(prefix) :] for host in members):
            if ranges and number == str(int(ranges[-1][1]) + 1).zfill(len(ranges[-1][0])):
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        items.append("%s[%s]" % (prefix, ",".join(first if first == last else "%s-%s" % (first, last) for first, last in ranges)))
    return ",".join(items)


def _family(host: str) -> tuple[str, bool]:
    """Prefix before the last number, and whether there is one."""
    match = _NUMBERED.fullmatch(host)
    return (match[1], True) if match else (host, False)
