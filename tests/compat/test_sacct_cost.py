"""sacct's fields that no Slurm has: Cost, Egress, Site."""

from __future__ import annotations

from control_cluster import when
from test_sacct import batch, ended, sacct

from sbroker.api import Record
from sbroker.model import Run
from sbroker.states import JobState

MONEY = {"rate": 7.2, "sites": {"aws": 7.2}, "egress": 0.25}
BOUGHT = [
    Record(  # its first run was preempted; its files took ten seconds more to come back
        job=ended(790, "bought", JobState.RUNNING, start="09:20:00", end="09:20:50", **MONEY),
        run=Run(job=790, run=0, head="node1", created=when("09:20:00"), released=when("09:21:00"), why="preempt"),
    ),
    Record(
        job=ended(790, "bought", start="09:22:00", end="09:22:05", **{**MONEY, "run": 1, "egress": 0.0, "sites": {"lab": 0.0, "gcp": 7.2}}),
        run=Run(job=790, run=1, head="node1", created=when("09:22:00"), released=when("09:22:10")),
        steps=(batch(790),),
    ),
]


def test_what_slurm_has_no_word_for_is_shown_where_it_is_named():
    got = sacct("-D", "-n", "-P", "-j", "790", "-o", "jobid,state,elapsed,cost,egress,site", records=BOUGHT)
    assert got.out == (
        "790|REQUEUED|00:00:50|0.3700|0.2500|aws\n"  # a minute at 7.20 an hour, and the egress
        "790|COMPLETED|00:00:05|0.0200|0|lab,gcp\n"
        "790.batch|COMPLETED|00:00:00|||\n"
    )
    assert sacct("-nXP", "-j", "790", "-o", "cos,egr,si", records=BOUGHT).out == "0.0200|0|lab,gcp\n"
    assert sacct("-nXP", "-j", "776", "-o", "cost,egress,site").out == "0|0|\n"  # a record of an earlier release


def test_the_cost_of_a_window_and_of_what_still_runs():
    got = sacct("-D", "-T", "-nXP", "-S", "09:20:30", "-E", "09:22:05", "-o", "jobid,cost", records=BOUGHT)
    assert got.out == "790|0.0600\n790|0.0100\n"
    runs = ended(791, "runs", JobState.RUNNING, start="09:22:30", **{**MONEY, "end_time": None, "egress": 0.0})
    record = Record(job=runs, run=Run(job=791, run=0, head="node1", created=when("09:22:30")))
    assert sacct("-nXP", "-j", "791", "-o", "elapsed,cost", records=[record]).out == "00:00:08|0.0160\n"


def test_the_fields_of_slurm_come_first():
    """`all`, and every abbreviation that Slurm takes, are what they were."""
    assert "Cost" not in sacct("-P", "-o", "all", "-j", "771").out.split("\n")[0]
    names = [sacct("-P", "-o", word, "-j", "771").out.split("\n")[0] for word in ("co", "e", "s")]
    assert names == ["Comment", "Elapsed", "Start"]
