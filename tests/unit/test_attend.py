"""What the broker says to agents of nodes with a lease, and when: the links' side of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sbroker.daemon.links import Link
from sbroker.errors import StoreError
from sbroker.model import Node, Run

LEASED, PLAIN = Node(name="n", site="s", lease=200), Node(name="n", site="s")


def said(node: Node | None, *runs: Run, durable=None, between=None) -> list[dict]:
    """What `Link` sends after the answer 4 to a ping."""
    sent: list[dict] = []

    async def main() -> None:
        link = Link.__new__(Link)
        writer = object()
        link.node, link._writer, link.ready, link.send = "n", writer, True, sent.append  # type: ignore[assignment, method-assign]
        state = SimpleNamespace(
            nodes={"n": node} if node else {},
            node_parts={"n": {(run.job, run.run): None for run in runs}},
            all_runs={(run.job, run.run): run for run in runs},
        )
        reached = asyncio.Event()

        async def wait(seq: int) -> None:
            assert seq == 7 and sent == []
            await reached.wait()
            if durable is not None:
                raise durable

        tasks: list[asyncio.Task] = []
        link.daemon = SimpleNamespace(broker=SimpleNamespace(state=state, vouch=lambda: 7, durable=wait), keep=tasks.append)  # type: ignore[assignment]
        link._attend(4)
        await asyncio.sleep(0)
        if between is not None:
            between(link)
        reached.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    return sent


def run(lease: int | None) -> Run:
    return Run(job=1, run=0, head="n", lease=lease)


@pytest.mark.parametrize("runs", [(), (run(None),), (run(200),)])
def test_an_agent_of_a_node_with_a_lease_is_always_told(runs):
    """Also while it has no run: the next one may be called to start by its head, on another node."""
    assert said(LEASED, *runs) == [{"op": "attend", "n": 4}]


def test_others_are_told_while_a_run_needs_it():
    assert said(PLAIN) == said(PLAIN, run(None)) == said(None) == []
    assert said(PLAIN, run(200)) == said(None, run(200)) == [{"op": "attend", "n": 4}]


def test_nothing_is_said_by_a_broker_that_may_have_been_replaced():
    assert said(LEASED, durable=StoreError("another broker has taken over")) == []


def test_nothing_is_said_on_another_connection():
    """Its agent counts its answers anew."""
    assert said(LEASED, between=lambda link: setattr(link, "_writer", object())) == []
