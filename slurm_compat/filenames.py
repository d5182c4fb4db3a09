"""Slurm's file name patterns: %j, %A_%a, %4t and the rest. Pure; standard library, Python 3.6.

A backslash anywhere in a pattern switches replacement off for all of it, and the backslashes go.
"""

_MAX_PAD = 10
# letter → field of `fields`; these take a width, filled with zeros
_NUMBERS = {"A": "array_id", "a": "array_task", "b": "array_mod", "j": "job", "J": "job_step", "n": "node_index", "s": "step", "t": "rank"}
_WORDS = {"N": "node", "u": "user", "x": "name"}
PER_NODE, PER_TASK = "Nn", "t"


def _padded(text, width):
    """Zero padding of the leading number of `text` ("7.0" padded to 3 is "007.0")."""
    number, sep, rest = text.partition(".")
    return number.rjust(width, "0") + sep + rest


def _items():
    import re  # not at the start of a node's agent (tests/rules)

    return re.compile(r"%(\d*)(.)", re.S)


def filename(pattern, fields):
    """`pattern` with its items replaced.

    fields: job, name, user, node (short name), and where they mean something: array_id, array_task, step (number, or "batch"),
    rank, node_index. For a job that is no array %A is the job id and %a is 4294967294; without a step %s is "batch", %J the job id.
    %b (the array task modulo ten) came after 22.05: it is replaced only where `imitate` names a later release.
    """
    if "\\" in pattern:
        return pattern.replace("\\", "")
    if "%" not in pattern:
        return pattern
    job = fields.get("job", 0)
    step = fields.get("step")
    task = fields.get("array_task")
    values = {
        "job": job,
        "array_id": fields.get("array_id") or job,
        "array_task": 4294967294 if task is None else task,
        "array_mod": 4294967294 % 10 if task is None else task % 10,
        "job_step": job if step is None or step == "batch" else "%s.%s" % (job, step),
        "step": "batch" if step is None else step,
        "rank": fields.get("rank", 0),
        "node_index": fields.get("node_index", 0),
    }

    def item(found):
        width, letter = found.group(1), found.group(2)
        if letter == "%":
            return "%"
        if letter in _WORDS:
            return str(fields.get(_WORDS[letter], ""))
        if letter == "b" and fields.get("imitate", "22.05") == "22.05":
            return found.group(0)
        if letter in _NUMBERS:
            text = str(values[_NUMBERS[letter]])
            return _padded(text, min(int(width), _MAX_PAD)) if width and text[:1].isdigit() else text
        return found.group(0)

    return _items().sub(item, pattern)


def items(pattern):
    """The set of letters that `pattern` replaces: which of them decide whether a step writes one file, one a node or one a task."""
    if "\\" in pattern:
        return set()
    return {letter for _, letter in (_items().findall(pattern) if "%" in pattern else ()) if letter in _WORDS or letter in _NUMBERS}
