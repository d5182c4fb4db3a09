"""GNU getopt_long over the option table: abbreviations, optional arguments, where operands end the options, and glibc's words.

Pure; standard library, Python 3.6 (nodes parse srun's options with it).
"""

from collections import namedtuple

from slurm_compat import optable
from slurm_compat.optrow import NONE, OPTIONAL

STOP_AT_OPERAND = frozenset(("sbatch", "salloc", "srun"))  # the first operand ends their options; the others permute
_NO_HINT = frozenset(("sacct",))  # no 'Try "… --help"' after a bad option

Parsed = namedtuple("Parsed", "pairs rest")
"""pairs: [(canonical option name, value or None if no argument was given)] as they came; rest: the operands."""

Raw = namedtuple("Raw", "options sources rest pairs")
"""options: {canonical name: value, or True if given without argument}; sources: {name: "env" | "cli"}; "verbose" is a count."""


class BadOption(Exception):
    """argv cannot be parsed. `text`: what goes to standard error, whole lines; `code`: the exit code."""

    def __init__(self, command, sentence):
        hint = "" if command in _NO_HINT else 'Try "%s --help" for more information\n' % command
        self.text = "%s: %s\n%s" % (command, sentence, hint)
        self.sentence = sentence
        self.code = 255 if command in STOP_AT_OPERAND else 1
        super().__init__(self.text)


def parse_argv(command, argv, permute=None):
    """argv without argv[0] → Parsed. Raises BadOption. `permute` defaults to what the command does."""
    if permute is None:
        permute = command not in STOP_AT_OPERAND
    table = optable.options(command)
    letters = {row.short: row for row in table if row.short}
    pairs: list = []
    operands: list = []
    at, words = 0, list(argv)
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            operands += words[at:]
            break
        if word == "-" or not word.startswith("-"):
            if not permute:
                operands += words[at - 1 :]
                break
            operands.append(word)
        elif word.startswith("--"):
            at = _long(command, table, word, words, at, pairs)
        else:
            at = _short(command, letters, word, words, at, pairs)
    return Parsed(pairs, operands)


def _long(command, table, word, words, at, pairs):
    """One --word; returns where to go on."""
    typed, equals, value = word[2:].partition("=")
    row = _match(command, table, typed, word)
    if row.arg == NONE:
        if equals:
            raise BadOption(command, "option '--%s' doesn't allow an argument" % row.name)
        pairs.append((row.canonical, None))
    elif equals:
        pairs.append((row.canonical, value))
    elif row.arg == OPTIONAL:
        pairs.append((row.canonical, None))
    elif at < len(words):
        pairs.append((row.canonical, words[at]))
        return at + 1
    else:
        raise BadOption(command, "option '--%s' requires an argument" % row.name)
    return at


def _match(command, table, typed, word):
    """The row that `typed` names or abbreviates. Spellings of one option do not make it ambiguous."""
    found, others = None, []
    for row in table:
        if row.name == typed:
            return row
        if row.name.startswith(typed):
            if found is None:
                found = row
            elif (row.arg, row.canonical) != (found.arg, found.canonical):
                others.append(row)
    if found is None:
        raise BadOption(command, "unrecognized option '%s'" % word)
    if others:
        names = " ".join("'--%s'" % row.name for row in [found, *others])
        raise BadOption(command, "option '%s' is ambiguous; possibilities: %s" % (word, names))
    return found


def _short(command, letters, word, words, at, pairs):
    """One -word, several letters perhaps; returns where to go on."""
    for place, letter in enumerate(word[1:], 1):
        row = letters.get(letter)
        if row is None or letter == ":":
            raise BadOption(command, "invalid option -- '%s'" % letter)
        rest = word[place + 1 :]
        if row.arg == NONE or (row.arg == OPTIONAL and not rest):
            pairs.append((row.canonical, None))
        elif rest:
            pairs.append((row.canonical, rest))
            return at
        elif at < len(words):
            pairs.append((row.canonical, words[at]))
            return at + 1
        else:
            raise BadOption(command, "option requires an argument -- '%s'" % letter)
    return at


def from_env(command, env):
    """The options that input variables set: [(canonical name, value, variable)], in the order of the table.

    An empty value counts as an option without argument. A flag is off with "0" or "no", on with anything else.
    """
    found = []
    for name, row in optable.variables(command):
        value = env.get(name)
        if value is None or (name == "SLURM_STEP_GRES" and "SLURM_JOB_ID" not in env):
            continue
        if row.canonical == "verbose":
            if value.isdecimal() and int(value):
                found.append((row.canonical, value, name))
        elif row.arg == NONE:
            if value.lower() not in ("0", "no"):
                found.append((row.canonical, None, name))
        else:
            found.append((row.canonical, None if row.arg == OPTIONAL and not value else value, name))
    return found


def parse(command, argv, env=None):
    """argv (without argv[0]) and the environment → Raw. What argv says wins over variables. Raises BadOption."""
    options, sources = {}, {}
    for name, value, _variable in from_env(command, env or {}):
        options[name], sources[name] = True if value is None else value, "env"
    parsed = parse_argv(command, argv)
    for name, value in parsed.pairs:
        if name == "verbose":
            count = options.get(name) if sources.get(name) == "cli" else 0
            options[name] = (count or 0) + 1
        else:
            options[name] = True if value is None else value
        sources[name] = "cli"
    if sources.get("verbose") == "env":
        options["verbose"] = int(options["verbose"])
    return Raw(options, sources, parsed.rest, parsed.pairs)

