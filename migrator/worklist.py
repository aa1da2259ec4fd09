"""The orphan keys that one scan found: the cursor of the sweep, kept in a table.

The scan walks the child in windows of its key and adds the orphans of each window, with the window's
end, in one transaction; a batch takes its entries off in the transaction that settles their rows. So
whatever is still listed is still to be done, however often the process dies (on MySQL this form was
measured 8 times faster than a NOT EXISTS per batch, on PostgreSQL on a par with the best).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Table
from migrator.dialects import Dialect
from migrator.journal import reference_key
from migrator.naming import OWN_PREFIX
from migrator.plainsql import run_plain
from migrator.predicate import breaks, child_alias, kind, table_clause
from migrator.reference import Reference, TableName, short_name

SEQ = OWN_PREFIX + "seq"
KIND = OWN_PREFIX + "kind"

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Worklist:
    """The list of one reference's orphans.

    Args:
        dialect, reference, child: whose.
        name: its table.
    """

    dialect: Dialect
    reference: Reference
    child: Table
    name: TableName

    @classmethod
    def of(cls, dialect: Dialect, reference: Reference, child: Table) -> Worklist:
        """The one list a reference has."""
        name = short_name(OWN_PREFIX + "w", reference_key(reference)[:8], child.name.name, limit=60)
        return cls(dialect, reference, child, TableName(name))

    @property
    def clause(self) -> sa.TableClause:
        """Its table as SQLAlchemy sees it."""
        return table_clause(self.name, SEQ, KIND, *self.child.handle)

    def exists(self, connection: Connection) -> bool:
        """Whether its table is there."""
        return sa.inspect(connection).has_table(self.name.name)

    def create(self, connection: Connection) -> None:
        """Make an empty list; one left behind by a scan that never began is dropped first."""
        self.drop(connection)
        run_plain(connection, self.creation)

    @property
    def creation(self) -> str:
        """The statement that makes its table."""
        text = sa.String(16).compile(dialect=self.dialect.sa)
        columns = [
            self.dialect.sequence_column(SEQ),
            f"{self.dialect.quote(KIND)} {text} NOT NULL",
            *(self.dialect.mirror_column(column) for column in self.child.handle_columns),
        ]
        return self.dialect.create_mirror(self.name, columns)

    def drop(self, connection: Connection) -> None:
        """Remove the list."""
        run_plain(connection, f"DROP TABLE IF EXISTS {self.dialect.table_sql(self.name)}")

    def window_end(self, connection: Connection, after: Key | None, rows: int) -> Key | None:
        """The key of the last row of the next window of `rows` rows; None when fewer are left, or where a
        window would cost as much as the whole table."""
        if not self.child.key and self.child.address is not None and not self.child.address.walkable:
            return None
        child = child_alias(self.reference, *self.child.handle)
        columns = [child.c[column] for column in self.child.handle]
        query = sa.select(*columns).order_by(*columns).limit(1).offset(rows - 1)
        if after is not None:
            query = query.where(*_beyond(columns, after))
        row = connection.execute(query).first()
        return tuple(row) if row is not None else None

    def scan(self, connection: Connection, after: Key | None, upto: Key | None) -> int:
        """List the orphans of a window; returns how many. Set-based; locks nothing of the user's
        at READ COMMITTED."""
        child = child_alias(self.reference, *self.child.handle)
        columns = [child.c[column] for column in self.child.handle]
        query = (
            sa.select(kind(self.reference, child).label(None), *columns)
            .where(breaks(self.reference, child))
            .order_by(*columns)
        )
        if after is not None:
            query = query.where(*_beyond(columns, after))
        if upto is not None:
            query = query.where(*_upto(columns, upto))
        result = connection.execute(
            sa.insert(self.clause).from_select([KIND, *self.child.handle], query),
            execution_options={"preserve_rowcount": True},
        )
        return int(result.rowcount)

    def fill(self, connection: Connection) -> int:
        """List the orphans of the whole table; returns how many. The list is made by the statement that finds
        them, in place of one that is there; for `Dialect.reads_at_once`."""
        child = child_alias(self.reference, *self.child.handle)
        columns = [child.c[column] for column in self.child.handle]
        number = sa.func.row_number().over(order_by=columns).label(SEQ)
        found = sa.cast(kind(self.reference, child), sa.String(16)).label(KIND)
        keys = (child.c[name].label(quoted_name(name, quote=True)) for name in self.child.handle)
        query = sa.select(number, found, *keys).where(breaks(self.reference, child))
        self.drop(connection)
        made = connection.execute(
            sa.CreateTableAs(query, quoted_name(self.name.name, quote=True)),
            execution_options={"preserve_rowcount": True},
        )
        key = self.dialect.quote(SEQ)
        run_plain(connection, f"ALTER TABLE {self.dialect.table_sql(self.name)} ADD PRIMARY KEY ({key})")
        return int(made.rowcount)

    def count_rows(self, connection: Connection, after: Key | None) -> int:
        """How many rows the last window holds: the one whose end is the table's."""
        child = child_alias(self.reference, *self.child.handle)
        query = sa.select(sa.func.count()).select_from(child)
        if after is not None:
            query = query.where(*_beyond([child.c[column] for column in self.child.handle], after))
        return int(connection.scalar(query) or 0)

    def counts(self, connection: Connection) -> dict[str, int]:
        """Entries by kind."""
        clause = self.clause
        query = sa.select(clause.c[KIND], sa.func.count()).group_by(clause.c[KIND])
        return {str(found): int(count) for found, count in connection.execute(query)}

    def page(
        self, connection: Connection, after: int, rows: int, kind: str | None = None
    ) -> list[tuple[int, Key]]:
        """The next entries, of one kind or of all: their numbers and keys."""
        clause = self.clause
        query = (
            sa.select(clause.c[SEQ], *(clause.c[column] for column in self.child.handle))
            .where(clause.c[SEQ] > bound(int(after)))
            .order_by(clause.c[SEQ])
            .limit(rows)
        )
        if kind is not None:
            query = query.where(clause.c[KIND] == sa.literal_column(f"'{kind}'"))
        return [(int(row[0]), tuple(row[1:])) for row in connection.execute(query).all()]

    def take_off(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Remove settled entries; part of the transaction that settled them."""
        if not numbers:
            return
        clause = self.clause
        if len(numbers) == numbers[-1] - numbers[0] + 1:
            condition: ColumnElement[bool] = clause.c[SEQ].between(bound(numbers[0]), bound(numbers[-1]))
        else:
            condition = self.dialect.key_in([clause.c[SEQ]], [(number,) for number in numbers])
        connection.execute(sa.delete(clause).where(condition))


def bound(value: Any) -> ColumnElement[Any]:
    """A value bound without a type, so that the column beside it decides how it is read."""
    return sa.bindparam(None, value, sa.types.NullType())


def _beyond(columns: Sequence[ColumnElement[Any]], key: Key) -> list[ColumnElement[bool]]:
    """`(a, b) > key`, spelled so that every server walks the key's index: MySQL does not use one
    for a row comparison, but does for the leading `a >= x` beside the expanded form."""
    return [columns[0] >= bound(key[0]), _after(columns, key)] if len(columns) > 1 else [_after(columns, key)]


def _upto(columns: Sequence[ColumnElement[Any]], key: Key) -> list[ColumnElement[bool]]:
    if len(columns) == 1:
        return [columns[0] <= bound(key[0])]
    return [columns[0] <= bound(key[0]), ~_after(columns, key)]


def _after(columns: Sequence[ColumnElement[Any]], key: Key) -> ColumnElement[bool]:
    alternatives = [
        sa.and_(*(columns[i] == bound(key[i]) for i in range(at)), columns[at] > bound(key[at]))
        for at in range(len(columns))
    ]
    return sa.or_(*alternatives)
