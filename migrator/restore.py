"""Putting quarantined rows back. Never overwrites.

A removed row comes back unless its key is taken again; a changed row gets its old reference back only
where it still has the value we gave it. Everything else is a conflict: it stays in quarantine, marked,
and is listed. A batch is one transaction, and a row's mark changes in the transaction that moves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import journal
from migrator.batches import BatchSize
from migrator.context import Context
from migrator.dialects import Dialect
from migrator.fit import Fit, fit_of
from migrator.mirror import ACTION, CHANGED, CONFLICT, DELETED, HELD, ID, RESTORED, STATE, Mirror
from migrator.patience import wait_or_give_up
from migrator.plainsql import number_sql as _number
from migrator.putback import unchange, undelete

#: Which rows of a mirror, as conditions on what stands for it in a query.
Condition = Callable[[Mirror, sa.FromClause], Sequence[ColumnElement[bool]]]


def every_row(_mirror: Mirror, _clause: sa.FromClause) -> Sequence[ColumnElement[bool]]:
    """No condition."""
    return ()


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


def restore_mirror(
    context: Context,
    mirror: Mirror,
    size: BatchSize,
    action: str,
    *,
    only: Condition = every_row,
    leave_out: frozenset[str] = frozenset(),
) -> Restored:
    """Every held row of a mirror that was changed in one way, in batches. Removed rows come back in the
    order they went (what is referred to before what refers to it), changes are undone newest first.

    Args:
        context: the run.
        mirror: the quarantine table.
        size: the batch size to begin with.
        action: `deleted` or `changed`.
        only: which of them.
        leave_out: columns that the table has lost and whose values are given up.

    Raises:
        LockNotObtained: rows stay locked through a dozen attempts; what came back before stands.
        Interrupted: between two batches.
    """

    def batch(connection: Connection, ids: Sequence[int]) -> Restored:
        return put_back(connection, context.dialect, mirror, ids, state=RESTORED, leave_out=leave_out)

    return in_batches(context, mirror, size, action, batch, only=only)


def in_batches(
    context: Context,
    mirror: Mirror,
    size: BatchSize,
    action: str,
    work: Callable[[Connection, Sequence[int]], Restored],
    *,
    only: Condition = every_row,
) -> Restored:
    """Do something with the held rows of a mirror, page by page, each in a transaction in which the journal
    says how far it is. Arguments and errors as `restore_mirror` has them.

    Args:
        work: is given the numbers of some rows, inside the transaction; says what became of them.
    """
    total, failures = Restored(), 0
    pause = context.sessions.settings.pause_ms / 1000
    with context.sessions.work() as connection:
        goal = waiting(connection, mirror, (action,), only)
        tell = Telling(context, connection, goal)
        past: int | None = None

        def left() -> str:
            rows = goal - total.restored - total.conflicts
            return f"Rows of {mirror.source} stay locked by others; {rows} quarantined rows are left."

        while ids := page(connection, mirror, action, past, size.rows, only=only):
            context.check()
            began = time.monotonic()
            try:
                with context.dialect.transaction(connection):
                    batch = work(connection, ids)
                    tell.in_journal(total + batch)
            except sa.exc.DBAPIError as error:
                failures += 1
                wait_or_give_up(context.dialect, error, failures, left)
                size = size.halved()
                continue
            failures = 0
            total += batch
            past = ids[-1]
            size = size.after(len(ids), time.monotonic() - began)
            context.progress.rows(f"restore {mirror.source}", total.restored + total.conflicts, goal)
            if pause:
                time.sleep(pause)
    return total


class Telling:
    """How far a run's step is, in the words that `migrator status` reads. A step takes several loops; what
    those before have brought back counts as done."""

    def __init__(self, context: Context, connection: Connection, goal: int) -> None:
        self.context, self.connection, self.goal = context, connection, goal
        detail = journal.step_detail(connection, context.run, context.step) if context.step else {}
        self.before = int(detail.get("changed", 0))

    def in_journal(self, done: Restored) -> None:
        """Part of the batch's transaction."""
        if self.context.step:
            detail = {"changed": self.before + done.restored, "found": self.before + self.goal}
            journal.set_step_detail(self.connection, self.context.run, self.context.step, detail)


