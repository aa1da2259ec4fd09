"""Typed mirror tables that hold the full original of every row we touch.

A mirror has the child's columns with their types and nothing else of it (no constraint, default or
trigger), and columns of ours that say which run took the row, why, and what became of it. It is
created up front, never by CREATE TABLE AS SELECT: under GTID that is refused (MySQL bug 1786), and
`SELECT *` would leave invisible columns behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import journal
from migrator.catalog import ADDRESSES, Column, Table
from migrator.dialects import Dialect
from migrator.errors import StepFailed
from migrator.naming import OWN_PREFIX
from migrator.plainsql import run_plain
from migrator.predicate import table_clause
from migrator.reference import Reference, TableName, short_name

ID = OWN_PREFIX + "id"
RUN_ID = OWN_PREFIX + "run_id"
KIND = OWN_PREFIX + "kind"
ACTION = OWN_PREFIX + "action"
AT = OWN_PREFIX + "at"
STATE = OWN_PREFIX + "state"
NEW = OWN_PREFIX + "new_"

#: What became of a quarantined row.
HELD, RESTORED, CONFLICT, HEALED = "held", "restored", "conflict", "healed"
#: A conflict that was settled by hand: the application's newer row stands.
SUPERSEDED = "superseded"
#: What was done to the live row: removed; its reference changed; made by us; left as it is, and kept as
#: evidence of who named a parent that we made.
DELETED, CHANGED, CREATED, KEPT = "deleted", "changed", "created", "kept"
#: The kind of a row that is no orphan itself: it referred to one that was deleted.
DEPENDANT = "dependant"


@dataclass(frozen=True)
class Mirror:
    """A quarantine table.

    Args:
        name: its own name.
        source: the table whose rows it holds.
        columns: the source's columns it holds, generated ones included (they are evidence).
        stored: those of them that can be written back.
        key: the columns that name a row; where the source has none, where the row was.
        reference_columns: the columns whose new values are kept beside the original row.
    """

    name: TableName
    source: TableName
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    key: tuple[str, ...]
    reference_columns: tuple[str, ...]

    @property
    def by_address(self) -> bool:
        """Whether only its place named a row, which says nothing any more once the row is changed."""
        return any(column in ADDRESSES for column in self.key)

    @property
    def captured(self) -> tuple[str, ...]:
        """What is copied of a row: all its columns, and what names it."""
        return tuple(dict.fromkeys((*self.columns, *self.key)))

    @property
    def clause(self) -> sa.TableClause:
        """The mirror as SQLAlchemy sees it."""
        new = [f"{NEW}{at}" for at in range(len(self.reference_columns))]
        return table_clause(self.name, ID, RUN_ID, KIND, ACTION, AT, STATE, *new, *self.captured)

    @property
    def source_clause(self) -> sa.TableClause:
        """The source as SQLAlchemy sees it."""
        return table_clause(self.source, *self.captured)

    @property
    def places(self) -> Mapping[str, str]:
        """By column of the key, the mirror's column that says what a changed row has there now: where the
        reference is part of the key, the row stands under the key that the sweep gave it."""
        new = {column: f"{NEW}{at}" for at, column in enumerate(self.reference_columns)}
        return {column: new.get(column, column) for column in self.key}

    @property
    def moves(self) -> bool:
        """Whether a changed row has another key than it had."""
        return not set(self.key).isdisjoint(self.reference_columns)

    def new(self, alias: Any) -> list[Any]:
        """The columns of `alias` that hold the new values, in the reference's order."""
        return [alias.c[f"{NEW}{at}"] for at in range(len(self.reference_columns))]


def mirror_name(reference: Reference, table: TableName) -> TableName:
    """The mirror of the child under a reference: the same in every run, and never another's."""
    key = journal.reference_key(reference)[:8]
    return TableName(short_name(OWN_PREFIX + "q", key, table.name, limit=60))


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
    for column in _kept_columns(table):
        if column.name not in there:
            added = dialect.mirror_column(column)
            run_plain(connection, f"ALTER TABLE {dialect.table_sql(mirror.name)} ADD COLUMN {added}")
    _remember(connection, reference, mirror)
    return mirror


def mirror_of(reference: Reference, table: Table) -> Mirror:
    """The mirror that the child gets under a reference; made or not."""
    return _mirror(mirror_name(reference, table.name), table, reference.columns)


