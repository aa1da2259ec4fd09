"""Where a backfill's value comes from when each row has its own: an expression, a lookup, a decision.

A source turns a child relation into one SQL expression per reference column. The expressions are
evaluated in a derived table of their own, so that an unqualified name in a user's SQL means the child's
column and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.errors import UsageError
from migrator.predicate import none_null, parent_exists, table_clause
from migrator.reference import Reference, TableName


class Source(Protocol):
    """Computes new values for the reference columns."""

    def values(self, child: FromClause) -> list[ColumnElement[Any]]:
        """One expression per reference column over the rows of `child`, which has all its columns."""


@dataclass(frozen=True)
class Computed:
    """SQL expressions as the user wrote them."""

    reference: Reference
    sql: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sql) != len(self.reference.columns):
            raise UsageError(
                f"The expression policy gives {len(self.sql)} expression(s) for "
                f"{len(self.reference.columns)} column(s) of {self.reference}."
            )

    def values(self, child: FromClause) -> list[ColumnElement[Any]]:
        """See `Source.values`."""
        return [sa.literal_column(f"({text})") for text in self.sql]


@dataclass(frozen=True)
class LookedUp:
    """What another table says, by equality of columns. Two different answers for one row are an error.

    Args:
        table: the other table.
        on: pairs of the child's column and the table's.
        value: the table's columns that hold the value.
    """

    reference: Reference
    table: TableName
    on: tuple[tuple[str, str], ...]
    value: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.value) != len(self.reference.columns) or not self.on:
            raise UsageError(
                f"The lookup in {self.table} wants columns to join on and one value column for each of "
                f"{', '.join(self.reference.columns)}."
            )

    def values(self, child: FromClause) -> list[ColumnElement[Any]]:
        """See `Source.values`."""
        found: list[ColumnElement[Any]] = []
        for column in self.value:
            other = table_clause(self.table, *(theirs for _, theirs in self.on), *self.value).alias("l")
            same = (other.c[theirs] == child.c[ours] for ours, theirs in self.on)
            found.append(
                sa.select(other.c[column]).distinct().where(*same).correlate(child).scalar_subquery()
            )
        return found


def evaluated(
    reference: Reference, source: Source, key: Sequence[str], columns: Sequence[str], condition: Any
) -> FromClause:
    """The child's rows with their new values, as a derived table `v`.

    Args:
        key: the columns that name a row.
        columns: all columns of the child: an expression may name any.
        condition: given the child relation, which of its rows.

    Returns:
        A relation with the key columns and, under the reference columns' own names, the new values.
    """
    child = table_clause(reference.child, *columns).alias("c")
    kept = [child.c[column].label(f"k{at}") for at, column in enumerate(key)]
    values = [
        value.label(column) for column, value in zip(reference.columns, source.values(child), strict=True)
    ]
    return sa.select(*kept, *values).where(condition(child)).subquery("v")


def settles(reference: Reference, relation: FromClause) -> ColumnElement[bool]:
    """True for the rows of `evaluated` whose new value is a parent."""
    return sa.and_(none_null(reference, relation), parent_exists(reference, relation))


def goes_astray(reference: Reference, relation: FromClause) -> ColumnElement[bool]:
    """True for the rows of `evaluated` whose new value is there and is no parent."""
    return sa.and_(none_null(reference, relation), ~parent_exists(reference, relation))
