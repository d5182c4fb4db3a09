"""What a login finds in PATH, and what a site's setup changed."""

import os

import pytest

from sbroker.agent import site
from sbroker.agent.loop import Loop


def etc(tmp_path, **files):
    folder = tmp_path / "etc"
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return str(tmp_path)


@pytest.mark.parametrize(("files", "path"), [
    ({}, site.DEFAULT_PATH),
    ({"environment": 'A=1\nPATH="/a:/b"\n', "login_defs": "ENV_PATH PATH=/c"}, "/a:/b"),
    ({"environment": "A=1\n", "login_defs": "ENV_SUPATH\tPATH=/s\nENV_PATH\tPATH=/c:/d\n"}, "/c:/d"),
    ({"environment": "PATH=$HOME/bin:/x\n"}, site.DEFAULT_PATH),
])  # fmt: skip
def test_the_configured_path(tmp_path, files, path):
    assert site.configured_path(etc(tmp_path, **files)) == path


def test_what_the_profile_makes_of_it(tmp_path):
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode & 0o7777 | 0o055)  # nobody reads it; the last may be /tmp, which stays as it is
    root = etc(tmp_path, environment="PATH=/a\n", profile='PATH="$PATH:/from/profile"; echo noise; export PATH\n')
    loop = Loop()
    found = site.LoginPath(loop, root)
    assert found.value == "/a"
    while found.value == "/a":
        loop.turn()
    loop.close()
    assert found.value == "/a:/from/profile"


def test_what_changed():
    before = {"PATH": "/a:/b", "SAME": "1", "GONE": "x", "LD": "", "TEXT": "a b", "PWD": "/"}
    after = {"PATH": "/new:/a:/b:/end", "SAME": "1", "LD": "/l", "TEXT": "x a b", "PWD": "/other", "__sbroker_x": "1", "SHLVL": "2", "NEW": "n"}
    assert site.difference(before, after) == {"PATH": ("/new:", ":/end"), "GONE": None, "LD": "/l", "TEXT": "x a b", "NEW": "n"}


def test_applying_it_to_another_environment():
    one = site.Site(type("Sup", (), {"info": {"nodes": [{"node": "n", "site": "s"}], "sites": {"s": {"name": "s", "env": {"E": "1"}}}}, "node": "n"}))
    one._changes = {"PATH": ("/new:", ":/end"), "GONE": None, "X": "set", "MINE": "no"}
    assert one.apply({"PATH": "/mine", "GONE": "x", "MINE": "yes", "E": "0"}, {"MINE", "NOT_THERE"}) == {
        "PATH": "/new:/mine:/end", "X": "set", "MINE": "yes", "E": "1"
    }  # fmt: skip
    assert one.apply({}, ())["PATH"] == "/new:/end"  # an empty folder would be the one that the job is in
    assert one.apply({"E": "mine"}, None)["E"] == "mine"


def test_the_shell_is_one_that_is_there():
    assert os.access(site.shell_path(), os.X_OK)
