"""A provider in a process of its own: answers, errors, time-outs, and what it gets to see."""

import asyncio
import os
import time

import pytest

from sbroker import errors
from sbroker.providers import base, fake, worker

KIND = """
import os, sys, time
from sbroker.errors import QuotaExceeded
from sbroker.providers import base

class Provider(base.Provider):
    environ = ("ODD_TOKEN",)

    def offers(self, ask):
        print("a library talks to standard output")
        seen = sorted(name for name in os.environ if name.startswith(("ODD", "OTHER")))
        yield base.Offer(name="-".join(seen), cpus=ask.cpus, memory=os.getpid())

    def create(self, order):
        raise QuotaExceeded("no more of " + order.token)

    def list(self):
        open(self.context.spool + "/called", "w").close()
        time.sleep(3600)

    def terminate(self, token, ids=None):
        os._exit(3)
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A worker of a kind that comes from another package, by an entry point."""
    (tmp_path / "oddcloud.py").write_text(KIND)
    info = tmp_path / "oddcloud-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oddcloud\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sbroker.providers]\nodd = oddcloud:Provider\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    environ = {"PATH": os.environ["PATH"], "ODD_TOKEN": "x", "OTHER_SECRET": "y"}

    def make(**options):
        return worker.Worker(base.SiteSettings(provider="odd"), base.Context(site="here", spool=str(tmp_path)), environ, **options)

    return make


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


def run(coroutine):
    return asyncio.run(coroutine)


def test_the_whole_contract_through_a_pipe(tmp_path):
    settings = fake.FakeSettings(provider="fake", shapes=(fake.Shape(name="small", capacity=2),), file=str(tmp_path / "cloud.json"))

    async def use():
        made = worker.Worker(settings, base.Context(site="here", spool="/spool"), os.environ)
        (offer,) = await made.offers(base.Ask())
        await made.create(base.Order(token="t", offer=offer, count=2, min=2))
        listing = await made.list()
        with pytest.raises(errors.NoCapacity, match="0 machines small now"):
            await made.create(base.Order(token="u", offer=offer))
        await made.close()
        assert [entry.id for entry in (await made.list()).machines] == [
            entry.id for entry in listing.machines
        ]  # another process, the same cloud
        await made.terminate("t")
        assert {entry.state for entry in (await made.list()).machines} == {"gone"}
        await made.close()
        return listing

    listing = run(use())
    assert {entry.state for entry in listing.machines} == {"running"}
    assert len(listing.machines) == 2


def test_it_sees_only_its_own_credentials_and_may_print(odd):
    async def use():
        made = odd()
        (first,) = await made.offers(base.Ask(cpus=3))
        (second,) = await made.offers(base.Ask())
        await made.close()
        return first, second

    first, second = run(use())
    assert (first.name, first.cpus) == ("ODD_TOKEN", 3)
    assert first.memory == second.memory != os.getpid()  # one process for both


def test_errors_keep_their_kind(odd):
    async def use():
        made = odd()
        with pytest.raises(errors.QuotaExceeded, match="no more of t"):
            await made.create(base.Order(token="t", offer=base.Offer(name="x", cpus=1, memory=1)))
        await made.close()

    run(use())


def test_a_process_that_dies_says_nothing_and_is_replaced(odd):
    async def use():
        made = odd()
        (before,) = await made.offers(base.Ask())
        with pytest.raises(base.ProviderError, match="gave no answer to terminate"):
            await made.terminate("t")
        (after,) = await made.offers(base.Ask())
        await made.close()
        assert before.memory != after.memory

    run(use())


def test_a_call_that_hangs_is_killed_and_unknown(odd):
    async def use():
        made = odd(patience=0.5)
        with pytest.raises(base.ProviderError, match="did not answer list within"):
            await made.list()
        made.patience = 120
        assert await made.offers(base.Ask())
        await made.close()

    run(use())


def test_a_call_that_is_cancelled_leaves_no_answer_behind(odd, tmp_path):
    async def use():
        made = odd()
        task = asyncio.ensure_future(made.list())
        await asyncio.to_thread(wait_for, tmp_path / "called")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await made.offers(base.Ask())
        await made.close()

    run(use())
