"""SQLite: the embedded default. One writer at a time, no ALTER for constraints, the lease for a lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column, Facts, Server, Table
from migrator.dialects import sqlite_catalog, sqlite_room, sqlite_steps
from migrator.dialects.base import Dialect, keys_bound
from migrator.dialects.generic import facts_from
from migrator.dialects.sqlite_statement import run_rebuild
from migrator.dialects.sqlite_steps import RebuildSql
from migrator.dialects.telling import Problem, Verdict, no_key
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName
from migrator.settings import Settings

# 32,766 as SQLite is compiled by default (https://www.sqlite.org/limits.html, 9), some for the rest of the
# statement.
_MOST_PARAMETERS = 32_000

# Primary result codes, https://sqlite.org/rescode.html
_VERDICTS: dict[int, Verdict] = {
    3: "denied",  # PERM
    5: "lock-timeout",  # BUSY
    6: "lock-timeout",  # LOCKED
    7: "no-room",  # NOMEM
    8: "denied",  # READONLY
    13: "no-room",  # FULL
    14: "lost",  # CANTOPEN
    19: "violation",  # CONSTRAINT
    23: "denied",  # AUTH
}


class SQLite(Dialect):
    """SQLite 3.35 and later."""

    family = "sqlite"
    careless = "a connection without PRAGMA foreign_keys=ON"
    ddl_is_transactional = True
    drops_key_by_name = False

    # -- the catalog ---------------------------------------------------------------------------
    def server(self, connection: Connection) -> Server:
        """The library's version."""
        text = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
        return Server("sqlite", tuple(int(part) for part in text.split(".")), text)

    def table(self, connection: Connection, name: TableName) -> Table:
        """See `Dialect.table`."""
        return sqlite_catalog.table(connection, name)

    def facts(self, connection: Connection, reference: Reference) -> Facts:
        """See `Dialect.facts`."""
        child = self.table(connection, reference.child)
        parent = child if reference.is_self_reference else self.table(connection, reference.parent)
        return facts_from(self.server(connection), reference, child, parent)

    def preflight(self, facts: Facts) -> Iterator[Problem]:
        """See `Dialect.preflight`."""
        reference, child, parent = facts.reference, facts.child, facts.parent
        for table in (child, parent):
            if table.kind != "table":
                yield Problem(
                    "refuse",
                    "not-a-table",
                    f"{table.name} is a {table.kind}, and a foreign key wants a table.",
                    "Name the table behind it.",
                )
                return
        if not child.key:
            yield no_key(child, "Give it a primary key first.")
        if not parent.is_unique(reference.parent_columns):
            names = ", ".join(reference.parent_columns)
            columns = self.columns_sql(reference.parent_columns)
            yield Problem(
                "refuse",
                "parent-key-not-unique",
                f"{parent.name}({names}) is not unique, so it cannot be referred to.",
                f"CREATE UNIQUE INDEX ... ON {self.table_sql(parent.name)} ({columns});"
                + (f" or refer to its key ({', '.join(parent.primary_key)})." if parent.primary_key else ""),
            )
        if "SET NULL" in (reference.on_delete, reference.on_update) and not reference.nullable:
            yield Problem(
                "refuse",
                "set-null-not-null",
                f"{reference} is ON DELETE SET NULL and NOT NULL: every delete of a parent would fail.",
                "Declare it nullable, or use another action.",
            )

    def environment_problems(
        self, connection: Connection, facts: Facts, settings: Settings
    ) -> Iterator[Problem]:
        """See `Dialect.environment_problems`: the disk."""
        return sqlite_room.room(connection, facts)

    # -- sessions ------------------------------------------------------------------------------
    @contextmanager
    def read_only(self, connection: Connection) -> Iterator[Connection]:
        """A read transaction in which `PRAGMA query_only` refuses every write."""
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")
        try:
            yield connection
        finally:
            with suppress(sa.exc.DBAPIError):
                connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA query_only=OFF")

    def prepare(self, connection: Connection, settings: Settings) -> None:
        """Foreign keys on, as the application has them: an action of theirs must be ours to see."""
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """BEGIN IMMEDIATE: the write lock is had at once or not at all, never half-way through."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sa.exc.DBAPIError):
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")

    def run_sql(
        self, connection: Connection, step: Step, settings: Settings, *, patient: bool = False
    ) -> None:
        """See `Dialect.run_sql`."""
        work = step.work
        assert isinstance(work, Sql)
        if isinstance(work, RebuildSql) and work.rebuild is not None:
            run_rebuild(lambda sql: sqlite_catalog.execute(connection, sql), work.rebuild)
            return
        with self.transaction(connection):
            for statement in work.statements:
                sqlite_catalog.execute(connection, statement)

    def verdict(self, error: BaseException) -> Verdict:
        """See `Dialect.verdict`."""
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
        return _VERDICTS.get(code & 0xFF, "other") if code is not None else "other"

    # -- batches -------------------------------------------------------------------------------
    def for_update(self, query: sa.Select[Any], *, skip_locked: bool = False) -> sa.Select[Any]:
        """BEGIN IMMEDIATE has locked everything already."""
        return query

    def key_in(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
    ) -> ColumnElement[bool]:
        """See `Dialect.key_in`. Composite keys as row values: an OR of that many terms is deeper than
        SQLite's expression trees may be (1000). No index serves a list of those; their first column apart has
        one, as far as the parameters go (32,766 where a distribution has not raised that)."""
        if len(columns) == 1:
            return super().key_in(columns, keys)
        these = sa.tuple_(*columns).in_(list(keys))
        firsts = list(dict.fromkeys(key[0] for key in keys))
        if len(keys) * len(columns) + len(firsts) > _MOST_PARAMETERS:
            return these
        return sa.and_(columns[0].in_(keys_bound(firsts)), these)

    def mirror_column(self, column: Column) -> str:
        """The declared type, which gives the affinity, and the collation; nothing else."""
        collation = f" COLLATE {column.collation}" if column.collation else ""
        return f"{self.quote(column.name)} {column.type}{collation}".rstrip()

    # -- the protocol's statements ---------------------------------------------------------------
    def index_steps(self, facts: Facts) -> tuple[Step, ...]:
        """See `Dialect.index_steps`."""
        return sqlite_steps.index_steps(facts)

    def drop_index_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """See `Dialect.drop_index_steps`."""
        return sqlite_steps.drop_index_steps(facts, ours)

    def enforce_steps(self, facts: Facts) -> tuple[Step, ...]:
        """See `Dialect.enforce_steps`."""
        return sqlite_steps.enforce_steps(facts)

    def release_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """See `Dialect.release_steps`."""
        return sqlite_steps.release_steps(facts, ours)

    def validate_steps(self, facts: Facts) -> tuple[Step, ...]:
        """See `Dialect.validate_steps`."""
        return sqlite_steps.validate_steps(facts)

    def unvalidate_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """See `Dialect.unvalidate_steps`."""
        return sqlite_steps.unvalidate_steps(facts, ours)
