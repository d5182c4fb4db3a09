"""A folder and its replica on a node, by two real workers."""

from __future__ import annotations

import os
import random
import socket
import threading
from pathlib import Path

import pytest
from fileslab import Lab, contents, snapshot

from sbroker.agent.files import worker
from sbroker.agent.files.ignore import parse_stage


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def furnish(root: Path) -> None:
    """A bit of everything."""
    write(root / "run.sh", "#!/bin/sh\necho hi\n", 0o755)
    write(root / "data" / "deep" / "x.csv", "1,2\n" * 1000)
    write(root / "empty", "")
    write(root / "twin1", "the same")
    write(root / "twin2", "the same", 0o600)
    os.link(root / "twin1", root / "hard")
    (root / "hollow").mkdir()
    (root / "private").mkdir(0o700)
    (root / "to").symlink_to("data/deep")
    (root / "nowhere").symlink_to("/does/not/exist")
    write(root / ".git" / "HEAD", "ref: refs/heads/main\n")
    write(Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe name\n")), "odd")
    write(root / "locked" / "inside", "x", 0o400)
    (root / "locked").chmod(0o555)
    with open(root / "sparse", "wb") as stream:
        stream.truncate(3 << 20)
    os.utime(root / "run.sh", ns=(10**18, 10**18 + 123456789))


def test_in_brings_everything_as_it_is(lab: Lab) -> None:
    furnish(lab.root)
    outcome = lab.sync("in")
    assert (outcome["error"], outcome["conflicts"], outcome["skipped"]) == ("", [], [])
    made = [path for path in lab.state("nodes/n1").rglob("*") if lab.replica() not in path.parents and path.is_dir()]
    assert {os.stat(path).st_mode & 0o777 for path in made} == {0o700}
    assert snapshot(lab.replica()) == snapshot(lab.root)
    assert outcome["roots"][0]["at"] == str(lab.replica())
    assert lab.watched[-1]["op"] == "done"


def test_what_a_job_did_comes_back(lab: Lab) -> None:
    furnish(lab.root)
    lab.sync("in")
    node = lab.replica()
    write(node / "out" / "result.txt", "42")
    write(node / "run.sh", "#!/bin/sh\necho changed\n", 0o700)
    (node / "empty").unlink()
    (node / "data" / "deep" / "x.csv").rename(node / "data" / "y.csv")
    (node / "to").unlink()
    (node / "to").symlink_to("data")
    (node / "hollow").rmdir()
    outcome = lab.sync("out")
    assert (outcome["error"], outcome["conflicts"]) == ("", [])
    assert snapshot(lab.replica()) == snapshot(lab.root)
    assert lab.sync("out")["files"] == lab.sync("in")["files"] == 0
    assert outcome["bytes"] == len("42") + len("#!/bin/sh\necho changed\n")  # the renamed file was there already


def test_only_the_change_moves(lab: Lab) -> None:
    for number in range(300):
        write(lab.root / ("d%d" % (number % 7)) / ("f%d" % number), "content %d" % number)
    lab.sync("in")
    write(lab.root / "d3" / "f3", "another")
    outcome = lab.sync("in")
    assert (outcome["bytes"], outcome["files"]) == (7, 1)
    assert sum(lab.moved.values()) < 3000
    assert snapshot(lab.replica()) == snapshot(lab.root)


def test_conflicts_are_never_overwritten(lab: Lab) -> None:
    for name in ("a", "b", "c", "d"):
        write(lab.root / name, "base")
    lab.sync("in")
    node = lab.replica()
    for name in ("a", "b", "new"):
        write(node / name, "of the job")
    write(lab.root / "a", "of the user")
    write(lab.root / "new", "of the user, too")
    (lab.root / "b").unlink()
    (node / "c").unlink()
    (node / "d").unlink()
    write(lab.root / "d", "changed by the user")
    outcome = lab.sync("out")
    assert sorted((row["path"], row["beside"]) for row in outcome["conflicts"]) == [
        (str(lab.root / "a"), "a.sbroker-n1-7"), (str(lab.root / "new"), "new.sbroker-n1-7")]
    assert "changed on both sides" in outcome["conflicts"][0]["text"]
    assert {path.name: path.read_text() for path in lab.root.iterdir()} == {
        "a": "of the user", "a.sbroker-n1-7": "of the job", "new": "of the user, too", "new.sbroker-n1-7": "of the job", "b": "of the job",
        "d": "changed by the user"}
    again = lab.sync("out")
    assert (again["conflicts"], again["files"]) == ([], 0)
    lab.sync("in")  # the user's word counts from now on, his notes stay his
    assert {path.name: path.read_text() for path in node.iterdir()} == {
        "a": "of the user", "new": "of the user, too", "b": "of the job", "d": "changed by the user"}


def test_a_job_that_goes_on_has_one_version_beside(lab: Lab) -> None:
    write(lab.root / "a", "base")
    lab.sync("in")
    write(lab.root / "a", "of the user")
    for text in ("one", "one", "two", "three"):
        write(lab.replica() / "a", text)
        lab.sync("out", busy=True)
        assert {path.name: path.read_text() for path in lab.root.iterdir()} == {"a": "of the user", "a.sbroker-n1-7": text}
    write(lab.root / "a.sbroker-n1-7", "three, and the user's remarks")
    write(lab.replica() / "a", "four")
    lab.sync("out", busy=True)
    assert (lab.root / "a.sbroker-n1-7").read_text() == "three, and the user's remarks"
    assert (lab.root / "a.sbroker-n1-7.2").read_text() == "four"


def test_where_a_job_runs_its_version_stays(lab: Lab) -> None:
    write(lab.root / "a", "base")
    lab.sync("in")
    write(lab.root / "a", "of the user")
    write(lab.replica() / "a", "of the job")
    outcome = lab.sync("in", busy=True)
    assert [(row["beside"], "a job runs on n1" in row["text"]) for row in outcome["conflicts"]] == [(None, True)]
    assert (lab.replica() / "a").read_text() == "of the job"
    outcome = lab.sync("in")  # and where none runs it is put beside
    assert outcome["conflicts"][0]["beside"] == "a.sbroker-n1-7"
    assert snapshot(lab.replica())["a"][3] == b"of the user"
    lab.sync("out")
    assert (lab.root / "a.sbroker-n1-7").read_text() == "of the job"


def test_several_nodes_bring_back_into_one_folder(lab: Lab) -> None:
    write(lab.root / "shared", "base")
    for name in ("n1", "n2"):
        lab.sync("in", name)
    for name in ("n1", "n2"):
        write(lab.replica(name) / ("only-" + name), name)
        write(lab.replica(name) / "both", name)
        write(lab.replica(name) / "alike", "the same")
    assert lab.sync("out", "n1")["conflicts"] == []
    assert [row["beside"] for row in lab.sync("out", "n2")["conflicts"]] == ["both.sbroker-n2-7"]
    assert {path.name: path.read_text() for path in lab.root.iterdir()} == {
        "shared": "base", "only-n1": "n1", "only-n2": "n2", "both": "n1", "both.sbroker-n2-7": "n2", "alike": "the same"}


def test_many_at_once(lab: Lab) -> None:
    """Four nodes, and on one of them three syncs at a time: they wait for each other, and all is as if one had followed the other."""
    for number in range(40):
        write(lab.root / ("f%d" % number), "base %d" % number)

    def at_once(work: list[tuple[str, str]]) -> None:
        pids = []
        for do, node in work:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    outcome = lab.sync(do, node)
                    code = 2 if outcome["error"] or outcome["conflicts"] else 0
                finally:
                    os._exit(code)
            pids.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)

    at_once([("in", "n%d" % (number % 4)) for number in range(12)])
    for number in range(4):
        replica = lab.replica("n%d" % number)
        assert snapshot(replica) == snapshot(lab.root)
        write(replica / ("only%d" % number), str(number))
        write(replica / ("f%d" % number), "changed")
        write(replica / "alike" / "result", "of all")
        (replica / "f39").unlink()
    at_once([("out", "n%d" % (number % 4)) for number in range(8)])
    at_once([("in", "n%d" % number) for number in range(4)])
    for number in range(4):
        assert snapshot(lab.replica("n%d" % number)) == snapshot(lab.root)
    names = sorted(path.name for path in lab.root.iterdir())
    assert names == sorted(["f%d" % number for number in range(39)] + ["only%d" % number for number in range(4)] + ["alike"])


