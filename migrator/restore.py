"""Putting quarantined rows back. Never overwrites.

A removed row comes back unless its key is taken again; a changed row gets its old reference back only
where it still has the value we gave it. Everything else is a conflict: it stays in quarantine, marked,
and is listed. A batch is one transaction, and a row's mark changes in the transaction that moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import quarantine
from migrator.batches import BatchSize
from migrator.context import Context
from migrator.dialects import Dialect
from migrator.errors import StepFailed
from migrator.plainsql import run_plain
from migrator.quarantine import ACTION, CHANGED, CONFLICT, DELETED, HELD, ID, RESTORED, STATE, Mirror


@dataclass(frozen=True)
class Restored:
    """What became of the rows.

    Args:
        restored: back in their table, every column as it was.
        conflicts: still in quarantine: the key is taken again, or the application changed the row.
    """

    restored: int = 0
    conflicts: int = 0

    def __add__(self, other: Restored) -> Restored:
        return Restored(self.restored + other.restored, self.conflicts + other.conflicts)


def restore_mirror(context: Context, mirror: Mirror, size: BatchSize, action: str) -> Restored:
    """Every held row of a mirror that was changed in one way, in batches. Removed rows come back in the
    order they went (what is referred to before what refers to it), changes are undone newest first.

    Args:
        context: the run.
        mirror: the quarantine table.
        size: the batch size to begin with.
        action: `deleted` or `changed`.
    """
    total = Restored()
    with context.sessions.work() as connection:
        goal = quarantine.held(connection, mirror)
        past: int | None = None
        while ids := page(connection, mirror, action, past, size.rows):
            context.check()
            with context.dialect.transaction(connection):
                total += put_back(connection, context.dialect, mirror, ids, state=RESTORED)
            past = ids[-1]
            context.progress.rows(f"restore {mirror.source}", total.restored + total.conflicts, goal)
    return total


def put_back(
    connection: Connection, dialect: Dialect, mirror: Mirror, ids: Sequence[int], *, state: str
) -> Restored:
    """Put these quarantined rows back; part of the caller's transaction.

    Args:
        ids: their numbers in the mirror.
        state: what to mark those with that are back: `restored` or `healed`.

    Raises:
        StepFailed: fewer rows came back than were there to come; the caller's transaction is undone.
    """
    rows = _rows(connection, mirror, ids)
    back: list[int] = []
    by_key: dict[tuple[Any, ...], int] = {}
    for number, action, key in rows:  # newest first: of two entries of one row the newer is undone now
        if action == CHANGED and key not in by_key:
            by_key[key] = number
    changed = set(by_key.values())
    again = [number for number, action, _ in rows if action == CHANGED and number not in changed]
    back += _undelete(connection, dialect, mirror, [(n, k) for n, a, k in rows if a == DELETED])
    back += _unchange(connection, dialect, mirror, [(n, k) for k, n in by_key.items()])
    for number in again:  # rare: one row changed twice by two sweeps; undo the older change after the newer
        back += _unchange(connection, dialect, mirror, [(n, k) for n, _, k in rows if n == number])
    conflicts = sorted(set(ids) - set(back))
    mark(connection, mirror, back, state)
    mark(connection, mirror, conflicts, CONFLICT)
    return Restored(len(back), len(conflicts))


def page(connection: Connection, mirror: Mirror, action: str, past: int | None, rows: int) -> list[int]:
    """The numbers of the next held rows that were changed in one way: removed ones in the order they
    went, others newest first."""
    clause = mirror.clause
    number = clause.c[ID]
    forward = action == DELETED
    query = (
        sa.select(number)
        .where(clause.c[STATE].in_(_words(HELD, CONFLICT)), clause.c[ACTION] == _words(action)[0])
        .order_by(number if forward else number.desc())
        .limit(rows)
    )
    if past is not None:
        query = query.where(number > _number(past) if forward else number < _number(past))
    return [int(found) for found in connection.execute(query).scalars()]


def _rows(
    connection: Connection, mirror: Mirror, ids: Sequence[int]
) -> list[tuple[int, str, tuple[Any, ...]]]:
    clause = mirror.clause
    query = (
        sa.select(clause.c[ID], clause.c[ACTION], *(clause.c[column] for column in mirror.key))
        .where(clause.c[ID].in_([_number(number) for number in ids]))
        .order_by(clause.c[ID].desc())
    )
    return [(int(row[0]), str(row[1]), tuple(row[2:])) for row in connection.execute(query)]


def _undelete(
    connection: Connection, dialect: Dialect, mirror: Mirror, rows: list[tuple[int, tuple[Any, ...]]]
) -> list[int]:
    """Insert the rows whose key is free."""
    if not rows:
        return []
    live = mirror.source_clause.alias("c")
    columns = [live.c[column] for column in mirror.key]
    taken = {
        tuple(row)
        for row in connection.execute(
            sa.select(*columns).where(dialect.key_in(columns, [key for _, key in rows]))
        )
    }
    free: dict[tuple[Any, ...], int] = {}
    for number, key in rows:
        if key not in taken:
            free.setdefault(key, number)
    numbers = sorted(free.values())
    if not numbers:
        return []
    try:
        with connection.begin_nested():
            _insert(connection, dialect, mirror, numbers)
    except sa.exc.IntegrityError:
        # Some other unique key is taken again, or the row would break a constraint: find out which
        # row by row, so that one conflict does not hold the others back.
        return [number for number in numbers if _insert_one(connection, dialect, mirror, number)]
    return numbers


def _insert_one(connection: Connection, dialect: Dialect, mirror: Mirror, number: int) -> bool:
    try:
        with connection.begin_nested():
            _insert(connection, dialect, mirror, [number])
    except sa.exc.IntegrityError:
        return False
    return True


def _insert(connection: Connection, dialect: Dialect, mirror: Mirror, numbers: Sequence[int]) -> None:
    columns = dialect.columns_sql(mirror.stored)
    statement = dialect.insert_identity(
        f"INSERT INTO {dialect.table_sql(mirror.source)} ({columns}) "
        f"SELECT {columns} FROM {dialect.table_sql(mirror.name)} "
        f"WHERE {dialect.quote(ID)} IN ({', '.join(str(int(number)) for number in numbers)}) "
        f"ORDER BY {dialect.quote(ID)}"
    )
    result = run_plain(connection, statement)
    if result.rowcount != len(numbers):
        raise StepFailed(
            f"{result.rowcount} of {len(numbers)} rows came back to {mirror.source}; the batch was undone.",
            hint=f"Look for a trigger or rule on {mirror.source} that swallows inserts.",
        )


def _unchange(
    connection: Connection, dialect: Dialect, mirror: Mirror, rows: list[tuple[int, tuple[Any, ...]]]
) -> list[int]:
    """Give the old reference back to the rows that still have the value we set."""
    if not rows:
        return []
    live = mirror.source_clause.alias("c")
    columns = [live.c[column] for column in mirror.key]
    numbers = [_number(number) for number, _ in rows]
    locked = sa.select(*columns).where(dialect.key_in(columns, [key for _, key in rows])).order_by(*columns)
    connection.execute(dialect.for_update(locked)).all()
    kept = mirror.clause.alias("m")
    same_key = [kept.c[column] == live.c[column] for column in mirror.key]
    ours = [
        _same(live.c[column], new)
        for column, new in zip(mirror.reference_columns, mirror.new(kept), strict=True)
    ]
    # A dependant may have been nulled first and removed after: removed rows come back whole.
    as_before = [_same(live.c[column], kept.c[column]) for column in mirror.reference_columns]
    found = connection.execute(
        sa.select(kept.c[ID], *columns)
        .select_from(kept.join(live, sa.and_(*same_key)))
        .where(kept.c[ID].in_(numbers), sa.or_(sa.and_(*ours), sa.and_(*as_before)))
    ).all()
    if not found:
        return []
    back = [int(row[0]) for row in found]
    target = mirror.source_clause
    values = {
        target.c[column]: sa.select(kept.c[column])
        .where(
            *(kept.c[name] == target.c[name] for name in mirror.key),
            kept.c[ID].in_([_number(number) for number in back]),
        )
        .correlate(target)
        .scalar_subquery()
        for column in mirror.reference_columns
    }
    extras = {target.c[column]: target.c[column] for column in dialect_extras(connection, dialect, mirror)}
    result = connection.execute(
        sa.update(target)
        .values({**values, **extras})
        .where(dialect.key_in([target.c[column] for column in mirror.key], [tuple(row[1:]) for row in found]))
    )
    if result.rowcount != len(back):
        raise StepFailed(
            f"{result.rowcount} of {len(back)} rows of {mirror.source} took their old value; "
            "the batch was undone."
        )
    return back


def dialect_extras(connection: Connection, dialect: Dialect, mirror: Mirror) -> list[str]:
    """Columns that an UPDATE of ours must set to themselves so that the server leaves them alone."""
    return list(dialect.change_extras(dialect.table(connection, mirror.source)))


def _same(left: ColumnElement[Any], right: ColumnElement[Any]) -> ColumnElement[bool]:
    return sa.or_(left == right, sa.and_(left.is_(None), right.is_(None)))


def mark(connection: Connection, mirror: Mirror, numbers: Sequence[int], state: str) -> None:
    """Say in the mirror what became of rows; part of the transaction that moved them."""
    if not numbers:
        return
    clause = mirror.clause
    connection.execute(
        sa.update(clause)
        .where(clause.c[ID].in_([_number(number) for number in numbers]))
        .values({clause.c[STATE]: _words(state)[0]})
    )


def _number(value: int) -> ColumnElement[int]:
    return sa.literal_column(str(int(value)))


def _words(*words: str) -> list[ColumnElement[str]]:
    return [sa.literal_column(f"'{word}'") for word in words]
