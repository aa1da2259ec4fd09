"""MySQL 8.0 to 9.x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column, Facts, Server, Table
from migrator.dialects import mysql_locks as locks
from migrator.dialects import mysql_sessions as sessions
from migrator.dialects import mysql_steps as steps
from migrator.dialects.base import Dialect, keys_bound
from migrator.dialects.mysql_catalog import Catalog
from migrator.dialects.mysql_definition import quote
from migrator.dialects.mysql_environment import (
    environment,
    lacks_on_parent,
    long_transactions,
    unchecked_sessions,
)
from migrator.dialects.mysql_facts import facts_of
from migrator.dialects.mysql_preflight import preflight
from migrator.dialects.telling import Blocker, Problem, Verdict
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName
from migrator.settings import Settings


class MySQL(Dialect):
    """Online, without a copy under lock, and proved by a count: see `mysql_steps`."""

    family: Literal["mysql", "mariadb"] = "mysql"
    careless = "a session with foreign_key_checks=0"
    looks_later = True
    #: How the server calls the bound of a statement's time.
    time_limit: ClassVar[str] = "max_execution_time"

    #: Settings of a session that looks up thousands of keys, where the server has them. 0 is no limit: above
    #: the default one (8 MB) the server silently reads the whole table instead of the ranges.
    session: ClassVar[dict[str, str]] = {"range_optimizer_max_mem_size": "0", "max_execution_time": "0"}

    def quote(self, *names: str | None) -> str:
        """`schema.name` in backticks, which mean the same in every `sql_mode`."""
        return ".".join(quote(name) for name in names if name)

    # -- the catalog ---------------------------------------------------------------------------
    def server(self, connection: Connection) -> Server:
        """Which server answers, by its own word."""
        text = str(connection.exec_driver_sql("SELECT VERSION()").scalar())
        numbers = text.partition("-")[0].split(".")
        version = tuple(int(number) for number in numbers if number.isdigit())
        return Server(self.family, version, ".".join(map(str, version)))

    def table(self, connection: Connection, name: TableName) -> Table:
        """The table as the catalog has it; `extra` holds its database and its guards."""
        return self._catalog(connection).table(name)

    def facts(self, connection: Connection, reference: Reference) -> Facts:
        """Everything plans and done-checks of this reference need."""
        return facts_of(self._catalog(connection), self.server(connection), reference)

    def _catalog(self, connection: Connection) -> Catalog:
        return Catalog.of(connection, mariadb=self.family == "mariadb")

    def preflight(self, facts: Facts) -> Iterator[Problem]:
        """What the facts say against the reference."""
        return preflight(facts)

    def environment_problems(
        self, connection: Connection, facts: Facts, settings: Settings
    ) -> Iterator[Problem]:
        """What the account, the server and other sessions say against it."""
        yield from environment(connection, facts)
        tables = list(dict.fromkeys((facts.child.name, facts.parent.name)))
        holders = locks.holders(connection, self._database(connection), tables) or []
        yield from long_transactions(holders, facts, settings)
        yield from unchecked_sessions(locks.unchecked(connection), facts)

    def lacks_on_parent(
        self, connection: Connection, facts: Facts, reads: frozenset[str], writes: frozenset[str]
    ) -> Problem | None:
        """See `Dialect.lacks_on_parent`: by whole tables."""
        return lacks_on_parent(connection, facts, ("INSERT", "DELETE") if writes else ())

    # -- sessions ------------------------------------------------------------------------------
    def greet(self, connection: Connection) -> None:
        """No limit of rows or of time, and no transaction that begins by itself."""
        sessions.execute(connection, sessions.whole_answers(self.time_limit))

    @contextmanager
    def read_only(self, connection: Connection) -> Iterator[Connection]:
        """REPEATABLE READ, its snapshot taken at once, READ ONLY by the server's word."""
        with sessions.read_only(connection, sessions.whole_answers(self.time_limit)):
            yield connection

    def prepare(self, connection: Connection, settings: Settings) -> None:
        """READ COMMITTED, strict, in UTC: at REPEATABLE READ a batch locks every row it looks at. In
        autocommit mode, so that what is read between two batches opens no transaction."""
        connection.execution_options(isolation_level="AUTOCOMMIT")
        self.greet(connection)
        seconds = sessions.short_seconds(settings)
        sessions.set_up(connection, sessions.session_settings(connection, seconds, self.session))

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """One short writing transaction at READ COMMITTED."""
        with sessions.transaction(connection):
            yield

    def run_sql(
        self, connection: Connection, step: Step, settings: Settings, *, patient: bool = False
    ) -> None:
        """Execute the statements of a step; strict mode and the bound of each wait are set first."""
        long = isinstance(step.work, Sql) and step.work.patience == "long"
        seconds = sessions.long_seconds(settings) if long else sessions.short_seconds(settings)
        prelude = sessions.session_settings(connection, seconds, self.session)
        sessions.run(connection, step, prelude, sessions.patience(settings, seconds, long=long))

    def verdict(self, error: BaseException) -> Verdict:
        """By error number."""
        return sessions.verdict(error)

    def blockers(self, connection: Connection, tables: Sequence[TableName]) -> list[Blocker]:
        """The sessions with metadata locks on these tables; where the server does not tell, those in
        this database with a transaction open."""
        database = self._database(connection)
        found = locks.holders(connection, database, tables)
        return locks.open_transactions(connection, database) if found is None else found

    def obstacles(self, connection: Connection, facts: Facts, step: Step) -> list[Blocker]:
        """The sessions known to hold a lock on either table for a second or more: any of them is in the
        way of EXCLUSIVE, which every ALTER wants. A guess stops nothing: the wait is bounded anyway. An
        index or a rebuild wants the child alone; but beside a foreign key whoever writes a parent row has
        a lock on the child too."""
        long = isinstance(step.work, Sql) and step.work.patience == "long"
        tables = list(dict.fromkeys((facts.child.name, *(() if long else (facts.parent.name,)))))
        found = locks.holders(connection, self._database(connection), tables) or []
        return [each for each in found if each.age_seconds >= 1]

    def holds_up_others(self, step: Step) -> bool:
        """Always: a rebuild too wants EXCLUSIVE, at both its ends."""
        return True

    def unchecked_sessions(self, connection: Connection) -> list[Blocker]:
        """The sessions that write with foreign_key_checks off: they can still write an orphan."""
        return locks.unchecked(connection)

    def leftovers(self, connection: Connection) -> list[int]:
        """An ALTER of ours whose client is gone, by the processlist."""
        return locks.leftovers(connection)

    def _database(self, connection: Connection) -> str | None:
        found: str | None = connection.scalar(sa.text("SELECT DATABASE()"))
        return found

    # -- the run lock --------------------------------------------------------------------------
    def try_lock(self, connection: Connection, name: str) -> bool | None:
        """GET_LOCK, its answer checked."""
        return locks.try_lock(connection, name)

    def unlock(self, connection: Connection, name: str) -> None:
        """RELEASE_LOCK."""
        locks.unlock(connection, name)

    # -- batches -------------------------------------------------------------------------------
    def key_in(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
    ) -> ColumnElement[bool]:
        """`key IN (...)`, for a composite key `(a, b) IN ((1, 2), ...)`: EXPLAIN shows a range of the
        primary key for both on either server (on MariaDB given `in_predicate_conversion_threshold = 0`)."""
        if len(columns) == 1:
            return super().key_in(columns, keys)
        return sa.tuple_(*columns).in_(keys_bound(keys))

    def whole_table_hint(self, table: Table) -> str:
        """The clustered index. The optimizer takes the smaller one on the reference; but a snapshot sees by
        the page there whether a row is of its time, and looks each row of a page up that was written to
        since (measured: 64 s instead of 9 s for 2,000,000 rows beside four writers).

        Source: https://dev.mysql.com/doc/refman/8.4/en/innodb-multi-versioning.html.
        """
        return "FORCE INDEX (PRIMARY)" if table.primary_key else ""

    def mirror_column(self, column: Column) -> str:
        """Explicitly NULL: a TIMESTAMP without the word may be NOT NULL with a default of its own."""
        return f"{quote(column.name)} {column.type} NULL"

    def create_mirror(self, name: TableName, columns: Sequence[str]) -> str:
        """InnoDB whatever the default engine is; our own words compare byte by byte."""
        return (
            f"CREATE TABLE {self.table_sql(name)} ({', '.join(columns)}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC "
            "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )

    def sequence_column(self, name: str) -> str:
        """A self-numbering primary key."""
        return f"{quote(name)} BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY"

    def insert_defaults(self, table: TableName) -> str:
        """MySQL has no DEFAULT VALUES."""
        return f"INSERT INTO {self.table_sql(table)} () VALUES ()"

    def change_extras(self, table: Table) -> dict[str, str]:
        """`ON UPDATE CURRENT_TIMESTAMP` leaves a column alone that the UPDATE sets, even to itself."""
        return {column.name: quote(column.name) for column in table.columns if column.on_update_now}

    # -- the protocol's statements ---------------------------------------------------------------
    def index_steps(self, facts: Facts) -> tuple[Step, ...]:
        """The supporting index, built online."""
        return (steps.create_index(facts),)

    def drop_index_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Its inverse, if it is ours."""
        return steps.drop_index(facts, ours)

    def enforce_steps(self, facts: Facts) -> tuple[Step, ...]:
        """NULL guard, then the foreign key with the checks off, INPLACE."""
        return steps.enforce_steps(facts, steps.add_foreign_key(facts))

    def release_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Drop what `enforce_steps` added."""
        return steps.release_steps(facts, ours)

    def validate_steps(self, facts: Facts) -> tuple[Step, ...]:
        """NOT NULL by an INPLACE rebuild; the guard goes."""
        return steps.validate_steps(facts)

    def unvalidate_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """The guard comes back, NOT NULL goes."""
        return steps.unvalidate_steps(facts, ours)
