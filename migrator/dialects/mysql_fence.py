"""A fence of both tables, the parent first, around a change of metadata. Pure.

An ALTER that adds or drops a foreign key takes EXCLUSIVE on the child, then on the parent. An application
writes the other way about (a user, then the user's first post): whoever has the parent and waits for the
child while we have the child and wait for the parent is in a deadlock, and the server always chooses the
application, because a metadata lock of DDL weighs more (`MDL_ticket::get_deadlock_weight`, sql/mdl.cc).
MariaDB knows a second one: who has written a parent row has a weak lock on each child that refers to it, and
wants a stronger one to write there, for which it queues behind our EXCLUSIVE.

LOCK TABLES on the parent first, then on the child, waits for the application's transactions one table after
the other and never has what they want. But LOCK TABLES takes its tables in the order of their names, whatever
the order they are given in; only what a view stands on it takes afterwards. So where the child's name comes
first, it is locked by way of a view of ours, made and dropped in the same step (measured on MySQL 9.7 and
MariaDB 11.8, `performance_schema.metadata_locks`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from migrator.catalog import Facts
from migrator.dialects.mysql_words import columns_sql, table_sql
from migrator.naming import OWN_PREFIX
from migrator.reference import TableName

_UNLOCK = "UNLOCK TABLES"


@dataclass(frozen=True)
class Fence:
    """The statements of a fence.

    Args:
        raise_: what puts it up.
        lower: what takes it down, whatever happened.
    """

    raise_: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()


def parent_first(facts: Facts) -> Fence:
    """Both tables for ourselves, the parent's lock taken first; nothing for a reference to the same table,
    where there is no order."""
    child, parent = facts.child.name, facts.parent.name
    if facts.reference.is_self_reference:
        return Fence()
    if not needs_view(facts):
        return Fence((_lock(parent, child),), (_UNLOCK,))
    view = _view(facts)
    made = (
        f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {table_sql(view)} AS "
        f"SELECT {columns_sql(facts.reference.columns)} FROM {table_sql(child)}"
    )
    return Fence((made, _lock(parent, view)), (_UNLOCK, f"DROP VIEW IF EXISTS {table_sql(view)}"))


def needs_view(facts: Facts) -> bool:
    """Whether only a view makes LOCK TABLES take the parent first."""
    return not _sorts_before(facts.parent.name, facts.child.name)


def by_name(facts: Facts) -> Fence:
    """The same for an account that may not create a view: in the order of the names."""
    child, parent = facts.child.name, facts.parent.name
    locked = f"LOCK TABLES {table_sql(child)} WRITE"
    if not facts.reference.is_self_reference:
        locked += f", {table_sql(parent)} READ"
    return Fence((locked,), (_UNLOCK,))


def _lock(*tables: TableName) -> str:
    return "LOCK TABLES " + ", ".join(f"{table_sql(table)} WRITE" for table in tables)


def _sorts_before(one: TableName, other: TableName) -> bool:
    """By database and name, byte by byte; two that are spelled differently are not compared."""
    if (one.schema is None) != (other.schema is None):
        return False
    return ((one.schema or "").encode(), one.name.encode()) < (
        (other.schema or "").encode(),
        other.name.encode(),
    )


def _view(facts: Facts) -> TableName:
    child = facts.child.name
    digest = hashlib.sha256(json.dumps([str(child), *facts.reference.columns]).encode()).hexdigest()[:8]
    return TableName(f"{OWN_PREFIX}fence_{digest}", child.schema)
