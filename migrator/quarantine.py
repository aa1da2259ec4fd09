"""Typed mirror tables that hold the full original of every row we touch.

What a mirror is, `mirror` says. It is created up front, never by CREATE TABLE AS SELECT: under GTID that is
refused (MySQL bug 1786), and `SELECT *` would leave invisible columns behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import journal
from migrator.catalog import Table
from migrator.dialects import Dialect
from migrator.errors import StepFailed
from migrator.mirror import (
    ACTION,
    AT,
    CHANGED,
    CONFLICT,
    DELETED,
    HELD,
    ID,
    KIND,
    NEW,
    RUN_ID,
    STATE,
    Mirror,
    creation,
    kept_columns,
    loaded,
    manifest,
    mirror_of,
    other_mirror_of,
)
from migrator.plainsql import run_plain
from migrator.reference import Reference


def ensure(connection: Connection, dialect: Dialect, reference: Reference, table: Table) -> Mirror:
    """The mirror of the child, created or brought up to the columns the table has now.

    A column gained since is added to the mirror; one lost since stays, with the rows that had it.
    """
    return _ensured(connection, dialect, reference, table, mirror_of(reference, table))


def ensure_other(
    connection: Connection,
    dialect: Dialect,
    reference: Reference,
    table: Table,
    changed: tuple[str, ...] = (),
) -> Mirror:
    """The same for another table whose rows go, change or come with the child's: see `other_mirror_of`."""
    mirror = other_mirror_of(reference, table, changed)
    return _ensured(connection, dialect, reference, table, mirror)


def _ensured(
    connection: Connection, dialect: Dialect, reference: Reference, table: Table, mirror: Mirror
) -> Mirror:
    create_table, create_index = creation(dialect, mirror, table)
    # The line first: a line without a table is ignored, a table without a line would be lost sight of.
    if not sa.inspect(connection).has_table(mirror.name.name):
        _remember(connection, reference, mirror)
        run_plain(connection, create_table)
        run_plain(connection, create_index)
        return mirror
    made = dialect.table(connection, mirror.name)
    if all(index.columns == (ID,) for index in made.indexes):
        run_plain(connection, create_index)
    there = {column.name for column in made.columns}
    for column in kept_columns(table):
        if column.name not in there:
            added = dialect.mirror_column(column)
            run_plain(connection, f"ALTER TABLE {dialect.table_sql(mirror.name)} ADD COLUMN {added}")
    _remember(connection, reference, mirror)
    return mirror


def mirrors(connection: Connection, reference: Reference | None = None) -> list[Mirror]:
    """The mirrors of a reference (or all), as the manifest has them; those gone are left out."""
    if not journal.exists(connection):
        return []
    query = sa.select(journal.MIRROR).order_by(journal.MIRROR.c.created_at, journal.MIRROR.c.name)
    if reference is not None:
        query = query.where(journal.MIRROR.c.reference_key == journal.reference_key(reference))
    inspector = sa.inspect(connection)
    return [loaded(row) for row in connection.execute(query).all() if inspector.has_table(row.name)]


def capture(
    connection: Connection,
    dialect: Dialect,
    mirror: Mirror,
    keys: Sequence[tuple[Any, ...]],
    *,
    run_id: str,
    kind: ColumnElement[str] | str,
    action: str,
    new_values: Sequence[ColumnElement[Any]] = (),
    source: FromClause | None = None,
) -> int:
    """Copy rows, whole, into the mirror. Part of the batch's transaction.

    Args:
        keys: the keys of the rows, already locked by the caller.
        kind: why they are taken: a word, or an expression over the source aliased `c`.
        action: `deleted` or `changed`.
        new_values: for `changed`: expressions of what the reference columns are about to become.
        source: the source aliased `c`, where `kind` or `new_values` are expressions over it.

    Returns:
        How many rows were copied; the caller compares it with what it then changes.
    """
    source = mirror.source_clause.alias("c") if source is None else source
    values = _ours(run_id, kind, action)
    values.extend((f"{NEW}{at}", value) for at, value in enumerate(new_values))
    values.extend((column, source.c[column]) for column in mirror.captured)
    query = sa.select(*(value.label(None) for _, value in values)).where(
        dialect.key_in([source.c[column] for column in mirror.key], keys)
    )
    return _inserted(connection, mirror, [name for name, _ in values], query)


