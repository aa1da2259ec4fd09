"""SQLite's schema in memory: what a step does to it is found out by doing it there.

On SQLite the facts of a table are its own text, which a rebuild edits; no paper model of that would be
as true as SQLite itself. Only definitions are copied, never a row.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.dialects.sqlite_catalog import execute
from migrator.plan import Sql, Step
from migrator.reference import Reference


class Rehearsal:
    """A database in memory; nothing is opened before it is needed."""

    def __init__(self) -> None:
        self._opened: Connection | None = None

    @property
    def _connection(self) -> Connection:
        if self._opened is None:
            engine = sa.create_engine("sqlite://", poolclass=StaticPool)
            self._opened = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._opened

    def copy(self, source: Connection) -> None:
        """Take over the definitions of a database; what cannot be made here (a virtual table whose module is
        not loaded) is nothing a reference could be about."""
        rows = execute(
            source,
            "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_' "
            "ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid",
        )
        for row in rows:
            with suppress(sa.exc.DBAPIError):
                execute(self._connection, row[0])

    def create(self, metadata: sa.MetaData) -> None:
        """Create the tables that are missing."""
        metadata.create_all(self._connection, checkfirst=True)

    def read(self, dialect: Dialect, reference: Reference) -> Facts:
        """The facts as they are here.

        Raises:
            UnknownTableError, UnknownColumnError.
        """
        return dialect.facts(self._connection, reference)

    def facts(self, dialect: Dialect, facts: Facts) -> Facts:
        """The facts read again."""
        return self.read(dialect, facts.reference)

    def advance(self, dialect: Dialect, facts: Facts, step: Step) -> Facts:
        """Do a step here, unless it is done, and read again."""
        now = self.read(dialect, facts.reference)
        if not isinstance(step.work, Sql) or step.done(now):
            return now
        for statement in step.work.statements:
            execute(self._connection, statement)
        return self.read(dialect, facts.reference)

    def tables(self) -> set[str]:
        """The names of the tables; none where nothing was opened."""
        if self._opened is None:
            return set()
        rows: list[Any] = execute(self._connection, "SELECT name FROM sqlite_master WHERE type = 'table'")
        return {row[0] for row in rows}
