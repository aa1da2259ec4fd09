"""Act 4: what the previous release of the application gets when it meets the new schema.

While a release is rolled out the old one is still at work, and it never knew of the reference. Each order in
which it may write is tried in a transaction that is rolled back. That the wrong orders are refused is what
the upgrade is for; it is told so that nobody learns it from an error page. That the right one is accepted is
what the act asserts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.dialects import Dialect
from migrator.dialects.violations import violated
from migrator.drill.acts.base import Act, Outcome
from migrator.drill.stage import Stage
from migrator.predicate import table_clause
from migrator.verify.another import Another, another_row, rolled_back, send
from migrator.verify.madeup import bound

Verdict = str | None
"""None: accepted. Else the rule that refused it, or why it proves nothing."""


@dataclass(frozen=True)
class _Trial:
    """One reference on one connection."""

    connection: Connection
    dialect: Dialect
    facts: Facts

    def orders(self) -> Iterator[tuple[str, str]]:
        """Each order of writing, in words, and what came of it."""
        yield "parent, then child", self._tried(self._parent_then_child)
        yield "child, then parent, in one transaction", self._tried(self._child_then_parent)
        if not self.facts.reference.nullable:
            yield "a child without a parent (NULL)", self._tried(self._null)
        yield "deleting a parent that has children", self._tried(self._orphaning)

    def _tried(self, write: Callable[[], str]) -> str:
        said = "not tried"
        with rolled_back(self.connection, self.dialect):
            try:
                said = write()
                key = self.facts.foreign_key
                if said == "accepted" and key is not None and key.initially_deferred:
                    # Else the check would come with a COMMIT, which must never be.
                    self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            except sa.exc.DBAPIError as error:
                rule = violated(error)
                said = f"refused ({rule})" if rule else f"failed ({self.dialect.verdict(error)})"
        return said

    def _parent_then_child(self) -> str:
        parent = another_row(self.connection, self.facts.parent, {})
        if parent is None:
            return "not tried"
        send(self.connection, self.dialect, parent.statement)
        return self._child(self._reference_to(parent))

    def _child_then_parent(self) -> str:
        parent = another_row(self.connection, self.facts.parent, {})
        if parent is None:
            return "not tried"
        known: Mapping[str, Any] | None = None
        names = self.facts.reference.parent_columns
        if set(names) <= set(parent.values):
            known = self._named(parent.values)
        if known is None:
            return "not tried"
        said = self._child(known)
        send(self.connection, self.dialect, parent.statement)
        return said

    def _null(self) -> str:
        return self._child(dict.fromkeys(self.facts.reference.columns))

    def _orphaning(self) -> str:
        reference = self.facts.reference
        child = table_clause(reference.child, *reference.columns).alias("c")
        query = sa.select(*(child.c[name] for name in reference.columns))
        row = self.connection.execute(
            query.where(*(child.c[name].is_not(None) for name in reference.columns)).limit(1)
        ).first()
        if row is None:
            return "not tried"
        parent = table_clause(reference.parent, *reference.parent_columns)
        same = (
            parent.c[name] == bound(value) for name, value in zip(reference.parent_columns, row, strict=True)
        )
        send(self.connection, self.dialect, sa.delete(parent).where(*same))
        return "accepted"

    def _child(self, stated: Mapping[str, Any] | None) -> str:
        row = another_row(self.connection, self.facts.child, stated) if stated is not None else None
        if row is None:
            return "not tried"
        send(self.connection, self.dialect, row.statement)
        return "accepted"

    def _reference_to(self, parent: Another) -> Mapping[str, Any] | None:
        return reference_to(self.connection, self.facts, parent)

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        reference = self.facts.reference
        pairs = zip(reference.columns, reference.parent_columns, strict=True)
        return {ours: values[theirs] for ours, theirs in pairs}


def reference_to(connection: Connection, facts: Facts, parent: Another) -> dict[str, Any] | None:
    """What a child writes to refer to a parent row that has just been written; None where the row cannot
    be told from others."""
    reference = facts.reference
    if not parent.values:
        return None
    clause = table_clause(reference.parent, *reference.parent_columns, *parent.values)
    rows = connection.execute(
        sa.select(*(clause.c[name] for name in reference.parent_columns))
        .where(*(clause.c[name] == bound(value) for name, value in parent.values.items()))
        .limit(2)
    ).all()
    return dict(zip(reference.columns, rows[0], strict=True)) if len(rows) == 1 else None


def play(stage: Stage) -> Outcome:
    """Try every order for every reference that is enforced."""
    notes: list[str] = []
    refused = tried = 0
    broken: list[str] = []
    for facts in stage.facts():
        if facts.foreign_key is None:
            continue
        prefix = f"{facts.reference}: " if len(stage.found) > 1 else ""
        with stage.sessions() as sessions, sessions.work() as connection:
            for order, said in _Trial(connection, sessions.dialect, facts).orders():
                notes.append(f"{prefix}{order}: {said}.")
                tried += said != "not tried"
                refused += said.startswith("refused")
                if order == "parent, then child" and said.startswith(("refused", "failed")):
                    broken.append(f"{facts.reference}: even {order} is {said}.")
    if not tried:
        return Outcome("skipped", "No reference is enforced at this revision.", tuple(notes))
    if broken:
        return Outcome("differs", " ".join(broken), tuple(notes))
    summary = f"{refused} of the {tried} ways it may write are refused now; the right one works."
    return Outcome("passed", summary, tuple(notes))


ACT = Act("old-release", "Old release, new schema", play, needs=("upgrade",))