def test_what_git_ignores_comes_back_and_goes_in_to_the_next_node(lab: Lab) -> None:
    write(lab.root / ".gitignore", "*.ckpt\nlogs/\n")
    write(lab.root / "old.ckpt", "of another time")
    lab.sync("in")
    assert not (lab.replica() / "old.ckpt").exists()
    write(lab.replica() / "new.ckpt", "1")
    write(lab.replica() / "logs" / "a", "2")
    write(lab.replica() / "old.ckpt", "of the job")
    write(lab.replica() / "__pycache__" / "m.pyc", "cache")
    outcome = lab.sync("out")
    assert [row["beside"] for row in outcome["conflicts"]] == ["old.ckpt.sbroker-n1-7"]
    assert (lab.root / "new.ckpt").read_text() + (lab.root / "logs" / "a").read_text() == "12"
    assert (lab.root / "old.ckpt").read_text() == "of another time"
    assert not (lab.root / "__pycache__").exists()
    lab.sync("in", "n2")
    found = snapshot(lab.replica("n2"))
    assert "new.ckpt" in found and "logs/a" in found and "old.ckpt" not in found


def test_a_limit_names_the_biggest(lab: Lab) -> None:
    write(lab.root / "data" / "huge.bin", b"x" * 200000)
    write(lab.root / "small", "x")
    outcome = lab.sync("in", limit={"bytes": 100000, "files": None})
    assert not outcome["again"] and not (lab.replica() / "small").exists()
    assert outcome["error"] == (
        "%s: 200.0 KB in 2 files would have to be brought over, and the limit is 100.0 KB: the biggest are data/huge.bin (200.0 KB), small (1 bytes). "
        "Leave them out (#SBROKER stage=!PATTERN, or a line in .sbrokerignore), or submit from a smaller folder" % lab.root)
    for number in range(30):
        write(lab.root / "many" / str(number), str(number))
    outcome = lab.sync("in", limit={"bytes": None, "files": 20})
    assert "the limit is 20 files" in outcome["error"] and "many/ (30 files)" in outcome["error"]
    root = {"path": str(lab.root), "stage": parse_stage("!data,!many")}
    assert lab.sync("in", roots=[root], limit={"bytes": 100000, "files": 20})["error"] == ""


