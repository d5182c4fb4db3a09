"""Slurm's host lists: ``node[1-3,07],gpu[01-02]`` to names and back.

Standard library, Python 3.6: nodes use it too. Order and duplicates are kept as given; nothing is sorted unless asked.
"""

MAX_HOSTS = 65536  # in one range, as Slurm allows; and MAX_TOTAL in one expression, so that a typo cannot eat the memory
MAX_TOTAL = 1 << 20
_DIGITS = "0123456789"


class HostlistError(ValueError):
    """`text` is no host list. `detail` is what Slurm says of the range at fault ("Invalid range: `3-1'"), or ""."""

    def __init__(self, text, detail=""):
        ValueError.__init__(self, "Invalid hostlist: %s" % text)
        self.text, self.detail = text, detail


def expand(text):
    """Host names (list of str) of a host list. Raises HostlistError.

    An unclosed bracket gives one name that no node can have ("a[1-" → "a]"), as Slurm does, so that the caller's own
    check of names refuses it.
    """
    out = []  # type: list
    for item in _split(text):
        if "[" in item:
            out.extend(_expand_item(item, text, MAX_TOTAL - len(out)))
        else:
            out.append(item)
    return out


def compress(names):
    """Host list of names in the given order: neighbours that count up are joined ("node3,node1,node2" → "node[3,1-2]")."""
    groups = []  # type: list  # of (prefix, [[low digits, high digits], …]), or (name, None) for a name without a number
    prefix = None
    ranges = []  # type: list
    for name in names:
        base = name.rstrip(_DIGITS)
        digits = name[len(base) :]
        if not digits:
            groups.append((name, None))
            prefix = None
            continue
        if base == prefix:
            last = ranges[-1]
            if digits == _next(last[1]):
                last[1] = digits
            else:
                ranges.append([digits, digits])
        else:
            prefix, ranges = base, [[digits, digits]]
            groups.append((prefix, ranges))
    return ",".join(_group(base, found) for base, found in groups)


def sort_key(name):
    """Slurm's order of host names: by prefix, then by width of the number, then by the number."""
    base = name.rstrip(_DIGITS)
    digits = name[len(base) :]
    return (base, len(digits), int(digits) if digits else 0)


def compress_sorted(names):
    """Host list of names in Slurm's order of host names."""
    return compress(sorted(names, key=sort_key))


def _group(prefix, ranges):
    if ranges is None:
        return prefix
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return prefix + ranges[0][0]
    return "%s[%s]" % (prefix, ",".join(low if low == high else low + "-" + high for low, high in ranges))


def _next(digits):
    """The number after `digits`, as wide as it; wider where it must be (99 → 100)."""
    return "%0*d" % (len(digits), int(digits) + 1)


def _split(text):
    """The items of a host list: split at commas and blanks outside of brackets; empty ones dropped."""
    items, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c == "[":
            depth += 1
        elif c == "]":
            depth = max(0, depth - 1)
        elif depth == 0 and (c == "," or c.isspace()):
            items.append(text[start:i])
            start = i + 1
    items.append(text[start:])
    return [item for item in items if item]


def _expand_item(item, text, room):
    names = [""]
    while item:
        head, bracket, item = item.partition("[")
        if not bracket:
            raise HostlistError(text)  # letters after the last bracket
        body, close, item = item.partition("]")
        if not close:
            return [name + head + "]" for name in names]
        numbers = [n for part in body.split(",") for n in _range(part, text)]
        if len(names) * len(numbers) > room:
            raise HostlistError(text, "Too many hosts in range `%s'" % body)
        names = [name + head + number for name in names for number in numbers]
    return names


def _range(part, text):
    """Numbers of "7", "01-12" or "3-" as text of the width of the low end."""
    low, _, high = part.partition("-")
    high = high or low
    if not low or not high or (low + high).strip(_DIGITS):
        raise HostlistError(text, "Invalid range: `%s'" % part)
    first, last, width = int(low), int(high), len(low)
    if last < first:
        raise HostlistError(text, "Invalid range: `%s'" % part)
    if last - first >= MAX_HOSTS:
        raise HostlistError(text, "Too many hosts in range `%s'" % part)
    return ["%0*d" % (width, n) for n in range(first, last + 1)]
