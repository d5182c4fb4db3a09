"""Where a database may be, who made it, and how its tables come to be those of this release."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from sbroker.core.effects import Put
from sbroker.errors import StoreError
from sbroker.store import Store, compiling, database, migrate, place, statements

NEXT = """
revision = "0002"
down_revision = "0001"


def upgrade():
    from alembic import op

    op.execute("INSERT INTO counter VALUES ('migrated', 1)")
    %s
"""


class Clock:
    def now(self) -> float:
        return 1000.0

    boottime = now


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "sbroker.db")


def open_and_close(path):
    store = Store.open(path, Clock())
    rows = store.load()
    store.close()
    return rows


def columns(path):
    """Every table's columns and indexes as SQLite sees them."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        layout = {name: db.execute('PRAGMA table_info("%s")' % name).fetchall() for name in names}
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name").fetchall()
        kinds = {name: "WITHOUT ROWID" in sql for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")}
    return layout, indexes, kinds


def test_migrations_lead_to_the_same_tables_as_the_metadata(path, tmp_path):
    open_and_close(path)
    other = str(tmp_path / "other.db")
    found = database.connect(other)
    migrate.upgrade(found, "nothing", database.REVISIONS[-1])
    found.close()
    assert columns(path) == columns(other)


def test_what_is_compiled_beforehand_is_what_the_tables_say():
    """If this fails: ``python -m sbroker.store.compiling`` (and a migration, if the tables have changed)."""
    assert statements.compiled() == compiling.compile_all("sqlite")


def test_a_fresh_database_needs_neither_alembic_nor_sqlalchemy(path):
    code = "import sys; from sbroker.store import Store; from sbroker.clock import SystemClock\n"
    code += "store = Store.open(%r, SystemClock()); store.load(); store.close()\n" % path
    code += "assert not [name for name in sys.modules if name.startswith(('alembic', 'sqlalchemy'))]"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=os.getcwd())


def with_next(tmp_path, monkeypatch, statement="pass"):
    """Pretend that the next release has one more migration."""
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text((migrate.SCRIPTS / "env.py").read_text())
    (scripts / "versions" / "0001.py").write_text((migrate.SCRIPTS / "versions" / "0001_first.py").read_text())
    (scripts / "versions" / "0002.py").write_text(NEXT % statement)
    monkeypatch.setattr(database, "REVISIONS", ("0001", "0002"))
    upgrade = migrate.upgrade
    monkeypatch.setattr(migrate, "upgrade", lambda found, revision, head: upgrade(found, revision, head, scripts=scripts))


def test_an_older_database_is_backed_up_and_migrated(path, tmp_path, monkeypatch):
    store = Store.open(path, Clock())
    store.load()
    store.write([Put("counter", "job", 5)])
    store.close()
    with_next(tmp_path, monkeypatch)
    assert open_and_close(path) == [Put("counter", "job", 5), Put("counter", "migrated", 1)]
    assert open_and_close(path) == [Put("counter", "job", 5), Put("counter", "migrated", 1)]
    with sqlite3.connect(path + ".0001.bak") as backup:
        assert backup.execute("SELECT * FROM counter").fetchall() == [("job", 5)]
    assert os.stat(path + ".0001.bak").st_mode & 0o077 == 0


def test_a_migration_that_fails_changes_nothing(path, tmp_path, monkeypatch):
    open_and_close(path)
    with_next(tmp_path, monkeypatch, "op.execute('SELECT nonsense')")
    with pytest.raises(StoreError):
        Store.open(path, Clock())
    monkeypatch.undo()
    assert open_and_close(path) == []


def test_a_newer_database_is_refused(path):
    open_and_close(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(StoreError, match=r"newer sbroker \(schema 0099, this release knows up to 0001\)"):
        Store.open(path, Clock())


def test_tables_of_another_program_are_left_alone(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE music (title)")
    with pytest.raises(StoreError, match="another program"):
        Store.open(path, Clock())


def test_a_file_that_is_no_database(path):
    with open(path, "w") as file:
        file.write("something else entirely, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="file is not a database"):
        Store.open(path, Clock())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/nonexistent/folder/x.db", "cannot open"),
        ("mysql://u@h/x", "is not a database that sbroker knows"),
        ("sqlite://", "names no file"),
    ],
)
def test_addresses_that_cannot_be(address, words):
    with pytest.raises(StoreError, match=words):
        Store.open(address, Clock())


def test_nobody_else_can_read_it(path):
    store = Store.open(path, Clock())
    store.load()
    store.write([Put("counter", "job", 5)])
    store.flush()
    store.write([Put("counter", "job", 6)])  # the reserve is made after a commit, and before the next
    store.flush()
    folder = os.path.dirname(path)
    assert {name: os.stat(os.path.join(folder, name)).st_mode & 0o077 for name in os.listdir(folder)} == {
        "sbroker.db": 0,
        "sbroker.db-wal": 0,
        "sbroker.db-shm": 0,
        "sbroker.db-reserve": 0,
    }
    store.close()


MOUNTS = r"""
20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 20 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 30 0:41 / /home/local rw - xfs /dev/vdb rw
32 20 0:42 / /with\040space rw shared:3 master:1 - lustre o:/x rw
33 20 0:43 / /over rw - ext4 /dev/vdc rw
34 33 0:44 / /over rw - cifs //server/x rw
""".strip()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/var/lib/x.db", "ext4"),
        ("/home/alice/x.db", "nfs4"),
        ("/home/local/x.db", "xfs"),
        ("/homely/x.db", "ext4"),
        ("/with space/x", "lustre"),
        ("/over/x", "cifs"),
    ],
)
def test_network_file_systems_are_seen(tmp_path, target, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS + "\n")
    assert place.file_system(target, str(mounts)) == kind
    if kind in place.NETWORK:
        with pytest.raises(StoreError, match="network file system"):
            place.refuse_network(target, str(mounts))
    else:
        place.refuse_network(target, str(mounts))


def test_without_proc_nothing_is_refused(tmp_path):
    place.refuse_network("/home/x", str(tmp_path / "none"))
