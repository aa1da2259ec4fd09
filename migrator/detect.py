"""Counting and listing orphans. Reads only; takes no lock that a writer would notice.

The counts come from one anti-join, grouped by the reference's columns inside and classified outside:
there are as many groups as missing parents, so that the classification costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import shown
from migrator.predicate import (
    Kind,
    all_null,
    breaks,
    child_alias,
    kind,
    none_null,
    orphaned,
)
from migrator.reference import Reference

# Whatever the caller's connection was told: these statements have their percent signs doubled, as
# SQLAlchemy writes them for a driver that is given parameters.
_AS_WRITTEN = {"no_parameters": False}

# Not plainly "n": a reference column may be called that.
_N = "migrator_orphan_rows"


@dataclass(frozen=True)
class Counts:
    """The rows of a child, by kind; `rows` is the sum of the four that follow it.

    Args:
        rows: all rows of the child.
        valid: those whose parent is there.
        null: those all of whose reference columns are NULL.
        partial: composite keys: those with some NULL.
        dangling: those without NULL whose parent is not there.
        missing_parents: the distinct parents that dangling rows name.
    """

    rows: int
    valid: int
    null: int
    partial: int
    dangling: int
    missing_parents: int

    def orphans(self, reference: Reference) -> int:
        """The rows that break the reference as it is declared: see `predicate.breaks`."""
        return sum(int(getattr(self, kind)) for kind in breaking_kinds(reference))


@dataclass(frozen=True)
class OrphanRow:
    """One orphan.

    Args:
        kind: null, partial or dangling.
        key: the child's key columns and their values; empty where the child has no key.
        value: the reference's columns and their values.
    """

    kind: Kind
    key: dict[str, Any]
    value: dict[str, Any]


@dataclass(frozen=True)
class MissingParent:
    """A parent that is not there, and how many rows name it."""

    value: dict[str, Any]
    rows: int


def count_statement(reference: Reference) -> sa.Select[Any]:
    """The statement behind `count`: one anti-join and one plain count of the child."""
    child = child_alias(reference)
    groups = (
        sa.select(*(child.c[column] for column in reference.columns), sa.func.count().label(_N))
        .select_from(child)
        .where(orphaned(reference, child))
        .group_by(*(child.c[column] for column in reference.columns))
        .subquery("o")
    )
    every = sa.select(sa.func.count()).select_from(child_alias(reference)).scalar_subquery()

    def total(of: ColumnElement[int], where: ColumnElement[bool] | None = None) -> ColumnElement[int]:
        nothing: ColumnElement[int] = sa.literal_column("0")
        counted = of if where is None else sa.case((where, of), else_=nothing)
        return sa.func.coalesce(sa.func.sum(counted), nothing)

    return sa.select(
        every.label("all_rows"),
        total(groups.c[_N]).label("orphaned_rows"),
        total(groups.c[_N], all_null(reference, groups)).label("null_rows"),
        total(groups.c[_N], none_null(reference, groups)).label("dangling_rows"),
        total(sa.literal_column("1"), none_null(reference, groups)).label("missing_parents"),
    ).select_from(groups)


def count(connection: Connection, reference: Reference) -> Counts:
    """All counts of one reference, in one statement and so in one snapshot.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    row = connection.execute(count_statement(reference), execution_options=_AS_WRITTEN).one()
    # sum() gives a Decimal on PostgreSQL and MySQL.
    rows, orphaned_rows, null, dangling, missing = (int(value) for value in row)
    return Counts(rows, rows - orphaned_rows, null, orphaned_rows - null - dangling, dangling, missing)


def count_orphans(connection: Connection, reference: Reference, hint: str = "") -> int:
    """Only how many rows break the reference, without a pass over the rest.

    Args:
        hint: how the child is best read as a whole (`Dialect.whole_table_hint`).

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    child = child_alias(reference)
    query = sa.select(sa.func.count()).select_from(child).where(breaks(reference, child))
    if hint:
        query = query.with_hint(child, hint)
    return int(connection.execute(query, execution_options=_AS_WRITTEN).scalar_one())


def orphans(
    connection: Connection,
    reference: Reference,
    key: tuple[str, ...],
    *,
    kinds: tuple[Kind, ...] = ("null", "partial", "dangling"),
    limit: int | None = None,
) -> Generator[OrphanRow]:
    """Orphans in the order of the child's key, streamed.

    Args:
        connection: must stay open while the rows are read.
        reference: what they break.
        key: the child's key columns, or its rows' address; without any, the rows come in no certain order.
        kinds: which kinds.
        limit: how many at most; None for all.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    child = child_alias(reference, *key)
    names = list(dict.fromkeys((*key, *reference.columns)))
    query = (
        sa.select(kind(reference, child).label("orphan_kind"), *(child.c[name] for name in names))
        .select_from(child)
        .where(orphaned(reference, child))
        .order_by(*(child.c[name] for name in key))
        .limit(limit)
    )
    wanted = _of_kinds(reference, child, kinds)
    if wanted is not None:
        query = query.where(wanted)
    if limit is None:
        # A cursor on the server: constant memory, however many orphans. Not for a handful of samples,
        # because a cursor makes PostgreSQL plan for the first rows only.
        query = query.execution_options(yield_per=1000)
    with connection.execute(query, execution_options=_AS_WRITTEN) as rows:
        for row in rows:
            values = dict(zip(names, row[1:], strict=True))
            yield OrphanRow(
                kind=row[0].strip(),
                key={shown(name): values[name] for name in key},
                value={name: values[name] for name in reference.columns},
            )


def breaking_kinds(reference: Reference) -> tuple[Kind, ...]:
    """The kinds of rows that break a reference as it is declared: see `predicate.breaks`."""
    if not reference.nullable:
        return ("null", "partial", "dangling")
    return ("partial", "dangling") if reference.match == "full" else ("dangling",)


def missing_parents(connection: Connection, reference: Reference, limit: int) -> list[MissingParent]:
    """The missing parents that most rows name, most first, equal ones in the order of their value.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver said it.
    """
    child = child_alias(reference)
    columns = [child.c[column] for column in reference.columns]
    query = (
        sa.select(*columns, sa.func.count().label(_N))
        .select_from(child)
        .where(orphaned(reference, child), none_null(reference, child))
        .group_by(*columns)
        .order_by(sa.desc(_N), *columns)
        .limit(limit)
    )
    return [
        MissingParent(dict(zip(reference.columns, row[:-1], strict=True)), int(row[-1]))
        for row in connection.execute(query, execution_options=_AS_WRITTEN)
    ]


def _of_kinds(
    reference: Reference, child: sa.FromClause, kinds: tuple[Kind, ...]
) -> ColumnElement[bool] | None:
    if set(kinds) == {"null"}:
        return all_null(reference, child)
    if set(kinds) == {"dangling"}:
        return none_null(reference, child)
    if set(kinds) == {"null", "partial", "dangling"}:
        return None
    return kind(reference, child).in_([sa.literal_column(f"'{one}'") for one in kinds])
