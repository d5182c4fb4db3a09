"""--constraint: which nodes have the features that a job asks for.

Grammar (man sbatch): names joined by "&" and "|", "(…)" to group, "[a|b]" one of them but the same for every node,
"name*N" at least N of the nodes. ``parse`` gives an `Expr`; ``alternatives`` turns it into what selection tries in turn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

import msgspec

_TOKEN = re.compile(r"\s*(?:([A-Za-z0-9_.:=%+/-]+)|([\[\]()&|*,]))")

_MOST_TOKENS = 256  # an expression is read and tried recursively: what a user writes must not exhaust the broker's stack …
_MOST_WAYS = 256  # … nor multiply: "[a|b]&[a|b]&…" has two to the power of its length

Test = Callable[[Collection[str]], bool]


class FeatureError(ValueError):
    """The expression is not one."""


class Expr(msgspec.Struct, frozen=True):
    """op: "name" (name), "&", "|" (parts), "[" (parts[0]; each branch of its "|" is for all nodes). count: of "*N"."""

    op: str
    name: str = ""
    parts: tuple[Expr, ...] = ()
    count: int | None = None


class Alternative(msgspec.Struct, frozen=True):
    """Every node passes `every`; and for each of `counts` at least so many nodes pass its expression."""

    every: Expr | None
    counts: tuple[tuple[Expr, int], ...] = ()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FeatureError(text)
        at = match.end()
        yield match.group(1) or match.group(2)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, list(_tokens(text)), 0
        if len(self.tokens) > _MOST_TOKENS:
            raise FeatureError(text)

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise FeatureError(self.text)
        self.at += 1
        return token

    def joined(self) -> Expr:
        """Slurm reads "&" and "|" from left to right, none before the other."""
        left = self.atom()
        while self.peek() in ("&", ",", "|"):
            op = "|" if self.take() == "|" else "&"
            right = self.atom()
            left = Expr(op, parts=(*left.parts, right)) if left.op == op else Expr(op, parts=(left, right))
        return left

    def atom(self) -> Expr:
        token = self.take()
        if token in ("(", "["):
            inner = self.joined()
            self.take(")" if token == "(" else "]")
            expr = Expr("[", parts=(inner,)) if token == "[" else Expr("()", parts=(inner,))
        elif token in (")", "]", "&", "|", "*", ","):
            raise FeatureError(self.text)
        else:
            expr = Expr("name", name=token)
        if self.peek() == "*":
            self.take()
            number = self.take()
            if not number.isdigit() or int(number) < 1:
                raise FeatureError(self.text)
            expr = msgspec.structs.replace(expr, count=int(number))
        return expr


@lru_cache(maxsize=4096)
def parse(text: str) -> Expr:
    """The expression of `text`; FeatureError if it is none."""
    parser = _Parser(text)
    expr = parser.joined()
    if parser.peek() or _ways(expr) > _MOST_WAYS:
        raise FeatureError(text)
    return expr


def _ways(expr: Expr) -> int:
    """How many alternatives `_split` would make."""
    if expr.count is None and expr.op == "[" and expr.parts[0].op == "|":
        return sum(_ways(part) for part in expr.parts[0].parts)
    if expr.count is None and expr.op in ("[", "()"):
        return _ways(expr.parts[0])
    if expr.count is None and expr.op == "&":
        return math.prod(_ways(part) for part in expr.parts)
    if expr.count is None and expr.op == "|" and any(part.count is not None for part in expr.parts):
        return sum(_ways(part) for part in expr.parts)
    return 1


def names(expr: Expr) -> set[str]:
    """All feature names in it."""
    return {expr.name} if expr.op == "name" else set().union(*(names(part) for part in expr.parts))


def holds(expr: Expr | None, features: Collection[str]) -> bool:
    """Whether a node with these features passes, counts aside."""
    if expr is None:
        return True
    if expr.op == "name":
        return expr.name in features
    if expr.op == "|":
        return any(holds(part, features) for part in expr.parts)
    return all(holds(part, features) for part in expr.parts)


def _split(expr: Expr) -> list[tuple[list[Expr], list[tuple[Expr, int]]]]:
    """Ways to meet `expr`: (what every node must pass, what so many must pass)."""
    if expr.count is not None:
        return [([], [(msgspec.structs.replace(expr, count=None), expr.count)])]
    if expr.op == "[" and expr.parts[0].op == "|":
        return [way for part in expr.parts[0].parts for way in _split(part)]
    if expr.op in ("[", "()"):
        return _split(expr.parts[0])
    if expr.op == "&":
        ways: list[tuple[list[Expr], list[tuple[Expr, int]]]] = [([], [])]
        for part in expr.parts:
            ways = [(a + c, b + d) for a, b in ways for c, d in _split(part)]
        return ways
    if expr.op == "|" and any(part.count is not None for part in expr.parts):
        return [way for part in expr.parts for way in _split(part)]
    return [([expr], [])]


@lru_cache(maxsize=4096)
def alternatives(text: str) -> tuple[Alternative, ...]:
    """What selection tries in turn for `text`."""
    found = []
    for every, counts in _split(parse(text)):
        joined = None if not every else every[0] if len(every) == 1 else Expr("&", parts=tuple(every))
        found.append(Alternative(joined, tuple(counts)))
    return tuple(found)
