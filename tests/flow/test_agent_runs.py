"""A batch script on one node, with real processes."""


def test_a_script_runs_and_nothing_is_left(lab):
    lab.run('echo "$JOB.$RUN on $NODE"; echo err >&2; exit 3')
    ended = lab.wait("ended")["data"]
    lab.wait("empty")
    assert lab.kinds() == ["held", "started", "ended", "empty"]
    assert (ended["code"], ended["signal"], ended["why"]) == (3, 0, "exit")
    assert lab.output() == "1.0 on node1\nerr\n"
    assert (lab.folder / "runs" / "1.0").stat().st_mode & 0o777 == 0o700
    lab.order("forget")
    lab.order("revoke", job=9)
    lab.wait("empty", 9)
    assert not (lab.folder / "runs" / "1.0").exists()
