"""Options inside batch scripts: #SBATCH lines, and those of PBS and LSF.

The scan ends at the first line that is neither blank nor a comment. The words of all #SBATCH lines make one argument list, so
that a value may even stand on the next line; that is Slurm's way, and so is dropping an empty word ("").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from slurm_compat.grammar import Invalid

_BLANK = " \t\n\v\f\r"


@dataclass
class Words:
    """The words of each kind of directive, in order."""

    sbatch: list[str] = field(default_factory=list)
    pbs: list[str] = field(default_factory=list)
    bsub: list[str] = field(default_factory=list)


def scan(script: str, name: str) -> Words:
    """The directives of `script`; `name` is how messages call it. Raises Invalid for a quote that is not closed."""
    found = Words()
    kinds = (("#SBATCH", found.sbatch), ("#PBS", found.pbs), ("#BSUB", found.bsub))
    for number, line in enumerate(script.split("\n"), 1):
        if not line.strip(_BLANK):
            continue
        if not line.lstrip(_BLANK).startswith("#"):
            break
        for magic, words in kinds:
            if line.startswith(magic):
                words.extend(_words(line[len(magic) :], name, number))
    return found


def _words(text: str, name: str, number: int) -> list[str]:
    """Words of one line: blanks separate, quotes and backslash join, # ends it."""
    words, at = [], 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        if text[at] == "#":
            break
        start, word = at, ""
        while at < len(text) and text[at] not in _BLANK and text[at] != "#":
            char = text[at]
            if char in "\"'":
                end = text.find(char, at + 1)
                if end < 0:
                    raise Invalid("%s: line %d: Unmatched `%s` in [%s]" % (name, number, char, text), 1, "fatal")
                word += text[at + 1 : end]
                at = end + 1
            elif char == "\\":
                if at + 1 < len(text) and text[at + 1] not in _BLANK:
                    word += text[at + 1]
                at += 2
            else:
                word += char
                at += 1
        if word == ":":
            raise Invalid("%s: line %d: Unexpected `:` in [%s]" % (name, number, text[max(0, start - 1) :]), 1, "fatal")
        if word:
            words.append(word)
    return words


def _letters(words: list[str], spec: str, longs: dict[str, str]) -> list[tuple[str, str]]:
    """getopt with letters only (`spec` as in getopt(3)), and X-style long words of LSF with one dash. Raises Invalid."""
    pairs, at = [], 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in longs and at < len(words):
            pairs.append((longs[word], words[at]))
            at += 1
            continue
        if not word.startswith("-") or word == "-":
            raise Invalid("Invalid argument: %s" % word, 1)
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            where = spec.find(letter)
            if where < 0 or letter == ":":
                raise _bad_letter("invalid option -- '%s'" % letter)
            if spec[where + 1 : where + 2] != ":":
                pairs.append((letter, ""))
                continue
            if not letters and at >= len(words):
                raise _bad_letter("option requires an argument -- '%s'" % letter)
            if letters:
                value, letters = letters, ""
            else:
                value, at = words[at], at + 1
            pairs.append((letter, value))
    return pairs


def _bad_letter(sentence: str) -> Invalid:
    return Invalid("Unrecognized command line parameter ?", 1, before=(("info", sentence),))


_PBS_PLAIN = {"a": "begin", "A": "account", "e": "error", "J": "array", "M": "mail-user", "N": "job-name", "o": "output", "p": "nice",
              "q": "partition", "t": "array", "v": "export"}
_PBS_TIMES = ("walltime", "cput", "pcput")


def pbs_options(words: list[str]) -> list[tuple[str, str | None]]:
    """#PBS words → [(sbatch option, value)]. What Slurm passes by (-j, -k, -S, …) is passed by. Raises Invalid."""
    options: list[tuple[str, str | None]] = []
    for letter, value in _letters(words, "a:A:c:C:e:hIj:J:k:l:m:M:N:o:p:q:r:S:t:u:v:VW:z", {}):
        if letter in _PBS_PLAIN:
            options.append((_PBS_PLAIN[letter], value))
        elif letter == "h":
            options.append(("hold", None))
        elif letter == "m":
            types = [{"a": "FAIL", "b": "BEGIN", "e": "END", "n": "NONE"}[c] for c in value if c in "aben"]
            options.append(("mail-type", ",".join(types) or value))
        elif letter == "W":
            options += _pbs_attribute(value)
        elif letter == "l":
            options += _pbs_resources(value)
    return options


