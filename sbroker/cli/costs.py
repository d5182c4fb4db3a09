"""`sbroker cost`: what jobs have cost, by the accounting's records, and what machines have cost beyond them. Runs inside the daemon.

Days and months are UTC's, as those of budgets are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from sbroker.api import Api, HistoryQuery, Record
from sbroker.errors import SbrokerError
from sbroker.model import Job

DAY = 86400.0


class Sum:
    """What belongs to one row."""

    def __init__(self) -> None:
        self.jobs: set[int] = set()
        self.runs = 0
        self.cost = self.egress = 0.0

    def add(self, job: int, cost: float, egress: float) -> None:
        self.jobs.add(job)
        self.runs += 1
        self.cost += cost
        self.egress += egress


async def answer(api: Api, arguments: list[str]) -> str:
    """The whole of the command; its argument is a JSON object: by, start, end (or null), accounts, users, json."""
    asked = json.loads(arguments[0])
    now = api.now()
    since, until = _span(asked["start"], asked["end"], now)
    everybody = api.caller.admin
    query = HistoryQuery(
        uids=() if everybody else (api.caller.uid,),
        accounts=tuple(asked["accounts"]),
        start=since - DAY,  # files of what ended before may have come back since
        end=until,
        steps=False,
    )
    records = [record for record in await api.history(query) if not asked["users"] or record.job.user in asked["users"]]
    rows: dict[str, Sum] = {}
    names: dict[str, Job] = {}
    total = Sum()
    for record in records:
        whole = record.cost(now, since, until)
        if whole > 0:
            total.add(record.job.id, whole, _egress(record, now, since, until))
            for key, cost, egress in _split(record, asked["by"], now, since, until):
                rows.setdefault(key, Sum()).add(record.job.id, cost, egress)
                names[key] = record.job
    machines: dict[str, float] = {}
    spent: dict[str, float] = {}
    if everybody and not asked["accounts"] and not asked["users"]:
        spent = api.machine_costs(since, until)
        machines = _machines(api, asked["by"], since, until, spent)
    for key in machines:
        rows.setdefault(key, Sum())
    order = sorted(rows, key=(lambda key: key) if asked["by"] == "month" else lambda key: (-rows[key].cost, key))
    if asked["json"]:
        return _document(asked["by"], since, until, order, rows, machines, total, spent, names)
    return _table(asked["by"], since, until, order, rows, machines, total, spent, names)


def _span(start: float | None, end: float | None, now: float) -> tuple[float, float]:
    today = datetime.fromtimestamp(now, timezone.utc)
    until = end if end is not None else (datetime(today.year, today.month, today.day, tzinfo=timezone.utc) + timedelta(days=1)).timestamp()
    since = start if start is not None else _month(until - 1)[0]
    if since >= until:
        raise SbrokerError("the period ends before it begins: --end is the first day that does not count")
    return since, until


def _month(at: float) -> tuple[float, float]:
    first = datetime.fromtimestamp(at, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.timestamp(), (first + timedelta(days=31)).replace(day=1).timestamp()


def _months(since: float, until: float) -> Iterator[tuple[str, float, float]]:
    """(2026-11, begin, end) of each month in the period, cut at its ends."""
    while since < until:
        _, end = _month(since)
        yield datetime.fromtimestamp(since, timezone.utc).strftime("%Y-%m"), since, min(end, until)
        since = end


def _egress(record: Record, now: float, since: float, until: float) -> float:
    held = record.held(now)
    return record.job.egress if held is not None and since <= held[0] < until else 0.0


def _split(record: Record, by: str, now: float, since: float, until: float) -> Iterator[tuple[str, float, float]]:
    """What of a record belongs to which row: (key, cost with egress, egress)."""
    job = record.job
    cost, egress = record.cost(now, since, until), _egress(record, now, since, until)
    if by == "month":
        for key, begin, end in _months(since, until):
            part = record.cost(now, begin, end)
            if part > 0:
                yield key, part, _egress(record, now, begin, end)
    elif by == "site":
        sites = {site: rate / job.rate for site, rate in job.sites.items() if rate} if job.rate else dict.fromkeys(list(job.sites)[:1], 1.0)
        for number, (site, part) in enumerate((sites or {"": 1.0}).items()):
            moved = egress if number == 0 else 0.0
            yield site or "(unknown)", (cost - egress) * part + moved, moved
    elif by == "job":
        yield "%d_%d" % (job.array_id, job.array_task) if job.array_id and job.array_task is not None else str(job.id), cost, egress
    else:
        yield job.user if by == "user" else job.account or "(none)", cost, egress


def _machines(api: Api, by: str, since: float, until: float, spent: dict[str, float]) -> dict[str, float]:
    """Row → USD of machines, where rows are of a kind that has any."""
    if by == "site":
        return spent
    if by == "month":
        found = {key: sum(api.machine_costs(begin, end).values()) for key, begin, end in _months(since, until)}
        return {key: amount for key, amount in found.items() if amount}
    return {}


def _beyond(total: Sum, spent: dict[str, float]) -> float:
    return max(0.0, sum(spent.values()) - (total.cost - total.egress))


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")


def _usd(amount: float) -> str:
    return "%.4f" % amount if amount else "0"


def _table(
    by: str, since: float, until: float, order: list[str], rows: dict[str, Sum], machines: dict[str, float], total: Sum,
    spent: dict[str, float], names: dict[str, Job],
) -> str:  # fmt: skip
    from tabulate import tabulate

    span = "from %s to %s (UTC)" % (_day(since), _day(until - 1))
    if not rows and not spent:
        return "Nothing has cost anything %s." % span
    head = [by.upper(), *(["NAME", "USER"] if by == "job" else ["JOBS"]), "RUNS", "COST", "EGRESS", *(["MACHINES", "BEYOND"] if machines else [])]
    lines = []
    for key in order:
        row = rows[key]
        told = [names[key].spec.name, names[key].user] if by == "job" else [str(len(row.jobs))]
        more = [_usd(machines.get(key, 0.0)), _usd(max(0.0, machines.get(key, 0.0) - row.cost + row.egress))] if machines else []
        lines.append([key, *told, str(row.runs), _usd(row.cost), _usd(row.egress), *more])
    sides = ["left" if name in (by.upper(), "NAME", "USER") else "right" for name in head]
    said = ["USD %s" % span, tabulate(lines, headers=head, tablefmt="plain", disable_numparse=True, colalign=sides)] if lines else []
    said.append("In all: %d jobs, %s USD, %s of it egress." % (len(total.jobs), _usd(total.cost), _usd(total.egress)))
    if spent:
        said.append(
            "Machines cost %s USD, %s of it beyond jobs (boot without a job, idle, shared in part)." % (_usd(sum(spent.values())), _usd(_beyond(total, spent)))
        )
    return "\n".join(said)


def _document(
    by: str, since: float, until: float, order: list[str], rows: dict[str, Sum], machines: dict[str, float], total: Sum,
    spent: dict[str, float], names: dict[str, Job],
) -> str:  # fmt: skip
    def told(found: Sum) -> dict[str, Any]:
        return {"jobs": len(found.jobs), "runs": found.runs, "cost": round(found.cost, 6), "egress": round(found.egress, 6)}

    lines = []
    for key in order:
        line = {by: key, **told(rows[key])}
        if by == "job":
            line.update(name=names[key].spec.name, user=names[key].user, account=names[key].account)
        if key in machines:
            line["machines"] = round(machines[key], 6)
        lines.append(line)
    document: dict[str, Any] = {"currency": "USD", "start": since, "end": until, "by": by, "rows": lines, "total": told(total)}
    if spent:
        document["machines"] = {site: round(amount, 6) for site, amount in spent.items()}
        document["beyond_jobs"] = round(_beyond(total, spent), 6)
    return json.dumps(document)
