"""`sbroker cost`, on records that are made up."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from sbroker.api import HistoryQuery, Record
from sbroker.cli import costs
from sbroker.core import money
from sbroker.core.owed import MICRO
from sbroker.core.state import State
from sbroker.errors import SbrokerError
from sbroker.model import Job, JobSpec, Machine, NodeShare, Run
from sbroker.states import JobState

HOUR = 3600


def at(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H").replace(tzinfo=timezone.utc).timestamp()


NOW = at("2026-11-24 12")


def record(number: int, start: str, hours: float, rate: float, user: str = "alice", account: str = "lab", **fields: Any) -> Record:
    begin = at(start)
    given = {"sites": {"aws": rate} if rate else {"local": 0.0}, "rate": rate, "state": JobState.COMPLETED, **fields}
    job = Job(
        id=number, user=user, uid={"alice": 1001, "bob": 1002}[user], gid=1, spec=JobSpec(name="train"), account=account, run=0,
        submit_time=begin, start_time=begin, end_time=begin + hours * HOUR, nodes=(NodeShare(node="n", cpus=1),), **given,
    )  # fmt: skip
    return Record(job=job, run=Run(job=number, run=0, head="n", created=begin, released=begin + hours * HOUR))


RECORDS = [
    record(1, "2026-11-02 00", 2, 10.0),
    record(2, "2026-11-03 00", 1, 10.0, user="bob", account="other", egress=0.5),
    record(3, "2026-10-31 12", 24, 1.0, array_id=3, array_task=7),  # of two months
    record(4, "2026-11-04 00", 10, 0.0),  # nothing
    record(5, "2026-11-05 00", 1, 4.0, sites={"aws": 1.0, "gcp": 3.0}),
]
MACHINES = {"aws": {"2026-10-31": 20.0, "2026-11-02": 50.0}, "gcp": {"2026-11-05": 3.0}}


class Fake:
    def __init__(self, uid: int = 0, admin: bool = True) -> None:
        self.caller = SimpleNamespace(uid=uid, admin=admin)

    def now(self) -> float:
        return NOW

    async def history(self, query: HistoryQuery) -> list[Record]:
        assert not query.steps
        found = [each for each in RECORDS if not query.uids or each.job.uid in query.uids]
        return [each for each in found if not query.accounts or each.job.account in query.accounts]

    def machine_costs(self, since: float, until: float) -> dict[str, float]:
        assert self.caller.admin
        found = {site: sum(usd for day, usd in days.items() if since <= at(day + " 00") < until) for site, days in MACHINES.items()}
        return {site: usd for site, usd in found.items() if usd}


def ask(api: Fake | None = None, **asked: Any) -> str:
    given = {"by": "account", "start": None, "end": None, "accounts": [], "users": [], "json": False, **asked}
    return asyncio.run(costs.answer(api or Fake(), [json.dumps(given)]))  # type: ignore[arg-type]


def test_by_account_in_the_present_month():
    assert ask().splitlines() == [
        "USD from 2026-11-01 to 2026-11-24 (UTC)",
        "ACCOUNT      JOBS    RUNS     COST    EGRESS",
        "lab             3       3  36.0000         0",
        "other           1       1  10.5000    0.5000",
        "In all: 4 jobs, 46.5000 USD, 0.5000 of it egress.",
        "Machines cost 53.0000 USD, 7.0000 of it beyond jobs (boot without a job, idle, shared in part).",
    ]


def test_by_site_and_what_machines_cost_beyond_jobs():
    lines = ask(by="site").splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["SITE", "JOBS", "RUNS", "COST", "EGRESS", "MACHINES", "BEYOND"],
        ["aws", "4", "4", "43.5000", "0.5000", "50.0000", "7.0000"],
        ["gcp", "1", "1", "3.0000", "0", "3.0000", "0"],
    ]


def test_by_month_a_run_is_of_both():
    lines = ask(by="month", start=at("2026-10-01 00")).splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["2026-10", "1", "1", "12.0000", "0", "20.0000", "8.0000"],
        ["2026-11", "4", "4", "46.5000", "0.5000", "53.0000", "7.0000"],
    ]


def test_by_job_the_dearest_first():
    lines = ask(by="job").splitlines()
    assert [line.split()[:3] for line in lines[2:6]] == [["1", "train", "alice"], ["3_7", "train", "alice"], ["2", "train", "bob"], ["5", "train", "alice"]]


def test_users_see_their_own():
    text = ask(Fake(1002, admin=False), by="user")
    assert "bob" in text and "alice" not in text and "Machines" not in text


def test_of_some_accounts_or_users_only():
    assert "In all: 1 jobs, 10.5000 USD" in ask(accounts=["other"])
    assert "In all: 1 jobs, 10.5000 USD" in ask(users=["bob"])
    assert "Machines" not in ask(users=["bob"])


def test_for_programs():
    found = json.loads(ask(by="site", json=True))
    assert found["rows"][0] == {"site": "aws", "jobs": 4, "runs": 4, "cost": 43.5, "egress": 0.5, "machines": 50.0}
    assert (found["total"]["cost"], found["machines"], found["beyond_jobs"]) == (46.5, {"aws": 50.0, "gcp": 3.0}, 7.0)
    assert found["start"] == at("2026-11-01 00") and found["end"] == at("2026-11-25 00")


def test_a_period_without_anything():
    assert ask(start=at("2025-01-01 00"), end=at("2025-02-01 00")) == "Nothing has cost anything from 2025-01-01 to 2025-01-31 (UTC)."
    with pytest.raises(SbrokerError, match="ends before it begins"):
        ask(start=at("2026-02-01 00"), end=at("2026-01-01 00"))


def test_machines_that_are_there_count_until_now():
    state = State()
    state.counters = {"spent:site:aws:2026-11-23": 5 * MICRO, "spent:site:aws:2026-10-31": MICRO, "spent:account:aws:2026-11-23": 7}
    state.machines["t", 0] = Machine(token="t", index=0, site="aws", price=2.0, created=at("2026-11-24 10"))
    state.machines["t", 1] = Machine(token="t", index=1, site="aws", price=2.0, created=at("2026-11-23 10"), gone=at("2026-11-23 11"))
    assert money.site_costs(state, at("2026-11-01 00"), at("2026-12-01 00"), NOW) == {"aws": 9 * MICRO}
