"""Names and facts that the other modules of MySQL and MariaDB share. Pure."""

from __future__ import annotations

import hashlib
import json

from migrator.catalog import Facts, ForeignKey, Index
from migrator.dialects.mysql_definition import quote
from migrator.reference import Reference, TableName, short_name

#: What the names of our NULL guard triggers begin with.
GUARD_PREFIX = "migrator_guard_"
_EQUAL_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})


def table_sql(table: TableName) -> str:
    """A table's name, quoted."""
    return f"{quote(table.schema)}.{quote(table.name)}" if table.schema else quote(table.name)


def columns_sql(columns: tuple[str, ...]) -> str:
    """Column names, quoted, with commas."""
    return ", ".join(quote(column) for column in columns)


def guard_names(reference: Reference) -> tuple[str, str]:
    """The names of the two guard triggers, for INSERT and for UPDATE.

    A trigger's name is unique in its database, not on its table: the hash keeps `post.user_id` and
    `post_user.id` apart.
    """
    parts = (reference.child.name, *reference.columns)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]
    stem = short_name(GUARD_PREFIX + reference.child.name, *reference.columns, limit=48)
    return f"{stem}_{digest}_insert", f"{stem}_{digest}_update"


def trigger_sql(reference: Reference, name: str) -> str:
    """A trigger's name, quoted, in its table's database."""
    schema = reference.child.schema
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def pairs(facts: Facts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The reference's columns and the parent's, in the order of a key of the parent: InnoDB wants an
    index on each side whose first columns stand in the order of the foreign key.

    Source: https://dev.mysql.com/doc/refman/8.4/en/create-table-foreign-keys.html.
    """
    reference = facts.reference
    ours = dict(zip(reference.parent_columns, reference.columns, strict=True))
    keys = (facts.parent.primary_key, *facts.parent.unique_keys)
    order = next((key for key in keys if set(key) == set(ours)), reference.parent_columns)
    return tuple(ours[column] for column in order), order


def serving_indexes(facts: Facts) -> list[Index]:
    """The indexes that can serve the child side of the foreign key: their first columns are in its order."""
    columns, _ = pairs(facts)
    return [
        index
        for index in facts.child.indexes
        if index.leads_with(columns) and index.columns[: len(columns)] == columns
    ]


def supporting_index(facts: Facts) -> Index | None:
    """An index that serves the child side of the foreign key, the one of our name first."""
    found = serving_indexes(facts)
    named = [index for index in found if index.name == facts.reference.index_name]
    return next(iter(named or found), None)


def nullable_columns(facts: Facts) -> tuple[str, ...]:
    """The reference's columns that may still be NULL and must not; all of them when none may, so
    that a plan made again after a crash has the same steps (and finds them done)."""
    reference = facts.reference
    if reference.nullable:
        return ()
    left = tuple(column for column in reference.columns if facts.child.column(column).nullable)
    return left or reference.columns


def same_action(stored: str, wanted: str | None) -> bool:
    """Whether two referential actions mean the same: to InnoDB, NO ACTION is RESTRICT."""
    asked = wanted or "NO ACTION"
    return stored == asked or {stored, asked} <= _EQUAL_ACTIONS


def as_asked(key: ForeignKey, reference: Reference) -> tuple[str, str]:
    """The key's ON DELETE and ON UPDATE in the reference's words, where InnoDB means the same."""
    wanted = ((key.on_delete, reference.on_delete), (key.on_update, reference.on_update))
    delete, update = (
        (asked or "NO ACTION") if same_action(stored, asked) else stored for stored, asked in wanted
    )
    return delete, update
