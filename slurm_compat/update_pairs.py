"""KEY=VALUE pairs of scontrol, and the entity that they are about."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """KEY=VALUE as typed. `sign` "+" or "-" for KEY+=VALUE; `value` None where there is no "="."""

    word: str
    key: str
    value: str | None
    sign: str = ""

    def names(self, name: str, least: int) -> bool:
        """Whether the key is `name`, or an abbreviation of at least so many letters."""
        return len(self.key) >= least and name.startswith(self.key)


class BadUpdate(Exception):
    """The request is refused before anything was asked of the broker. `text`: whole lines without the last newline; `code`: exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class NotSupported(BadUpdate):
    def __init__(self, word: str) -> None:
        super().__init__(f"Update of this parameter is not supported: {word}\nRequest aborted")


def pairs(words: list[str]) -> list[Pair]:
    """Words → pairs. Keys in lower case. An entity without "=" takes the next word as its value ("update job 12 …")."""
    out: list[Pair] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        key, equals, value = word.partition("=")
        sign = key[-1:] if equals and key[-1:] in ("+", "-") else ""
        pair = Pair(word, (key[:-1] if sign else key).lower(), value if equals else None, sign)
        if not equals and kind_of(pair) is not None and at < len(words) and "=" not in words[at]:
            pair = pair._replace(value=words[at])
            at += 1
        out.append(pair)
    return out


# entity, name and least letters; the first that any word names is what the update is about
KINDS = (
    ("job", "jobid", 3),
    ("job", "jobname", 4),
    ("node", "nodename", 3),
    ("partition", "partitionname", 3),
    ("reservation", "reservationname", 3),
    ("step", "stepid", 4),
    ("debug", "slurmctlddebug", 2),
    ("frontend", "frontendname", 2),
)


def kind_of(pair: Pair) -> str | None:
    for kind, name, least in KINDS:
        if pair.names(name, least):
            return kind
    return None
