"""Bring a database to this program's schema: ``python -m proxy.journal.migrate PATH``, a process of its own.

It alone loads SQLAlchemy and Alembic (47 MB, 250 ms). Whoever starts it holds the database's lock. One transaction:
what fails half way leaves the file as it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration: the versions of this package, run on ``connection``."""
    made = Config()
    made.set_main_option("script_location", "proxy.journal:migrations")
    made.attributes["connection"] = connection
    return made


def migrate(path: Path) -> None:
    """Run what is missing. Raises SQLAlchemyError or CommandError with nothing changed."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        command.upgrade(config(connection), "head")


def _leave_transactions_to_us(driver: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Python's sqlite3 begins no transaction before DDL; see SQLAlchemy, "Pysqlite: serializable isolation, savepoints"."""
    driver.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def main(arguments: list[str]) -> int:
    try:
        migrate(Path(arguments[0]))
    except (SQLAlchemyError, CommandError) as error:
        print(getattr(error, "orig", None) or error, file=sys.stderr)  # the database's own words, where it has some
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
