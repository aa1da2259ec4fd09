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

    def divided(self, child: FromClause) -> ColumnElement[bool] | None:
        """True for the rows of `child` that have two different answers; None where no row can have."""


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

    def divided(self, child: FromClause) -> ColumnElement[bool] | None:
        """See `Source.divided`."""
        return None


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
        # Two answers are none: MariaDB computes what it does not need, and would fail on them.
        one = [count == sa.literal_column("1") for count in self._counts(child)]
        return [
            self._answers(child, column).where(*one).distinct().scalar_subquery() for column in self.value
        ]

    def divided(self, child: FromClause) -> ColumnElement[bool] | None:
        """See `Source.divided`."""
        return sa.or_(*(count > sa.literal_column("1") for count in self._counts(child)))

    def _counts(self, child: FromClause) -> list[ColumnElement[int]]:
        return [self._answers(child, column, counted=True).scalar_subquery() for column in self.value]

    def _answers(self, child: FromClause, column: str, *, counted: bool = False) -> sa.Select[Any]:
        table = table_clause(self.table, *(theirs for _, theirs in self.on), *self.value)
        other = table.alias("n" if counted else "l")
        wanted: ColumnElement[Any] = other.c[column]
        same = (other.c[theirs] == child.c[ours] for ours, theirs in self.on)
        known = (other.c[value].is_not(None) for value in self.value)
        query = sa.select(sa.func.count(wanted.distinct()) if counted else wanted)
        return query.where(*same, *known).correlate(child)


@dataclass(frozen=True)
class First:
    """The value of the first of several sources that has one for the row."""

    reference: Reference
    sources: tuple[Source, ...]

    def values(self, child: FromClause) -> list[ColumnElement[Any]]:
        """See `Source.values`."""
        each = [source.values(child) for source in self.sources]
        answered = [sa.and_(*(value.is_not(None) for value in values)) for values in each]
        return [
            sa.case(*((there, values[at]) for there, values in zip(answered, each, strict=True)))
            for at in range(len(self.reference.columns))
        ]

    def divided(self, child: FromClause) -> ColumnElement[bool] | None:
        """See `Source.divided`. Whom an earlier source knows a later one is not asked about."""
        found: list[ColumnElement[bool]] = []
        unknown: list[ColumnElement[bool]] = []
        for source in self.sources:
            divided = source.divided(child)
            if divided is not None:
                found.append(sa.and_(*unknown, divided))
            unknown.append(sa.or_(*(value.is_(None) for value in source.values(child))))
        return sa.or_(*found) if found else None


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
    child = table_clause(reference.child, *columns, *key).alias("c")
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
