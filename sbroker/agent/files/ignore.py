"""Patterns: .gitignore as git reads it, .sbrokerignore in the same words, and what `#SBROKER stage=` says. What they mean: filter.py."""

import re


class Rules:
    """The patterns of one ignore file; paths are relative to the folder that it lies in. The last pattern that matches decides."""

    def __init__(self, lines):
        self._names, self._ends, others = {}, {}, []
        for number, line in enumerate(lines):
            pattern = Pattern.of(line)
            if pattern is None:
                continue
            # most are a plain name or *.ext: found by a look into a dictionary, not by trying each of them
            if pattern.literal is not None:
                self._names.setdefault(pattern.literal, []).append((number, pattern))
            elif pattern.extension is not None:
                self._ends.setdefault(pattern.extension, []).append((number, pattern))
            else:
                others.append((number, pattern))
        self._others = others
        self.empty = not (self._names or self._ends or others)

    def match(self, path, is_folder):
        """True: to be ignored, False: named by a `!` pattern, None: not named."""
        name = path.rpartition(b"/")[2]
        best, decision = -1, None
        candidates = self._names.get(name, ())
        dot = name.rfind(b".")
        ends = self._ends.get(name[dot:], ()) if dot >= 0 else ()
        for number, pattern in candidates:
            if number > best and (is_folder or not pattern.folders_only):
                best, decision = number, not pattern.negated
        for number, pattern in ends:
            if number > best and (is_folder or not pattern.folders_only):
                best, decision = number, not pattern.negated
        for number, pattern in reversed(self._others):
            if number < best:
                break
            if (is_folder or not pattern.folders_only) and pattern.matches(path, name):
                return not pattern.negated
        return decision


def lines(content):
    """The lines of an ignore file (bytes), as git separates them."""
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
    return [line[:-1] if line.endswith(b"\r") else line for line in content.split(b"\n")]


class Pattern:
    """One line. `literal`, `extension`: set when the pattern is no more than a name, or `*` and that."""

    def __init__(self, regex, negated, folders_only, by_name, literal=None, extension=None):
        self._match, self.negated, self.folders_only, self._by_name = regex, negated, folders_only, by_name
        self.literal, self.extension = literal, extension

    def matches(self, path, name):
        return self._match(name if self._by_name else path) is not None

    @classmethod
    def of(cls, line):
        """The Pattern of a line, or None for one that can match nothing."""
        if line.startswith(b"#"):
            return None
        line = _without_trailing_spaces(line)
        negated = line.startswith(b"!")
        if negated:
            line = line[1:]
        folders_only = line.endswith(b"/")
        if folders_only:
            line = line[:-1]
        if not line:
            return None
        by_name = b"/" not in line
        if line.startswith(b"/"):
            line = line[1:]
        wild = re.search(rb"[*?\[\\]", line) is not None
        if by_name and not wild:
            return cls(None, negated, folders_only, True, literal=line)
        if by_name and re.match(rb"\*\.[^*?\[\\.]+$", line) is not None:
            return cls(None, negated, folders_only, True, extension=line[1:])
        expression = _expression(line, not by_name)
        if expression is None:
            return None
        return cls(re.compile(expression, re.S).match, negated, folders_only, by_name)


def _without_trailing_spaces(line):
    last, at = None, 0
    while at < len(line):
        char = line[at : at + 1]
        if char == b" ":
            if last is None:
                last = at
        else:
            if char == b"\\":
                at += 1
                if at >= len(line):
                    return line
            last = None
        at += 1
    return line if last is None else line[:last]