def _pbs_attribute(value: str) -> list[tuple[str, str | None]]:
    name, _, text = value.partition("=")
    return [("dependency", text)] if name == "depend" else [("umask", text)] if name == "umask" else []


def _pbs_resources(value: str) -> list[tuple[str, str | None]]:
    options: list[tuple[str, str | None]] = []
    for item in value.split(","):
        name, _, text = item.partition("=")
        if name == "nodes":
            options += _pbs_nodes(text)
        elif name == "select":
            count, *parts = text.split(":")
            options.append(("nodes", count))
            for part in parts:
                options += _pbs_resources(part)
        elif name in _PBS_TIMES:
            options.append(("time", text))
        elif name == "mem":
            options.append(("mem", text))
        elif name == "file":
            options.append(("tmp", text))
        elif name == "nice":
            options.append(("nice", text))
        elif name == "ncpus":
            options.append(("mincpus", text))
        elif name == "mpiprocs":
            options.append(("ntasks-per-node", text))
        elif name == "proc":
            options.append(("constraint", text))
        elif name == "naccesspolicy" and text in ("singlejob", "singletask"):
            options.append(("exclusive", None))
    return options


def _pbs_nodes(text: str) -> list[tuple[str, str | None]]:
    """nodes=N[:ppn=P][:gpus=G][+…] or names of nodes."""
    nodes, tasks, names, gpus = 0, 0, [], ""
    for group in text.split("+"):
        first, *parts = group.split(":")
        count = int(first) if first.isdecimal() else 1
        if first and not first.isdecimal():
            names.append(first)
        nodes += count
        for part in parts:
            key, _, value = part.partition("=")
            if key == "ppn" and value.isdecimal():
                tasks += count * int(value)
            elif key == "gpus":
                gpus = value
    options: list[tuple[str, str | None]] = []
    if names:
        options.append(("nodelist", ",".join(names)))
    elif nodes:
        options.append(("nodes", str(nodes)))
    if tasks:
        options.append(("ntasks", str(tasks)))
    if gpus:
        options.append(("gpus-per-node", gpus))
    return options


_BSUB_PLAIN = {"e": "error", "J": "job-name", "o": "output", "q": "partition", "W": "time", "c": "chdir"}


def bsub_options(words: list[str]) -> list[tuple[str, str | None]]:
    """#BSUB words → [(sbatch option, value)]. Raises Invalid."""
    options: list[tuple[str, str | None]] = []
    for letter, value in _letters(words, "c:e:J:m:M:n:o:q:W:x", {"-cwd": "c"}):
        if letter in _BSUB_PLAIN:
            options.append((_BSUB_PLAIN[letter], value))
        elif letter == "m":
            options.append(("nodelist", ",".join(value.split())))
        elif letter == "M":
            options.append(("mem-per-cpu", value + "K" if value.isdecimal() else value))
        elif letter == "n":
            options.append(("ntasks", value.split(",")[-1]))
        elif letter == "x":
            options.append(("exclusive", None))
    return options


def invalid_directive(word: str) -> Invalid:
    """A word on an #SBATCH line that is no option."""
    return Invalid("Invalid directive found in batch script: %s" % word, 1)


SBROKER_KEYS = ("stage", "data", "max_price", "max_cost")
_AMOUNTS = ("max_price", "max_cost")  # USD an hour, USD
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
SBROKER_LINE = re.compile(r"#SBROKER[ \t]+([A-Za-z_][A-Za-z0-9_-]*)=(.*)$")


def sbroker_lines(script: str) -> dict[str, str]:
    """`#SBROKER key=value` lines: what Slurm has no word for. To a real Slurm they are comments. Invalid for a key that nobody knows."""
    found = {}
    for line in script.split("\n"):
        if line.strip(_BLANK) and not line.lstrip(_BLANK).startswith("#"):
            break
        match = SBROKER_LINE.match(line.rstrip(_BLANK))
        if match:
            if match.group(1) not in SBROKER_KEYS:
                raise Invalid("Invalid #SBROKER line in batch script: there is no key %s; there are: %s" % (match.group(1), ", ".join(SBROKER_KEYS)), 1)
            found[match.group(1)] = match.group(2).strip()
            if not found[match.group(1)]:
                raise Invalid("Invalid #SBROKER line in batch script: %s= says nothing" % match.group(1), 1)
            if match.group(1) in _AMOUNTS and not _AMOUNT.fullmatch(found[match.group(1)]):
                raise Invalid("Invalid #SBROKER line in batch script: %s=%s is no amount of USD: write %s=12.50" % (match.group(1), found[match.group(1)], match.group(1)), 1)
    return found


