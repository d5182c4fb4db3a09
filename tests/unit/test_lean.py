"""The agent's own ways to the C modules say what the library's modules say."""

from __future__ import annotations

import hmac
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent import lean, sockets

ROOT = Path(__file__).resolve().parents[2]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON) | st.lists(JSON))
def test_json_is_that_of_the_library(thing):
    assert lean.dumps(thing) == json.dumps(thing, separators=(",", ":"))
    assert lean.canonical(thing) == json.dumps(thing, sort_keys=True)
    assert lean.loads(json.dumps(thing, indent=1) + "\n") == thing


@given(JSON)
def test_every_value_is_read(thing):
    assert lean.loads(json.dumps(thing)) == thing


@pytest.mark.parametrize("text", ["", " ", "{", "[1] 2", "[x", "{'a'", "\ufeff{}", '"\n"', "[1,", "nul", "]"])
@pytest.mark.parametrize("loaded", [True, False])
def test_what_is_no_json_is_refused_in_the_same_words(text, loaded):
    """Also where `json`, from which the scanner takes its words, is not loaded."""
    with pytest.raises(json.JSONDecodeError) as wanted:
        json.loads(text)
    if loaded:
        with pytest.raises(json.JSONDecodeError) as said:
            lean.loads(text)
        assert str(said.value) == str(wanted.value)
        return
    code = "import sys; sys.path.insert(0, %r)\nfrom sbroker.agent import lean\nassert 'json' not in sys.modules\n" % str(ROOT)
    code += "try: lean.loads(%a)\nexcept ValueError as error: print(ascii(str(error)))" % text
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii(str(wanted.value))


def test_what_has_no_json():
    with pytest.raises(TypeError):
        lean.dumps({"a": object()})
    circle: list = []
    circle.append(circle)
    with pytest.raises(ValueError, match="circle"):
        lean.dumps(circle)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
def test_hmac_is_that_of_the_library(size):
    key = bytes(range(200))[:size]
    assert lean.hmac_sha256(key, b"word") == hmac.new(key, b"word", "sha256").hexdigest()


def test_a_python_with_other_insides_does_it_by_the_library(monkeypatch):
    monkeypatch.setattr(lean, "_scan", None)
    monkeypatch.setattr(lean, "_plain", None)
    monkeypatch.setattr(lean, "_ordered", None)
    assert (lean.loads("[1]"), lean.dumps({"b": 1, "a": 2}), lean.canonical({"b": 1, "a": 2})) == ([1], '{"b":1,"a":2}', '{"a": 2, "b": 1}')


def test_sockets(tmp_path):
    ours, theirs = sockets.socketpair()
    with ours, theirs:
        ours.sendall(b"word")
        assert theirs.recv(9) == b"word" and not os.get_inheritable(theirs.fileno())
    assert ours.fileno() == -1
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(1)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(tmp_path / "s"))
            accepted, _address = listening.accept()
            with accepted:
                assert (accepted.family, accepted.type) == (socket.AF_UNIX, socket.SOCK_STREAM) and not os.get_inheritable(accepted.fileno())
                caller.sendall(b"x")
                assert accepted.recv(1) == b"x"