def _expression(pattern, slashes):
    """The regular expression of a pattern; None if it cannot match. `slashes`: it is matched against a path, where `*` stops at a `/`."""
    out, at, size = [], 0, len(pattern)
    while at < size:
        char = pattern[at : at + 1]
        if char == b"*":
            end = at
            while end < size and pattern[end : end + 1] == b"*":
                end += 1
            rest = pattern[end : end + 2]
            whole = end - at >= 2 and slashes and (at == 0 or pattern[at - 1 : at] == b"/") and (rest[:1] in (b"", b"/") or rest == b"\\/")
            if whole and rest[:1] == b"/":
                out.append(b"(?:.*/)?")
                end += 1
            elif whole:
                out.append(b".*")
            else:
                out.append(b"[^/]*" if slashes else b".*")
            at = end
            continue
        if char == b"?":
            out.append(b"[^/]" if slashes else b".")
        elif char == b"[":
            at, chars = _bracket(pattern, at + 1)
            if at is None:
                return None
            if slashes:
                chars.discard(0x2F)
            out.append(b"[" + b"".join(b"\\x%02x" % value for value in sorted(chars)) + b"]" if chars else b"(?!)")
            continue
        elif char == b"\\":
            at += 1
            if at >= size:
                return None
            out.append(re.escape(pattern[at : at + 1]))
        else:
            out.append(re.escape(char))
        at += 1
    return b"(?:" + b"".join(out) + b")\\Z"


_CLASSES = {
    b"alnum": lambda c: chr(c).isalnum(), b"alpha": lambda c: chr(c).isalpha(), b"blank": lambda c: c in b" \t",
    b"cntrl": lambda c: c < 32 or c == 127, b"digit": lambda c: chr(c).isdigit(), b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: chr(c).islower(), b"print": lambda c: 32 <= c < 127, b"punct": lambda c: 32 < c < 127 and not chr(c).isalnum(),
    b"space": lambda c: c in b" \t\n\r\v\f", b"upper": lambda c: chr(c).isupper(), b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
}


def _bracket(pattern, at):
    """(position after the bracket, set of byte values), or (None, None) if it is not closed or names no class."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    if negated:
        at += 1
    chars, first, previous = set(), True, None
    while True:
        if at >= len(pattern):
            return None, None
        char = pattern[at]
        if char == 0x5D and not first:
            break
        first = False
        if char == 0x5C:
            at += 1
            if at >= len(pattern):
                return None, None
            char = pattern[at]
            chars.add(char)
            previous = char
        elif char == 0x2D and previous is not None and at + 1 < len(pattern) and pattern[at + 1] != 0x5D:
            at += 1
            char = pattern[at]
            if char == 0x5C:
                at += 1
                if at >= len(pattern):
                    return None, None
                char = pattern[at]
            chars.update(range(previous, char + 1))
            previous = None
        elif char == 0x5B and pattern[at + 1 : at + 2] == b":":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return None, None
            if pattern[end - 1 : end] != b":" or end - 1 < at + 2:
                chars.add(char)  # no class: a "[" like any other
                previous = char
            else:
                test = _CLASSES.get(pattern[at + 2 : end - 1])
                if test is None:
                    return None, None
                chars.update(value for value in range(128) if test(value))
                previous, at = None, end
        else:
            chars.add(char)
            previous = char
        at += 1
    return at + 1, set(range(256)) - chars if negated else chars


def parse_stage(text):
    """What `#SBROKER stage=TEXT` says: {"mode": "auto" | "all" | "none", "include": [pattern, …], "exclude": [pattern, …]}.

    TEXT: words separated by commas (\\, is a comma): `all` and `none` (the first word only), PATTERN (brought over although an ignore file
    names it), !PATTERN (not brought over, in neither direction). Patterns are those of .gitignore, relative to the submit directory.
    ValueError with a sentence.
    """
    words = [word.replace("\\,", ",").strip() for word in re.split(r"(?<!\\),", text)]
    mode, patterns = "auto", {"include": [], "exclude": []}
    for number, word in enumerate(words):
        if word in ("all", "none"):
            if number:
                raise ValueError("stage=%s: '%s' can only stand first; a file of that name is ./%s" % (text, word, word))
            mode = word
            continue
        negated = word.startswith("!")
        pattern = word[1:] if negated else word
        if pattern.startswith("./"):
            pattern = pattern[1:]
        if not pattern.strip("/"):
            raise ValueError("stage=%s: an empty pattern; say all, none, PATTERN or !PATTERN, separated by commas" % text)
        if ".." in pattern.split("/") or Pattern.of(pattern.encode("utf-8", "surrogateescape")) is None:
            raise ValueError("stage=%s: '%s' is no pattern below the submit directory" % (text, word))
        patterns["exclude" if negated else "include"].append(pattern)
    return dict(patterns, mode=mode)
