"""The patterns of .gitignore, asked of git itself; what goes over in which direction."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbroker.agent.files.filter import Filter, ignore_files_above
from sbroker.agent.files.ignore import Rules, lines, parse_stage
from sbroker.agent.files.manifest import Index, Walk
from sbroker.agent.files.tree import Tree

NAMES = ("a", "b", "ab", "a.c", "b.c", ".x", "[a]", "a b", "!a", "#a", "a\\b", "é")
GIT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}

pieces = st.one_of(
    st.sampled_from(["a", "b", "c", ".", "*", "**", "?", "/", "/**/", "**/", "/**", "[ab]", "[!a]", "[^a/]", "[a-b]", "[]a]", "[", "]", "\\", "\\*",
                     "[[:alpha:]]", "[[:nope:]]", "[[:alpha]", "[a-", "x", " ", "\\ ", "é", "\\[", "-", "[--0]", "[\\]]"]),
    st.sampled_from(NAMES),
)
patterns = st.builds(lambda lead, body, tail: lead + "".join(body) + tail, st.sampled_from(["", "!", "/", "!/", "#", "\\!", "\\#"]),
                     st.lists(pieces, min_size=1, max_size=5), st.sampled_from(["", "/", " ", "\r", "  ", "\\ "]))
files = st.lists(patterns, max_size=5)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", top], env=GIT, check=True)
    for one in NAMES:
        (top / one).mkdir()
        for two in NAMES:
            (top / one / two).mkdir()
            for three in ("a", "b.c", "é", "x"):
                (top / one / two / three).touch()
        for two in ("f", "f.c", "x"):
            (top / one / two).touch()
    return top


def ignored_by_git(top: Path, paths: list[bytes]) -> set[bytes]:
    done = subprocess.run(["git", "check-ignore", "--no-index", "-z", "--stdin"], cwd=top, env=GIT, input=b"\0".join(paths), capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.split(b"\0")) - {b""}


@given(files, files)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patterns_mean_what_they_mean_to_git(repository: Path, top: list[str], inner: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(top), newline="")
    (repository / "a" / ".gitignore").write_text("\n".join(inner), newline="")
    with Tree(os.fsencode(repository)) as tree:
        scan = Walk(tree, Index(), Filter("in")).run()
        everything = Walk(tree, Index(), Filter("in", parse_stage("all"))).run()
    asked = [path for path in everything.entries if path.split(b"/")[0] != b".git"]
    ours = {path for path in asked if path not in scan.entries}
    assert ours == ignored_by_git(repository, asked)


def wanted(direction: str, root: Path, stage: str | None = None, excluded: tuple[bytes, ...] = (), tracked: tuple[bytes, ...] = ()) -> list[str]:
    above = ignore_files_above(os.fsencode(root))
    with Tree(os.fsencode(root)) as tree:
        walk = Walk(tree, Index(), Filter(direction, stage and parse_stage(stage), excluded, tracked, above))
        return sorted(os.fsdecode(path) for path, entry in walk.run().entries.items() if entry.kind != "d")


def make(root: Path, *names: str, **contents: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get(name, name))


def test_the_table(tmp_path: Path) -> None:
    make(tmp_path, "main.py", "data/big.bin", "data/small.csv", "run.ckpt", "secret/key", "__pycache__/main.pyc", "old.pyc", ".git/HEAD", ".git/data/x.ckpt",
         "out.txt.sbroker-n1-7", "slurm-7.out", "env/pyvenv.cfg", "env/bin/python")
    (tmp_path / ".gitignore").write_text("data/\n*.ckpt\n")
    (tmp_path / ".sbrokerignore").write_text("secret\n")
    own = [".git/HEAD", ".git/data/x.ckpt", ".gitignore", ".sbrokerignore"]
    assert wanted("in", tmp_path) == [*own, "env/bin/python", "env/pyvenv.cfg", "main.py", "slurm-7.out"]
    assert wanted("in", tmp_path, excluded=(b"slurm-7.out",)) == [*own, "env/bin/python", "env/pyvenv.cfg", "main.py"]
    assert wanted("in", tmp_path, "!env,data/*.csv") == [*own, "data/small.csv", "main.py", "slurm-7.out"]
    assert wanted("in", tmp_path, "none") == []
    assert wanted("in", tmp_path, "none,main.py,data") == ["data/big.bin", "data/small.csv", "main.py"]
    assert wanted("in", tmp_path, "secret,__pycache__") == [*own, "__pycache__/main.pyc", "env/bin/python", "env/pyvenv.cfg", "main.py", "secret/key", "slurm-7.out"]
    everything = [*own, "data/big.bin", "data/small.csv", "env/bin/python", "env/pyvenv.cfg", "main.py", "run.ckpt", "secret/key", "slurm-7.out"]
    assert wanted("in", tmp_path, "all") == everything
    back = [*own, "data/big.bin", "data/small.csv", "main.py", "out.txt.sbroker-n1-7", "run.ckpt", "slurm-7.out"]
    assert wanted("out", tmp_path) == back
    assert wanted("out", tmp_path, "none") == back
    assert wanted("out", tmp_path, "!data,secret") == [*own, "main.py", "out.txt.sbroker-n1-7", "run.ckpt", "secret/key", "slurm-7.out"]
    assert "env/bin/python" in wanted("out", tmp_path, tracked=(b"env/bin/python",))  # it came from the submit side


def test_what_a_job_brought_out_goes_in_again(tmp_path: Path) -> None:
    make(tmp_path, "ckpt/deep/1.pt", "ckpt/deep/2.pt", "x.log")
    (tmp_path / ".gitignore").write_text("ckpt\n*.log\n")
    assert wanted("in", tmp_path, tracked=(b"ckpt/deep/2.pt", b"x.log")) == [".gitignore", "ckpt/deep/2.pt", "x.log"]
    assert wanted("in", tmp_path, "!*.log", tracked=(b"ckpt/deep/2.pt", b"x.log")) == [".gitignore", "ckpt/deep/2.pt"]


def test_the_repository_around_the_submit_directory_counts(tmp_path: Path) -> None:
    make(tmp_path, "work/exp/a.log", "work/exp/a.txt", "work/exp/data/x", "work/exp/data2/x", ".git/HEAD", ".git/info/exclude")
    (tmp_path / ".gitignore").write_text("*.log\n/work/exp/data\n")
    (tmp_path / ".git" / "info" / "exclude").write_text("data2\n")
    assert wanted("in", tmp_path / "work" / "exp") == ["a.txt"]
    (tmp_path / "work" / ".gitignore").write_text("!*.log\n")
    assert wanted("in", tmp_path / "work" / "exp") == ["a.log", "a.txt"]
    assert wanted("out", tmp_path / "work" / "exp") == ["a.log", "a.txt", "data/x", "data2/x"]


@pytest.mark.parametrize(("text", "said"), [("a,all", "can only stand first"), ("", "an empty pattern"), ("a,,b", "an empty pattern"), ("!", "an empty pattern"),
                                            ("../x", "no pattern below"), ("[", "no pattern below")])
def test_stage_refuses(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_stage(text)


def test_stage_words() -> None:
    assert parse_stage("none,./all,!a\\,b,/c/*.txt") == {"mode": "none", "include": ["/all", "/c/*.txt"], "exclude": ["a,b"]}
    assert parse_stage("all") == {"mode": "all", "include": [], "exclude": []}


@given(st.binary(max_size=60))
def test_any_bytes_are_an_ignore_file(content: bytes) -> None:
    Rules(lines(content)).match(b"a/b", False)
