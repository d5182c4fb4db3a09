"""What a supervisor (and thus a job's owner) may say, and what becomes of the rest."""

import json
import math
import types

import pytest

from sbroker.agent import heard, wire
from sbroker.agent.rundir import ACTIVE, ENDED, RunDir
from sbroker.daemon import links


def test_an_honest_report_is_taken_as_it_is():
    data = {"step": 0, "name": "x", "nodes": ["n1"], "ntasks": 2, "cpus": 2, "mem": 0, "gres": {"gpu": 1}, "submit_line": "srun x", "srun_host": "h",
            "srun_pid": 7}  # fmt: skip
    assert heard.report(3, "step_start", 12.5, data) == [3, "step_start", 12.5, data]


@pytest.mark.parametrize(
    "report",
    [
        (1, "held", 1.0, {}),
        (1, "wibble", 1.0, {}),
        (0, "empty", 1.0, {}),
        (math.inf, "empty", 1.0, {}),
        (1, "empty", math.nan, {}),
        (1, "empty", 1e300, {}),
        (1, "empty", 10**400, {}),
        (1, "empty", "now", {}),
        (1, "step_start", 1.0, {}),
        (1, "step_start", 1.0, {"step": 2**80}),
        (1, "step_start", 1.0, {"step": 0, "nodes": 7}),
        (1, "step_end", 1.0, {"step": 0, "state": "WIBBLE"}),
        (1, "ended", 1.0, {"code": "x"}),
        (1, "ended", 1.0, {"usage": {"user_usec": 2**90}}),
        (1, "ended", 1.0, {"derived": 3}),
        (1, "ended", 1.0, []),
    ],
)
def test_what_no_broker_could_apply_is_none(report):
    with pytest.raises(ValueError, match=r"\S"):
        heard.report(*report)


def test_what_is_not_known_is_left_out_and_texts_are_cut():
    assert heard.data_of("ended", {"code": 1, "more": 5}) == {"code": 1}
    assert len(heard.data_of("notice", {"text": "x" * (1 << 20)})["text"]) == heard.TEXT


@pytest.mark.parametrize("word", ['[[Infinity,"empty",1.0,{}]]', '[[1,"held",1.0,{}]]', "[" * 200000, '[[1,"step_end",1.0,{}]]'])
def test_a_forged_last_word_is_no_word(tmp_path, word):
    run = RunDir(str(tmp_path), 7, 0)
    run.prepare({"kind": "batch"}, b"", b"")
    run.start()
    with open(run.file("started"), "a") as stream:
        stream.write('{"reports":%s}\n' % word)
    assert run.state() == ACTIVE
    run.leave([[1, "empty", 1.0, {}]])
    assert run.state() == ENDED


def test_a_header_nested_without_end_is_a_broken_frame():
    head = b'{"a":' + b"[" * 200000
    with pytest.raises(wire.WireError):
        wire.LinkReader().feed(len(head).to_bytes(4, "big") + bytes(4) + head)


def test_a_seal_binds_the_description_to_its_run(tmp_path):
    info = {"kind": "batch", "job": 7, "run": 0, "user": {"uid": 1001}}
    run = RunDir(str(tmp_path), 7, 0, b"key")
    run.prepare(info, b"", b"A=1\0")
    assert run.trusted() == info
    with open(run.file("held"), "rb") as stream:
        head, _, rest = stream.read().partition(b"\n")
    for key, value in (("info", dict(info, user={"uid": 0})), ("seal", ""), ("seal", None)):
        with open(run.file("held"), "wb") as stream:
            stream.write(json.dumps(dict(json.loads(head), **{key: value})).encode() + b"\n" + rest)
        with pytest.raises(ValueError, match=r"\S"):
            run.trusted()
    other = RunDir(str(tmp_path), 8, 0, b"key")
    other.prepare(info, b"", b"")  # a record of another run of the same user, put here
    with pytest.raises(ValueError, match=r"\S"):
        other.trusted()


def test_a_report_that_cannot_be_applied_keeps_its_place_as_a_notice():
    link = links.Link.__new__(links.Link)
    link.node, link.incarnation, applied = "n1", "i", []

    class Broker:
        def apply(self, event):
            if any(report.kind == "ended" for report in event.reports):
                raise KeyError("poison")
            applied.extend((report.seq, report.kind) for report in event.reports)
            return None, 1

        async def durable(self, seq):
            return None

    kept = []
    link.daemon = types.SimpleNamespace(broker=Broker(), keep=lambda task: kept.append(task))

    async def run():
        headers = [{"seq": 1, "kind": "held", "job": 1, "run": 0, "time": 1.0}, {"seq": 2, "kind": "ended", "job": 1, "run": 0, "time": 1.0},
                   {"seq": 3, "kind": "step_start", "job": 1, "run": 0, "time": math.nan}]  # fmt: skip
        link._report([link._taken(header) for header in headers])
        for task in kept:
            task.cancel()

    import asyncio

    asyncio.run(run())
    assert applied == [(1, "held"), (2, "notice"), (3, "notice")]
