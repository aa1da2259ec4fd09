"""Connections of our own: fresh, set up for the purpose, and really closed afterwards.

Nothing here runs inside Alembic's transaction, and no setting of ours (foreign_key_checks=0, a lock
timeout) can leak into a pool, because our connections are detached from it before use.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator.batches import BatchSize
from migrator.dialects import Dialect, dialect_of
from migrator.errors import ConnectionFailed
from migrator.settings import Settings

#: A connection idle for longer than this, in seconds, is asked whether it is still there.
_ASK_AFTER = 2.0


@dataclass
class Steady:
    """The one connection of a run for the catalog and the journal; None while there is none."""

    connection: Connection | None = None
    used: float = 0.0

    def answers(self) -> bool:
        """Whether it is there and alive. A server may end a session that was idle during a long step."""
        if self.connection is None or self.connection.closed or self.connection.invalidated:
            return False
        if time.monotonic() - self.used < _ASK_AFTER:
            return True
        try:
            self.connection.exec_driver_sql("SELECT 1")
        except sa.exc.DBAPIError:
            return False
        return True


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
    steady: Steady = field(default_factory=lambda: Steady(), repr=False, compare=False)

    @classmethod
    def of(cls, bind: Engine | Connection, settings: Settings | None = None) -> Sessions:
        """For an engine or a connection of it.

        Raises:
            sqlalchemy.exc.DBAPIError: the server cannot be reached.
            ConnectionFailed: the engine's pool has no connection left for us.
        """
        engine = bind.engine
        try:
            with engine.connect():  # the dialect learns here which server it talks to
                pass
        except sa.exc.TimeoutError as error:
            raise ConnectionFailed(
                "The pool of the engine has no connection left: the work is done on connections of its own.",
                hint="Give back the one that is held, or make the engine with poolclass=NullPool.",
            ) from error
        settings = settings or Settings()
        return cls(engine, dialect_of(engine.dialect).configured(settings), settings)

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """The connection for the catalog and the journal, in autocommit mode: one for all of a run, made
        anew when it was lost. It is in no transaction between two statements, so that it holds nothing that
        anyone could wait for."""
        if not self.steady.answers():
            self.close()
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            self.steady.connection = connection
            self.dialect.greet(connection)
        assert self.steady.connection is not None
        try:
            yield self.steady.connection
        finally:
            self.steady.used = time.monotonic()

    @contextmanager
    def fresh(self) -> Iterator[Connection]:
        """A connection of its own in autocommit mode, for DDL with settings of its own and for the lock."""
        connection = self.engine.connect()
        try:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            self.dialect.greet(connection)
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close the steady connection; the next `open` makes another."""
        if self.steady.connection is not None:
            self.steady.connection.close()
            self.steady.connection = None

    @contextmanager
    def work(self) -> Iterator[Connection]:
        """A connection for batches; transactions on it go through `dialect.transaction`."""
        connection = self.engine.connect()
        try:
            # Autocommit throughout: a transaction is what `dialect.transaction` begins and ends, and
            # nothing is left open by a look at the catalog in between.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                self.dialect.prepare(connection, self.settings)
            except BaseException:
                connection.invalidate()  # interrupted halfway it would go back into the pool with what we set
                raise
            connection.detach()
            yield connection
        finally:
            connection.close()

    def first_batch(self, connection: Connection) -> BatchSize:
        """The size of the first batch of a run, and how it may grow beside whoever is at work now."""
        return BatchSize.of(self.settings, alone=not self.dialect.others_at_work(connection))

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
