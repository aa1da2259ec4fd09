"""Connections of our own: fresh, set up for the purpose, and really closed afterwards.

Nothing here runs inside Alembic's transaction, and no setting of ours (foreign_key_checks=0, a lock
timeout) can leak into a pool, because our connections are detached from it before use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import Connection, Engine

from migrator.dialects import Dialect, dialect_of
from migrator.settings import Settings


@dataclass(frozen=True)
class Sessions:
    """Opens connections to one database.

    Args:
        engine: the caller's engine, whatever its pool; its URL and connect arguments are used.
        dialect: ours for it.
        settings: the settings in force.
    """

    engine: Engine
    dialect: Dialect
    settings: Settings

    @classmethod
    def of(cls, bind: Engine | Connection, settings: Settings | None = None) -> Sessions:
        """For an engine or a connection of it.

        Raises:
            sqlalchemy.exc.DBAPIError: the server cannot be reached.
        """
        engine = bind.engine
        with engine.connect():  # the dialect learns here which server it talks to
            pass
        return cls(engine, dialect_of(engine.dialect), settings or Settings())

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A connection in autocommit mode with nothing set up: for the catalog and for DDL."""
        connection = self.engine.connect()
        try:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            yield connection
        finally:
            connection.close()

    @contextmanager
    def work(self) -> Iterator[Connection]:
        """A connection for batches; transactions on it go through `dialect.transaction`."""
        connection = self.engine.connect()
        try:
            # Autocommit throughout: a transaction is what `dialect.transaction` begins and ends, and
            # nothing is left open by a look at the catalog in between.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            self.dialect.prepare(connection, self.settings)
            connection.detach()
            yield connection
        finally:
            connection.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection inside one consistent snapshot in which nothing can be written."""
        connection = self.engine.connect()
        try:
            with self.dialect.read_only(connection) as snapshot:
                yield snapshot
        finally:
            connection.invalidate()  # closed for real, whatever the pool: its session settings are ours
            connection.close()
