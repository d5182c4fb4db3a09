"""The two wire formats of PMI, sans-I/O. Both are those of MPICH's "simple PMI", which is public.

Version 1:  cmd=NAME KEY=VALUE …\n      a value ends at a space; that of the keys in `_LAST` at the end of the line
            mcmd=NAME\nKEY=VALUE\n…endcmd\n
Version 2:  six characters: the length, decimal, padded with spaces | cmd=NAME;KEY=VALUE;…     a ; within a value is doubled

A conversation begins in version 1: its first line is `init`, whose answer may turn it to version 2. Text is UTF-8 with surrogates for what
is not; values pass unchanged.
"""

MAX_COMMAND = 1 << 20  # bytes; MPICH's own limit is 1 KiB a value
_LAST = ("value", "message", "port", "error_msg")


class PmiError(ValueError):
    """The task sent what is not PMI: nothing after it can be understood."""


class Command:
    """One command or answer: `name`, and `fields` (str → str) without cmd."""

    def __init__(self, name, fields):
        self.name, self.fields = name, fields

    def get(self, key, default=None):
        return self.fields.get(key, default)

    def number(self, key, default):
        """The field as an integer; `default` if it is missing or none."""
        try:
            return int(self.fields.get(key, default))
        except ValueError:
            return default

    def __eq__(self, other):
        return isinstance(other, Command) and (self.name, self.fields) == (other.name, other.fields)

    def __repr__(self):
        return "Command(%r, %r)" % (self.name, self.fields)


class Reader:
    """Feed bytes, take commands. `version` may change between two of them."""

    def __init__(self):
        self.version = 1
        self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data

    def take(self):
        """The next Command, None if it is not complete. Raises PmiError."""
        command = self._framed() if self.version == 2 else self._line()
        if command is None and len(self._buffer) > MAX_COMMAND:
            raise PmiError("a command of more than %d bytes" % MAX_COMMAND)
        return command

    def _line(self):
        if self._buffer.startswith(b"mcmd="):
            end = self._buffer.find(b"\nendcmd\n")
            return None if end < 0 else _parse_lines(_text(self._cut(end, 8)))
        end = self._buffer.find(b"\n")
        return None if end < 0 else parse_line(_text(self._cut(end, 1)))

    def _framed(self):
        if len(self._buffer) < 6:
            return None
        size = bytes(self._buffer[:6]).strip()
        if not size.isdigit():
            raise PmiError("%r is no length" % _text(self._buffer[:6]))
        end = 6 + int(size)
        if len(self._buffer) < end:
            return None
        return parse_items(_text(self._cut(end, 0)[6:]))

    def _cut(self, end, separator):
        """The buffer's first `end` bytes, which leave it with the separator after them."""
        part = bytes(self._buffer[:end])
        del self._buffer[: end + separator]
        return part


def parse_line(line):
    """Command of a line of version 1, without its end."""
    fields = {}
    while line:
        key, equals, rest = line.lstrip(" ").partition("=")
        if not equals:
            if key.strip():
                raise PmiError("%r has no value" % key.strip())
            break
        if key in _LAST:
            fields[key], line = rest, ""
        else:
            fields[key], _, line = rest.partition(" ")
    return _command(fields)


def _parse_lines(text):
    fields = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if not equals:
            raise PmiError("%r has no value" % line)
        fields[key] = value
    fields["cmd"] = fields.pop("mcmd")
    return _command(fields)


def parse_items(text):
    """Command of version 2, without its length."""
    fields, at = {}, 0
    while at < len(text):
        equals = text.find("=", at)
        if equals < 0:
            raise PmiError("%r has no value" % text[at:])
        key, parts, at = text[at:equals], [], equals + 1
        while True:
            end = text.find(";", at)
            if end < 0:  # the last one's end may be left out
                parts.append(text[at:])
                at = len(text)
                break
            parts.append(text[at:end])
            at = end + 1
            if text[at : at + 1] != ";":
                break
            parts.append(";")
            at += 1
        fields[key] = "".join(parts)
    return _command(fields)


def _command(fields):
    if "cmd" not in fields:
        raise PmiError("no command in it")
    return Command(fields.pop("cmd"), fields)


def line(command):
    """A Command as bytes of version 1. Values other than the last must be without spaces, all without line ends."""
    items = sorted(command.fields.items(), key=lambda item: item[0] in _LAST)
    return _bytes(" ".join(["cmd=" + command.name] + ["%s=%s" % item for item in items]) + "\n")


def frame(command):
    """A Command as bytes of version 2."""
    items = [("cmd", command.name), *command.fields.items()]
    data = _bytes("".join("%s=%s;" % (key, value.replace(";", ";;")) for key, value in items))
    return b"%-6d" % len(data) + data


def _text(data):
    return bytes(data).decode("utf-8", "surrogateescape")


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")
