"""Migrations of the tables by Alembic, after a copy of the database was made."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from sbroker.errors import StoreError

if TYPE_CHECKING:
    from sbroker.store.database import Database

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(database: Database, found: str, head: str, *, scripts: str | os.PathLike = SCRIPTS) -> None:
    """Bring the tables from revision `found` to `head`, all in one transaction; a SQLite file is copied to FILE.FOUND.bak before.

    StoreError if that fails: then nothing has changed.
    """
    if database.kind == "sqlite":
        back_up(database.where, found)
    config = Config()
    config.set_main_option("script_location", os.fspath(scripts).replace("%", "%%"))
    try:
        with database.engine.connect() as connection:
            if database.kind == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, head)
            connection.commit()
    except (SQLAlchemyError, CommandError) as error:
        raise StoreError(database.sentence(error)) from error


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
            "the database is older than this release and stays as it is, because no backup could be made: %s" % error
        ) from error
    return target
