"""The parts of the files workers one by one: store, base, place, frames, what a broker sees."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbroker.agent import wire
from sbroker.agent.files import place, transfer, tree
from sbroker.agent.files.apply import Receiver, checked
from sbroker.agent.files.base import NOTHING, Cancelled, Home, around, name_of, packed, unpacked
from sbroker.agent.files.cas import EMPTY, Store
from sbroker.agent.files.limit import Limit
from sbroker.agent.files.manifest import Entry, Index, now_ns
from sbroker.agent.files.merge import Policy
from sbroker.agent.files.transfer import Broken, Failed, Pipe
from sbroker.agent.files.watch import Watch


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "state").mkdir()
    return Home(tmp_path / "state")


# --- the store


def test_a_store_goes_on_after_a_cut_and_believes_nothing(home: Home) -> None:
    data, store = b"0123456789" * 1000, Store(home)
    content = sha(data)
    assert store.have(content, len(data)) == 0
    store.piece(content, 0, data[:4000])
    store.close()
    store = Store(home)  # another process
    assert store.have(content, len(data)) == 4000
    with pytest.raises(ValueError, match="a piece at 5000 follows 4000"):
        store.piece(content, 5000, b"x")
    store.piece(content, 4000, data[4000:])
    assert store.finish(content, len(data)) and Path(store.path(content)).read_bytes() == data
    other = Store(home)  # of a worker that works at the same time
    assert other.have(content, len(data)) == 0
    other.close()
    store.close()
    store = Store(home)
    Path(store.path(content)).write_bytes(b"x" * len(data))
    assert store.have(content, len(data)) == 0 and not os.path.exists(store.path(content))
    store.piece(content, 0, b"y" * len(data))
    assert not store.finish(content, len(data)) and store.ready == {}
    assert not store.whole(content, b"z") and store.whole(EMPTY, b"")
    store.drop(EMPTY)
    store.close()
    assert os.listdir(os.path.join(home.path, "store")) == []


def test_a_store_is_bounded_and_the_oldest_go_first(home: Home) -> None:
    store = Store(home)
    for number in range(5):
        store.whole(sha(b"%d" % number * 100), b"%d" % number * 100)
        os.utime(store.path(sha(b"%d" % number * 100)), (number, number))
    store.prune(250)
    assert sorted(os.listdir(store.folder)) == sorted(sha(b"%d" % number * 100) for number in (3, 4))


def test_content_is_found_in_other_replicas_unless_it_was_written_since(home: Home, tmp_path: Path) -> None:
    folder, store = os.fsencode(tmp_path), Store(home)
    (tmp_path / "f").write_bytes(b"content")
    os.utime(tmp_path / "f", (1, 1))
    index = Index()
    index.learn(b"f", os.lstat(tmp_path / "f"), sha(b"content"), now_ns())
    assert store.find(sha(b"content"), 7, [(folder, index)]) and Path(store.path(sha(b"content"))).read_bytes() == b"content"
    store.drop(sha(b"content"))
    (tmp_path / "f").write_bytes(b"another")
    assert not store.find(sha(b"content"), 7, [(folder, index)])
    index.rows[b"f"] = (index.rows[b"f"][0][:0] + [7, os.lstat(tmp_path / "f").st_mtime_ns, os.lstat(tmp_path / "f").st_ino, os.lstat(tmp_path / "f").st_ctime_ns],
                        sha(b"content"))  # even a wrong index does not make it so
    assert not store.find(sha(b"content"), 7, [(folder, index)]) and store.ready == {}


def test_a_file_written_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    found, index = os.lstat(tmp_path / "f"), Index()
    index.learn(b"f", found, sha(b"1"), found.st_mtime_ns + 1)
    assert index.content(b"f", found) is None
    index.learn(b"f", found, sha(b"1"), found.st_mtime_ns + 10**10)
    assert index.content(b"f", found) == sha(b"1")


def test_holes_stay_holes(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as stream:
        tree.write_all(stream.fileno(), b"x")
        tree.write_all(stream.fileno(), bytes(tree.PIECE))
        tree.write_all(stream.fileno(), bytes(tree.PIECE))
    found = os.stat(tmp_path / "f")
    assert found.st_size == 1 + 2 * tree.PIECE and found.st_blocks * 512 < tree.PIECE
    assert (tmp_path / "f").read_bytes() == b"x" + bytes(2 * tree.PIECE)


# --- the base


def test_bases_have_the_same_name_everywhere(home: Home) -> None:
    entries = {b"a": Entry("f", 0o644, 1, 2, sha(b"x")), b"\xff/\n": Entry("l", 0, 0, 0, "\udcff")}
    assert unpacked(packed(entries)) == entries
    assert packed(dict(reversed(entries.items()))) == packed(entries)
    home.keep_base(entries)
    assert home.copy_of_base(name_of(packed(entries))) == entries
    assert home.copy_of_base(NOTHING) == {} and home.copy_of_base("0" * 64) is None
    path = Path(home.path, "bases", name_of(packed(entries)))
    path.write_bytes(path.read_bytes()[:-3])
    assert home.copy_of_base(path.name) is None


def test_a_base_is_committed_or_not(home: Home) -> None:
    root = home.root(b"/project")
    root.remember(at="/replica", ino=1)
    assert root.load() == {} and root.name == NOTHING
    base = {b"a": Entry("f", 0o644, 1, 2, sha(b"x"))}
    root.commit(base, True)
    again = home.root(b"/project")
    assert (again.load(), again.dirty, again.name, again.at) == (base, True, root.name, b"/replica")
    again.forget()
    assert home.root(b"/project").load() == {}


def test_roots_inside_one_another_know_of_each_other(home: Home) -> None:
    outer, inner = home.root(b"/project"), home.root(b"/project/sub")
    outer.remember(at="/project", ino=1)
    inner.remember(at="/project/sub", ino=2)
    one, two = Entry("f", 0o644, 1, 1, sha(b"1")), Entry("f", 0o644, 1, 2, sha(b"2"))
    outer.commit({b"x": one, b"sub/x": one, b"sub/only": one}, False)
    inner.commit({b"x": two}, False)
    assert around(outer, home.roots())[0].path == b"/project/sub"
    assert outer.load(around(outer, home.roots())) == {b"x": one, b"sub/x": two, b"sub/only": one}
    outer.commit({b"x": two, b"sub/x": one}, False)
    assert inner.load(around(inner, home.roots())) == {b"x": one}


def test_a_lock_is_waited_for_unless_nobody_waits_for_us(home: Home) -> None:
    first, second = home.root(b"/project"), home.root(b"/project")
    first.lock()
    here, there = socket.socketpair()
    with here:
        there.close()
        with pytest.raises(Cancelled):
            second.lock(sock=here)
    thread = threading.Thread(target=second.lock)
    thread.start()
    first.unlock()
    thread.join(30)
    assert not thread.is_alive()
    second.unlock()


# --- where a replica lies


def place_of(home: Home, path: Path, out: bool = False) -> str:
    return os.fsdecode(place.choose({}, home, home.root(os.fsencode(path)), out))


def test_the_same_path_if_it_is_free_or_was_ours(home: Home, tmp_path: Path) -> None:
    below = str(home.state)
    assert place_of(home, tmp_path / "new" / "work") == str(tmp_path / "new" / "work")
    assert place_of(home, tmp_path / "new" / "work", out=True) == str(tmp_path / "new" / "work")
    assert place_of(home, tmp_path / "new" / "work" / "sub") == str(tmp_path / "new" / "work" / "sub")
    (tmp_path / "empty").mkdir()
    assert place_of(home, tmp_path / "empty") == str(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert place_of(home, tmp_path / "other") == below + str(tmp_path / "other")
    (tmp_path / "file").touch()
    assert place_of(home, tmp_path / "file") == below + str(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert place_of(home, tmp_path / "link") == below + str(tmp_path / "link")


def test_a_replica_that_was_put_there_by_somebody_else_is_not_ours(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "work"
    place_of(home, path)
    home.root(os.fsencode(path)).commit({b"a": Entry("d", 0o755, 0, 0, "")}, False)
    path.rename(tmp_path / "away")
    path.mkdir()
    (path / "file").touch()
    with pytest.raises(place.Gone):
        place_of(home, path, out=True)
    assert place_of(home, path) == str(home.state) + str(path)
    assert home.root(os.fsencode(path)).load() == {}


# --- the receiving side


def receiver(home: Home, folder: Path, out: bool = True, busy: bool = False) -> Receiver:
    return Receiver(tree.Tree(os.fsencode(folder)), Index(), Store(home), b".sbroker-00000000-", Policy(out, busy, False, b"n1-7", "n1"))


def entry(data: bytes) -> Entry:
    return Entry("f", 0o644, len(data), 10**18, sha(data))


@pytest.mark.parametrize("before", [b"old", None])
def test_what_is_written_in_the_last_moment_is_not_overwritten(home: Home, tmp_path: Path, before: bytes | None) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    base = None
    if before is not None:
        (folder / "f").write_bytes(before)
        base = entry(before)
    side = receiver(home, folder)
    assert side.decide([(b"f", base, entry(b"new"))]) == [(sha(b"new"), 3)]
    side.store.whole(sha(b"new"), b"new")
    (folder / "f").write_bytes(b"by the user, just now")
    side.apply()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"f": b"by the user, just now", "f.sbroker-n1-7": b"new"}
    assert [row[:2] for row in side.conflicts] == [(b"f", b"f.sbroker-n1-7")] and side.kept == set()


def test_what_is_written_in_the_last_moment_is_not_removed(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "f").write_bytes(b"old")
    side = receiver(home, folder)
    side.decide([(b"f", entry(b"old"), None)])
    (folder / "f").write_bytes(b"new")
    side.apply()
    assert (folder / "f").read_bytes() == b"new" and side.kept == {0}


def test_a_folder_that_becomes_a_link_leads_nowhere(home: Home, tmp_path: Path) -> None:
    folder, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (folder / "d").mkdir(parents=True)
    side = receiver(home, folder)
    side.decide([(b"d", Entry("d", 0o755, 0, 0, ""), Entry("d", 0o755, 0, 0, "")), (b"d/f", None, entry(b"new"))])
    side.store.whole(sha(b"new"), b"new")
    (folder / "d").rmdir()
    (folder / "d").symlink_to(outside)
    side.apply()
    assert list(outside.iterdir()) == [] and side.kept == {1}


def test_a_folder_with_pythons_cache_only_is_removed(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    (folder / "package" / "__pycache__").mkdir(parents=True)
    (folder / "package" / "__pycache__" / "m.pyc").touch()
    (folder / "package" / "m.py").write_bytes(b"x")
    side = receiver(home, folder)
    side.decide([(b"package", Entry("d", 0o755, 0, 0, ""), None), (b"package/m.py", entry(b"x"), None)])
    side.apply()
    assert list(folder.iterdir()) == [] and side.kept == set()


def test_the_store_behind_another_mount(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "g").write_bytes(b"old")
    side = receiver(home, folder)
    side.decide([(b"f", None, entry(b"new")), (b"g", entry(b"old"), entry(b"other"))])
    for data in (b"new", b"other"):
        side.store.whole(sha(data), data)

    def refuse(real: Any) -> Any:
        def call(source: Any, *args: Any, **more: Any) -> Any:
            if str(source).startswith(home.path):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return real(source, *args, **more)
        return call

    monkeypatch.setattr(os, "link", refuse(os.link))
    monkeypatch.setattr(os, "rename", refuse(os.rename))
    side.apply()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"f": b"new", "g": b"other"}
    assert os.stat(folder / "f").st_mtime_ns == 10**18 and side.kept == set()


@pytest.mark.parametrize("row", [
    ["../x", None, None], ["/etc/passwd", None, None], ["a//b", None, None], ["", None, None], ["a/.", None, None], ["a\0", None, None],
    ["a", None, ["f", 0o644, 1, 1, "../../x"]], ["a", None, ["x", 0, 0, 0, ""]], ["a", None, ["f", 0o644, -1, 1, "0" * 64]], ["a", None, ["f", "1", 1, 1, "0" * 64]],
])
def test_rows_that_lead_elsewhere_are_refused(row: list) -> None:
    with pytest.raises((ValueError, TypeError)):
        checked(row)


def test_no_set_id_bits_arrive() -> None:
    assert checked(["a", None, ["f", 0o6755, 1, -5, "0" * 64]])[2].mode == 0o755


# --- frames


def conversation(speak: Any, hear: Any, compress: bool = True) -> Any:
    here, there = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    thread = threading.Thread(target=lambda: (speak(Pipe(here, compress)), here.close()))
    thread.start()
    pipe = Pipe(there)
    result = hear(pipe)
    there.close()
    thread.join(60)
    return result


def test_rows_arrive_in_any_number() -> None:
    for count in (0, 1, 499, 500, 501, 40000):
        rows = [["%d\n\udcff" % number, None, ["f", 1, 2, 3, sha(b"%d" % number)]] for number in range(count)]
        assert conversation(lambda pipe, rows=rows: pipe.send_rows("x", rows), lambda pipe: pipe.receive_rows("x")) == rows


def test_rows_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ROWS", 10000)
    with pytest.raises(ValueError, match="rows of more than 10000 bytes"):
        conversation(lambda pipe: pipe.send_rows("x", ["a" * 10000]), lambda pipe: pipe.receive_rows("x"))


@pytest.mark.parametrize("compress", [True, False])
def test_contents_arrive(home: Home, tmp_path: Path, compress: bool) -> None:
    datas = [b"", b"a", b"text\n" * 100000, os.urandom(700000), bytes(1 << 20), b"x" + bytes(600000) + b"y", *(b"%d" % number for number in range(3000))]
    for number, data in enumerate(datas):
        (tmp_path / str(number)).write_bytes(data)
    names = {sha(data): number for number, data in enumerate(datas)}
    wants = [[sha(data), len(data), 0] for data in datas]
    store = Store(home)
    missing = conversation(
        lambda pipe: pipe.send_contents(wants, lambda content: os.open(tmp_path / str(names[content]), os.O_RDONLY)),
        lambda pipe: pipe.receive_contents(store, wants), compress)
    assert missing == set()
    for data in datas:
        assert Path(store.path(sha(data))).read_bytes() == data


def test_a_file_that_is_another_by_now_is_missing(home: Home, tmp_path: Path) -> None:
    small, big, short = b"small", b"big" * 100000, b"short" * 100000
    for name, now in (("small", b"SMALL"), ("big", b"BIG" * 100000), ("short", b"s")):
        (tmp_path / name).write_bytes(now)
    names = {sha(small): "small", sha(big): "big", sha(short): "short"}
    wants = [[sha(data), len(data), 0] for data in (small, big, short)] + [[sha(b"gone"), 4, 0]]

    def opened(content: str) -> int | None:
        return os.open(tmp_path / names[content], os.O_RDONLY) if content in names else None

    store = Store(home)
    missing = conversation(lambda pipe: pipe.send_contents(wants, opened), lambda pipe: pipe.receive_contents(store, wants))
    assert missing == {content for content, _, _ in wants} and os.listdir(store.folder) == []


def test_the_other_sides_end_is_heard_while_we_speak() -> None:
    def give_up(pipe: Pipe) -> None:
        pipe.send({"op": "done", "error": "no space", "again": True})
        pipe.drain()

    def speak(pipe: Pipe) -> None:
        def talk() -> None:
            while True:
                pipe.listen()
                pipe.send({"op": "piece"}, b"x" * 1000)

        with pytest.raises(Failed, match="no space"):
            talk()
        pipe.send({"op": "done", "error": "no space"})

    conversation(speak, give_up)


def test_a_pipe_that_ends_is_broken() -> None:
    with pytest.raises(Broken):
        conversation(lambda pipe: None, lambda pipe: pipe.receive("hello"))


frames = st.lists(st.one_of(
    st.tuples(st.just({"op": "rows"}), st.binary(max_size=300)), st.tuples(st.just({"op": "piece", "n": 7}), st.binary(max_size=300)),
    st.tuples(st.just({"op": "pack", "items": [["a", 3], ["b", 4]]}), st.binary(max_size=9)),
    st.tuples(st.just({"op": "moving", "bytes": 1}), st.just(b"")), st.tuples(st.just({"op": "done", "error": ""}), st.just(b"")),
), max_size=12)


@given(frames, st.lists(st.integers(1, 400), max_size=30))
@settings(deadline=None)
def test_a_watch_sees_the_same_however_it_is_cut(sent: list, cuts: list[int]) -> None:
    data = b"".join(wire.link_frame(header, body) for header, body in sent)
    watch, found = Watch(), []
    for cut in [*cuts, len(data)]:
        found += watch.feed(data[:cut])
        data = data[cut:]
    assert found == [header for header, _ in sent if header["op"] in ("moving", "done")]
    assert watch.moved == 7 * sum(header["op"] in ("piece", "pack") for header, _ in sent)
    assert (watch.done is not None) == any(header["op"] == "done" for header, _ in sent)


# --- holes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700_000)), max_size=6), st.integers(0, 1_000_000))
def test_a_file_with_holes_is_read_as_it_is(tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bool, int]], at: int) -> None:
    path = tmp_path_factory.mktemp("holes") / "f"
    whole = b"".join(bytes(length) if hole else b"x" * length for hole, length in parts)
    with open(path, "wb") as stream:
        for hole, length in parts:
            stream.seek(length, os.SEEK_CUR) if hole else stream.write(b"x" * length)
        stream.truncate(len(whole))
    at = min(at, len(whole))
    with open(path, "rb") as stream:
        assert b"".join(tree.pieces(stream.fileno(), len(whole), at)) == whole[at:]
        assert b"".join(tree.pieces(stream.fileno(), len(whole) + 5, at)) == whole[at:]
        assert b"".join(tree.pieces(stream.fileno(), len(whole) // 2)) == whole[: len(whole) // 2]


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "f", "wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(512 << 20)
        stream.write(b"x")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    if os.lseek(fd, 0, os.SEEK_DATA) == 0:
        pytest.skip("this file system does not tell where holes are")
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: read.append(at) or real(fd, count, at))
    assert sum(map(len, tree.pieces(fd, 1 << 30))) == 1 << 30
    os.close(fd)
    assert read == [512 << 20]


# --- the limit


def test_a_limit_counts_what_is_new_only() -> None:
    known = Entry("f", 0o644, 50, 1, sha(b"x"))
    limit = Limit({"bytes": 100, "files": 2}, {b"old": known})
    assert not limit.too_much(b"old", known) and not limit.too_much(b"old", known._replace(content=None))
    assert not limit.too_much(b"new", Entry("f", 0o644, 100, 1, None))
    assert limit.too_much(b"old", known._replace(mtime=2, content=None))
    assert not Limit(None, {}).too_much(b"new", Entry("f", 0o644, 1 << 50, 1, None))


def test_a_limit_looks_into_the_folder_that_has_most() -> None:
    limit = Limit({"bytes": 1000}, {})
    for path, size in ((b"src/a", 10), (b"data/raw/one.bin", 9000), (b"data/raw/two.bin", 8000), (b"data/x", 5)):
        limit.too_much(path, Entry("f", 0o644, size, 1, None))
    said = limit.sentence("/project", True)
    assert "17.0 KB in 4 files" in said and "data/raw/one.bin (9.0 KB), data/raw/two.bin (8.0 KB)" in said and "more than" not in said


def test_a_limit_on_the_way_back_says_where_the_files_stay() -> None:
    limit = Limit({"bytes": 1000}, {})
    assert limit.too_much(b"ckpt/one", Entry("f", 0o644, 9000, 1, None))
    said = limit.sentence("/project", False, "/var/lib/r/project on n1")
    assert said.startswith("/project: more than 9.0 KB in 1 files would have to be brought back, and the limit is 1.0 KB: the biggest are ckpt/one (9.0 KB).")
    assert "They stay in /var/lib/r/project on n1." in said and "Raise stage_limit" in said and "submit" not in said
