"""The limit on what may move for one root, and the sentence that says what to do about it."""


class Limit:
    """`limit`: {"bytes": n | None, "files": n | None} or None; `base`: what both sides have."""

    def __init__(self, limit, base):
        limit = limit or {}
        self._bytes, self._files, self._base = limit.get("bytes"), limit.get("files"), base
        self.bytes = self.files = 0
        self._sizes = {}  # path → bytes

    def too_much(self, path, entry):
        """Count a file that a walk found; True when more would have to move than may."""
        known = self._base.get(path)
        same = known is not None and (known.content == entry.content or (entry.content is None and known[2:4] == entry[2:4]))
        if not same:
            self.bytes += entry.size
            self.files += 1
            self._sizes[path] = entry.size
        return self.passed()

    def passed(self):
        return (self._bytes is not None and self.bytes > self._bytes) or (self._files is not None and self.files > self._files)

    def sentence(self, root, complete, stays=""):
        """Why it is refused, what the biggest are, and what can be done. `root`: str; `complete`: whether all of it was looked at;
        `stays`: where what is not brought back lies, "" on the way in."""
        limits = [self._bytes is not None and _size(self._bytes), self._files is not None and "%d files" % self._files]
        leave = "Leave them out (#SBROKER stage=!PATTERN, or a line in .sbrokerignore), or submit from a smaller folder"
        what_next = "They stay in %s. Raise stage_limit, or leave out what need not come (#SBROKER stage=!PATTERN)" % stays if stays else leave
        return "%s: %s%s in %d files would have to be brought %s, and the limit is %s: %s. %s" % (
            root, "" if complete else "more than ", _size(self.bytes), self.files, "back" if stays else "over", " and ".join(each for each in limits if each),
            self._biggest(), what_next)

    def _biggest(self):
        by_bytes = self._bytes is not None and self.bytes > self._bytes
        weight = (lambda path: self._sizes[path]) if by_bytes else (lambda path: 1)
        total = sum(weight(path) for path in self._sizes) or 1
        found = self._heavy(b"", list(self._sizes), weight, total)
        shown = sorted(found, key=lambda item: (-item[1], item[0]))[:4]
        show = _size if by_bytes else (lambda count: "%d files" % count)
        return "the biggest are " + ", ".join("%s (%s)" % (path.decode("utf-8", "replace"), show(amount)) for path, amount in shown)

    def _heavy(self, prefix, paths, weight, total):
        """[(name, amount)]: of the things below `prefix`; a folder that has most of it is told by what is in it."""
        sums = {}
        for path in paths:
            head, slash, _ = path[len(prefix) :].partition(b"/")
            sums.setdefault(prefix + head + slash, []).append(path)
        found = []
        for name, below in sums.items():
            amount = sum(weight(path) for path in below)
            inner = self._heavy(name, below, weight, total) if name.endswith(b"/") and amount > 0.8 * total else []
            # one step down says more, unless it is many small things
            found += inner if inner and max(each[1] for each in inner) > 0.3 * amount else [(name, amount)]
        return found


def _size(number):
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return "%d bytes" % number if unit == "bytes" else "%.1f %s" % (number, unit)
        number /= 1000.0
