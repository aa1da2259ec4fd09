"""Deleting rows together with what depends on them: all of it captured first, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.closure import Closure, Key, Reached, walk
from migrator.context import Context
from migrator.dialects import Dialect
from migrator.errors import StepFailed
from migrator.mirror import CHANGED, DELETED, DEPENDANT, Mirror


def remove(
    context: Context, connection: Connection, closure: Closure, mirror: Mirror, keys: Sequence[Key], kind: str
) -> int:
    """Capture and delete rows with all that depends on them; part of the batch's transaction.

    Returns:
        How many of the rows themselves were deleted.

    Raises:
        StepFailed: the counts differ; the batch is undone.
        TooMuch: the batch would pull along too many rows.
    """
    dialect = context.dialect
    reached = walk(connection, dialect, closure, mirror, keys, lock=True)
    _capture(context, connection, mirror, keys, kind, DELETED)
    for _, home, gone in reached.removed:
        _capture(context, connection, home, gone, DEPENDANT, DELETED)
    for edge, changed in reached.changed:
        _capture(context, connection, edge.mirror, changed, DEPENDANT, CHANGED)
    try:
        with connection.begin_nested():
            _delete_all(connection, dialect, reached, mirror, keys)
    except sa.exc.IntegrityError:
        # Rows that refer to each other in a circle: none can go first while the others' key forbids it.
        _untie(connection, dialect, closure, reached)
        _delete_all(connection, dialect, reached, mirror, keys)
    left = sum(_still_there(connection, dialect, home, gone) for _, home, gone in reached.removed)
    if left or _still_there(connection, dialect, mirror, keys):
        raise StepFailed(
            f"Rows of {mirror.source}, or {left} row(s) that depend on them, are still there after their "
            "DELETE; the batch was undone.",
            hint=f"Look for a trigger or rule on {mirror.source} that swallows deletes.",
        )
    return len(keys)


def _capture(
    context: Context, connection: Connection, mirror: Mirror, keys: Sequence[Key], kind: str, action: str
) -> None:
    new = [sa.null() for _ in mirror.reference_columns] if action == CHANGED else []
    captured = quarantine.capture(
        connection,
        context.dialect,
        mirror,
        keys,
        run_id=context.run.id,
        kind=kind,
        action=action,
        new_values=new,
    )
    if captured != len(keys):
        raise StepFailed(
            f"{captured} of {len(keys)} rows of {mirror.source} were copied to quarantine; "
            "the batch was undone."
        )


def _delete_all(
    connection: Connection, dialect: Dialect, reached: Reached, mirror: Mirror, keys: Sequence[Key]
) -> None:
    """The deepest first: RESTRICT asks for it, CASCADE minds not. Counts say nothing here: what a cascade
    took along is gone already."""
    for _, home, gone in reversed(reached.removed):
        _delete(connection, dialect, home, gone)
    _delete(connection, dialect, mirror, keys)


def _untie(connection: Connection, dialect: Dialect, closure: Closure, reached: Reached) -> None:
    """Set to NULL, where it may be NULL, the reference of rows that are captured and about to go."""
    for edge in closure.edges:
        table, going = edge.table, reached.taken.get(edge.mirror.source)
        columns = [column for column in edge.key.columns if table.column(column).nullable]
        if edge.removes and going and columns:
            target = edge.mirror.source_clause
            statement = sa.update(target).values({target.c[column]: sa.null() for column in columns})
            these = dialect.key_in([target.c[column] for column in edge.mirror.key], sorted(going, key=repr))
            connection.execute(statement.where(these))


def _delete(connection: Connection, dialect: Dialect, mirror: Mirror, keys: Sequence[Key]) -> None:
    target = mirror.source_clause
    condition = dialect.key_in([target.c[column] for column in mirror.key], keys)
    connection.execute(sa.delete(target).where(condition))


def _still_there(connection: Connection, dialect: Dialect, mirror: Mirror, keys: Sequence[Key]) -> int:
    source = mirror.source_clause.alias("c")
    condition = dialect.key_in([source.c[column] for column in mirror.key], keys)
    query = sa.select(sa.func.count()).select_from(source).where(condition)
    return int(connection.scalar(query) or 0)
