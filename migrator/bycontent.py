"""Rows of a table without a key, found again by all that is in them.

Where a row was says nothing any more once it, or its table, was written anew. So a changed row is looked for
by its whole content: what the quarantine has of it, with the reference that we gave it. Rows with the same
content are each other's equals: any of them will do, and as many are given back as were changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.dialects import Dialect
from migrator.errors import StepFailed
from migrator.exact import exact_for
from migrator.fit import Fit
from migrator.mirror import ID
from migrator.plainsql import number_sql

Key = tuple[Any, ...]


class Altered(StepFailed):
    """The server made something else of a row than the quarantine has: a trigger or a type did."""


def give_back_by_content(
    connection: Connection, dialect: Dialect, fit: Fit, numbers: Sequence[int], *, strict: bool
) -> list[int]:
    """Give the old reference back to the rows that are as we left them; returns their numbers.

    Raises:
        Altered: with `strict`: a trigger made something else of a row.
        StepFailed: a row that was found and locked did not take it; the batch is undone.
    """
    mirror, exact = fit.mirror, exact_for(dialect)
    found = matches(connection, dialect, fit, numbers, changed=True)
    if not found:
        return []
    live = mirror.source_clause.alias("c")
    (column,) = (live.c[name] for name in mirror.key)
    these = dialect.key_in([column], list(found.values()))
    connection.execute(dialect.for_update(sa.select(column).where(these))).all()
    # One that the application moved while we waited for its lock is looked for by what it is now.
    found = matches(connection, dialect, fit, numbers, changed=True, among=list(found.values()))
    target, kept = mirror.source_clause, mirror.clause.alias("m")
    (place,) = (target.c[name] for name in mirror.key)
    assert fit.live is not None
    watched = strict and bool(fit.live.triggers)
    before = sa.select(exact.row([kept.c[name] for name in fit.columns]))
    for number, address in found.items():
        this = kept.c[ID] == number_sql(number)
        values: dict[Any, Any] = {
            target.c[name]: sa.select(kept.c[name]).where(this).correlate(target).scalar_subquery()
            for name in mirror.reference_columns
        }
        statement = sa.update(target).values(values).where(dialect.key_in([place], [address]))
        became = connection.execute(
            statement.returning(exact.row([target.c[name] for name in fit.columns]))
        ).all()
        if len(became) != 1:
            raise StepFailed(
                f"{len(became)} rows of {mirror.source} took their old value instead of one; the batch was "
                "undone."
            )
        if watched and became[0][0] != connection.scalar(before.where(this)):
            raise Altered(f"Rows of {mirror.source} were changed by a trigger beside what was given back.")
    return list(found)


def matches(
    connection: Connection,
    dialect: Dialect,
    fit: Fit,
    numbers: Sequence[int],
    *,
    changed: bool,
    among: Sequence[Key] | None = None,
) -> dict[int, Key]:
    """For each quarantined row the place of a live one with the same content, no place twice.

    Args:
        numbers: the quarantined rows.
        changed: whether the live ones have the reference that we gave them, or the one they had.
        among: look only at rows in these places.
    """
    found: dict[int, Key] = {}
    for unset in (False, True):
        found |= _matches(connection, dialect, fit, numbers, changed, among, unset)
    return {number: found[number] for number in numbers if number in found}


def _matches(
    connection: Connection,
    dialect: Dialect,
    fit: Fit,
    numbers: Sequence[int],
    changed: bool,
    among: Sequence[Key] | None,
    unset: bool,
) -> dict[int, Key]:
    """Those whose reference is NULL in part, or those whose it is not: equal values, unlike NULLs, are found
    by the index of the reference."""
    mirror, exact = fit.mirror, exact_for(dialect)
    live, kept = mirror.source_clause.alias("c"), mirror.clause.alias("m")
    (place,) = (live.c[name] for name in mirror.key)
    references = [name for name in mirror.reference_columns if name in fit.columns]
    now = dict(zip(mirror.reference_columns, mirror.new(kept), strict=True)) if changed else {}
    cells = {name: now.get(name, kept.c[name]) for name in fit.columns}
    some_null = sa.or_(*(cells[name].is_(None) for name in references))
    of = [
        kept.c[ID].in_([number_sql(number) for number in numbers]),
        some_null if unset else ~some_null,
    ]
    wanted = sa.select(*(cells[name] for name in references)).where(*of)
    columns = [live.c[name] for name in references]
    if unset:
        here = sa.or_(*(column.is_(None) for column in columns))
    else:
        here = columns[0].in_(wanted) if len(columns) == 1 else sa.tuple_(*columns).in_(wanted)
    if among is not None:
        here = sa.and_(here, dialect.key_in([place], among))
    left = _ranked(kept.c[ID], exact.row(list(cells.values()))).where(*of).subquery("l")
    right = _ranked(place, exact.row([live.c[name] for name in fit.columns])).where(here).subquery("r")
    query = sa.select(left.c.who, right.c.who).select_from(
        left.join(right, sa.and_(left.c.content == right.c.content, left.c.rank == right.c.rank))
    )
    return {int(number): (address,) for number, address in connection.execute(query)}


def _ranked(who: ColumnElement[Any], content: ColumnElement[str]) -> sa.Select[Any]:
    """Rows with their content, numbered among those of the same."""
    rank = sa.func.row_number().over(partition_by=content, order_by=who)
    return sa.select(who.label("who"), content.label("content"), rank.label("rank"))