def move(
    connection: Connection,
    dialect: Dialect,
    mirror: Mirror,
    keys: Sequence[tuple[Any, ...]],
    *,
    run_id: str,
    kind: str,
) -> int:
    """Delete rows and copy what went, whole, into the mirror, in one statement: the rows are looked up once.
    For a table that the server can do this with: `Dialect.moves_rows`.

    Returns:
        How many rows went, all of them copied; the caller compares it with what was to go.
    """
    target = mirror.source_clause
    condition = dialect.key_in([target.c[column] for column in mirror.key], keys)
    deleted = sa.delete(target).where(condition)
    # Under names of ours: SQLAlchemy shortens long ones, and an address cannot keep its own.
    names = {column: f"c{at}" for at, column in enumerate(mirror.captured)}
    gone = deleted.returning(*(target.c[column].label(name) for column, name in names.items())).cte("c")
    values = [*_ours(run_id, kind, DELETED), *((column, gone.c[name]) for column, name in names.items())]
    query = sa.select(*(value.label(None) for _, value in values)).select_from(gone)
    return _inserted(connection, mirror, [name for name, _ in values], query)


def _ours(run_id: str, kind: ColumnElement[str] | str, action: str) -> list[tuple[str, ColumnElement[Any]]]:
    """Our own columns of a captured row."""
    return [
        (RUN_ID, _text(run_id)),
        (KIND, sa.literal_column(f"'{kind}'") if isinstance(kind, str) else kind),
        (ACTION, _text(action)),
        # Bound, unlike the words beside it: the text of the statement stays the same from batch to batch.
        (AT, sa.bindparam(None, journal.now(), sa.String(40))),
        (STATE, _text(HELD)),
    ]


def _inserted(connection: Connection, mirror: Mirror, names: list[str], query: sa.Select[Any]) -> int:
    # SQLAlchemy keeps the row count of an INSERT only when asked to.
    result = connection.execute(
        sa.insert(mirror.clause).from_select(names, query),
        execution_options={"preserve_rowcount": True},
    )
    return int(result.rowcount)


def standing(connection: Connection, mirror: Mirror, *, above: int) -> list[tuple[Any, ...]]:
    """The keys that changed rows have now.

    Args:
        above: of those whose number in the mirror is above this one.
    """
    clause = mirror.clause
    query = sa.select(*(clause.c[place] for place in mirror.places.values())).where(
        clause.c[ID] > sa.literal_column(str(above)), clause.c[ACTION] == _text(CHANGED)
    )
    return [tuple(row) for row in connection.execute(query)]


def _is_held(clause: FromClause) -> ColumnElement[bool]:
    return clause.c[STATE].in_((HELD, CONFLICT))


def held(connection: Connection, mirror: Mirror) -> int:
    """Rows still set aside: neither restored nor healed."""
    clause = mirror.clause
    found = connection.scalar(sa.select(sa.func.count()).select_from(clause).where(_is_held(clause)))
    return int(found or 0)


def held_kinds(connection: Connection, mirror: Mirror) -> frozenset[str]:
    """What kinds of orphans those are."""
    clause = mirror.clause
    query = sa.select(clause.c[KIND]).where(_is_held(clause)).distinct()
    return frozenset(map(str, connection.scalars(query)))


def held_nulls(connection: Connection, mirror: Mirror, columns: Sequence[str]) -> frozenset[str]:
    """In which of these columns some of them had NULL."""
    clause = mirror.clause
    one = sa.select(sa.literal(1)).where(_is_held(clause)).limit(1)
    known = [column for column in columns if column in mirror.columns]
    return frozenset(column for column in known if connection.scalar(one.where(clause.c[column].is_(None))))


def drop(connection: Connection, dialect: Dialect, mirror: Mirror) -> None:
    """Remove an empty mirror and its line in the manifest, the table first: see `ensure`."""
    if held(connection, mirror):
        raise StepFailed(f"Quarantine {mirror.name} still holds rows of {mirror.source}; it is not dropped.")
    run_plain(connection, f"DROP TABLE {dialect.table_sql(mirror.name)}")
    connection.execute(sa.delete(journal.MIRROR).where(journal.MIRROR.c.name == mirror.name.name))


def _remember(connection: Connection, reference: Reference, mirror: Mirror) -> None:
    line = manifest(reference, mirror)
    updated = connection.execute(
        sa.update(journal.MIRROR)
        .where(journal.MIRROR.c.name == mirror.name.name)
        .values(definition=line["definition"])
    )
    # MySQL counts matched rows here (SQLAlchemy sets FOUND_ROWS), so an unchanged line counts.
    if updated.rowcount == 0:
        connection.execute(sa.insert(journal.MIRROR).values(created_at=journal.now(), **line))


def _text(value: str) -> ColumnElement[str]:
    # Our own words, never the user's: safe to inline, and inlined they need no type on any server.
    return sa.literal_column("'" + value.replace("'", "''") + "'")
