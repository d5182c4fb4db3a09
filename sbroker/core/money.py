"""What jobs and machines cost, and who may still spend: prices of shares, what was spent by account and day, budgets.

**What a job is charged**: its share of the price of each of its nodes, from the moment it is given them (its start time: machines boot
for it) until nothing of its run is left on any of them (`Run.released`: files that come back need the machine, too), and the estimated
egress of its files. What machines cost beyond that (idle, or shared in part) is the site's, from `Machine` records. A job that is given
back because its machines never came has its rate set to 0 first, and is charged nothing.

Counters, integers in micro-USD, by UTC days: ``spent:account:ACCOUNT:2026-11-24`` for jobs, ``spent:site:SITE:2026-11-24`` for machines.
A period of a budget (day, ISO week, month, year; UTC) is a sum of days, so that a budget may be changed at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec.structs import replace

from sbroker.core.owed import MICRO, Due, usd
from sbroker.model import INFINITE, Gres, Job, JobSpec, Machine, Node, NodeShare, Partition, Run

if TYPE_CHECKING:
    from sbroker.core.draft import Draft
    from sbroker.core.state import State

PERIODS = ("day", "week", "month", "year")
LOOK = 60.0  # seconds between looks whether an account whose jobs are to be cancelled has spent its budget
_MOST = 64  # periods that one job is looked at in
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?) ([A-Z]{3})/(day|week|month|year)")


class Budget(NamedTuple):
    amount: int  # micro-USD
    period: str  # one of PERIODS

    def __str__(self) -> str:
        return "%s USD/%s" % (dollars(self.amount), self.period)


def parse_budget(text: str) -> Budget:
    """ "5000 USD/month". ValueError, with a sentence, for anything else."""
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise ValueError("%r is not a budget: write 5000 USD/month" % text)
    if match[2] != "USD":
        raise ValueError("%s is in %s, but prices are in USD: write %s USD/%s" % (text, match[2], match[1], match[3]))
    return Budget(usd(float(match[1])), match[3])


def dollars(micro: int) -> str:
    """For sentences: 5000, 12.50, 0.0004."""
    if micro % MICRO == 0:
        return str(micro // MICRO)
    if abs(micro) < MICRO // 100:
        return ("%.6f" % (micro / MICRO)).rstrip("0")
    return "%.2f" % (micro / MICRO)


# -- time


def period(name: str, at: float) -> tuple[float, float]:
    """(begin, end) of the day, week, month or year in which this moment lies, UTC."""
    day = datetime.fromtimestamp(at, timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "day":
        first, last = day, day + timedelta(days=1)
    elif name == "week":
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    elif name == "month":
        first = day.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1)
    else:
        first = day.replace(month=1, day=1)
        last = first.replace(year=first.year + 1)
    return first.timestamp(), last.timestamp()


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")


# -- prices


def rate(node: Node, share: NodeShare, whole: bool) -> float:
    """USD an hour of a share of a node: the whole price where nobody else may be there (`whole`) or nothing is left for others, else by
    the largest of its parts of CPUs, memory and devices."""
    if whole or not node.price:
        return node.price
    parts = [share.cpus / max(1, node.cpus), share.mem / max(1, node.memory)]
    for name, there in _devices(node.gres).items():
        parts.append(sum(len(indices) for key, indices in share.gres.items() if key.partition(":")[0] == name) / max(1, there))
    return node.price * min(1.0, max(parts))


def _devices(gres: tuple[Gres, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in gres:
        found[item.name] = found.get(item.name, 0) + item.count
    return found


def rates(draft: Draft, spec: JobSpec, partition: Partition, shares: tuple[NodeShare, ...]) -> dict[str, float]:
    """USD an hour of an allocation, by the site of its nodes."""
    return rates_on(spec, partition, shares, draft.node)


def rates_on(spec: JobSpec, partition: Partition, shares: tuple[NodeShare, ...], find: Callable[[str], Node | None]) -> dict[str, float]:
    whole = partition.oversubscribe == "exclusive" or spec.exclusive == "node"
    found: dict[str, float] = {}
    for share in shares:
        node = find(share.node)
        if node is not None:
            found[node.site] = found.get(node.site, 0.0) + rate(node, share, whole)
    return found


# -- what was spent


def account_key(account: str, at: float) -> str:
    return "spent:account:%s:%s" % (account, _day(at))


def site_key(site: str, at: float) -> str:
    return "spent:site:%s:%s" % (site, _day(at))


def settle(draft: Draft, job: Job, run: Run) -> Run:
    """Nothing of this run is left: charge it, once."""
    if run.released is not None or job.run != run.run or not (job.rate or job.egress):
        return run
    run = draft.put_run(replace(run, released=max(draft.now, run.created)))
    entry = Due(job.account or "", job.rate, run.created, run.released or run.created, usd(job.egress))
    _count(draft, "spent:account:%s:" % entry.account, entry)
    return run


def forgive(draft: Draft, job: Job) -> Job:
    """The job is given back because its machines never came: its run is not charged."""
    return draft.change(job, rate=0.0, egress=0.0)


def machine_gone(draft: Draft, machine: Machine) -> None:
    """A machine is gone (`machine.gone` is set): what it has cost is its site's. To be called once for each."""
    if machine.price and machine.gone is not None:
        _count(draft, "spent:site:%s:" % machine.site, Due(machine.site, machine.price, machine.created, max(machine.created, machine.gone)))


