"""Where the bytes of a step go on the client's side: which handle gets which rank's output, with or without labels.

`Plan` reads -i, -o and -e; `Labels` puts the rank before each line. Pure; standard library, Python 3.6.
"""

import os

STDIN, STDOUT, STDERR = 0, 1, 2
LONG_LINE = 64 << 10  # a line longer than this comes in pieces, each longer than this but the last
FIRST = 8  # handles of files that the client opens for us begin here
NONE, ALL, ONE, FILE, FILES = "none", "all", "one", "file", "files"


class Mode:
    """One of -i, -o, -e. kind: none, all, one (rank), file (one for all), files (paths by rank)."""

    def __init__(self, text, ntasks, expand, per_node):
        self.kind, self.rank, self.paths = ALL, None, {}
        if text is None or text == "all":
            return
        if text == "none":
            self.kind = NONE
        elif text.isdigit() and int(text) < ntasks:
            self.kind, self.rank = ONE, int(text)
        else:
            self.paths = {rank: expand(text, rank) for rank in range(ntasks)}
            self.kind = FILES if per_node else FILE


class Plan:
    """What to open, and the handle of each rank's streams.

    front: NodeFront (its `filename`, `per_task` items); fields: of filename, without rank and node; nodes: [(node, index)] by rank.
    """

    def __init__(self, front, request, fields, node_of_rank):
        def expand(pattern, rank):
            node, index = node_of_rank(rank)
            return front.filename(pattern, dict(fields, rank=rank, node=node, node_index=index))

        def mode(text):
            several = bool(text) and bool(front.filename_items(text) & set("tnN"))
            return Mode(text, request["ntasks"], expand, several)

        self.stdin, self.stdout = mode(request.get("stdin")), mode(request.get("stdout"))
        self.stderr = mode(request.get("stderr"))
        if request.get("stderr") is None:
            self.stderr = self.stdout  # one file for both, as the manual says; and none or one rank of both
        self.opens = []  # [(handle, flags, path, "stdin" | "stdout" | "stderr", ranks)]
        self._handles = {}
        written = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if request.get("open_mode") == "append" else os.O_TRUNC)
        self._plan(self.stdin, "stdin", os.O_RDONLY)
        self._plan(self.stdout, "stdout", written)
        if self.stderr is not self.stdout:
            self._plan(self.stderr, "stderr", written)

    def _plan(self, mode, name, flags):
        for rank, path in sorted(mode.paths.items()):
            key = (path, flags)
            if key not in self._handles:
                self._handles[key] = FIRST + len(self._handles)
                self.opens.append((self._handles[key], flags, path, name, []))
            for entry in self.opens:
                if entry[0] == self._handles[key]:
                    entry[4].append(rank)
            mode.paths[rank] = self._handles[key]

    def handle(self, rank, fd):
        """The client's handle for output `fd` (1 or 2) of `rank`; None drops it."""
        mode = self.stdout if fd == STDOUT else self.stderr
        if mode.kind == NONE or (mode.kind == ONE and rank != mode.rank):
            return None
        if mode.kind in (FILE, FILES):
            return mode.paths[rank]
        return fd

    def sources(self):
        """[(handle, ranks or None for all)] that standard input comes from; [] for none."""
        if self.stdin.kind == NONE:
            return []
        if self.stdin.kind == ALL:
            return [(STDIN, None)]
        if self.stdin.kind == ONE:
            return [(STDIN, [self.stdin.rank])]
        by_handle: dict = {}
        for rank, handle in self.stdin.paths.items():
            by_handle.setdefault(handle, []).append(rank)
        if len(by_handle) == 1:
            return [(handle, None) for handle in by_handle]
        return sorted(by_handle.items())


class Labels:
    """ "RANK: " before each line, the rank right-aligned to the width of the largest; a last line without end gets one."""

    def __init__(self, ntasks):
        self._width = len(str(max(ntasks - 1, 0)))
        self._open = set()  # (rank, fd) in the middle of a line too long to come in one piece

    def mark(self, rank, fd, data):
        lead = b"%*d: " % (self._width, rank)
        middle = (rank, fd) in self._open
        self._open.discard((rank, fd))
        if data.endswith(b"\n"):
            body, end = data[:-1], b"\n"
        elif len(data) > LONG_LINE:
            body, end = data, b""
            self._open.add((rank, fd))
        else:
            body, end = data, b"\n"
        return (b"" if middle else lead) + body.replace(b"\n", b"\n" + lead) + end
