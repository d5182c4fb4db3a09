"""Prices of shares, what is charged when, and who may still spend."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from typing import Any

import pytest
from core_cluster import ALICE, ROOT, Cluster, gpu

from sbroker.core import money
from sbroker.core.draft import Draft
from sbroker.core.events import Created, Fence, Requeue, Silent, Suspend, Target, UpdateJob
from sbroker.core.owed import MICRO, Due, Owed, owes
from sbroker.core.state import State
from sbroker.errors import Refused
from sbroker.machines import Offer
from sbroker.model import Machine, Node, NodeShare, Partition
from sbroker.plan import Market
from sbroker.states import JobState, Reason

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc).timestamp()
HOUR = 3600


def machine(name: str, price: float, **fields: Any) -> Node:
    given = {"site": "aws" if price else "local", "cpus": 8, "sockets": 1, "cores_per_socket": 8, "memory": 16000, "price": price, **fields}
    return Node(name=name, **given)


def cluster(*nodes: Node, budget: str | None = None, then: str = "drain", at: float = NOON, keep: int = 300, **partition: Any) -> Cluster:
    nodes = nodes or (machine("aws1", 8.0), machine("aws2", 8.0))
    part = Partition(name="cloud", default=True, nodes=tuple(node.name for node in nodes), **partition)
    account = {"budget": budget, "on_exhausted": then}
    found = Cluster(nodes, (part,), accounts={"lab": account} if budget else {}, min_job_age=keep)
    found.now = at
    return found


def spent(cluster: Cluster, prefix: str = "spent:account:") -> dict[str, float]:
    return {key.removeprefix(prefix): value / MICRO for key, value in cluster.state.counters.items() if key.startswith(prefix)}


# -- prices


@pytest.mark.parametrize(
    ("share", "whole", "price"),
    [
        (NodeShare(node="n", cpus=2, mem=1000), False, 2.0),  # a quarter of its CPUs
        (NodeShare(node="n", cpus=1, mem=12000), False, 6.0),  # three quarters of its memory
        (NodeShare(node="n", cpus=1, gres={"gpu:a100": (0, 1)}), False, 4.0),
        (NodeShare(node="n", cpus=8), False, 8.0),
        (NodeShare(node="n", cpus=1), True, 8.0),
    ],
)
def test_a_share_costs_the_largest_of_its_parts(share, whole, price):
    assert money.rate(machine("n", 8.0, gres=gpu(4, "a100")), share, whole) == pytest.approx(price)
    assert money.rate(machine("n", 0.0), share, whole) == 0


def test_a_job_knows_its_rate_by_site():
    c = cluster()
    whole = c.job(c.submit(ntasks=1, time_limit=HOUR, exclusive="node"))
    shared = c.job(c.submit(ntasks=2, time_limit=HOUR, mem_per_node=100))
    assert (whole.rate, whole.sites) == (8.0, {"aws": 8.0})
    assert (shared.rate, shared.sites) == (2.0, {"aws": 2.0})


# -- what is charged


def test_a_run_is_charged_from_its_start_to_its_last_part():
    c = cluster()
    job = c.submit(ntasks=16, nodes_min=2, time_limit=HOUR)
    c.now += 600  # boot
    c.begin(job)
    c.now += 1200
    run = c.job(job).run
    c.report("aws1", "ended", job, run, code=0, why="exit")
    c.report("aws1", "empty", job, run)
    assert spent(c) == {} and c.job(job).completing
    c.now += 1800  # the other's files come back
    c.report("aws2", "empty", job, run)
    assert spent(c) == {"lab:2026-11-24": pytest.approx(16.0)}
    assert c.state.runs[job].released == c.now
    assert c.state.owed.dues == {}


def test_a_run_over_midnight_is_of_both_days():
    c = cluster(at=NOON + 11 * HOUR)
    job = c.submit(ntasks=8, time_limit=3 * HOUR)
    c.begin(job)
    c.now += 3 * HOUR
    c.end(job)
    assert spent(c) == {"lab:2026-11-24": pytest.approx(8.0), "lab:2026-11-25": pytest.approx(16.0)}


def test_each_run_of_a_requeued_job_is_charged():
    c = cluster()
    job = c.submit(ntasks=8, time_limit=HOUR)
    c.begin(job)
    c.now += 1800
    c.do(Requeue(target=Target(job=job), who=ALICE))
    assert c.job(job).state is JobState.PENDING and c.job(job).rate == 8.0  # its machine is still held
    c.now += 1800
    c.end(job)
    assert spent(c) == {"lab:2026-11-24": pytest.approx(8.0)}
    assert (c.job(job).rate, c.job(job).sites) == (0.0, {})
    c.tick(600)
    c.finish(job)
    c.now += 1
    assert c.job(job).state is JobState.COMPLETED and c.job(job).rate == 8.0


def test_a_job_given_back_with_its_rate_at_nothing_is_not_charged():
    c = cluster()
    job = c.submit(ntasks=8, time_limit=HOUR)
    c.now += 900
    draft = Draft(c.state, c.now)
    money.forgive(draft, c.job(job))
    c.state.apply(draft.changes)
    c.report("aws1", "refused", job, error="no capacity")
    assert spent(c) == {}


def test_free_machines_leave_no_trace():
    c = cluster(machine("node1", 0.0))
    job = c.submit(ntasks=1)
    c.now += 100
    c.finish(job)
    assert spent(c) == {} and c.job(job).sites == {"local": 0.0} and c.state.runs[job].released is None


def test_a_machine_costs_its_site_by_the_day():
    c = cluster(at=NOON + 11 * HOUR)
    draft = Draft(c.state, c.now)
    money.machine_gone(draft, Machine(token="t", index=0, site="aws", price=24.0, created=c.now, gone=c.now + 2 * HOUR))
    money.machine_gone(draft, Machine(token="t", index=1, site="aws", price=24.0, created=c.now))
    c.state.apply(draft.changes)
    assert spent(c, "spent:site:") == {"aws:2026-11-24": 24.0, "aws:2026-11-25": 24.0}


# -- who may spend


def why(c: Cluster, job: int) -> str:
    record = c.job(job)
    return record.reason_text if record.reason is Reason.PLAN else record.reason.value


def test_without_a_time_limit_nothing_starts_on_what_costs_money():
    c = cluster()
    job = c.submit(ntasks=1)
    assert "has no time limit" in why(c, job) and "--time" in why(c, job)
    assert c.job(c.submit(ntasks=1, time_limit=60)).state is JobState.RUNNING


def test_the_partition_gives_the_limit():
    c = cluster(default_time=HOUR)
    assert c.job(c.submit(ntasks=1)).state is JobState.RUNNING


def test_a_machine_that_costs_nothing_is_taken_instead():
    c = cluster(machine("aws1", 8.0, weight=1), machine("node1", 0.0, weight=5))
    assert [share.node for share in c.job(c.submit(ntasks=1)).nodes] == ["node1"]
    job = c.submit(ntasks=8)
    assert c.job(job).reason is Reason.RESOURCES and "no time limit" in c.job(job).reason_text


def test_a_budget_counts_what_was_spent_and_what_may_still_be():
    c = cluster(budget="21 USD/month")
    first = c.submit(ntasks=8, time_limit=HOUR)
    assert c.job(first).state is JobState.RUNNING
    second = c.submit(ntasks=8, time_limit=2 * HOUR)
    text = why(c, second)
    assert "budget of 21 USD/month" in text and "0 spent, 8 committed to running jobs, up to 16 for this job" in text
    assert "2026-12-01" in text
    third = c.submit(ntasks=8, time_limit=HOUR)  # what fits is not held up
    assert c.job(third).state is JobState.RUNNING
    c.begin(first)
    c.now += 900
    c.end(first)
    c.begin(third)
    c.now += 60
    c.end(third)
    c.tick()
    assert c.job(second).state is JobState.RUNNING  # both ended early


def test_another_account_is_not_concerned():
    c = cluster(budget="1 USD/day")
    assert c.job(c.submit(ntasks=8, time_limit=HOUR, account="other")).state is JobState.RUNNING
    mine = c.submit(ntasks=8, time_limit=HOUR)
    assert "have the budget raised" in why(c, mine)


def test_a_new_period_has_room():
    c = cluster(budget="10 USD/day")
    first = c.submit(ntasks=8, time_limit=HOUR)
    c.begin(first)
    c.now += HOUR
    c.end(first)
    second = c.submit(ntasks=8, time_limit=HOUR)
    assert "8 spent" in why(c, second)
    c.tick(12 * HOUR)
    assert c.job(second).state is JobState.RUNNING


def test_a_long_job_must_fit_each_of_the_days_it_reaches():
    c = cluster(budget="200 USD/day")
    assert c.job(c.submit(ntasks=8, time_limit=5 * 86400)).state is JobState.RUNNING  # 192 a day
    text = why(c, c.submit(ntasks=8, time_limit=18 * HOUR))
    assert "from 2026-11-25 on" in text, text  # 96 and 96 today, 192 and 48 tomorrow


def test_continue_stops_nothing():
    c = cluster(budget="1 USD/day", then="continue")
    assert c.job(c.submit(ntasks=8, time_limit=HOUR)).state is JobState.RUNNING


def test_cancel_ends_what_runs_when_the_budget_is_spent():
    c = cluster(budget="8 USD/day", then="cancel")
    job = c.submit(ntasks=8, time_limit=HOUR)
    c.now += 1800  # boot, which counts too
    c.begin(job)
    c.tick(900)
    assert c.job(job).state is JobState.RUNNING
    decision = c.tick(900)
    assert c.job(job).state is JobState.CANCELLED and "budget of account lab is used up" in c.job(job).reason_text
    assert any(type(effect).__name__ == "End" for effect in decision.effects)


def test_the_job_s_own_bounds():
    c = cluster()
    assert "8 USD an hour, and its max_price is 5" in why(c, c.submit(ntasks=8, time_limit=HOUR, sbroker={"max_price": "5"}))
    assert "16 USD by its time limit, and its max_cost is 10" in why(c, c.submit(ntasks=8, time_limit=2 * HOUR, sbroker={"max_cost": "10"}))
    assert c.job(c.submit(ntasks=8, time_limit=HOUR, sbroker={"max_cost": "10", "max_price": "8"})).state is JobState.RUNNING


def test_the_partition_s_own_bound_holds_for_machines_that_are_there():
    c = cluster(max_price=5.0)
    assert "8 USD an hour, and the partition's max_price is 5" in why(c, c.submit(ntasks=8, time_limit=HOUR))
    assert c.job(c.submit(ntasks=4, time_limit=HOUR, mem_per_node=10)).state is JobState.RUNNING


@pytest.mark.parametrize(("text", "word"), [("5000", "write 5000 USD/month"), ("10 EUR/day", "prices are in USD")])
def test_what_is_no_budget(text, word):
    with pytest.raises(ValueError, match=word):
        money.parse_budget(text)


def test_periods():
    def days(name: str) -> list[str]:
        return [datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d") for at in money.period(name, NOON)]

    assert days("day") == ["2026-11-24", "2026-11-25"]
    assert days("week") == ["2026-11-23", "2026-11-30"]
    assert days("month") == ["2026-11-01", "2026-12-01"]
    assert days("year") == ["2026-01-01", "2027-01-01"]


# -- machines that are bought


def cloud(budget: str) -> Cluster:
    """A partition of an elastic site without machines yet, and what the site sells."""
    parts = (Partition(name="cloud", default=True, sites=("aws",), nodes=()),)
    c = Cluster((), parts, accounts={"lab": {"budget": budget}}, sites={"aws": {"max_nodes": 5}})
    c.now = NOON
    offers = (Offer(name="big", cpus=8, memory=16000, price=8.0, boot_seconds=60), Offer(name="huge", cpus=16, memory=32000, price=20.0, boot_seconds=60))
    c.state.sell(Market("aws", offers, at=c.now))
    return c


def test_nothing_is_bought_that_the_budget_has_no_room_for():
    c = cloud("10 USD/month")
    job = c.submit(ntasks=8, time_limit=2 * HOUR)
    assert "budget of 10 USD/month" in why(c, job) and not c.state.groups
    with pytest.raises(Refused, match="has no time limit"):
        c.submit(ntasks=8)  # that no waiting changes
    fits = c.submit(ntasks=8, time_limit=HOUR)
    assert c.job(fits).state is JobState.RUNNING and len(c.state.groups) == 1
    assert c.job(fits).rate == 8.0 and c.job(fits).sites == {"aws": 8.0}


def test_machines_that_never_came_are_charged_to_nobody():
    c = cloud("100 USD/month")
    job = c.submit(ntasks=8, time_limit=HOUR)
    (token,) = c.state.groups
    c.now += 300
    c.do(Created(token=token, kind="quota", error="none left"))
    assert spent(c) == {} and c.state.owed.dues.keys() == {each.id for each in c.state.jobs.values() if each.rate}
    assert c.job(job).run == 1 and c.job(job).rate == 10.0  # half of the other kind of machine


# -- properties


@pytest.mark.parametrize("seed", range(30))
def test_periods_add_up_to_the_whole(seed):
    chance = random.Random(seed)
    start = NOON + chance.random() * 86400
    due = Due("lab", chance.random() * 100, start, start + chance.random() * 40 * 86400, chance.randrange(1000))
    since, until, total = *money.period("day", due.start), 0
    while since < due.until:
        total += due.within(since, until)
        since, until = until, until + 86400
    assert total == due.whole


def _random_life(c: Cluster, chance: random.Random) -> dict[tuple[int, int], int]:
    """Let jobs come, run, fail, be requeued, suspended, changed and fenced at random; what each run should have been charged, by our own count."""
    held: dict[tuple[int, int], tuple[float, float]] = {}
    charged: dict[tuple[int, int], int] = {}
    for _ in range(200):
        c.now += chance.choice((1.0, 37.5, 900.0, 4000.0))
        jobs = [job for job in c.state.jobs.values() if job.nodes and (job.completing or job.state in (JobState.RUNNING, JobState.SUSPENDED))]
        action = chance.randrange(9)
        if action < 2 or not jobs:
            c.submit(ntasks=chance.choice((1, 4, 12)), time_limit=chance.choice((600, 7200, 90000)), mem_per_cpu=10, account=chance.choice(("lab", "other")))
        else:
            job = chance.choice(jobs)
            if action == 2:
                c.begin(job.id)
            elif action == 3:
                c.end(job.id)
            elif action == 4 and not job.completing:
                c.do(Requeue(target=Target(job=job.id), who=ALICE))
            elif action == 5 and job.state is not JobState.PENDING and not job.completing:
                c.do(UpdateJob(target=Target(job=job.id), who=ROOT, changes={"time_limit": chance.choice((60, 100000))}))
            elif action == 6 and not job.completing:
                if c.state.runs[job.id].started is not None:
                    c.do(Suspend(target=Target(job=job.id), who=ROOT, suspend=job.state is JobState.RUNNING))
            elif action == 7:
                c.do(Silent(node=job.nodes[0].node, seconds=1000))
                c.do(Fence(node=job.nodes[0].node, proof="gone"))
                c.hello(job.nodes[0].node, folder=str(c.now))
            elif not job.state.ended:
                c.cancel(job.id)
        c.tick()
        for key, (rate, since) in list(held.items()):
            if not any(part.state.value not in ("EMPTY", "FENCED") for (run, _), part in c.state.parts.get(key[0], {}).items() if run == key[1]):
                charged[key] = Due("", rate, since, c.now).whole
                del held[key]
        for job in c.state.jobs.values():
            parts = [part for (run, _), part in c.state.parts.get(job.id, {}).items() if run == job.run]
            if any(part.state.value not in ("EMPTY", "FENCED") for part in parts) and (job.id, job.run) not in held:
                held[job.id, job.run] = (job.rate, c.state.runs[job.id].created)
    return charged


@pytest.mark.parametrize("seed", range(12))
def test_counters_are_the_sum_of_all_runs(seed):
    """Whatever happens; and what is committed is at any time what a look at all jobs finds."""
    c = cluster(*(machine("aws%d" % number, price) for number, price in enumerate((8.0, 1.7, 0.33))), budget="1000 USD/week", keep=10_000_000)
    chance = random.Random(seed)
    charged = _random_life(c, chance)
    assert len(charged) > 10
    assert sum(value for key, value in c.state.counters.items() if key.startswith("spent:account:")) == sum(charged.values())
    fresh = Owed()
    for job in c.state.jobs.values():
        fresh.put(job.id, owes(job, c.state.runs.get(job.id)))
    assert fresh.dues == c.state.owed.dues
    for name in money.PERIODS:
        for account in ("lab", "other"):
            bounds = money.period(name, c.now)
            assert c.state.owed.sum(account, *bounds) == fresh.sum(account, *bounds) == Draft(c.state, c.now).owed.sum(account, *bounds)


def test_the_overlay_sees_what_the_decision_changes():
    c = cluster(budget="100 USD/day")
    first = c.submit(ntasks=8, time_limit=HOUR)
    draft = Draft(c.state, c.now)
    day = money.period("day", c.now)
    assert money.committed(draft, "lab", *day) == 8 * MICRO
    draft.change(c.job(first), time_limit=2 * HOUR)
    assert money.committed(draft, "lab", *day) == 16 * MICRO
    assert [key for key, _ in draft.owed.of("lab")] == [first]
    draft.change(draft.job(first), account="other")
    assert money.committed(draft, "lab", *day) == 0 and money.committed(draft, "other", *day) == 16 * MICRO
    assert c.state.owed.sum("lab", *day) == 8 * MICRO


def test_a_reloaded_state_owes_the_same():
    from sbroker.core.effects import Put

    c = cluster()
    job = c.submit(ntasks=8, time_limit=HOUR)
    c.begin(job)
    rows = [Put("job", key, value) for key, value in c.state.jobs.items()] + [Put("run", key, value) for key, value in c.state.all_runs.items()]
    rows += [Put("part", (job, 0, "aws1"), c.state.parts[job][0, "aws1"])]
    again = State.load(rows)
    assert again.owed.dues == c.state.owed.dues != {}
