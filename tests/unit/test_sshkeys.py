"""The keys of ssh-proxy: made once, shared by all that need them, thrown away by the last one when they are old, and had back at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sbroker.cli import sshkeys
from sbroker.errors import SbrokerError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "ssh"


def age(place: Path, seconds: float) -> None:
    path = place / sshkeys.IDENTITY
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_they_are_made_once_and_closed_to_others(place: Path) -> None:
    with sshkeys.held(place) as one, sshkeys.held(place) as two:
        assert one == two
        assert one.public.startswith("ssh-ed25519 ")
        assert one.known.startswith(sshkeys.ALIAS + " ssh-ed25519 ")
        assert (place / sshkeys.IDENTITY).read_text() == one.identity
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    with sshkeys.held(place) as three:
        assert three == one


def test_old_ones_go_with_the_last_who_holds_them(place: Path) -> None:
    with sshkeys.held(place) as one:
        age(place, sshkeys.LIFETIME + 1)
        with sshkeys.held(place) as two:
            assert two == one
        assert (place / sshkeys.IDENTITY).exists()
    assert not (place / sshkeys.IDENTITY).exists()


def test_an_ssh_that_read_them_just_before_still_finds_them(place: Path) -> None:
    with sshkeys.held(place) as one:
        age(place, sshkeys.LIFETIME + 1)
    with sshkeys.held(place) as two:
        assert two == one


def test_later_there_are_others(place: Path) -> None:
    with sshkeys.held(place) as one:
        age(place, sshkeys.LIFETIME + 1)
    gone = place / (sshkeys.IDENTITY + ".gone")
    os.utime(gone, (gone.stat().st_mtime - sshkeys.RETURNS - 1,) * 2)
    with sshkeys.held(place) as two:
        assert two.public != one.public
        assert two.known != one.known
    assert not gone.exists()


def test_not_in_a_folder_that_others_may_read(place: Path) -> None:
    place.mkdir(mode=0o755)
    with pytest.raises(SbrokerError, match="not a folder of yours alone"), sshkeys.held(place):
        pass


def test_where_they_lie(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert sshkeys.folder(home) == tmp_path / ".local/state/sbroker/ssh"
    assert sshkeys.folder({**home, "XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "sbroker/ssh"
    assert sshkeys.folder({**home, "XDG_RUNTIME_DIR": str(tmp_path), "SBROKER_HOME": str(tmp_path / "b")}) == tmp_path / "b/ssh"