def test_special_and_unreadable_files_are_named(lab: Lab) -> None:
    write(lab.root / "plain", "x")
    os.mkfifo(lab.root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(lab.root / "sock"))
    outcome = lab.sync("in")
    said = {Path(row["path"]).name: row["text"] for row in outcome["skipped"]}
    assert outcome["error"] == "" and set(said) == {"fifo", "sock"} and "is a fifo" in said["fifo"]
    os.mkfifo(lab.replica() / "made")
    assert "is a fifo" in lab.sync("out")["skipped"][0]["text"]
    assert os.path.exists(lab.root / "fifo")


def test_links_lead_nobody_out(lab: Lab, tmp_path: Path) -> None:
    """A job puts a link where the submit side has a folder, and the other way round: nothing is written outside of the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    write(lab.root / "d" / "x", "1")
    lab.sync("in")
    (lab.replica() / "d" / "y").write_text("new")
    (lab.root / "d" / "x").unlink()
    (lab.root / "d").rmdir()
    (lab.root / "d").symlink_to(outside)
    outcome = lab.sync("out")
    assert list(outside.iterdir()) == []
    assert (lab.root / "d.sbroker-n1-7" / "y").read_text() == "new"
    assert len(outcome["conflicts"]) == 1


def test_a_file_that_grows_is_taken_as_far_as_it_was(lab: Lab) -> None:
    write(lab.root / "log", b"line\n" * 200000)
    stop = threading.Event()

    def grow() -> None:
        with open(lab.root / "log", "ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(b"line\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        outcome = lab.sync("in")
    finally:
        stop.set()
        thread.join()
    assert (outcome["error"], outcome["skipped"]) == ("", [])
    taken = (lab.replica() / "log").read_bytes()
    assert len(taken) >= 1000000 and taken == (lab.root / "log").read_bytes()[: len(taken)]
    lab.sync("in")
    assert snapshot(lab.replica()) == snapshot(lab.root)


def test_a_replica_that_is_gone_removes_nothing(lab: Lab) -> None:
    write(lab.root / "a", "1")
    lab.sync("in")
    lab.replica().rename(lab.replica().with_name("elsewhere"))
    outcome = lab.sync("out")
    assert "are gone" in outcome["error"] and not outcome["again"]
    assert (lab.root / "a").read_text() == "1"
    assert lab.sync("in")["files"] == 1  # and a new one is made


def test_what_no_job_removed_comes_again(lab: Lab) -> None:
    """A cleaner of old files went over the replica between two jobs: that is no wish of the user's."""
    for name in "abc":
        write(lab.root / name, name)
    lab.sync("in")
    (lab.replica() / "a").unlink()  # by the job
    lab.sync("out")
    (lab.replica() / "b").unlink()  # by the cleaner
    lab.sync("in")
    assert sorted(path.name for path in lab.replica().iterdir()) == ["b", "c"] == sorted(path.name for path in lab.root.iterdir())


