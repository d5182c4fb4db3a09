"""Words of a line typed at scontrol's prompt: blanks separate them, quotes keep blanks and stay, as scontrol leaves them."""

from __future__ import annotations


class BadQuotes(ValueError):
    """A quote without its partner."""


def split(line: str) -> list[str]:
    words: list[str] = []
    word, quote = "", ""
    for c in line:
        if quote:
            word += c
            if c == quote:
                quote = ""
        elif c.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            word += c
            if c in "'\"":
                quote = c
    if quote:
        raise BadQuotes(line)
    return [*words, word] if word else words


def unquoted(value: str) -> str:
    """A value without the quotes around it."""
    if len(value) >= 2 and value[0] in "'\"" and value[-1] == value[0]:
        return value[1:-1]
    return value
