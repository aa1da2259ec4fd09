"""Deleting rows together with what refers to them: everything the server would remove or null is captured
first, in the same transaction, to any depth.

The server's cascades do not ask us (airflow PR 51952: children nobody had archived were gone). So declared
foreign keys are walked from the rows to be deleted: rows that a CASCADE removes are captured and removed by
us, those that SET NULL changes are captured and left to the server, and those that RESTRICT, NO ACTION or
SET DEFAULT protect are removed too where the policy says so, else the run was refused before its first
change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import quarantine
from migrator.catalog import Facts, ForeignKey, Table
from migrator.context import Context
from migrator.dialects import Dialect
from migrator.errors import Refused, StepFailed
from migrator.predicate import table_clause
from migrator.quarantine import CHANGED, DELETED, Mirror
from migrator.reference import TableName

Key = tuple[Any, ...]
_REMOVES = ("CASCADE",)
_CHANGES = ("SET NULL",)
#: Rows one batch may pull along; beyond it the batch is split by its caller (a transaction of millions
#: is what home-assistant 86679 died of).
MOST = 50_000


@dataclass(frozen=True)
class Edge:
    """A declared foreign key whose rows go, or change, with the rows it refers to."""

    key: ForeignKey
    table: Table
    mirror: Mirror
    removes: bool


@dataclass(frozen=True)
class Closure:
    """The declared foreign keys that lead to a table, from table to table.

    Args:
        edges: all of them, in the order found, breadth first.
        protected: those that forbid the delete of what they refer to (RESTRICT, NO ACTION).
    """

    edges: tuple[Edge, ...] = ()
    protected: tuple[ForeignKey, ...] = field(default=())


def closure_of(
    connection: Connection, dialect: Dialect, facts: Facts, dependants: str, *, make: bool
) -> Closure:
    """Walk the catalog from the child.

    Args:
        dependants: the policy's word: `quarantine`, `delete` or `refuse`.
        make: whether to create the mirrors; without, they are only named.
    """
    reference = facts.reference
    edges: list[Edge] = []
    protected: list[ForeignKey] = []
    seen: set[tuple[TableName, tuple[str, ...]]] = set()
    tables: list[Table] = [facts.child]
    while tables:
        table = tables.pop(0)
        for key in table.inbound:
            if (key.child, key.columns) in seen:
                continue
            seen.add((key.child, key.columns))
            removes = key.on_delete in _REMOVES or (dependants == "delete" and key.on_delete not in _CHANGES)
            if dependants == "refuse" or (not removes and key.on_delete not in _CHANGES):
                protected.append(key)
                continue
            other = facts.child if key.child == facts.child.name else dialect.table(connection, key.child)
            changed = () if removes else key.columns
            mirror = (
                quarantine.ensure(connection, dialect, reference, other, changed)
                if make
                else quarantine.mirror_of(reference, other, changed)
            )
            edges.append(Edge(key, other, mirror, removes))
            if removes:
                tables.append(other)
    return Closure(tuple(edges), tuple(protected))


def remove(
    context: Context, connection: Connection, closure: Closure, mirror: Mirror, keys: Sequence[Key], kind: str
) -> int:
    """Capture and delete rows with all that depends on them; part of the batch's transaction.

    Returns:
        How many of the rows themselves were deleted.

    Raises:
        StepFailed: the counts differ; the batch is undone.
        Refused: the batch would pull along more than `MOST` rows, or meets a protected row.
    """
    dialect = context.dialect
    layers: list[tuple[Table, Mirror, list[Key]]] = []
    taken: dict[str, set[Key]] = {mirror.source.name: set(keys)}
    _capture(context, connection, mirror, keys, kind, DELETED)
    # Breadth first; every row is captured once, whichever of several paths leads to it first.
    waiting: list[tuple[Mirror, list[Key]]] = [(mirror, list(keys))]
    total = len(keys)
    while waiting:
        parent, parents = waiting.pop(0)
        for edge in closure.edges:
            if edge.key.parent.name != parent.source.name:
                continue
            found = _referring(connection, dialect, edge, parent, parents)
            if edge.removes:
                fresh = [key for key in found if key not in taken.setdefault(edge.mirror.source.name, set())]
                if not fresh:
                    continue
                taken[edge.mirror.source.name].update(fresh)
                home = mirror if edge.mirror.source == mirror.source else edge.mirror
                _capture(context, connection, home, fresh, "dependant", DELETED)
                layers.append((edge.table, home, fresh))
                waiting.append((home, fresh))
            elif found:
                _capture(context, connection, edge.mirror, found, "dependant", CHANGED)
                fresh = found
            else:
                fresh = []
            total += len(fresh)
            if total > MOST:
                raise Refused(
                    f"Deleting {len(keys)} row(s) of {mirror.source} would pull along more than {MOST:,} "
                    "rows of other tables in one transaction.",
                    hint="Use a smaller -x batch_size=, or settle the dependants first.",
                )
    for _, home, gone in reversed(layers):  # the deepest first: RESTRICT asks for it, CASCADE minds not
        _delete(connection, dialect, home, gone)
    changed = _delete(connection, dialect, mirror, keys)
    left = sum(_still_there(connection, dialect, home, gone) for _, home, gone in layers)
    if left:
        raise StepFailed(
            f"{left} row(s) that depend on {mirror.source} are still there; the batch was undone."
        )
    if changed != len(keys):
        raise StepFailed(f"{changed} of {len(keys)} rows of {mirror.source} went; the batch was undone.")
    return changed


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


def _referring(
    connection: Connection, dialect: Dialect, edge: Edge, parent: Mirror, parents: Sequence[Key]
) -> list[Key]:
    """The rows that refer to these, locked."""
    table = edge.table
    if not table.key:
        raise Refused(
            f"{table.name} has no key by which its dependants could be named, and {edge.key.name} would "
            f"{edge.key.on_delete} them.",
            hint=f"Give {table.name} a primary key, or use on_dangling=backfill.",
        )
    other = table_clause(table.name, *table.key, *edge.key.columns).alias("d")
    source = table_clause(parent.source, *parent.key, *edge.key.parent_columns).alias("s")
    inside = sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(source)
        .where(
            dialect.key_in([source.c[column] for column in parent.key], parents),
            *(
                other.c[ours] == source.c[theirs]
                for ours, theirs in zip(edge.key.columns, edge.key.parent_columns, strict=True)
            ),
        )
        .correlate(other)
    )
    columns = [other.c[column] for column in table.key]
    found = [tuple(row) for row in connection.execute(sa.select(*columns).where(inside))]
    if found:
        locking = sa.select(*columns).where(dialect.key_in(columns, found)).order_by(*columns)
        connection.execute(dialect.for_update(locking)).all()
    return found


def _delete(connection: Connection, dialect: Dialect, mirror: Mirror, keys: Sequence[Key]) -> int:
    target = mirror.source_clause
    condition = dialect.key_in([target.c[column] for column in mirror.key], keys)
    return int(connection.execute(sa.delete(target).where(condition)).rowcount)


def _still_there(connection: Connection, dialect: Dialect, mirror: Mirror, keys: Sequence[Key]) -> int:
    source = mirror.source_clause.alias("c")
    condition = dialect.key_in([source.c[column] for column in mirror.key], keys)
    query = sa.select(sa.func.count()).select_from(source).where(condition)
    return int(connection.scalar(query) or 0)