def _count(draft: Draft, prefix: str, entry: Due) -> None:
    since, until = period("day", entry.start)
    while True:
        amount = entry.within(since, until)
        if amount:
            key = prefix + _day(since)
            draft.put_counter(key, draft.counter(key, 0) + amount)
        if until >= entry.until:
            return
        since, until = until, until + 86400


def spent(draft: Draft, account: str, since: float, until: float) -> int:
    """What ended runs of the account have cost in the days from `since` to `until`, micro-USD."""
    days = range(int(since), int(until), 86400)
    return sum(draft.counter(account_key(account, at), 0) for at in days)


def committed(draft: Draft, account: str, since: float, until: float) -> int:
    """What the account's present runs have cost, and may still cost by their time limits, in that period; micro-USD."""
    return draft.owed.sum(account, since, until)


def site_costs(state: State, since: float, until: float, now: float) -> dict[str, int]:
    """What the machines of each site have cost in these days, micro-USD; those that are still there until `now`."""
    found: dict[str, int] = {}
    for key, value in state.counters.items():
        if key.startswith("spent:site:"):
            site, _, day = key.removeprefix("spent:site:").rpartition(":")
            if since <= datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp() < until:
                found[site] = found.get(site, 0) + value
    for machine in state.machines.values():
        if machine.gone is None and machine.price:
            amount = Due(machine.site, machine.price, machine.created, max(now, machine.created)).within(since, until)
            found[machine.site] = found.get(machine.site, 0) + amount
    return found


# -- who may spend


class Asker(Protocol):
    """A job, or a shape."""

    @property
    def account(self) -> str | None: ...
    @property
    def spec(self) -> JobSpec: ...
    @property
    def time_limit(self) -> int: ...


def budget_of(settings: dict[str, Any], account: str | None) -> tuple[Budget | None, str]:
    """The account's budget, and what happens when it is used up: drain, cancel or continue."""
    known = (settings.get("accounts") or {}).get(account or "") or {}
    text = known.get("budget")
    return (parse_budget(text) if text else None), known.get("on_exhausted") or "drain"


