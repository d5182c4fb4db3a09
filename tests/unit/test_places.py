"""Paths of a run on a node that may not have them as the submit host does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent.places import Places

AT = {"roots": [["/home/al/p", "/srv/files/al/home/al/p"], ["/home/al/p/venv", "/srv/files/al/venv"]], "env": {}}


def test_the_longest_folder_counts_and_only_whole_names() -> None:
    places = Places(AT)
    assert places.there("/home/al/p") == "/srv/files/al/home/al/p"
    assert places.there("/home/al/p/venv/bin") == "/srv/files/al/venv/bin"
    assert places.there("/home/al/project") == "/home/al/project"
    assert places.there("/home/al") == "/home/al"
    assert places.here("/srv/files/al/home/al/p/x") == "/home/al/p/x"


def test_words_and_variables() -> None:
    places = Places(AT)
    words = ["cat", "/home/al/p/x", "--in=/home/al/p/y", "a:/home/al/p:b", "xx/home/al/p/y", "/home/al/p2", "/home/al/p,/home/al/p/z"]
    moved = places.words_there(words)
    at = "/srv/files/al/home/al/p"
    assert moved == ["cat", at + "/x", "--in=" + at + "/y", "a:" + at + ":b", "xx/home/al/p/y", "/home/al/p2", at + "," + at + "/z"]
    assert places.words_here(moved) == words
    assert places.environ_there({"A": "/home/al/p", "B": "b"}) == {"A": at, "B": "b"}
    assert places.environ_here_packed(b"A=%s/q\0B=b\0" % at.encode()) == b"A=/home/al/p/q\0B=b\0"


def test_a_description_is_a_nodes_own() -> None:
    info = {"job": 1, "spec": {"work_dir": "/home/al/p/sub", "submit_dir": "", "stdin": "in", "script_args": ["/home/al/p/a", "b"]}}
    spec = Places(AT).info(info)["spec"]
    assert spec["work_dir"] == "/srv/files/al/home/al/p/sub"
    assert spec["script_args"] == ["/srv/files/al/home/al/p/a", "b"]
    assert spec["stdin"] == "in"
    assert info["spec"]["work_dir"] == "/home/al/p/sub"
    assert Places({}).info(info) is info


def test_an_environment_that_came_along_is_active() -> None:
    moved = Places({"env": {"VIRTUAL_ENV": "/srv/venv", "PATH": [["/home/al/venv/bin", "/srv/venv/bin"]]}})
    assert moved.with_software({"PATH": "/home/al/venv/bin:/usr/bin"}) == {"PATH": "/srv/venv/bin:/usr/bin", "VIRTUAL_ENV": "/srv/venv"}
    assert moved.with_software({"PATH": "/usr/bin"})["PATH"] == "/srv/venv/bin:/usr/bin"
    assert Places().with_software({"PATH": "/usr/bin"}) == {"PATH": "/usr/bin"}


@given(st.lists(st.sampled_from(["/home/al/p", "/home/al/p/venv", "/x", ":", "=", "word", "/", ","])).map("".join))
def test_there_and_back_changes_nothing(text: str) -> None:
    places = Places(AT)
    assert places.words_here(places.words_there([text])) == [text]