def other_mirror_of(reference: Reference, table: Table, changed: tuple[str, ...] = ()) -> Mirror:
    """The mirror that another table gets; made or not.

    Args:
        changed: columns that the server will set to NULL; rows so changed have a mirror apart, also where
            the table is the child itself.
    """
    # A table of another schema may have the child's name; a name put together of two may be a third one's.
    digest = hashlib.sha256(repr((table.name.schema, table.name.name, changed)).encode()).hexdigest()[:6]
    key = journal.reference_key(reference)[:8]
    name = TableName(short_name(OWN_PREFIX + "q", key, digest, table.name.name, *changed, limit=60))
    return _mirror(name, table, changed)


def _mirror(name: TableName, table: Table, reference_columns: tuple[str, ...]) -> Mirror:
    return Mirror(
        name,
        table.name,
        tuple(column.name for column in table.columns),
        tuple(column.name for column in table.stored_columns),
        table.handle,
        reference_columns,
    )


def _kept_columns(table: Table) -> tuple[Column, ...]:
    return tuple(dict.fromkeys((*table.columns, *table.handle_columns)))


def creation(dialect: Dialect, mirror: Mirror, table: Table) -> tuple[str, str]:
    """The statements that make a mirror: the table, and the index by which a row is found in it."""
    text = sa.String(40).compile(dialect=dialect.sa)
    columns = [
        dialect.sequence_column(ID),
        *(f"{dialect.quote(column)} {text} NOT NULL" for column in (RUN_ID, KIND, ACTION, AT, STATE)),
        *(
            dialect.mirror_column(_renamed(table, column, f"{NEW}{at}"))
            for at, column in enumerate(mirror.reference_columns)
        ),
        *(dialect.mirror_column(column) for column in _kept_columns(table)),
    ]
    index = dialect.quote(short_name(OWN_PREFIX + "ix", mirror.name.name, limit=60))
    return (
        dialect.create_mirror(mirror.name, columns),
        f"CREATE INDEX {index} ON {dialect.table_sql(mirror.name)} ({dialect.columns_sql(mirror.key)})",
    )


def manifest(reference: Reference, mirror: Mirror) -> dict[str, Any]:
    """A mirror's line in the manifest, all but the time."""
    return {
        "name": mirror.name.name,
        "reference_key": journal.reference_key(reference),
        "reference": str(reference),
        "table_schema": mirror.source.schema,
        "table_name": mirror.source.name,
        "definition": json.dumps(
            {
                "columns": mirror.columns,
                "stored": mirror.stored,
                "key": mirror.key,
                "reference_columns": mirror.reference_columns,
            }
        ),
    }


def mirrors(connection: Connection, reference: Reference | None = None) -> list[Mirror]:
    """The mirrors of a reference (or all), as the manifest has them; those gone are left out."""
    if not journal.exists(connection):
        return []
    query = sa.select(journal.MIRROR).order_by(journal.MIRROR.c.created_at, journal.MIRROR.c.name)
    if reference is not None:
        query = query.where(journal.MIRROR.c.reference_key == journal.reference_key(reference))
    inspector = sa.inspect(connection)
    return [_loaded(row) for row in connection.execute(query).all() if inspector.has_table(row.name)]


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


def held(connection: Connection, mirror: Mirror) -> int:
    """Rows still set aside: neither restored nor healed."""
    clause = mirror.clause
    found = connection.scalar(
        sa.select(sa.func.count()).select_from(clause).where(clause.c[STATE].in_((HELD, CONFLICT)))
    )
    return int(found or 0)


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


def _loaded(row: Any) -> Mirror:
    definition: Mapping[str, Any] = json.loads(row.definition)
    return Mirror(
        TableName(row.name),
        TableName(row.table_name, row.table_schema),
        tuple(definition["columns"]),
        tuple(definition["stored"]),
        tuple(definition["key"]),
        tuple(definition["reference_columns"]),
    )


def _renamed(table: Table, column: str, name: str) -> Column:
    return replace(table.column(column), name=name)


def _text(value: str) -> ColumnElement[str]:
    # Our own words, never the user's: safe to inline, and inlined they need no type on any server.
    return sa.literal_column("'" + value.replace("'", "''") + "'")
