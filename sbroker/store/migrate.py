"""Migrations of the tables by Alembic, after a copy of the database was made."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from sbroker.errors import StoreError
from sbroker.store import schema

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine, found: str, *, head: str = schema.HEAD, scripts: str | os.PathLike = SCRIPTS) -> None:
    """Bring `engine` from revision `found` to `head`, all in one transaction; a SQLite file is copied to FILE.FOUND.bak before."""
    if engine.dialect.name == "sqlite":
        back_up(engine.url.database or "", found)
    config = Config()
    config.set_main_option("script_location", os.fspath(scripts).replace("%", "%%"))
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, head)
        connection.commit()


def back_up(path: str, found: str) -> str:
    """Copy the database (with what its journal holds) to PATH.FOUND.bak; the name of the copy. StoreError if that fails."""
    target = "%s.%s.bak" % (path, found)
    partial = target + ".part"
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        source, copy = sqlite3.connect(path), sqlite3.connect(partial)
        try:
            source.backup(copy)
        finally:
            copy.close()
            source.close()
        os.replace(partial, target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            "the database is older than this release and was left as it is, because no backup could be made: %s" % error
        ) from error
    return target
