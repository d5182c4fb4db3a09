"""Files workers as a user, started by root: what root makes for him, and what he cannot read."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fileslab import Lab, snapshot

from sbroker.agent.files import place

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
UID = 54321


@pytest.fixture
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def lab(top: Path) -> Lab:
    lab = Lab(top, become=UID)
    os.chown(lab.root, UID, UID)
    return lab


def own(*paths: Path) -> None:
    for path in paths:
        os.chown(path, UID, UID)


def test_what_cannot_be_read_is_named_and_left_alone(lab: Lab) -> None:
    for name in ("plain", "secret"):
        (lab.root / name).write_text(name)
    (lab.root / "closed").mkdir()
    (lab.root / "closed" / "x").write_text("x")
    own(lab.root / "plain")
    lab.sync("in")
    assert (lab.replica() / "secret").exists()
    (lab.root / "secret").chmod(0o600)  # root's from now on
    (lab.root / "closed").chmod(0o700)
    outcome = lab.sync("in")
    said = {row["path"]: row["text"] for row in outcome["skipped"]}
    assert outcome["error"] == "" and set(said) == {str(lab.root / "closed"), str(lab.root / "secret")} and "Permission denied" in said[str(lab.root / "secret")]
    assert (lab.replica() / "secret").read_text() == "secret" and (lab.replica() / "closed" / "x").exists()
    (lab.replica() / "closed" / "x").write_text("by the job")
    (lab.replica() / "plain").write_text("by the job")
    outcome = lab.sync("out")
    assert outcome["error"] == "" and (lab.root / "plain").read_text() == "by the job"
    assert any(row["path"].startswith(str(lab.root / "closed")) for row in outcome["skipped"] + outcome["conflicts"])


def test_the_user_owns_what_arrives(lab: Lab) -> None:
    (lab.root / "a").write_text("x")
    (lab.root / "d").mkdir()
    lab.sync("in")
    assert {os.lstat(path).st_uid for path in [lab.replica(), *lab.replica().rglob("*")]} == {UID}


def test_root_makes_folders_for_a_user_only_where_nothing_is_risked(top: Path) -> None:
    user = {"name": "eve", "uid": UID, "gid": UID, "home": "/home/eve"}

    def prepared(*paths: Path) -> None:
        options = {"side": "node", "do": "in", "state": str(top / "files" / "eve"), "roots": [{"path": str(path)} for path in paths]}
        place.prepare(options, user)

    trusted = Path(tempfile.mkdtemp(dir="/opt" if os.path.isdir("/opt") else "/"))
    try:
        trusted.chmod(0o755)
        (trusted / "open").mkdir()
        (trusted / "open").chmod(0o777)
        (trusted / "hers").mkdir()
        own(trusted / "hers")
        (trusted / "hers" / "link").symlink_to("/etc")
        prepared(trusted / "scratch" / "eve" / "work", trusted / "group" / "work", trusted / "open" / "x", trusted / "hers" / "x", trusted / "hers" / "link" / "x",
                 Path("/etc/eve-work"), Path("/usr/lib/eve-work"), Path("/var/spool/cron/eve-work"))
        owners = {str(path.relative_to(trusted)): os.lstat(path).st_uid for path in trusted.rglob("*")}
        # from the folder that has her name on; else the last one alone
        assert owners == {"open": 0, "hers": UID, "hers/link": 0, "scratch": 0, "scratch/eve": UID, "group": 0, "group/work": UID}
        assert not any(os.path.lexists(path) for path in ("/etc/eve-work", "/usr/lib/eve-work", "/var/spool/cron/eve-work"))
        assert os.lstat(top / "files" / "eve").st_uid == UID and os.lstat(top / "files" / "eve").st_mode & 0o777 == 0o700
    finally:
        for path in sorted(trusted.rglob("*"), reverse=True):
            path.unlink() if path.is_symlink() else path.rmdir()
        trusted.rmdir()


def test_a_state_folder_of_somebody_else_is_refused(top: Path) -> None:
    user = {"name": "eve", "uid": UID, "gid": UID, "home": "/home/eve"}
    (top / "files").mkdir()
    (top / "files" / "eve").symlink_to("/etc")
    with pytest.raises(OSError, match="is not a folder of uid"):
        place.prepare({"side": "submit", "do": "in", "state": str(top / "files" / "eve"), "roots": []}, user)


@pytest.fixture
def small(top: Path) -> Iterator[Path]:
    """A file system of its own with 4 MB."""
    path = top / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "sbroker-test", path], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_said_and_gone_on_from(top: Path, small: Path) -> None:
    lab = Lab(top)
    (lab.root / "big").write_bytes(os.urandom(6 << 20))
    (lab.root / "little").write_text("x")
    (top / "nodes").mkdir()
    (top / "nodes" / "n1").symlink_to(small)
    outcome = lab.sync("in")
    assert (outcome["error"], outcome["again"]) == ("No space left on device on n1", True)
    subprocess.run(["mount", "-o", "remount,size=40m", small], check=True)
    assert lab.sync("in")["error"] == ""
    assert snapshot(lab.replica()) == snapshot(lab.root)


def test_replica_and_state_on_two_file_systems(top: Path, small: Path) -> None:
    lab = Lab(top)
    lab.root.rmdir()
    lab.root = small / "work"
    lab.root.mkdir()
    for name in ("a", "b", "twin"):
        (lab.root / name).write_text("the same")
    lab.options["roots"] = [{"path": str(lab.root)}]
    lab.sync("in")
    for name in ("a", "c", "d"):
        (lab.replica() / name).write_text("changed")
    assert lab.sync("out")["conflicts"] == []
    assert snapshot(lab.replica()) == snapshot(lab.root) and len(snapshot(lab.root)) == 5
