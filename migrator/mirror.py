"""A mirror as data: which table it is, whose rows it holds, how it is made. Pure.

It has the child's columns with their types and nothing else of it (no constraint, default or trigger), and
columns of ours that say which run took a row, why, and what became of it. `quarantine` makes and fills it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from migrator import journal
from migrator.catalog import ADDRESSES, Column, Table
from migrator.dialects import Dialect
from migrator.naming import OWN_PREFIX
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


def kept_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a table that its mirror has, those that name a row included."""
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
        *(dialect.mirror_column(column) for column in kept_columns(table)),
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


def loaded(row: Any) -> Mirror:
    """A mirror as its line in the manifest says."""
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
