"""PostgreSQL 13 to 18."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg_types
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column, Facts, Server, Table
from migrator.dialects import (
    pg_catalog,
    pg_environment,
    pg_index,
    pg_leftovers,
    pg_locks,
    pg_others,
    pg_preflight,
    pg_rights,
    pg_sessions,
    pg_steps,
    pg_unproved,
    pg_wayback,
)
from migrator.dialects.base import Dialect, keys_bound
from migrator.dialects.pg_facts import extras
from migrator.dialects.pg_words import LockingSql, quote
from migrator.dialects.telling import Blocker, Problem, Standing, Unproved, Verdict
from migrator.errors import StepFailed
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName
from migrator.settings import Parallel, Settings

# By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), never by text, which
# follows lc_messages. 57014 is "other" on purpose: whoever cancels our statement wants us to stop.
_VERDICTS: Final[dict[str, Verdict]] = {
    "55P03": "lock-timeout",
    "40P01": "deadlock",
    "40001": "deadlock",
    "23502": "violation",
    "23503": "violation",
    "23514": "violation",
    "23505": "duplicate",
    "23P01": "duplicate",
    "42710": "duplicate",
    "42P07": "duplicate",
    "42501": "denied",
    "25006": "denied",
    "25P03": "lost",
    "25P04": "lost",
    "57P01": "lost",
    "57P02": "lost",
    "57P03": "lost",
    "57P05": "lost",
    "53100": "no-room",
    "53200": "no-room",
}

_PASSING: Final = 0.5
# So much of a table, in bytes, is read in a second or two. By the statistics, where 0 is not known: they may
# be out of date, and then one statement takes as long as VALIDATE will.
_AT_ONCE: Final = 512 << 20
_BIGINTS: Final = pg_types.ARRAY(sa.BigInteger)


class PostgreSQL(Dialect):
    """The protocol that no writer notices: constraints added NOT VALID, proved under a lock that
    only other DDL waits for.

    Args:
        sa_dialect: the SQLAlchemy dialect.
        parent_first: whether a blocking step locks the parent before the child: the order of an
            application that writes a user and then their post.
        parallel: when a table may be read, or an index built, by several processes: `quiet`, `always` or
            `never`.
    """

    family = "postgresql"
    ddl_is_transactional = True
    looks_later = True
    careless = "a session with session_replication_role=replica"

    def __init__(
        self, sa_dialect: sa.Dialect, *, parent_first: bool = True, parallel: Parallel = "quiet"
    ) -> None:
        super().__init__(sa_dialect)
        self.parent_first, self.parallel = parent_first, parallel
        self._others = pg_others.Others()

    def configured(self, settings: Settings) -> PostgreSQL:
        """With the lock order and the use of parallel workers that the settings ask for."""
        return PostgreSQL(self.sa, parent_first=settings.parent_first, parallel=settings.parallel)

    # -- words ---------------------------------------------------------------------------------
    def quote(self, *names: str | None) -> str:
        """`schema.name`, always quoted, percent signs single: for statements without parameters."""
        return quote(*names)

    # -- the catalog ---------------------------------------------------------------------------
    def server(self, connection: Connection) -> Server:
        """Which server answers."""
        with pg_sessions.snapshot(connection):
            return pg_catalog.read_server(connection)

    def table(self, connection: Connection, name: TableName) -> Table:
        """The table as the catalog has it; its name carries the schema it was found in.

        Raises:
            UnknownTableError: there is none; the message lists the nearest names.
        """
        with pg_sessions.snapshot(connection):
            return pg_catalog.read_table(connection, name)

    def bytes_taken(self, connection: Connection, name: TableName) -> int | None:
        """With its indexes, as it is now: the catalog has the size of the last VACUUM or ANALYZE. Opens the
        table, so it is for ours only."""
        size = sa.text("SELECT pg_total_relation_size(to_regclass(:name))")
        found = connection.scalar(size, {"name": self.table_sql(name)})
        return None if found is None else int(found)

    def facts(self, connection: Connection, reference: Reference) -> Facts:
        """Everything about the reference, read in one snapshot; opens no table of the user's and
        leaves no transaction behind.

        Raises:
            UnknownTableError, UnknownColumnError.
        """
        with pg_sessions.snapshot(connection):
            return pg_catalog.read_facts(connection, reference)

    def preflight(self, facts: Facts) -> Iterator[Problem]:
        """Everything that must be true before a row is touched, from facts alone."""
        return pg_preflight.problems(facts)

    def environment_problems(
        self, connection: Connection, facts: Facts, settings: Settings
    ) -> Iterator[Problem]:
        """Poolers, standbys, privileges, row level security, other sessions' transactions."""
        pooled = [] if pg_sessions.is_open(connection) else list(pg_environment.pooling(connection))
        yield from pooled
        if not pooled:
            with pg_sessions.snapshot(connection):
                yield from list(pg_environment.problems(connection, facts, settings))

    def in_the_way(self, facts: Facts, kinds: Collection[str], nulls: Collection[str]) -> Iterator[Standing]:
        """See `Dialect.in_the_way`: a foreign key, a CHECK or a NOT NULL that is not validated."""
        return pg_wayback.in_the_way(facts, kinds, nulls)

    def lacks_on_parent(
        self, connection: Connection, facts: Facts, reads: frozenset[str], writes: frozenset[str]
    ) -> Problem | None:
        """See `Dialect.lacks_on_parent`."""
        return pg_rights.lacks_on_parent(connection, facts, reads, writes)

    def pooler(self, connection: Connection) -> Problem | None:
        """pgbouncer in transaction mode, or the like."""
        return next(iter(pg_environment.pooling(connection)), None)

    def build_index(self, table: Table, columns: Sequence[str]) -> str:
        """See `Dialect.build_index`. On a partitioned table PostgreSQL builds none CONCURRENTLY."""
        statement = super().build_index(table, columns)
        if table.kind == "partitioned":
            return statement
        return statement.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)

    def serving(self, table: Table, columns: tuple[str, ...]) -> frozenset[str]:
        """See `Dialect.serving`. A plan names the partitions' indexes, never that of the table above."""
        below = (index for leaf in extras(table).leaves for index in leaf.indexes)
        names = frozenset(index.name for index in below if index.leads_with(columns))
        return names | super().serving(table, columns)

    def unproved(self, connection: Connection, table: TableName) -> list[Unproved]:
        """See `Dialect.unproved`."""
        return pg_unproved.unproved(connection, table, self.table_sql(table))

    # -- sessions ------------------------------------------------------------------------------
    @contextmanager
    def read_only(self, connection: Connection) -> Iterator[Connection]:
        """REPEATABLE READ READ ONLY; RLS that hides rows is an error (42501), not a wrong count."""
        with pg_sessions.read_only(connection, self._alone):
            yield connection

    def greet(self, connection: Connection) -> None:
        """See who else is there."""
        self._others.first_look(connection)

    def others_at_work(self, connection: Connection) -> bool:
        """By what changes in the statistics of sessions."""
        return self._others.at_work(connection)

    def _alone(self, connection: Connection) -> bool:
        """Whether all cores may be used."""
        if self.parallel == "quiet":
            return not self.others_at_work(connection)
        return self.parallel == "always"

    def prepare(self, connection: Connection, settings: Settings) -> None:
        """Session settings for a connection that sweeps or restores, and is closed afterwards."""
        pg_sessions.prepare(connection, settings, self._alone)

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """One short writing transaction at READ COMMITTED."""
        with pg_sessions.transaction(connection):
            yield

    def run_sql(
        self, connection: Connection, step: Step, settings: Settings, *, patient: bool = False
    ) -> None:
        """One attempt at a step of SQL, every wait for a lock bounded.

        Args:
            connection: fresh, in autocommit mode, closed by the caller afterwards.
            patient: wait `deadlock_timeout` + 500 ms, at which PostgreSQL sends a plain autovacuum
                away; any number of shorter attempts would fail.

        Raises:
            sqlalchemy.exc.DBAPIError: as the driver said it; `verdict` tells what it means.
        """
        if not isinstance(step.work, Sql):
            raise StepFailed(f"Step {step.name} is no SQL.")
        marked = pg_leftovers.marked(step.work, step.name)
        alone = step.work.patience != "long" or self._alone(connection)
        pg_sessions.attempt(connection, marked, settings, patient=patient, alone=alone)

    def verdict(self, error: BaseException) -> Verdict:
        """What an exception means, by SQLSTATE; class 08 and a connection without one are lost."""
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)  # psycopg 3 or 2
        if state:
            return "lost" if state.startswith("08") else _VERDICTS.get(state, "other")
        return "lost" if getattr(error, "connection_invalidated", False) else "other"

    def blockers(self, connection: Connection, tables: Sequence[TableName]) -> list[Blocker]:
        """Every other session with any lock on these tables, oldest first."""
        with pg_sessions.snapshot(connection):
            return pg_locks.holders(connection, pg_locks.any_lock(tables))

    def obstacles(self, connection: Connection, facts: Facts, step: Step) -> list[Blocker]:
        """The sessions whose locks conflict with the step's own and are likely to stay: a reader does
        not stand in the way of SHARE ROW EXCLUSIVE, and does in that of ACCESS EXCLUSIVE; a
        transaction of the last half second will be gone before our patience is."""
        if not isinstance(step.work, LockingSql):
            return []
        with pg_sessions.snapshot(connection):
            found = pg_locks.holders(connection, step.work.locks)
            if step.work.mode == "autocommit":
                known = {blocker.pid for blocker in found}
                found += [each for each in pg_locks.snapshot_holders(connection) if each.pid not in known]
        return [each for each in found if each.kind != "session" or each.age_seconds > _PASSING]

    def leftovers(self, connection: Connection) -> list[int]:
        """A VALIDATE, a CREATE INDEX CONCURRENTLY or a scan of ours whose client is gone: the server does
        not look for its client before it has done with the statement."""
        return pg_leftovers.leftovers(connection)

    # -- the run lock --------------------------------------------------------------------------
    def try_lock(self, connection: Connection, name: str) -> bool | None:
        """An advisory lock of the session."""
        return pg_sessions.try_lock(connection, name)

    def unlock(self, connection: Connection, name: str) -> None:
        """Give it back."""
        pg_sessions.unlock(connection, name)

    # -- batches -------------------------------------------------------------------------------
    def key_in(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
    ) -> ColumnElement[bool]:
        """`key IN (...)`, for a composite key `(a, b) IN ((...), ...)`: both use the key's index.
        Integers, the most frequent of keys, go as one array (a third of the time to send and to plan),
        written out here: the driver would look at each of them by itself."""
        if len(columns) > 1:
            return sa.tuple_(*columns).in_(keys_bound(keys))
        values = [key[0] for key in keys]
        if set(map(type, values)) != {int}:
            return super().key_in(columns, keys)
        array = sa.bindparam(None, f"{{{','.join(map(str, values))}}}", sa.types.NullType())
        return columns[0] == sa.any_(sa.cast(array, _BIGINTS))

    def reads_at_once(self, table: Table) -> bool:
        """Where it is no larger than what is read in a second or so: a scan holds nothing here that anyone
        waits for, and by windows of the key it was measured to take twice the time. PostgreSQL reads
        in parallel for CREATE TABLE AS, and never for INSERT (manual, 15.2). Not where an event trigger may
        want a key of every new table: here it comes by a second statement."""
        return table.bytes is not None and 0 < table.bytes <= _AT_ONCE and not extras(table).watched

    def moves_rows(self, table: Table) -> bool:
        """By `DELETE ... RETURNING` in a WITH clause, which PostgreSQL refuses where a rule turns the DELETE
        into something else or adds to it (0A000)."""
        return not extras(table).ruled

    def mirror_column(self, column: Column) -> str:
        """The same type and collation, nullable, no default, no identity."""
        collate = f" COLLATE {column.collation}" if column.collation else ""
        return f"{self.quote(column.name)} {column.type}{collate}"

    def sequence_column(self, name: str) -> str:
        """A self-numbering primary key column of one of our own tables."""
        return f"{self.quote(name)} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"

    def insert_identity(self, statement: str) -> str:
        """With OVERRIDING SYSTEM VALUE behind the column list: GENERATED ALWAYS refuses stated
        values otherwise (428C9). It does nothing to a table without an identity column.

        Raises:
            StepFailed: the statement has no column list.
        """
        depth, quoted = 0, False
        for at, mark in enumerate(statement):
            if mark == '"':
                quoted = not quoted
            elif not quoted and mark == "(":
                depth += 1
            elif not quoted and mark == ")":
                depth -= 1
                if depth == 0:
                    return f"{statement[: at + 1]} OVERRIDING SYSTEM VALUE{statement[at + 1 :]}"
        raise StepFailed("An INSERT into a table with an identity column must list its columns.")

    def move_counter(self, connection: Connection, table: Table, column: str, beyond: int) -> bool:
        """A sequence knows nothing of stated keys: it is moved itself."""
        return pg_sessions.move_sequence(
            connection, quote(table.name.schema, table.name.name), column, beyond
        )

    # -- the protocol's statements ---------------------------------------------------------------
    def index_steps(self, facts: Facts) -> tuple[Step, ...]:
        """The supporting index, CONCURRENTLY."""
        return pg_index.index_steps(facts)

    def drop_index_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Its inverse."""
        return pg_index.drop_index_steps(facts, ours)

    def enforce_steps(self, facts: Facts) -> tuple[Step, ...]:
        """Foreign key NOT VALID and the NULL guard."""
        return pg_steps.enforce_steps(facts, parent_first=self.parent_first)

    def release_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Their inverse."""
        return pg_steps.release_steps(facts, ours, parent_first=self.parent_first)

    def validate_steps(self, facts: Facts) -> tuple[Step, ...]:
        """The proof, NOT NULL, and away with the helpers."""
        return pg_steps.validate_steps(facts, parent_first=self.parent_first)

    def unvalidate_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Their inverse, back to what `enforce_steps` had left."""
        return pg_steps.unvalidate_steps(facts, ours, parent_first=self.parent_first)
