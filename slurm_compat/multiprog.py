"""srun --multi-prog: the configuration file that says which program each rank runs. Pure; standard library, Python 3.6.

A line is "RANKS PROGRAM ARGUMENTS": ranks as 0,2-4 or * for the rest, %t the rank and %o its offset within the line's ranks. A backslash at
the end of a line continues it; # begins a comment line.
"""


class MultiProgError(ValueError):
    """The file is wrong; `lines` are srun's sentences without their "srun: error: "."""

    def __init__(self, *lines):
        ValueError.__init__(self, lines[-1])
        self.lines = lines


def _records(text):
    """(line number, ranks word, rest) of each record; numbers count lines as srun does, the last of a continued one."""
    kept, pending = [], ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        line, pending = pending + line, ""
        word = line.strip()
        if word and not word.startswith("#"):
            ranks, _, rest = word.replace("\t", " ").partition(" ")
            kept.append((number, ranks, rest.strip()))
    return kept


def _ranks(word, ntasks, number, name):
    """The ranks of one record (None for *)."""
    if word == "*":
        return None
    bad = "Line %d of configuration file %s invalid" % (number, name)
    found: list = []
    for part in word.split(","):
        low, dash, high = part.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise MultiProgError("Invalid task range specification (%s)" % part, bad)
        for rank in (int(low), int(high or low)):
            if rank >= ntasks:
                raise MultiProgError("Invalid task id, %d >= ntasks" % rank, bad)
        found.extend(range(int(low), int(high or low) + 1))
    return found


def _words(text, rank, offset):
    """Arguments: split at blanks; single quotes group and go, double quotes are letters like others; %t and %o are replaced, any other
    letter after % goes with it. So it is in 22.05."""
    words, word, quote, started, at = [], [], "", False, 0
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == "\\" and at < len(text) and not quote:
            word.append(text[at])
            started = True
            at += 1
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word.append(letter)
        elif letter == "'":
            quote, started = letter, True
        elif letter == "%" and at < len(text):
            word.append({"t": str(rank), "o": str(offset)}.get(text[at], ""))
            started = True
            at += 1
        elif letter == " ":
            if started:
                words.append("".join(word))
                word, started = [], False
        else:
            word.append(letter)
            started = True
    if started:
        words.append("".join(word))
    return words


def parse(text, ntasks, name, extra=()):
    """The argument list of each rank (list of lists of str), `extra` appended to each; `name` is the file as typed. MultiProgError."""
    programs, rest = {}, None
    for number, ranks, command in _records(text):
        mine = _ranks(ranks, ntasks, number, name)
        if not command:
            raise MultiProgError("Line %d of configuration file %s invalid" % (number, name))
        if mine is None:
            rest = rest or command
            continue
        for offset, rank in enumerate(mine):
            if rank in programs:
                raise MultiProgError("Duplicate record for task %d" % rank, "Line %d of configuration file %s invalid" % (number, name))
            programs[rank] = (command, offset)
    offset, out = 0, []
    for rank in range(ntasks):
        if rank not in programs:
            if rest is None:
                raise MultiProgError("Configuration file %s invalid, no record for task id %d" % (name, rank))
            programs[rank] = (rest, offset)
            offset += 1
        command, place = programs[rank]
        out.append(_words(command, rank, place) + list(extra))
    return out
