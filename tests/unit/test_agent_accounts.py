"""Accounts of job owners on a node: found, made, or refused with a sentence."""

import grp
import os
import pwd

import pytest

from sbroker.agent import accounts

PASSWD = "root:x:0:0:root:/root:/bin/bash\nbob:x:5001:5001:Bob:/home/bob:/bin/sh\n"
GROUP = "root:x:0:\nbob:x:5001:\ndocker:x:999:\nml:x:6000:\nlocal:x:6001:carol\n"


class Files:
    """pwd and grp of a folder; `carol` is in `local` by the node's own word."""

    def __init__(self, etc):
        self.etc = etc

    def _rows(self, name):
        return [line.split(":") for line in (self.etc / name).read_text().splitlines()]

    def _user(self, column, value):
        rows = [row for row in self._rows("passwd") if row[column] == value]
        return pwd.struct_passwd((rows[0][0], "x", int(rows[0][2]), int(rows[0][3]), *rows[0][4:7])) if rows else None

    def _group(self, column, value):
        rows = [row for row in self._rows("group") if row[column] == value]
        return grp.struct_group((rows[0][0], "x", int(rows[0][2]), [])) if rows else None

    def uid(self, uid):
        return self._user(2, str(uid))

    def name(self, name):
        return self._user(0, name)

    def gid(self, gid):
        return self._group(2, str(gid))

    def group(self, name):
        return self._group(0, name)

    def groups(self, name, gid):
        return [gid] + [int(row[2]) for row in self._rows("group") if name in row[3].split(",")]


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("shadow", "root:*:1::::::\n"), ("gshadow", "root:*::\n")):
        (folder / name).write_text(text)
    (folder / "shadow").chmod(0o640)
    return folder


def user(tmp_path, **changes):
    return dict({"name": "alice", "uid": 5000, "gid": 5000, "group": "alice", "groups": [5000, 6000, 999], "shell": "/bin/sh",
                 "group_names": {"5000": "alice", "6000": "ml", "999": "docker"}, "home": str(tmp_path / "home" / "alice")}, **changes)


def settle(etc, tmp_path, monkeypatch, **changes):
    monkeypatch.setattr(os, "chown", lambda *args, **more: None)
    monkeypatch.setattr(os, "fchown", lambda *args, **more: None)
    return accounts.settle(user(tmp_path, **changes), etc=str(etc), look=Files(etc))


def test_an_account_that_is_missing_is_made(etc, tmp_path, monkeypatch):
    found = settle(etc, tmp_path, monkeypatch)
    home = tmp_path / "home" / "alice"
    assert (etc / "passwd").read_text() == PASSWD + "alice:x:5000:5000:%s:%s:/bin/sh\n" % (accounts.COMMENT, home)
    assert (etc / "group").read_text() == GROUP + "alice:x:5000:\n"
    assert (etc / "shadow").read_text().splitlines()[1].startswith("alice:!:")
    assert (etc / "shadow").stat().st_mode & 0o777 == 0o640
    assert home.is_dir() and home.stat().st_mode & 0o777 == 0o700
    assert (found["home"], found["shell"], found["uid"]) == (str(home), "/bin/sh", 5000)
    again = (etc / "passwd").read_text()
    settle(etc, tmp_path, monkeypatch)
    assert (etc / "passwd").read_text() == again


def test_groups_are_those_of_the_node_and_of_both_but_no_systems(etc, tmp_path, monkeypatch):
    assert settle(etc, tmp_path, monkeypatch)["groups"] == [5000, 6000]  # docker has the same number here, and is not given away
    with (etc / "passwd").open("a") as stream:
        stream.write("carol:x:5002:5002::%s:/bin/sh\n" % tmp_path)
    found = settle(etc, tmp_path, monkeypatch, name="carol", uid=5002, gid=5002, group="carol", group_names={"6000": "other"})
    assert found["groups"] == [5002, 6001]


def test_what_is_there_is_the_nodes(etc, tmp_path, monkeypatch):
    with (etc / "passwd").open("a") as stream:
        stream.write("alice:x:5000:5000:A:%s:/bin/zsh\n" % tmp_path)
    with (etc / "group").open("a") as stream:
        stream.write("alice:x:5000:\n")
    before = (etc / "passwd").read_text()
    found = settle(etc, tmp_path, monkeypatch)
    assert (found["home"], found["shell"], (etc / "passwd").read_text()) == (str(tmp_path), "/bin/zsh", before)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"uid": 5001}, "uid 5001 is bob's here, and alice's where the job was submitted"),
    ({"name": "bob"}, "bob has uid 5001 here, and 5000 where the job was submitted"),
    ({"gid": 999, "group": "users"}, "gid 999 is the group docker here, and users where the job was submitted"),
    ({"group": "bob"}, "the group bob has gid 5001 here, and 5000 where the job was submitted"),
    ({"name": "a:b"}, "no account can be made here with the name 'a:b'"),
    ({"home": "/x:y"}, "no account can be made here with the home '/x:y'"),
    ({"home": "/home/../etc"}, "no account can be made here with the home '/home/../etc'"),
    ({"home": "/a\nroot2:x:0:0::/:/bin/sh"}, "no account can be made here with the home"),
])  # fmt: skip
def test_whoever_means_somebody_else_is_refused(etc, tmp_path, monkeypatch, changes, sentence):
    with pytest.raises(accounts.Refused) as refused:
        settle(etc, tmp_path, monkeypatch, **changes)
    assert str(refused.value).startswith(sentence)
    assert (etc / "passwd").read_text() == PASSWD and (etc / "group").read_text() == GROUP


def test_a_home_that_is_there_is_left_alone(tmp_path, monkeypatch):
    def never(*args, **more):
        raise AssertionError("nothing is changed")

    monkeypatch.setattr(os, "chown", never)
    place = tmp_path / "home"
    place.mkdir(mode=0o755)
    accounts.make_home(str(place), 5000, 5000)
    assert place.stat().st_mode & 0o777 == 0o755
