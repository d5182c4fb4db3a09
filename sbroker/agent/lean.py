"""JSON, SHA-256, HMAC and a few more as the agent uses them, over the C modules alone.

`json` loads `re` and `enum`, `hashlib` all of OpenSSL, `hmac` both and `warnings`: half of what an agent's start would cost, on every node at its first
contact. Where a Python has no such C module, or its insides are other than these, the library's own module does the work.
"""

import sys
from _collections import OrderedDict, deque  # type: ignore[import-not-found]
from _operator import _compare_digest

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # 3.12 and later
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:
        from hashlib import sha256  # type: ignore[no-redef, assignment, unused-ignore]

__all__ = ["OrderedDict", "canonical", "deque", "dumps", "hmac_sha256", "loads", "module", "same_digest", "sha256"]

same_digest = _compare_digest  # in a time that says nothing of where two bytes differ
_BLOCK = 64  # bytes, of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def hmac_sha256(key, message):
    """HMAC-SHA256 (RFC 2104) of bytes, as hex digits."""
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    return sha256(key.translate(_OUTER) + sha256(key.translate(_INNER) + message).digest()).hexdigest()


class _Python:
    """What the C scanner asks of `json.JSONDecoder`."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int = float, int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo: dict = {}


def _refuse(thing):
    raise TypeError("Object of type %s is not JSON serializable" % type(thing).__name__)


def _encoder(comma, colon, ordered):
    return _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, colon, comma, ordered, False, True)


try:
    import _json

    _scan, _plain, _ordered = _json.make_scanner(_Python), _encoder(",", ":", False), _encoder(", ", ": ", True)
    if _scan('{"a":[1,1.5,null]}', 0) != ({"a": [1, 1.5, None]}, 18) or "".join(_ordered({"b": "\u00e9", "a": [1]}, 0)) != '{"a": [1], "b": "\\u00e9"}':
        raise ImportError
except (ImportError, AttributeError, TypeError, ValueError, SystemError):
    _scan = _plain = _ordered = None


def dumps(thing):
    """A dict or list as JSON without blanks. TypeError for what has no JSON, ValueError for what nests too deep."""
    return _dumped(_plain, thing, separators=(",", ":"))


def canonical(thing):
    """A dict or list as the JSON that `json.dumps(thing, sort_keys=True)` gives: what is sealed."""
    return _dumped(_ordered, thing, sort_keys=True)


def _dumped(encoder, thing, **options):
    if encoder is None:
        import json

        return json.dumps(thing, **options)
    try:
        return "".join(encoder(thing, 0))
    except RecursionError:
        raise ValueError("nested too deep, or in a circle") from None


def loads(text):
    """The value of a JSON text (str). ValueError for what is none."""
    if _scan is not None:
        try:
            found, end = _scan(text, 0)
        except (StopIteration, SystemError):  # the scanner has no word for what is wrong where `json` is not loaded
            end = -1
        if end == len(text) or end > 0 and not text[end:].strip(" \t\n\r"):
            return found
    import json

    return json.loads(text)


def module(name):
    """The module of that full name, loaded if need be: `importlib.import_module`."""
    __import__(name)
    return sys.modules[name]
