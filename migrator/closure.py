"""Which rows go, or change, with the rows that are to be deleted: declared foreign keys, walked from row to
row, to any depth.

The server's cascades do not ask us (airflow PR 51952: children nobody had archived were gone), so all that
they would remove or set to NULL is found beforehand. `removal` then captures and removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import quarantine
from migrator.catalog import Facts, ForeignKey, Table
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.mirror import Mirror, mirror_of, other_mirror_of
from migrator.predicate import table_clause
from migrator.reference import TableName

Key = tuple[Any, ...]
#: Rows one batch may pull along; beyond it the batch is split (a transaction of millions is what
#: home-assistant 86679 died of).
MOST = 50_000


class TooMuch(Refused):
    """A batch would pull along more than `MOST` rows; of fewer orphans it may not."""


@dataclass(frozen=True)
class Edge:
    """A declared foreign key whose rows go, or change, with the rows it refers to.

    Args:
        key: the foreign key.
        parent: the table it refers to, as that table's mirror names it.
        table: whose rows they are.
        mirror: where they are kept.
        removes: whether they go; else the server sets their reference to NULL.
    """

    key: ForeignKey
    parent: TableName
    table: Table
    mirror: Mirror
    removes: bool


@dataclass(frozen=True)
class Protection:
    """A declared foreign key that forbids the delete of what it refers to.

    Args:
        key: the foreign key.
        parent: the table it refers to.
    """

    key: ForeignKey
    parent: TableName


@dataclass(frozen=True)
class Closure:
    """The declared foreign keys that lead to a table, from table to table, breadth first."""

    edges: tuple[Edge, ...] = ()
    protected: tuple[Protection, ...] = ()


@dataclass
class Reached:
    """The rows that some rows pull along.

    Args:
        removed: those that go, in layers: what refers to a row comes after the row.
        changed: those whose reference the server sets to NULL, by foreign key.
        taken: the keys of all that go, by table, the rows at the root included.
    """

    removed: list[tuple[Table, Mirror, list[Key]]] = field(default_factory=list)
    changed: list[tuple[Edge, list[Key]]] = field(default_factory=list)
    taken: dict[TableName, set[Key]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows those are, without the root."""
        return sum(len(keys) for _, _, keys in self.removed) + sum(len(keys) for _, keys in self.changed)


def closure_of(
    connection: Connection, dialect: Dialect, facts: Facts, dependants: str, *, make: bool
) -> Closure:
    """Walk the catalog from the child.

    Args:
        dependants: the policy's word: `quarantine`, `delete` or `refuse`.
        make: whether to create the mirrors; without, they are only named.
    """
    reference = facts.reference
    known = {_identity(facts.child): facts.child}
    homes: dict[TableName, Mirror] = {facts.child.name: mirror_of(reference, facts.child)}
    edges: list[Edge] = []
    protected: list[Protection] = []
    seen: set[tuple[TableName, tuple[str, ...], TableName]] = set()
    waiting: list[Table] = [facts.child]
    while waiting:
        table = waiting.pop(0)
        for key in table.inbound:
            found = dialect.table(connection, key.child)
            other = known.setdefault(_identity(found), found)
            if (other.name, key.columns, table.name) in seen:
                continue
            seen.add((other.name, key.columns, table.name))
            removes = key.on_delete == "CASCADE" or (dependants == "delete" and key.on_delete != "SET NULL")
            if dependants == "refuse" or not (removes or key.on_delete == "SET NULL"):
                protected.append(Protection(key, table.name))
                continue
            changed = () if removes else key.columns
            mirror = None if changed else homes.get(other.name)
            # Of a table without a key no row is ever taken: see `referring`.
            if mirror is None and make and other.key:
                mirror = quarantine.ensure_other(connection, dialect, reference, other, changed)
            elif mirror is None:
                mirror = other_mirror_of(reference, other, changed)
            if removes and other.name not in homes:
                homes[other.name] = mirror
                waiting.append(other)
            edges.append(Edge(key, table.name, other, mirror, removes))
    return Closure(tuple(edges), tuple(protected))


