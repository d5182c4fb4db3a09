"""The store on PostgreSQL: the same promises. Wants SBROKER_TEST_POSTGRES=URL, or PostgreSQL's programs to start a server of its own."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import threading

import pytest

from sbroker.api import HistoryQuery
from sbroker.core.effects import Del, Put
from sbroker.errors import StoreError
from sbroker.model import Job, JobSpec, Run, Step
from sbroker.states import JobState
from sbroker.store import StaleEpoch, Store


class Clock:
    def now(self) -> float:
        return 1000.0

    boottime = now


@pytest.fixture(scope="module")
def server():
    """URL of a server, without a database."""
    pytest.importorskip("psycopg")
    if os.environ.get("SBROKER_TEST_POSTGRES"):
        yield os.environ["SBROKER_TEST_POSTGRES"].rstrip("/")
        return
    found = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)), None)
    if not found:
        pytest.skip("PostgreSQL is not installed (apt install postgresql), and SBROKER_TEST_POSTGRES is not set")
    bin, user, ids = os.path.dirname(os.path.realpath(found)), pwd.getpwuid(os.getuid()).pw_name, {}
    folder = tempfile.mkdtemp(prefix="sbpg-", dir="/tmp")
    if os.getuid() == 0:  # it refuses to run as root
        try:
            other = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root needs the user postgres to start a server")
        os.chown(folder, other.pw_uid, other.pw_gid)
        user, ids = "postgres", {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}

    def run(*argv):
        subprocess.run([bin + "/" + argv[0], *argv[1:]], check=True, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **ids)

    try:
        run("initdb", "-D", folder + "/data", "-A", "trust", "-U", user, "-N")
        run("pg_ctl", "-D", folder + "/data", "-o", "-h '' -k %s -F" % folder, "-w", "-l", folder + "/log", "start")
        try:
            yield "postgresql://%s@/%%s?host=%s" % (user, folder)
        finally:
            run("pg_ctl", "-D", folder + "/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server, request):
    """URL of a fresh database."""
    import psycopg

    name = "sb_%d_%d" % (os.getpid(), abs(hash(request.node.name)) % 10**8)
    template = server if "%s" in server else server + "/%s"
    with psycopg.connect(template % "postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE " + name)
        yield template % name
        admin.execute("DROP DATABASE %s WITH (FORCE)" % name)


@pytest.fixture
def store(url):
    opened = Store.open(url, Clock())
    opened.load()
    yield opened
    opened.close()


def job(number, **fields):
    return Job(
        **{
            "id": number,
            "user": "alice",
            "uid": 1001,
            "gid": 1001,
            "spec": JobSpec(name="j", script_hash="s", comment="a\0b\udcff"),
            **fields,
        }
    )


def test_written_and_found_again(store, url):
    rows = [
        Put("counter", "job", 7),
        Put("seen", ("n", "i"), 1 << 40),
        Put("job", 1, job(1, array_pending=(1, 2, 3))),
        Put("run", (1, 0), Run(job=1, run=0, head="n")),
        Put("step", (1, 0, -5), Step(job=1, run=0, step=-5)),
    ]
    store.write(rows, {"s": bytes(range(256))}, [("submit", 1, "came")])
    store.flush()
    assert sorted(store.load(), key=repr) == sorted(rows, key=repr)
    assert store.blob("s") == bytes(range(256))
    assert [event[2:] for event in store.events()] == [("submit", 1, "came")]


def test_purged_jobs_stay_on_record(store):
    done = job(1, state=JobState.COMPLETED, end_time=5.0, run=0)
    store.write(
        [
            Put("job", 1, done),
            Put("run", (1, 0), Run(job=1, run=0, head="n")),
            Put("step", (1, 0, 0), Step(job=1, run=0, step=0)),
            Del("job", 1),
        ]
    )
    store.flush()
    assert store.load() == []
    (record,) = store.history(HistoryQuery(uids=(1001,), states=("COMPLETED",), start=0.0))
    assert record.job == done
    assert len(record.steps) == 1


def test_a_successor_ends_it(store, url):
    told, seen = [], threading.Event()
    store.on_failure(lambda first, last, error: (told.append(error), seen.set()))
    other = Store.open(url, Clock())
    store.write([Put("counter", "n", 1)])
    assert seen.wait(30)
    assert isinstance(told[0], StaleEpoch)
    assert other.load() == []
    other.close()


def test_a_lost_connection_is_a_failure_that_heals(store, url):
    import psycopg

    told, seen = [], threading.Event()
    store.on_failure(lambda first, last, error: (told.append(error), seen.set()))
    store.write([Put("counter", "n", 1)])
    store.flush()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    store.write([Put("counter", "n", 2)])  # the pool may see by itself that its connection is dead
    store.flush()
    if seen.is_set():
        assert store.load() == [Put("counter", "n", 1)]
        store.write([Put("counter", "n", 2)])
        store.flush()
    assert store.load() == [Put("counter", "n", 2)]


def test_errors_hide_the_password(url):
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://u:secret@127.0.0.1:1/x", Clock())
    assert "secret" not in str(caught.value)
    assert "cannot be used" in str(caught.value)


def test_migrations_lead_to_the_same_tables(store, url, server):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from sbroker.store import database, migrate, schema

    def differences(engine):
        with engine.connect() as connection:
            return [str(entry) for entry in compare_metadata(MigrationContext.configure(connection), schema.metadata)]

    found = database.connect(url)
    fresh = differences(found.engine)
    with found.engine.begin() as connection:
        schema.metadata.drop_all(connection)
    migrate.upgrade(found, "nothing", database.REVISIONS[-1])
    assert differences(found.engine) == fresh
    assert all("job_live" in entry for entry in fresh)  # the one index that is written out
    found.close()