def test_a_folder_inside_another_root(lab: Lab) -> None:
    """Submitted from the project, then from a folder in it: one replica, and no conflict that is none."""
    write(lab.root / "sub" / "x", "1")
    lab.sync("in")
    inner = {"path": str(lab.root / "sub")}
    assert lab.sync("in", roots=[inner])["roots"][0]["at"] == str(lab.replica() / "sub")
    (lab.replica() / "sub" / "x").write_text("2")
    lab.sync("out", roots=[inner])
    assert (lab.root / "sub" / "x").read_text() == "2"
    write(lab.root / "sub" / "x", "3")
    assert lab.sync("in")["conflicts"] == []
    assert (lab.replica() / "sub" / "x").read_text() == "3"


def test_wipe_leaves_nothing(lab: Lab) -> None:
    furnish(lab.root)
    lab.sync("in")
    state = lab.state("nodes/n1")
    outcome = worker.alone({"do": "wipe", "side": "node", "state": str(state), "node": "n1", "job": ""})
    assert outcome["error"] == "" and list(state.iterdir()) == []
    assert (lab.root / "run.sh").exists()
    assert lab.sync("in")["error"] == ""
    assert snapshot(lab.replica()) == snapshot(lab.root)


def test_no_place_is_said(lab: Lab) -> None:
    write(lab.root / "file", "x")
    outcome = lab.sync("in", roots=[{"path": str(lab.root / "file")}])
    assert outcome["error"] == "Not a directory on the submit host: %s" % (lab.root / "file") and not outcome["again"]


def test_big_content_is_gone_on_with_after_a_cut(lab: Lab) -> None:
    big = random.Random(1).randbytes(6 << 20)
    write(lab.root / "big", big)
    outcome = lab.sync("in", cut=4 << 20)
    assert outcome["again"] and "broke" in outcome["error"] and not (lab.replica() / "big").exists()
    outcome = lab.sync("in")
    assert 0 < outcome["bytes"] < 3 << 20
    assert (lab.replica() / "big").read_bytes() == big


@pytest.mark.parametrize("seed", range(12))
def test_cut_anywhere_and_run_again(tmp_path: Path, seed: int) -> None:
    """Cuts at random bytes, in both directions, with changes on both sides in between: nothing is lost and both sides end alike."""
    rng = random.Random(seed)
    lab = Lab(tmp_path)
    furnish(lab.root)
    (lab.root / "locked").chmod(0o755)
    written: set[bytes] = set()
    for turn in range(6):
        way = rng.choice(["in", "out"])
        for side in (lab.root, lab.replica()):
            if side.exists():
                for _ in range(rng.randrange(4)):
                    path = side / rng.choice(["p", "q", "data/deep/x.csv", "data/r", "run.sh"])
                    text = b"%d %d %d " % (seed, turn, rng.randrange(10**9)) * rng.choice([1, 10, 30000])
                    write(path, text)
        now = contents(lab.root, lab.replica()) if lab.replica().exists() else contents(lab.root)
        lab.sync(way, cut=rng.randrange(1, rng.choice([300, 3000, 30000, 300000])))
        written = now
        kept = contents(lab.root, lab.replica()) if lab.replica().exists() else contents(lab.root)
        # only what was agreed on before may have been replaced: each side's own newest contents are all somewhere
        assert {text for text in written if text.startswith(b"%d %d " % (seed, turn))} <= kept
    lab.sync("in")
    for way in ("out", "in", "out"):
        assert lab.sync(way)["error"] == ""
    mine, its = snapshot(lab.root), snapshot(lab.replica())
    plain = {path: entry for path, entry in mine.items() if ".sbroker-" not in path}
    assert plain == {path: entry for path, entry in its.items() if ".sbroker-" not in path}
    assert [name for folder in (lab.root, lab.replica()) for name in snapshot(folder) if name.endswith(".tmp")] == []
    stores = [list((lab.state(side) / ".sbroker" / "store").glob("*/*")) for side in ("submit", "nodes/n1")]
    assert sum(len(each) for each in stores) < 12


