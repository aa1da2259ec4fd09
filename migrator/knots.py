"""Removed rows that refer to each other in a circle: none of them can come back first. So all come back with
NULL where they may have it, and are then given what they had; all of it in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.context import Context
from migrator.dialects import Dialect
from migrator.fit import Fit, fit_of
from migrator.mirror import DELETED, ID, RESTORED, Mirror
from migrator.plainsql import number_sql
from migrator.putback import insert_one
from migrator.restore import Condition, every_row, mark, page

#: Rows untied in one transaction; a circle is small, and what is a conflict for good is not tried for ever.
_MOST = 5000

Row = tuple[Mirror, int]


class _Tied(Exception):
    """Some rows cannot have what they had; the transaction is undone."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows


def untie(
    context: Context,
    mirrors: Sequence[Mirror],
    *,
    only: Condition = every_row,
    leave_out: frozenset[str] = frozenset(),
) -> int:
    """Bring back what is left of the removed rows and comes back only together; returns how many did.
    Arguments as `restore.restore_mirror` has them."""
    refused: set[Row] = set()
    with context.sessions.work() as connection:
        fits = [fit_of(connection, context.dialect, mirror, leave_out) for mirror in mirrors]
        while True:
            context.check()
            try:
                with context.dialect.transaction(connection):
                    return _together(connection, context.dialect, fits, refused, only)
            except _Tied as tied:
                refused.update(tied.rows)


def _loose(fit: Fit) -> tuple[str, ...]:
    """The columns by which a row refers to others and which may be NULL."""
    if fit.live is None or fit.lost or fit.mirror.by_address:
        return ()
    columns = dict.fromkeys(column for key in fit.live.foreign_keys for column in key.columns)
    return tuple(column for column in columns if column in fit.columns and fit.live.column(column).nullable)


def _together(
    connection: Connection, dialect: Dialect, fits: Sequence[Fit], refused: set[Row], only: Condition
) -> int:
    back: list[tuple[Fit, int]] = []
    for fit in fits:
        loose = _loose(fit)
        bound = replace(fit, columns=tuple(column for column in fit.columns if column not in loose))
        for number in page(connection, fit.mirror, DELETED, None, _MOST, only=only) if loose else []:
            if (fit.mirror, number) not in refused and insert_one(connection, dialect, bound, number):
                back.append((fit, number))
    failed = [(fit.mirror, n) for fit, n in back if not _give(connection, dialect, fit, n, _loose(fit))]
    if failed:
        raise _Tied(failed)
    for fit in fits:
        mark(connection, fit.mirror, [number for home, number in back if home is fit], RESTORED)
    return len(back)


def _give(connection: Connection, dialect: Dialect, fit: Fit, number: int, columns: Sequence[str]) -> bool:
    """Give a row that is back what it had in these columns."""
    mirror = fit.mirror
    assert fit.live is not None
    kept, target = mirror.clause.alias("m"), mirror.source_clause
    this = kept.c[ID] == number_sql(number)
    key = connection.execute(sa.select(*(kept.c[column] for column in mirror.key)).where(this)).one()
    values: dict[Any, Any] = {
        target.c[column]: sa.select(kept.c[column]).where(this).correlate(target).scalar_subquery()
        for column in columns
    }
    for column in dialect.change_extras(fit.live):
        values.setdefault(target.c[column], target.c[column])
    row = dialect.key_in([target.c[column] for column in mirror.key], [tuple(key)])
    try:
        with connection.begin_nested():
            connection.execute(sa.update(target).values(values).where(row))
    except sa.exc.IntegrityError:
        return False
    return True
