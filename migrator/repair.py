"""Applying a policy to a batch of locked orphans: capture, change exactly the captured, compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import quarantine
from migrator.catalog import Facts
from migrator.closure import Closure
from migrator.context import Context
from migrator.errors import StepFailed
from migrator.mirror import CHANGED, DELETED, ID, Mirror
from migrator.predicate import table_clause
from migrator.removal import remove
from migrator.values import Source, evaluated, settles
from migrator.worklist import bound

Key = tuple[Any, ...]


class Repair(Protocol):
    """What is done to a batch of orphans of one kind."""

    @property
    def pulls_along(self) -> bool:
        """Whether rows of other tables may go or change with them."""

    def takes(self, connection: Connection, keys: Sequence[Key], kind: str) -> list[Key]:
        """Which of these rows, locked by the caller, it has an answer for."""

    def apply(self, connection: Connection, keys: Sequence[Key], kind: str) -> int:
        """Capture and change these rows, locked by the caller, in the caller's transaction.

        Raises:
            StepFailed: fewer or more rows changed than were captured; the batch is undone.
        """


@dataclass(frozen=True)
class Remove:
    """Delete the rows.

    Args:
        closure: what refers to them by declared foreign keys, and what becomes of that.
    """

    context: Context
    facts: Facts
    mirror: Mirror
    closure: Closure

    @property
    def pulls_along(self) -> bool:
        """See `Repair.pulls_along`."""
        return bool(self.closure.edges)

    def takes(self, connection: Connection, keys: Sequence[Key], kind: str) -> list[Key]:
        """All of them."""
        return list(keys)

    def apply(self, connection: Connection, keys: Sequence[Key], kind: str) -> int:
        """See `Repair.apply`."""
        dialect = self.context.dialect
        if self.closure.edges:
            return remove(self.context, connection, self.closure, self.mirror, keys, kind)
        if dialect.moves_rows(self.facts.child):
            moved = quarantine.move(
                connection, dialect, self.mirror, keys, run_id=self.context.run.id, kind=kind
            )
            return _same(self.mirror, moved, moved, len(keys), "deleted")
        captured = quarantine.capture(
            connection, dialect, self.mirror, keys, run_id=self.context.run.id, kind=kind, action=DELETED
        )
        target = self.mirror.source_clause
        condition = dialect.key_in([target.c[column] for column in self.mirror.key], keys)
        changed = connection.execute(sa.delete(target).where(condition)).rowcount
        return _same(self.mirror, captured, changed, len(keys), "deleted")


@dataclass(frozen=True)
class Repoint:
    """Give the reference columns a new value: a parent's key, or NULL.

    Args:
        value: the new key; None sets NULL.
    """

    context: Context
    facts: Facts
    mirror: Mirror
    value: Key | None
    pulls_along: ClassVar[bool] = False

    def takes(self, connection: Connection, keys: Sequence[Key], kind: str) -> list[Key]:
        """All of them."""
        return list(keys)

    def apply(self, connection: Connection, keys: Sequence[Key], kind: str) -> int:
        """See `Repair.apply`."""
        dialect, reference = self.context.dialect, self.facts.reference
        captured = quarantine.capture(
            connection,
            dialect,
            self.mirror,
            keys,
            run_id=self.context.run.id,
            kind=kind,
            action=CHANGED,
            new_values=self._new_values(),
        )
        target = self.mirror.source_clause
        values: dict[Any, Any] = {
            target.c[column]: sa.null() if self.value is None else bound(self.value[at])
            for at, column in enumerate(reference.columns)
        }
        for column in dialect.change_extras(self.facts.child):
            values[target.c[column]] = target.c[column]
        condition = dialect.key_in([target.c[column] for column in self.mirror.key], keys)
        changed = connection.execute(sa.update(target).values(values).where(condition)).rowcount
        return _same(self.mirror, captured, changed, len(keys), "updated")

    def _new_values(self) -> list[ColumnElement[Any]]:
        """The value as the parent has it: taken from there it has the column's own type, where a bound
        value would arrive in the mirror as text on PostgreSQL."""
        if self.value is None:
            return [sa.null() for _ in self.facts.reference.columns]
        reference = self.facts.reference
        parent = table_clause(reference.parent, *reference.parent_columns).alias("s")
        same = [
            parent.c[name] == bound(v) for name, v in zip(reference.parent_columns, self.value, strict=True)
        ]
        return [
            sa.select(parent.c[name]).where(*same).correlate(None).scalar_subquery()
            for name in reference.parent_columns
        ]


@dataclass(frozen=True)
class RepointEach:
    """Give the reference columns a value of each row's own, where that value is a parent."""

    context: Context
    facts: Facts
    mirror: Mirror
    source: Source
    pulls_along: ClassVar[bool] = False

    def takes(self, connection: Connection, keys: Sequence[Key], kind: str) -> list[Key]:
        """Those whose value is a parent now."""
        reference, key = self.facts.reference, self.mirror.key
        relation = evaluated(
            reference,
            self.source,
            key,
            self.mirror.columns,
            lambda child: self.context.dialect.key_in([child.c[column] for column in key], keys),
        )
        columns = [relation.c[f"k{at}"] for at in range(len(key))]
        return [
            tuple(row) for row in connection.execute(sa.select(*columns).where(settles(reference, relation)))
        ]

    def apply(self, connection: Connection, keys: Sequence[Key], kind: str) -> int:
        """See `Repair.apply`. The value is computed once, at the capture, and taken from there: what
        it is computed from may change between two statements."""
        dialect, reference, mirror = self.context.dialect, self.facts.reference, self.mirror
        child = mirror.source_clause.alias("c")
        newest = int(connection.scalar(sa.select(sa.func.max(mirror.clause.c[ID]))) or 0)
        captured = quarantine.capture(
            connection,
            dialect,
            mirror,
            keys,
            run_id=self.context.run.id,
            kind=kind,
            action=CHANGED,
            new_values=self.source.values(child),
            source=child,
        )
        target, kept = mirror.source_clause, mirror.clause.alias("m")
        same = [kept.c[column] == target.c[column] for column in mirror.key]
        this_batch = kept.c[ID] > sa.literal_column(str(newest))
        # Joined, as in `putback`: one of these columns may be part of the key by which a row is found.
        values: dict[Any, Any] = {
            target.c[column]: new for column, new in zip(reference.columns, mirror.new(kept), strict=True)
        }
        for column in dialect.change_extras(self.facts.child):
            values[target.c[column]] = target.c[column]
        condition = dialect.key_in([target.c[column] for column in mirror.key], keys)
        update = sa.update(target).values(values).where(condition, this_batch, *same)
        changed = connection.execute(update).rowcount
        return _same(mirror, captured, changed, len(keys), "updated")


def _same(mirror: Mirror, captured: int, changed: int, wanted: int, verb: str) -> int:
    if not captured == changed == wanted:
        raise StepFailed(
            f"{mirror.source}: {wanted} rows locked, {captured} copied to quarantine, {changed} {verb}; "
            "the batch was undone and nothing is lost.",
            hint=f"Look for a trigger or rule on {mirror.source} that changes what a statement touches.",
        )
    return changed
