"""YAML text → plain values, and where each stood; errors with file, line, the wrong value and what would be right.

Scalars stay the text that was written: `1:00:00` is a time and not 3600, `no` is a word, 22.05 is a name. What they mean is decided by
the type that the key has (`convert`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import yaml

from sbroker.config.units import hook
from sbroker.errors import ConfigError

T = TypeVar("T")
Path = tuple[str | int, ...]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH = 16
_VALUES = 100_000  # of a document with its aliases written out: some lines of aliases of aliases can stand for more than any memory holds
_NULL = ("", "~", "null", "Null", "NULL")
_BOOL = {"yes": "true", "on": "true", "no": "false", "off": "false", "true": "true", "false": "false"}


class Document:
    """A parsed file: `value`, and the line of each path (a tuple of keys and indexes)."""

    def __init__(self, name: str, text: str | bytes) -> None:
        self.name = name
        self.lines: dict[Path, int] = {(): 1}
        self._values = 0
        try:
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            raise ConfigError("%s:%d: this is not YAML: %s" % (name, mark.line + 1 if mark else 1, what)) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError("%s: this is not YAML: %s" % (name, str(error).splitlines()[0])) from error
        self.value = self._build(root, ()) if root is not None else {}
        if self.value is None:
            self.value = {}

    def _build(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > _VALUES:
            raise ConfigError(
                "%s:%d: with its aliases written out this is more than %d values, too many for a configuration"
                % (self.name, node.start_mark.line + 1, _VALUES)
            )
        if len(path) > _DEPTH:  # also what an alias to its own parent leads to
            raise ConfigError("%s:%d: this is nested deeper than anything in a configuration" % (self.name, node.start_mark.line + 1))
        if isinstance(node, yaml.ScalarNode):
            return None if not node.style and node.value in _NULL else node.value  # style: how it is quoted
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("%s:%d: a key must be a word" % (self.name, line))
            if key in result:
                raise ConfigError("%s:%d: %s is written twice" % (self.name, line, _dotted((*path, key))))
            inner = (*path, key)
            self.lines[inner] = line
            result[key] = self._build(value_node, inner)
        return result

    def error(self, path: Path, sentence: str) -> ConfigError:
        """An error at `path`: file, line, path, sentence."""
        known = path
        while known not in self.lines:
            known = known[:-1]
        where = "%s:%d: " % (self.name, self.lines[known])
        return ConfigError(where + ("%s: %s" % (_dotted(path), sentence) if path else sentence))

    def named(self, key: str) -> list[tuple[str, Any]]:
        """(name, value) of the section `key`, a group of keys."""
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, dict):
            raise self.error((key,), "%s is not a group of names and their keys" % _shown(value))
        return list(value.items())

    def listed(self, key: str) -> list[Any]:
        """The items of the section `key`, a list."""
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error((key,), "%s is not a list: begin each item with a dash" % _shown(value))
        return value

    def convert(self, path: Path, kind: type[T], value: Any) -> T:
        """`value`, which stands at `path`, as a `kind` (a Struct). ConfigError for the first thing that does not fit."""
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.error(path, "%s is not a group of keys; it may have %s" % (_shown(value), ", ".join(_names(kind))))
        for key in value:
            if key not in _names(kind):
                raise self.error((*path, key), "there is no such key" + nearest(key, _names(kind)))
        try:
            return msgspec.convert(_words(value, kind), kind, strict=False, dec_hook=hook)
        except msgspec.ValidationError as error:
            raise self._explain(path, kind, value, str(error)) from error

    def _explain(self, path: Path, kind: type, value: Any, message: str) -> ConfigError:
        """A message of msgspec ("Expected `int`, got `str` - at `$.kill_wait`") in our words."""
        sentence, _, place = message.partition(" - at `$")
        inner: list[str | int] = []
        for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", place):
            if index == "...":
                break
            inner.append(int(index) if index else name)
            value = value[int(index) if index else name]
        missing = re.fullmatch(r"Object missing required field `(.*)`", sentence)
        if missing:
            return self.error((*path, *inner), "the key %s is missing" % missing[1])
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", sentence)
        if unknown:
            return self.error((*path, *inner, unknown[1]), "there is no such key")
        expected = re.fullmatch(r"Expected `(.*)`, got `.*`", sentence)
        if expected:
            return self.error((*path, *inner), "%s is wrong: it must be %s" % (_shown(value), _kind(expected[1])))
        bound = re.fullmatch(r"Expected `(?:int|float)` (>=|<=|>|<) (\S+)", sentence)
        if bound:
            return self.error((*path, *inner), "%s is wrong: it must be a number %s %s" % (_shown(value), bound[1], bound[2]))
        if sentence.startswith("Invalid enum value") and inner:
            return self.error(
                (*path, *inner), "%s is wrong: it must be one of: %s" % (_shown(value), ", ".join(_choices(kind, str(inner[0]))))
            )
        return self.error((*path, *inner), sentence if sentence.startswith(("'", '"')) else "%s is wrong: %s" % (_shown(value), sentence))


def nearest(word: str, right: Iterable[str]) -> str:
    """What would be right instead of `word`: "; did you mean …?" or the list of all."""
    names = list(right)
    close = difflib.get_close_matches(word, names, 1, 0.6)
    return "; did you mean %s?" % close[0] if close else "; there are: %s" % ", ".join(sorted(names))


def _names(kind: type) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _choices(kind: type, key: str) -> list[str]:
    """The words that a key of `kind` may have, sorted."""
    found, types = [], [field.type for field in msgspec.structs.fields(kind) if field.encode_name == key]
    while types:
        one = types.pop()
        if get_origin(one) is Literal:
            found += [word for word in get_args(one) if word]
        else:
            types += get_args(one)
    return sorted(found)


def _words(value: dict[str, Any], kind: type) -> dict[str, Any]:
    """The keys that are true or false, with YAML's other words for them; null means not given."""
    switches = {field.encode_name for field in msgspec.structs.fields(kind) if field.type is bool}
    return {
        key: _BOOL.get(item.lower(), item) if key in switches and isinstance(item, str) else item
        for key, item in value.items()
        if item is not None
    }


def _dotted(path: Path) -> str:
    text = ""
    for key in path:
        text += "[%d]" % (key + 1) if isinstance(key, int) else ("." if text else "") + str(key)
    return text


def _shown(value: Any) -> str:
    return (
        repr(value)
        if isinstance(value, str)
        else "nothing"
        if value is None
        else "a list"
        if isinstance(value, list)
        else "a group of keys"
    )


def _kind(name: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a word",
        "array": "a list",
        "object": "a group of keys",
    }
    return " or ".join(words.get(part, part) for part in name.split(" | ") if part != "null")