def test_cut_at_every_frame_of_a_small_sync(tmp_path: Path) -> None:
    """Each byte of the first part, then steps: whatever was said and whatever not, the next one gets it done."""
    lab = Lab(tmp_path)
    write(lab.root / "a", "1")
    lab.sync("in")
    whole = sum(lab.moved.values())
    for number, cut in enumerate(range(1, 2 * whole, 97)):
        write(lab.root / "a", "in %d" % number)
        lab.sync("in", cut=cut)
        lab.sync("in")
        assert (lab.replica() / "a").read_text() == "in %d" % number
        write(lab.replica() / "a", "out %d" % number)
        lab.sync("out", cut=cut)
        lab.sync("out")
        assert (lab.root / "a").read_text() == "out %d" % number
    assert sorted(path.name for path in lab.root.iterdir()) == ["a"]


def both_changed(lab: Lab) -> set[bytes]:
    """A bit of every kind of change on both sides. What must not be lost of it."""
    here, there = lab.root, lab.replica()
    write(here / "mine", "new here")
    write(there / "its" / "deep", "new there")
    write(here / "both", "here")
    write(there / "both", "there")
    (here / "gone-here").unlink()
    (there / "gone-there").unlink()
    write(there / "kept", "changed there")
    (here / "kept").unlink()
    (there / "dir" / "x").unlink()
    (there / "dir").rmdir()
    write(there / "dir", "a file by now")
    (here / "to").unlink()
    (here / "to").symlink_to("mine")
    write(there / "mode", "m", 0o755)
    for side, name in ((here, "closed-here"), (there, "closed-there")):
        write(side / name / "x", "x")
        (side / name).chmod(0o555)
    write(there / "twin1", "twins")
    write(there / "twin2", "twins")
    return {b"new here", b"new there", b"here", b"there", b"changed there", b"a file by now", b"twins"}


@pytest.mark.parametrize(("way", "side"), [("in", "node"), ("in", "submit"), ("out", "submit"), ("out", "node")])
def test_killed_before_every_change_of_the_disk(tmp_path: Path, way: str, side: str) -> None:
    """The worker dies one change of the disk later each time; the next ones set it right, and end where an undisturbed one ends."""
    ends = set()
    for when in range(1, 400, 5 if side == ("node" if way == "in" else "submit") else 11):
        lab = Lab(tmp_path / str(when))
        for name in ("both", "gone-here", "gone-there", "kept", "dir/x", "mode"):
            write(lab.root / name, "m" if name == "mode" else "base")
        (lab.root / "to").symlink_to("both")
        lab.sync("in")
        lab.sync("out")
        precious = both_changed(lab)
        killed = lab.sync(way, die=(side, when))["error"] != ""
        assert precious <= contents(lab.root, lab.replica())
        for again in (way, "out", "in", "out"):
            assert lab.sync(again)["error"] == ""
        assert precious <= contents(lab.root, lab.replica())
        plain = [{path: entry[:2] + entry[3:] for path, entry in snapshot(root).items() if ".sbroker-" not in path} for root in (lab.root, lab.replica())]
        assert plain[0] == plain[1]
        ends.add(str(sorted(plain[0].items())))
        if not killed:
            break
    else:
        pytest.fail("it was killed every time")
    assert len(ends) == 1