def put_back(
    connection: Connection,
    dialect: Dialect,
    mirror: Mirror,
    ids: Sequence[int],
    *,
    state: str,
    leave_out: frozenset[str] = frozenset(),
) -> Restored:
    """Put these quarantined rows back; part of the caller's transaction.

    Args:
        ids: their numbers in the mirror.
        state: what to mark those with that are back: `restored` or `healed`.
        leave_out: columns that the table has lost and whose values are given up.

    Raises:
        StepFailed: fewer rows came back than were there to come; the caller's transaction is undone.
    """
    rows = _rows(connection, mirror, ids)
    back: list[int] = []
    by_key: dict[tuple[Any, ...], int] = {}
    fit = fit_of(connection, dialect, mirror, leave_out)
    back += undelete(connection, dialect, fit, [(n, k) for n, a, k in rows if a == DELETED])
    if mirror.by_address or mirror.moves:  # entries of one row have nothing in common to see it by
        back += _unchange_in_rounds(connection, dialect, fit, [(n, k) for n, a, k in rows if a == CHANGED])
        rows = []
    for number, action, key in rows:  # newest first: of two entries of one row the newer is undone now
        if action == CHANGED and key not in by_key:
            by_key[key] = number
    changed = set(by_key.values())
    again = [number for number, action, _ in rows if action == CHANGED and number not in changed]
    back += unchange(connection, dialect, fit, [(n, k) for k, n in by_key.items()])
    for number in again:  # rare: one row changed twice by two sweeps; undo the older change after the newer
        back += unchange(connection, dialect, fit, [(n, k) for n, _, k in rows if n == number])
    conflicts = sorted(set(ids) - set(back))
    mark(connection, mirror, back, state)
    mark(connection, mirror, conflicts, CONFLICT)
    return Restored(len(back), len(conflicts))


def _unchange_in_rounds(
    connection: Connection, dialect: Dialect, fit: Fit, rows: Sequence[tuple[int, tuple[Any, ...]]]
) -> list[int]:
    """As long as it helps: a row that was changed twice is found by the older entry only once the newer one
    is undone."""
    back: list[int] = []
    left = list(rows)
    while done := unchange(connection, dialect, fit, left):
        back += done
        left = [row for row in left if row[0] not in set(done)]
    return back


def page(
    connection: Connection,
    mirror: Mirror,
    action: str,
    past: int | None,
    rows: int,
    *,
    only: Condition = every_row,
) -> list[int]:
    """The numbers of the next held rows that were changed in one way: removed ones in the order they
    went, others newest first."""
    clause = mirror.clause
    number = clause.c[ID]
    forward = action == DELETED
    query = _held(sa.select(number), mirror, clause, (action,), only)
    query = query.order_by(number if forward else number.desc()).limit(rows)
    if past is not None:
        query = query.where(number > _number(past) if forward else number < _number(past))
    return [int(found) for found in connection.execute(query).scalars()]


def waiting(
    connection: Connection, mirror: Mirror, actions: Sequence[str], only: Condition = every_row
) -> int:
    """How many rows there are to come back."""
    clause = mirror.clause
    counted = _held(sa.select(sa.func.count()).select_from(clause), mirror, clause, actions, only)
    return int(connection.scalar(counted) or 0)


def _held(
    query: sa.Select[Any],
    mirror: Mirror,
    clause: sa.FromClause,
    actions: Sequence[str],
    only: Condition,
) -> sa.Select[Any]:
    states, words = _words(HELD, CONFLICT), _words(*actions)
    return query.where(clause.c[STATE].in_(states), clause.c[ACTION].in_(words), *only(mirror, clause))


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


def _words(*words: str) -> list[ColumnElement[str]]:
    return [sa.literal_column(f"'{word}'") for word in words]
