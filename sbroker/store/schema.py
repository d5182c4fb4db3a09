"""The tables. Live rows and accounting share them: `live` says what belongs to the broker's memory.

A row keeps its value as JSON in `doc`, and beside it the columns that queries select by. A change here needs a migration in
`migrations/versions`, its number in `database.REVISIONS`, and ``python -m sbroker.store.compiling``; tests compare them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()


def _table(name: str, *columns: Column, rowid: bool = False) -> Table:
    """A table whose rows lie in the order of its primary key on SQLite, unless they are large (`rowid`)."""
    return Table(name, metadata, *columns, sqlite_with_rowid=rowid)


def _key(name: str, kind: Any) -> Column:
    return Column(name, kind, primary_key=True, autoincrement=False)


version = _table("alembic_version", Column("version_num", String(32), primary_key=True), rowid=True)
meta = _table(
    "meta",
    _key("id", Integer),
    Column("store_id", String(32), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("written", BigInteger, nullable=False),
)

# One row for each record of accounting: a job that is requeued gets the next `attempt`. The row of the highest attempt is the job itself.
job = _table(
    "job",
    _key("id", BigInteger),
    _key("attempt", Integer),
    Column("record", BigInteger, nullable=False),  # in the order in which the records began
    Column("array_id", BigInteger, nullable=False),
    Column("array_task", BigInteger),
    Column("uid", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("account", Text),
    Column("qos", Text),
    Column("partition", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("submit_time", Float, nullable=False),
    Column("start_time", Float),
    Column("end_time", Float),
    Column("run", Integer, nullable=False),  # that this record is about, -1: none yet
    Column("live", Boolean, nullable=False),
    Column("spec", String(32), nullable=False),
    Column("rest", String(48), nullable=False),  # array_pending as "first-last" when it has no gaps, else ""
    Column("doc", Text, nullable=False),
)
# Written out: an index of SQLAlchemy with a condition would load the dialects of all databases.
LIVE_INDEX = {"sqlite": "CREATE INDEX job_live ON job (id) WHERE live = 1", "postgresql": "CREATE INDEX job_live ON job (id) WHERE live"}
Index("job_record", job.c.record, unique=True)
Index("job_array", job.c.array_id)
Index("job_end", job.c.end_time)

spec = _table(
    "spec",
    _key("hash", String(32)),
    Column("script", Text, nullable=False),
    Column("environ", Text, nullable=False),
    Column("doc", Text, nullable=False),
    rowid=True,
)
run = _table(
    "run", _key("job", BigInteger), _key("run", Integer), Column("live", Boolean, nullable=False), Column("doc", Text, nullable=False)
)
part = _table("part", _key("job", BigInteger), _key("run", Integer), _key("node", Text), Column("doc", Text, nullable=False))
step = _table(
    "step",
    _key("job", BigInteger),
    _key("run", Integer),
    _key("step", BigInteger),
    Column("live", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
)
node = _table("node", _key("name", Text), Column("doc", Text, nullable=False))
partition = _table("partition", _key("name", Text), Column("doc", Text, nullable=False))
group = _table("group", _key("token", Text), Column("doc", Text, nullable=False))
machine = _table("machine", _key("token", Text), _key("index", Integer), Column("doc", Text, nullable=False))
seen = _table("seen", _key("node", Text), _key("incarnation", Text), Column("value", BigInteger, nullable=False))
counter = _table("counter", _key("name", Text), Column("value", BigInteger, nullable=False))
blob = _table("blob", _key("hash", Text), Column("data", LargeBinary, nullable=False), rowid=True)
request = _table("request", _key("uid", BigInteger), _key("id", Text), Column("job", BigInteger, nullable=False))
event = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("job", BigInteger),
    Column("text", Text, nullable=False),
)
