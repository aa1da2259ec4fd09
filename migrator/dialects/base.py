"""What a database may need differently. Every method here is safe to leave as it is, or says that
the engine cannot do the job; `postgresql.py`, `mysql.py`, `mariadb.py` and `sqlite.py` override.
Nothing outside this package asks which database it talks to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Column, Facts, Server, Table
from migrator.dialects.generic import facts_from, inspect_table
from migrator.dialects.telling import Blocker, Problem, Standing, Unproved, Verdict
from migrator.errors import PreflightRefused
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName, short_name
from migrator.settings import Settings


def keys_bound(keys: Sequence[Any]) -> Any:
    """The right side of an IN, its values bound without a type: one parameter that the driver's text is
    expanded from at execution, so that a statement is compiled once and not for each batch (measured: half
    the time of a sweep went into compiling, and the cache of compiled statements grew by a batch a time).

    Args:
        keys: values, or tuples of them for a row of columns. A value that is a list itself (an array) cannot
            be told from a row and is bound by itself.
    """
    null = sa.types.NullType()
    if any(isinstance(key, list) for key in keys):
        return [sa.bindparam(None, key, null) for key in keys]
    return sa.bindparam(None, list(keys), null, expanding=True)


class Dialect:
    """The base: a database we can read but not migrate.

    Args:
        sa_dialect: the SQLAlchemy dialect, for quoting.
    """

    family = "other"
    ddl_is_transactional = False
    #: Whether a step after the delta sweep looks at every row for dangling ones, and sweeps again when it
    #: meets one: the server's VALIDATE, or the count of the proof where no step before it minds them.
    looks_later = False

    #: Whether the way back drops the foreign key by its name, and not whichever answers the reference.
    drops_key_by_name = True

    #: Who can write an orphan although a foreign key stands.
    careless = "a session in which foreign keys are not checked"

    def __init__(self, sa_dialect: sa.Dialect) -> None:
        self.sa = sa_dialect

    def configured(self, settings: Settings) -> Dialect:
        """This dialect, planning and reading as the settings ask (PostgreSQL: the order of locks, the use of
        parallel workers)."""
        return self

    # -- words ---------------------------------------------------------------------------------
    def quote(self, *names: str | None) -> str:
        """`schema.name` as this database quotes it, always quoted."""
        preparer = self.sa.identifier_preparer
        return ".".join(preparer.quote_identifier(name) for name in names if name)

    def table_sql(self, table: TableName) -> str:
        """The table's name, quoted."""
        return self.quote(table.schema, table.name)

    def columns_sql(self, columns: Sequence[str]) -> str:
        """A list of column names, quoted, with commas."""
        return ", ".join(self.quote(column) for column in columns)

    # -- the catalog ---------------------------------------------------------------------------
    def server(self, connection: Connection) -> Server:
        """Which server answers."""
        version = connection.dialect.server_version_info or ()
        return Server("other", tuple(int(part) for part in version), ".".join(map(str, version)))

    def table(self, connection: Connection, name: TableName) -> Table:
        """The table as the catalog has it.

        Raises:
            UnknownTableError: there is none; the message lists the nearest names.
        """
        return inspect_table(connection, name)

    def bytes_taken(self, connection: Connection, name: TableName) -> int | None:
        """What a table of ours takes on the disk, as near as the server says."""
        return self.table(connection, name).bytes

    def facts(self, connection: Connection, reference: Reference) -> Facts:
        """Everything plans and done-checks of this reference need, read now. Takes no lock that
        a writer would notice. `proved_at` is left None: the journal's caller fills it in.

        Raises:
            UnknownTableError, UnknownColumnError.
        """
        child = self.table(connection, reference.child)
        parent = child if reference.is_self_reference else self.table(connection, reference.parent)
        return facts_from(self.server(connection), reference, child, parent)

    def preflight(self, facts: Facts) -> Iterator[Problem]:
        """Everything that must be true before a row is touched, from facts alone."""
        return iter(())

    def environment_problems(
        self, connection: Connection, facts: Facts, settings: Settings
    ) -> Iterator[Problem]:
        """What the facts do not hold: privileges, other sessions, server settings, disk."""
        return iter(())

    def in_the_way(self, facts: Facts, kinds: Collection[str], nulls: Collection[str]) -> Iterator[Standing]:
        """What stands, with ours gone, and keeps rows from coming back.

        Args:
            kinds: the kinds of orphans they are (`null`, `dangling`...).
            nulls: the columns of the reference in which some of them have NULL.
        """
        return iter(())

    def lacks_on_parent(
        self, connection: Connection, facts: Facts, reads: frozenset[str], writes: frozenset[str]
    ) -> Problem | None:
        """What this account lacks to make rows of the parent, and to take them away again.

        Args:
            reads: the columns that are looked at.
            writes: those that an INSERT states; none where rows are only looked for.
        """
        return None

    def pooler(self, connection: Connection) -> Problem | None:
        """What lies between us and the server and gives our session to others, if anything does; asked before
        the run lock is taken, which such a thing would keep for ever.

        Args:
            connection: in autocommit mode.
        """
        return None

    def unproved(self, connection: Connection, table: TableName) -> list[Unproved]:
        """Constraints there and not validated, indexes not valid; none where the server keeps no such
        flag."""
        return []

    def serving(self, table: Table, columns: tuple[str, ...]) -> frozenset[str]:
        """The names of the indexes that serve a look-up by these columns, as a plan of the server has it."""
        return frozenset(index.name for index in table.indexes if index.leads_with(columns))

    # -- sessions ------------------------------------------------------------------------------
    @contextmanager
    def read_only(self, connection: Connection) -> Iterator[Connection]:
        """One consistent snapshot in which nothing can be written."""
        with connection.begin():
            yield connection

    def greet(self, connection: Connection) -> None:
        """Undo in a new session of ours, in autocommit mode, what the server sets for everybody's and would
        falsify an answer or refuse a statement."""

    def prepare(self, connection: Connection, settings: Settings) -> None:
        """Session settings for a connection that sweeps or restores; the connection is closed,
        not pooled, afterwards."""

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """One short writing transaction at READ COMMITTED (SQLite: BEGIN IMMEDIATE), on a connection
        that is in autocommit mode: it must be begun and ended in so many words."""
        with connection.begin():
            yield

    def run_sql(
        self, connection: Connection, step: Step, settings: Settings, *, patient: bool = False
    ) -> None:
        """Execute a step of SQL under its lock discipline (one attempt).

        Args:
            connection: fresh, in autocommit mode, closed by the caller afterwards.
            patient: only an autovacuum is in the way: wait just long enough for the server to cancel
                it (PostgreSQL: deadlock_timeout + 500 ms).

        Raises:
            sqlalchemy.exc.DBAPIError: as the driver said it; `verdict` tells what it means.
        """
        raise NotImplementedError

    def verdict(self, error: BaseException) -> Verdict:
        """What an exception means: by error number, never by text."""
        return "other"

    def blockers(self, connection: Connection, tables: Sequence[TableName]) -> list[Blocker]:
        """The sessions that hold locks on these tables now, oldest first."""
        return []

    def obstacles(self, connection: Connection, facts: Facts, step: Step) -> list[Blocker]:
        """The sessions that stand in this step's way and will go on doing so: those of `blockers`
        whose locks conflict with the ones it is going to ask for, oldest first."""
        return self.blockers(connection, list(dict.fromkeys((facts.child.name, facts.parent.name))))

    def holds_up_others(self, step: Step) -> bool:
        """Whether others queue behind this step while it waits for its locks, so that it waits briefly."""
        return not (isinstance(step.work, Sql) and step.work.patience == "long")

    def unchecked_sessions(self, connection: Connection) -> list[Blocker]:
        """The sessions that write without foreign keys being checked, as far as the server tells (MySQL:
        foreign_key_checks=0): whatever is declared, they can still write an orphan."""
        return []

    def leftovers(self, connection: Connection) -> list[int]:
        """The other sessions in this database in which the server is at work on a statement of ours: where
        DDL is not transactional it outlives the client that sent it."""
        return []

    # -- the run lock --------------------------------------------------------------------------
    def try_lock(self, connection: Connection, name: str) -> bool | None:
        """Take a lock of the server that dies with this connection. True taken, False held by
        another, None where the server has no such thing (the lease row is used instead)."""
        return None

    def unlock(self, connection: Connection, name: str) -> None:
        """Give it back."""

    # -- batches -------------------------------------------------------------------------------
    def for_update(self, query: sa.Select[Any], *, skip_locked: bool = False) -> sa.Select[Any]:
        """Lock the rows of a single-table SELECT; SQLite has the whole database already."""
        return query.with_for_update(skip_locked=skip_locked)

    def key_in(
        self, columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
    ) -> ColumnElement[bool]:
        """`key IN (...)` in the form this database serves from the key's index. The values are
        bound without a type, so that the server's own column type decides."""
        if len(columns) == 1:
            return columns[0].in_(keys_bound([key[0] for key in keys]))
        rows = [
            sa.and_(
                *(
                    column == sa.bindparam(None, value, sa.types.NullType())
                    for column, value in zip(columns, key, strict=True)
                )
            )
            for key in keys
        ]
        return sa.or_(*rows)

    def reads_at_once(self, table: Table) -> bool:
        """Whether the scan had better read this table in one go than in windows of its key."""
        return False

    def others_at_work(self, connection: Connection) -> bool:
        """Whether others are known to be at work on the server just now (PostgreSQL)."""
        return False

    def moves_rows(self, table: Table) -> bool:
        """Whether rows of this table can be deleted and copied in one statement (PostgreSQL)."""
        return False

    def whole_table_hint(self, table: Table) -> str:
        """The index hint with which a table is best read as a whole while others write to it; "" for none."""
        return ""

    def mirror_column(self, column: Column) -> str:
        """A column of a quarantine or worklist table: the same type, nullable, nothing else."""
        return f"{self.quote(column.name)} {column.type}"

    def create_mirror(self, name: TableName, columns: Sequence[str]) -> str:
        """CREATE TABLE of one of our own tables from column definitions."""
        return f"CREATE TABLE {self.table_sql(name)} ({', '.join(columns)})"

    def sequence_column(self, name: str) -> str:
        """A self-numbering primary key column of one of our own tables."""
        return f"{self.quote(name)} INTEGER PRIMARY KEY"

    def insert_identity(self, statement: str) -> str:
        """An INSERT into the user's table that states identity values (PostgreSQL: OVERRIDING)."""
        return statement

    def insert_defaults(self, table: TableName) -> str:
        """An INSERT of a row that states nothing (MySQL spells it `() VALUES ()`)."""
        return f"INSERT INTO {self.table_sql(table)} DEFAULT VALUES"

    def move_counter(self, connection: Connection, table: Table, column: str, beyond: int) -> bool:
        """Have the next automatic key come after `beyond`. False where a stated key moves the counter
        along by itself (SQLite, MySQL), so that nothing need be done."""
        return False

    def change_extras(self, table: Table) -> dict[str, str]:
        """Columns an UPDATE of ours must set to themselves (MySQL's ON UPDATE CURRENT_TIMESTAMP)."""
        return {}

    def build_index(self, table: Table, columns: Sequence[str]) -> str:
        """The statement for a person to build an index on these columns by, without stopping anybody where
        that can be had."""
        name = self.quote(short_name("ix", table.name.name, *columns))
        return f"CREATE INDEX {name} ON {self.table_sql(table.name)} ({self.columns_sql(columns)});"

    # -- the protocol's statements ---------------------------------------------------------------
    def index_steps(self, facts: Facts) -> tuple[Step, ...]:
        """The supporting index on the child columns, built online."""
        raise self._cannot(facts)

    def drop_index_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Its inverse, for those of `index_steps` named in `ours`."""
        raise self._cannot(facts)

    def enforce_steps(self, facts: Facts) -> tuple[Step, ...]:
        """Check new rows: foreign key not validated, NULL guard."""
        raise self._cannot(facts)

    def release_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Their inverse, for those of `enforce_steps` named in `ours`."""
        raise self._cannot(facts)

    def validate_steps(self, facts: Facts) -> tuple[Step, ...]:
        """From enforced and swept to validated and NOT NULL; guards removed."""
        raise self._cannot(facts)

    def unvalidate_steps(self, facts: Facts, ours: frozenset[str]) -> tuple[Step, ...]:
        """Their inverse, back to exactly what `enforce_steps` had left, for those named in `ours`."""
        raise self._cannot(facts)

    def _cannot(self, facts: Facts) -> PreflightRefused:
        return PreflightRefused(
            f"{self.family} databases can be reported on, not migrated ({facts.reference}).",
            hint="Use `migrator report`; migrations run on SQLite, PostgreSQL, MySQL and MariaDB.",
        )
