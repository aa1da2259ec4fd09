"""Making the sentinel row under a key that nobody has.

The server gives a new row the next key, and that may be the very one that dangling rows refer to: SQLite
takes the highest key there is plus one, and a counter may have been reset by a reload. Such rows would
silently become the sentinel's and never be set aside. So the key is looked at before the row is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.dialects.violations import violated
from migrator.errors import Refused
from migrator.predicate import table_clause
from migrator.reference import Reference
from migrator.typefamily import family
from migrator.worklist import bound

Key = tuple[Any, ...]

# A counter that moves on leaves a short run of claimed keys by itself; a long one is stepped over.
_TRIES = 3


class _Claimed(Exception):
    """The row was given a key that dangling rows refer to; undoes the transaction."""

    def __init__(self, key: Key) -> None:
        self.key = key


@dataclass(frozen=True)
class SentinelRow:
    """A row to be made.

    Args:
        dialect, facts: where.
        stated: the values stated for columns that the parent has.
    """

    dialect: Dialect
    facts: Facts
    stated: Mapping[str, Any]

    def create(self, connection: Connection, record: Callable[[Key], None]) -> Key:
        """Insert it, in a transaction of its own.

        Args:
            record: called with the key in that transaction.

        Raises:
            Refused: each key it could have is one that rows of the child refer to already.
        """
        tried: set[Key] = set()
        while True:
            try:
                return self._attempt(connection, self.stated, record)
            except _Claimed as taken:
                if taken.key in tried or len(tried) == _TRIES:
                    return self._step_over(connection, taken.key, record)
                tried.add(taken.key)
            except sa.exc.IntegrityError as error:
                if not self._counter_is_behind(error):
                    raise
                return self._above(connection, record)

    def _counter_is_behind(self, error: sa.exc.IntegrityError) -> bool:
        """Whether the server drew a key that another row has: rows that were loaded with their keys
        leave a sequence where it was."""
        return is_drawn(self.facts, self.stated) and violated(error) == "unique"

    def _above(self, connection: Connection, record: Callable[[Key], None]) -> Key:
        """Under a stated key above every one that is there or referred to. The sequence stays: where it
        stands is the application's affair, and what moved it could not be taken back."""
        beyond = self._highest(connection)
        column = self.facts.reference.parent_columns[0]
        return self._attempt(connection, {**self.stated, column: beyond + 1}, record)

    def _step_over(self, connection: Connection, key: Key, record: Callable[[Key], None]) -> Key:
        """Once more, under a key above every one that is there or referred to."""
        column = self.facts.reference.parent_columns[0]
        if len(key) > 1 or column in self.stated or not isinstance(key[0], int):
            raise claimed(self.facts.reference, key)
        beyond = self._highest(connection)
        moved = self.dialect.move_counter(connection, self.facts.parent, column, beyond)
        try:
            return self._attempt(
                connection, self.stated if moved else {**self.stated, column: beyond + 1}, record
            )
        except _Claimed as taken:
            raise claimed(self.facts.reference, taken.key) from None

    def _attempt(
        self, connection: Connection, values: Mapping[str, Any], record: Callable[[Key], None]
    ) -> Key:
        with self.dialect.transaction(connection):
            key = self._insert(connection, values)
            if is_claimed(connection, self.facts.reference, key):
                raise _Claimed(key)
            record(key)
        return key

    def _insert(self, connection: Connection, values: Mapping[str, Any]) -> Key:
        reference, parent = self.facts.reference, self.facts.parent
        columns = reference.parent_columns
        target = table_clause(reference.parent, *values, *columns)
        returns = connection.dialect.insert_returning
        if values:
            statement = sa.insert(target).values({target.c[name]: bound(v) for name, v in values.items()})
            if returns:
                statement = statement.returning(*(target.c[name] for name in columns))
            result = insert_stated(connection, self.dialect, statement)
        else:
            text = self.dialect.insert_defaults(reference.parent)
            if returns:
                text += f" RETURNING {self.dialect.columns_sql(columns)}"
            result = connection.exec_driver_sql(text, execution_options={"no_parameters": True})
        if returns:
            return tuple(result.one())
        if set(columns) <= set(values):
            same = [target.c[name] == bound(values[name]) for name in columns]
            return tuple(
                connection.execute(sa.select(*(target.c[name] for name in columns)).where(*same)).one()
            )
        if len(columns) == 1 and parent.column(columns[0]).identity:
            return (result.lastrowid,)
        raise Refused(
            f"The sentinel row of {parent.name} was made, but its key cannot be told; nothing was kept.",
            hint=f"State it with -x sentinel.{columns[0]}=<value>, or name an existing row with "
            "-x backfill_to=<key>.",
        )

    def _highest(self, connection: Connection) -> int:
        found = [connection.scalar(query) for query in highest(self.facts.reference)]
        return max((int(value) for value in found if value is not None), default=0)


def is_drawn(facts: Facts, stated: Mapping[str, Any]) -> bool:
    """Whether the server numbers a sentinel row by a counter, with these values stated."""
    columns = facts.reference.parent_columns
    if len(columns) > 1 or columns[0] in stated:
        return False
    key = facts.parent.column(columns[0])
    return family(key) == "integer" and bool(key.identity or key.default)


def highest(reference: Reference) -> list[sa.Select[Any]]:
    """The highest key that is there, and the highest that is referred to."""
    parent = table_clause(reference.parent, *reference.parent_columns)
    child = table_clause(reference.child, *reference.columns)
    ends = (parent.c[reference.parent_columns[0]], child.c[reference.columns[0]])
    return [sa.select(sa.func.max(end)) for end in ends]


def insert_stated(connection: Connection, dialect: Dialect, statement: sa.Insert) -> sa.CursorResult[Any]:
    """Insert a row whose key may be stated: one that is GENERATED ALWAYS needs a word more on PostgreSQL."""
    compiled = statement.compile(dialect=connection.dialect)
    given: Any = compiled.construct_params()
    if compiled.positional:
        given = tuple(given[name] for name in compiled.positiontup or ())
    return connection.exec_driver_sql(dialect.insert_identity(str(compiled)), given)


def is_claimed(connection: Connection, reference: Reference, key: Key) -> bool:
    """Whether rows of the child refer to this key."""
    return connection.execute(claiming(reference, [bound(value) for value in key])).first() is not None


def claiming(reference: Reference, key: Sequence[ColumnElement[Any]]) -> sa.Select[Any]:
    """A row of the child that refers to a key, given as expressions."""
    child = table_clause(reference.child, *reference.columns).alias("d")
    same = [child.c[name] == value for name, value in zip(reference.columns, key, strict=True)]
    return sa.select(*(child.c[name] for name in reference.columns)).where(*same).limit(1)


def claimed(reference: Reference, key: Key) -> Refused:
    """What to say of such a key."""
    names = ", ".join(reference.parent_columns)
    return Refused(
        f"The sentinel row of {reference.parent} would get {names}={', '.join(map(str, key))}, and rows of "
        f"{reference.child} refer to that already: they would become its own. No row was changed.",
        hint=f"State a key nobody refers to with -x sentinel.{reference.parent_columns[0]}=<value>, "
        "or name an existing row with -x backfill_to=<key>.",
    )