def barrier(draft: Draft, asker: Asker, price: float, *, egress: float = 0.0, boot: float = 0.0, ceiling: float | None = None) -> str:
    """Why a job may not start now on machines that cost it `price` (USD an hour; `egress` USD beside; `boot` seconds before its time limit
    counts; `ceiling`: the partition's max_price), and what next; "" if it may."""
    never = unaffordable(asker, price, egress=egress, boot=boot, ceiling=ceiling)
    if never or (price <= 0 and egress <= 0):
        return never
    entry = Due(asker.account or "", price, draft.now, draft.now + boot + asker.time_limit, usd(egress))
    budget, then = budget_of(draft.state.settings, asker.account)
    return "" if budget is None or then == "continue" else _over(draft, budget, entry)


def unaffordable(asker: Asker, price: float, *, egress: float = 0.0, boot: float = 0.0, ceiling: float | None = None) -> str:
    """The same by what it says itself and the partition's bound: what no waiting changes."""
    if price <= 0 and egress <= 0:
        return ""
    if asker.time_limit == INFINITE:
        return "it has no time limit, and machines that cost money need one: submit it with --time, or have the partition a default_time"
    entry = Due(asker.account or "", price, 0.0, boot + asker.time_limit, usd(egress))
    most = bounds(asker.spec)
    if most.price is not None and price > most.price:
        return "it would cost %s USD an hour, and its max_price is %s: raise that, or ask for less" % (_usd(price), _usd(most.price))
    if ceiling is not None and price > ceiling:
        return "it would cost %s USD an hour, and the partition's max_price is %s: ask for less, or for another partition" % (_usd(price), _usd(ceiling))
    if most.cost is not None and entry.whole > usd(most.cost):
        return "it may cost %s USD by its time limit, and its max_cost is %s: raise that, or ask for a shorter --time or for less" % (
            dollars(entry.whole),
            _usd(most.cost),
        )
    return ""


def _usd(amount: float) -> str:
    return dollars(usd(amount))


def _over(draft: Draft, budget: Budget, entry: Due) -> str:
    """Why the budget has no room for this, in the first of the periods where it has not."""
    since, until = period(budget.period, entry.start)
    for _ in range(_MOST):
        mine = entry.within(since, until)
        past, running = spent(draft, entry.account, since, until), committed(draft, entry.account, since, until)
        if mine and past + running + mine > budget.amount:
            when = "" if since <= draft.now else " from %s on" % _day(since)
            text = "account %s would exceed its budget of %s%s: %s spent, %s committed to running jobs, up to %s for this job by its time limit" % (
                entry.account, budget, when, dollars(past), dollars(running), dollars(mine),
            )  # fmt: skip
            if mine > budget.amount:
                return text + "; ask for a shorter --time or for less, or have the budget raised"
            return text + "; it may start when others have ended early, from %s (UTC) on, or with a shorter --time" % _day(until)
        if until >= entry.until:
            return ""
        since, until = period(budget.period, until)
    return ""


class Bounds(NamedTuple):
    """What the job's own `#SBROKER max_price=` (USD an hour) and `max_cost=` (USD) allow."""

    price: float | None
    cost: float | None


def bounds(spec: JobSpec) -> Bounds:
    if not spec.sbroker:
        return Bounds(None, None)
    price, cost = spec.sbroker.get("max_price"), spec.sbroker.get("max_cost")
    return Bounds(None if price is None else float(price), None if cost is None else float(cost))


def exhausted(draft: Draft) -> list[int]:
    """Jobs to be cancelled: they run on machines that cost money, for an account whose budget is used up and says so."""
    found: list[int] = []
    for account in strict_accounts(draft):
        budget, _ = budget_of(draft.state.settings, account)
        if budget is not None:
            since, until = period(budget.period, draft.now)
            dues = draft.owed.of(account)
            if spent(draft, account, since, until) + sum(entry.within(since, draft.now) for _, entry in dues) >= budget.amount:
                found += [key for key, _ in dues]
    return found


def strict_accounts(draft: Draft) -> list[str]:
    """Accounts with runs that cost money whose `on_exhausted` is cancel."""
    settings = draft.state.settings
    return [account for account in draft.state.owed.accounts if budget_of(settings, account)[1] == "cancel"]