def _identity(table: Table) -> tuple[Any, ...]:
    """A table has one name only in here: MySQL calls one of its own database by two."""
    database = table.extra.get("database", table.name.schema)
    return database, table.extra.get("stored_name", table.name.name)


def walk(
    connection: Connection,
    dialect: Dialect,
    closure: Closure,
    root: Mirror,
    keys: Sequence[Key],
    *,
    lock: bool,
) -> Reached:
    """From these rows to all that go or change with them; each row once, whichever of several paths leads
    to it first.

    Args:
        lock: lock what is found, and look again whether it still refers to what goes.

    Raises:
        TooMuch: that is more than one transaction is to hold.
        Refused: a table has no key by which its rows could be named.
    """
    reached = Reached(taken={root.source: set(keys)})
    waiting: list[tuple[Mirror, list[Key]]] = [(root, list(keys))]
    while waiting:
        parent, parents = waiting.pop(0)
        for edge in closure.edges:
            if edge.parent != parent.source:
                continue
            found = referring(connection, dialect, edge, parent, parents, lock=lock)
            if not edge.removes:
                if found:
                    reached.changed.append((edge, found))
            else:
                taken = reached.taken.setdefault(edge.mirror.source, set())
                fresh = [key for key in found if key not in taken]
                if fresh:
                    taken.update(fresh)
                    reached.removed.append((edge.table, edge.mirror, fresh))
                    waiting.append((edge.mirror, fresh))
            if reached.rows > MOST:
                raise TooMuch(
                    f"Deleting {len(keys)} row(s) of {root.source} would pull along more than {MOST:,} rows "
                    "of other tables in one transaction.",
                    hint="Settle the dependants first, or use on_dangling=backfill.",
                )
    return reached


def referring(
    connection: Connection,
    dialect: Dialect,
    edge: Edge,
    parent: Mirror,
    parents: Sequence[Key],
    *,
    lock: bool,
) -> list[Key]:
    """The rows that refer to these by one foreign key."""
    table = edge.table
    other = table_clause(table.name, *table.key, *edge.key.columns).alias("d")
    these_refer = refers(dialect, edge.key, other, parent, parents)
    if not table.key:
        if connection.execute(
            sa.select(sa.literal_column("1")).select_from(other).where(these_refer).limit(1)
        ).all():
            told = (
                f" (the server tells no FLOAT exactly: {table.rounded_key[0]})" if table.rounded_key else ""
            )
            raise Refused(
                f"{table.name} has no key by which its rows could be named{told}, and {edge.key.name} refers "
                f"to rows of {parent.source} that are to be deleted.",
                hint=f"Give {table.name} a {'unique' if told else 'primary'} key, or use "
                "on_dangling=backfill.",
            )
        return []
    columns = [other.c[column] for column in table.key]
    found = [tuple(row) for row in connection.execute(sa.select(*columns).where(these_refer))]
    if not found or not lock:
        return found
    these = dialect.key_in(columns, found)
    connection.execute(dialect.for_update(sa.select(*columns).where(these).order_by(*columns))).all()
    # One that was pointed elsewhere while we waited for its lock is nobody's dependant any more.
    return [tuple(row) for row in connection.execute(sa.select(*columns).where(these, these_refer))]


def refers(
    dialect: Dialect, key: ForeignKey, other: sa.FromClause, parent: Mirror, parents: Sequence[Key]
) -> ColumnElement[bool]:
    """True for the rows of `other` that refer to one of these by a foreign key."""
    source = table_clause(parent.source, *parent.key, *key.parent_columns).alias("s")
    pairs = zip(key.columns, key.parent_columns, strict=True)
    return sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(source)
        .where(
            dialect.key_in([source.c[column] for column in parent.key], parents),
            *(other.c[ours] == source.c[theirs] for ours, theirs in pairs),
        )
        .correlate(other)
    )
