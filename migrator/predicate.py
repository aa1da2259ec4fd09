"""THE orphan predicate. Nothing else in the tree spells it.

A row is an orphan when no parent row has its key: `NOT EXISTS (SELECT 1 FROM parent p WHERE
p.key = c.column)`, both sides aliased. A NULL column matches no parent, so the same predicate
finds null, partial and dangling rows; `kind` tells them apart.

Never `NOT IN`: it finds nothing once a parent key is NULL. Never `IS NULL OR NOT EXISTS`: on
PostgreSQL the OR turns the anti-join into a sub-plan that is 25 times slower. Both sides are
aliased because an unaliased self-reference compares a table with itself and matches nearly every row.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import ADDRESSES
from migrator.naming import OWN_PREFIX
from migrator.reference import Reference, TableName

Kind = Literal["null", "partial", "dangling"]
KINDS: tuple[Kind, ...] = ("null", "partial", "dangling")


def table_clause(table: TableName, *columns: str) -> sa.TableClause:
    """A table of the user's as SQLAlchemy quotes it: every name exactly as it is spelled.

    Args:
        table: the table.
        columns: the columns that the statement will use; the address of a row among them, which is a
            column of tables of ours only.
    """
    return sa.table(
        quoted_name(table.name, quote=True),
        *(_column(table, column) for column in dict.fromkeys(columns)),
        schema=quoted_name(table.schema, quote=True) if table.schema else None,
    )


def _column(table: TableName, name: str) -> sa.ColumnClause[Any]:
    if name not in ADDRESSES or table.name.startswith(OWN_PREFIX):
        return sa.column(quoted_name(name, quote=True))
    column: sa.ColumnClause[Any] = sa.column(quoted_name(ADDRESSES[name].column, quote=True))
    column.key = name
    return column


def child_alias(reference: Reference, *more: str) -> FromClause:
    """The child as `c`, with the reference's columns and `more`."""
    return table_clause(reference.child, *reference.columns, *more).alias("c")


def parent_exists(reference: Reference, child: FromClause) -> ColumnElement[bool]:
    """True for the rows of `child` whose parent is there. `child` is any relation that has the
    reference's columns: the child itself, its mirror in quarantine, the worklist."""
    parent = table_clause(reference.parent, *reference.parent_columns).alias("p")
    pairs = zip(reference.columns, reference.parent_columns, strict=True)
    return sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(parent)
        .where(*(parent.c[theirs] == child.c[ours] for ours, theirs in pairs))
        .correlate(child)
    )


def orphaned(reference: Reference, child: FromClause) -> ColumnElement[bool]:
    """True for the rows that no parent answers for: null, partial and dangling ones."""
    return ~parent_exists(reference, child)


def all_null(reference: Reference, child: FromClause) -> ColumnElement[bool]:
    """True where every reference column is NULL."""
    return sa.and_(*(child.c[column].is_(None) for column in reference.columns))


def none_null(reference: Reference, child: FromClause) -> ColumnElement[bool]:
    """True where no reference column is NULL."""
    return sa.and_(*(child.c[column].is_not(None) for column in reference.columns))


def kind(reference: Reference, child: FromClause) -> ColumnElement[str]:
    """`null`, `partial` or `dangling`, for a row that is `orphaned`."""
    tail: Any = sa.literal_column("'dangling'")
    if len(reference.columns) > 1:
        tail = sa.case((~none_null(reference, child), sa.literal_column("'partial'")), else_=tail)
    return sa.case((all_null(reference, child), sa.literal_column("'null'")), else_=tail)


def breaks(reference: Reference, child: FromClause) -> ColumnElement[bool]:
    """True for the rows that break the reference as it is declared: dangling always, null unless
    the reference is nullable, partial only under MATCH FULL (or where NULL is not allowed)."""
    found = orphaned(reference, child)
    if not reference.nullable:
        return found
    if reference.match == "full":
        return sa.and_(found, ~all_null(reference, child))
    return sa.and_(found, none_null(reference, child))
