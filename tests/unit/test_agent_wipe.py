"""What is removed of a submitter whose turn is over, and what is not."""

import os

import pytest

from sbroker.agent import errand, procs, resolving, tenant
from sbroker.agent.files import base
from sbroker.agent.loop import Loop


def test_what_is_older_or_somebody_elses_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deep").write_text("x")
    (tmp_path / "mine").chmod(0o500)
    now = (tmp_path / "mine").stat().st_ctime
    assert tenant.temporary(now + 1, "/agent", [str(tmp_path)]) == [] and (tmp_path / "mine" / "deep").exists()
    assert tenant.temporary(now - 1, "/agent", [str(tmp_path)], uid=os.getuid() + 1) == [] and (tmp_path / "mine" / "deep").exists()
    assert tenant.temporary(now - 1, "/agent", [str(tmp_path), str(tmp_path / "missing")]) == []
    assert list(tmp_path.iterdir()) == []


def test_the_agents_own_folder_stays(tmp_path):
    agent = tmp_path / "base" / "store" / "node"
    agent.mkdir(parents=True)
    (tmp_path / "other").write_text("")
    assert tenant.temporary(0, str(agent), [str(tmp_path)]) == []
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_links_are_not_followed(tmp_path):
    kept, place = tmp_path / "kept", tmp_path / "tmp"
    kept.mkdir()
    place.mkdir()
    (kept / "file").write_text("")
    (place / "link").symlink_to(kept)
    assert tenant.temporary(0, "/agent", [str(place)]) == []
    assert (kept / "file").exists() and list(place.iterdir()) == []


def test_a_folder_deeper_than_any_path_goes(tmp_path):
    top, here = tmp_path / "deep", os.getcwd()
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    assert tenant.remove(str(top)) == [] and not top.exists()


def test_what_the_agent_itself_started_is_no_leftover():
    """Children that resolve names or run an errand are not killed with what a dead supervisor left."""
    seen = []
    for start in (lambda loop: resolving.addresses(loop, ["no-such-name.invalid"], lambda found: loop.stop()),
                  lambda loop: errand.run(loop, lambda: 7, lambda result, error: (seen.append((result, error)), loop.stop()))):
        loop = Loop()
        start(loop)
        children = set(procs.children(os.getpid()))
        assert children and children <= errand.pids
        loop.run()
        while errand.pids:
            loop.turn()
        loop.close()
    assert seen == [(7, "")]


@pytest.mark.parametrize(("work", "wanted"), [
    (lambda: os.listdir("/nonexistent"), "/nonexistent: No such file or directory"), (lambda: os._exit(3), "the process for it was killed"),
])  # fmt: skip
def test_an_errand_that_fails_says_why(work, wanted):
    loop, said = Loop(), []
    errand.run(loop, work, lambda result, error: (said.append((result, error)), loop.stop()))
    loop.run()
    loop.close()
    assert said == [(None, wanted)]


def test_replicas_go_wherever_they_lie(tmp_path):
    """One below the agent's folder, one at the very path that it has on the submit host."""
    state, same = tmp_path / "agent" / "files" / "alice", tmp_path / "project"
    same.mkdir()
    (same / "result").write_text("secret")
    below = state / "home" / "alice"
    below.mkdir(parents=True)
    (below / "file").write_text("secret")
    for path in (same, below):
        base.Home(str(state)).root(os.fsencode(path)).remember(at=str(path), ino=path.stat().st_ino)
    assert tenant.replicas(str(tmp_path / "agent")) == []
    assert not same.exists() and not state.exists()
