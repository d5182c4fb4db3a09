"""Where a run's files lie on its nodes: paths as the submit host has them ("here") and as a node has them ("there").

A node keeps the replica of a folder under the same path where it may, and then nothing has to be said. Where it may not, what the job
names by its path on the submit host (folders, arguments, variables) is changed on the way to the node, and back on the way from it.
"""


_BEFORE, _AFTER = r"(?:(?<![^:=,])|(?<=^))", r"(?=$|[/:,])"


class Places:
    """`at`: what the broker says of one node: roots [[path here, path there], …], env, and stdin where that
    was brought apart."""

    def __init__(self, at=None):
        roots = [(here, there) for here, there in (at or {}).get("roots") or () if here != there]
        self._there = _Change(roots)
        self._here = _Change([(there, here) for here, there in roots])
        self._software = dict((at or {}).get("env") or {})
        self._stdin = (at or {}).get("stdin")

    def there(self, path):
        """A path of the submit host as this node has it."""
        return self._there.path(path)

    def here(self, path):
        """A path of this node as the submit host has it."""
        return self._here.path(path)

    def words_there(self, words):
        """Arguments as a program on this node needs them: whole words, and what follows a "=", ":" or ","."""
        return [self._there.text(word) for word in words]

    def words_here(self, words):
        return [self._here.text(word) for word in words]

    def environ_there(self, env):
        """Variables (str → str) from the submit host, as a process here needs them."""
        return {key: self._there.text(value) for key, value in env.items()} if self._there.pairs else env

    def environ_here(self, env):
        return {key: self._here.text(value) for key, value in env.items()} if self._here.pairs else env

    def environ_here_packed(self, environ):
        """The same for KEY=value items, each ended by NUL."""
        text = environ.decode("utf-8", "surrogateescape")
        return "\0".join(self._here.text(item) for item in text.split("\0")).encode("utf-8", "surrogateescape") if self._here.pairs else environ

    def with_software(self, env):
        """`env` (changed) with the environment that was brought along, as it is active here."""
        for name, value in self._software.items():
            if name != "PATH":
                env[name] = value
        moved = dict(self._software.get("PATH") or ())
        if moved:
            folders = [moved.get(folder, folder) for folder in (env.get("PATH") or "/usr/local/bin:/usr/bin:/bin").split(":")]
            env["PATH"] = ":".join([folder for folder in moved.values() if folder not in folders] + folders)
        return env

    def info(self, info):
        """A run's description whose folders are those of this node."""
        if not self._there.pairs and self._stdin is None:
            return info
        spec = dict(info["spec"])
        for key in ("work_dir", "submit_dir", "stdin"):
            if spec.get(key):
                spec[key] = self.there(spec[key])
        if self._stdin is not None:
            spec["stdin"] = self._stdin.replace("%", "%%")  # no pattern any more
        spec["script_args"] = self.words_there(spec.get("script_args") or ())
        return dict(info, spec=spec)


class _Change:
    """Replaces folders by others; the longest that fits."""

    def __init__(self, pairs):
        self.pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
        self._to, self._pattern = dict(self.pairs), None
        if pairs:
            import re  # not at the agent's start (tests/rules)

            self._pattern = re.compile("%s(%s)%s" % (_BEFORE, "|".join(re.escape(old) for old, _ in self.pairs), _AFTER))

    def path(self, path):
        for old, new in self.pairs:
            if path == old or path.startswith(old.rstrip("/") + "/"):
                return new + path[len(old.rstrip("/")) :]
        return path

    def text(self, text):
        return text if self._pattern is None else self._pattern.sub(lambda match: self._to[match.group(1)], text)
