"""The statements of a sweep that all databases share; each puts its own loop around them.

What is an orphan is `predicate`'s word alone. A batch captures the rows of a stretch of the worklist that are
orphans now, then changes exactly the captured ones: it finds them by the mirror, not by asking again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import quarantine
from migrator.catalog import Facts
from migrator.errors import Refused
from migrator.offline.records import Records
from migrator.offline.words import Words
from migrator.plan import Sweep
from migrator.policy import Backfill, Delete, Policy
from migrator.predicate import breaks, child_alias, kind, none_null, parent_exists, table_clause
from migrator.quarantine import ACTION, AT, CHANGED, DELETED, HELD, ID, RUN_ID, STATE, Mirror
from migrator.quarantine import KIND as MIRROR_KIND
from migrator.reference import TableName
from migrator.scan import policies_of
from migrator.sentinel import stated_values, unique_part
from migrator.worklist import KIND, SEQ, Worklist


@dataclass(frozen=True)
class Target:
    """The parent that a backfill points at.

    Args:
        columns: its key's columns; what a lookup answers.
        lookup: a SELECT of its key.
        insert: the statement that makes it; None where it has to be there.
        newest: whether the lookup finds the newest row: it says nothing about a row that was there before.
    """

    columns: tuple[str, ...]
    lookup: str
    insert: str | None = None
    newest: bool = False


@dataclass(frozen=True)
class Sweeping:
    """One sweep.

    Args:
        words, records, facts: whose.
        work: the policies.
        list_name: the worklist's table; by default the one an online run would use.
        max_orphan_share, max_orphans: see `Settings`.
    """

    words: Words
    records: Records
    facts: Facts
    work: Sweep
    max_orphan_share: float
    max_orphans: int = 0
    list_name: TableName | None = None

    @property
    def worklist(self) -> Worklist:
        """The list of orphans."""
        found = Worklist.of(self.words.dialect, self.facts.reference, self.facts.child)
        if self.list_name is None:
            return found
        return Worklist(found.dialect, found.reference, found.child, self.list_name)

    @property
    def mirror(self) -> Mirror:
        """The child's mirror."""
        return quarantine.mirror_of(self.facts.reference, self.facts.child)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of orphan that this reference can have."""
        composite = len(self.facts.reference.columns) > 1
        return ("null", "partial", "dangling") if composite else ("null", "dangling")

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policy of each of them."""
        found = policies_of(self.work)
        return {name: found[name] for name in self.kinds}

    # -- the scan ------------------------------------------------------------------------------------
    @property
    def total(self) -> str:
        """An expression: all rows of the child."""
        child = child_alias(self.facts.reference)
        return f"({self.words.sql(sa.select(sa.func.count()).select_from(child))})"

    def scan(self) -> str:
        """List every orphan."""
        reference, key = self.facts.reference, self.facts.child.key
        child = child_alias(reference, *key)
        columns = [child.c[column] for column in key]
        query = (
            sa.select(kind(reference, child).label(KIND), *columns)
            .where(breaks(reference, child))
            .order_by(*columns)
        )
        return self.words.sql(sa.insert(self.worklist.clause).from_select([KIND, *key], query))

    def listed(self, *kinds: str) -> str:
        """An expression: how many are listed, of these kinds or of all."""
        clause = self.worklist.clause
        query = sa.select(sa.func.count()).select_from(clause)
        if kinds:
            query = query.where(clause.c[KIND].in_([self.words.value(name) for name in kinds]))
        return f"({self.words.sql(query)})"

    # -- the parent of a backfill --------------------------------------------------------------------
    def target(self, policy: Backfill) -> Target:
        """How the parent is found, and made."""
        reference = self.facts.reference
        values = self.parent_values(policy)
        parent = table_clause(reference.parent, *reference.parent_columns, *values).alias("p")
        columns: list[ColumnElement[Any]] = [parent.c[name] for name in reference.parent_columns]
        query = sa.select(*columns).limit(1)
        if values:
            query = query.where(*self.same(parent, values))
        else:
            query = query.order_by(*(column.desc() for column in columns))
        insert: str | None = None
        if policy.to is None:
            stated = stated_values(self.facts.parent, policy.sentinel)
            insert = self.words.dialect.insert_defaults(reference.parent)
            if stated:
                given = {name: self.words.value(value) for name, value in stated.items()}
                clause = table_clause(reference.parent, *stated)
                insert = self.words.sql(sa.insert(clause).values(given))
        return Target(reference.parent_columns, self.words.sql(query), insert, newest=not values)

    def parent_values(self, policy: Backfill) -> dict[str, Any]:
        """The values by which the parent of a backfill is found.

        Raises:
            Refused: `backfill_to` has not as many values as the key.
        """
        reference = self.facts.reference
        if policy.to is not None:
            if len(policy.to) != len(reference.parent_columns):
                raise Refused(
                    f"backfill_to gives {len(policy.to)} value(s); the key of {reference.parent} has "
                    f"{len(reference.parent_columns)}.",
                    hint=f"Give one value for each of: {', '.join(reference.parent_columns)}.",
                )
            return dict(zip(reference.parent_columns, policy.to, strict=True))
        return unique_part(self.facts.parent, stated_values(self.facts.parent, policy.sentinel))

    def same(self, parent: FromClause, values: Mapping[str, Any]) -> list[ColumnElement[bool]]:
        """True for the rows with these values."""
        return [parent.c[name] == self.words.value(value) for name, value in values.items()]

    # -- a batch -------------------------------------------------------------------------------------
    def lock(self, first: str, last: str) -> sa.Select[Any]:
        """A SELECT that locks a stretch's rows, in the order of their key.

        Args:
            first, last: expressions for numbers of the list, the first excluded.
        """
        child = child_alias(self.facts.reference, *self.facts.child.key)
        columns = [child.c[column] for column in self.facts.child.key]
        query = sa.select(*columns).where(self._within(child, first, last)).order_by(*columns)
        return self.words.dialect.for_update(query)

    def _within(self, child: FromClause, first: str, last: str) -> ColumnElement[bool]:
        """True for the rows of the child that a stretch of the list names."""
        listed = self.worklist.clause.alias("w")
        key = self.facts.child.key
        query = sa.select(*(listed.c[name] for name in key)).where(
            listed.c[SEQ] > sa.literal_column(first), listed.c[SEQ] <= sa.literal_column(last)
        )
        return row_in([child.c[name] for name in key], query)

    def capture(
        self, name: str, policy: Policy, new: list[str], first: str | None = None, last: str | None = None
    ) -> str:
        """Copy the orphans of a kind in a stretch of the list, whole, into the mirror.

        Args:
            new: expressions for what the reference columns are about to become.
            first, last: the stretch, where others write meanwhile: each row is asked again what it is.
                None for the whole list, where nobody does: what the list says is true.
        """
        reference, mirror, value = self.facts.reference, self.mirror, self.words.value
        child = table_clause(reference.child, *mirror.columns).alias("c")
        values: list[tuple[str, ColumnElement[Any]]] = [
            (RUN_ID, self.records.run_id),
            (MIRROR_KIND, value(name)),
            (ACTION, value(DELETED if isinstance(policy, Delete) else CHANGED)),
            (AT, sa.literal_column(self.words.now)),
            (STATE, value(HELD)),
        ]
        values += [(f"{quarantine.NEW}{at}", sa.literal_column(each)) for at, each in enumerate(new)]
        values += [(column, child.c[column]) for column in mirror.columns]
        query = (
            sa.select(*(each.label(column) for column, each in values))
            .where(*self._wanted(child, name, first, last))
            .order_by(*(child.c[column] for column in mirror.key))
        )
        return self.words.sql(sa.insert(mirror.clause).from_select([column for column, _ in values], query))

    def _wanted(
        self, child: FromClause, name: str, first: str | None, last: str | None
    ) -> list[ColumnElement[bool]]:
        reference = self.facts.reference
        if first is None or last is None:
            listed = self.worklist.clause.alias("w")
            key = self.facts.child.key
            query = sa.select(*(listed.c[each] for each in key)).where(
                listed.c[KIND] == self.words.value(name)
            )
            return [row_in([child.c[each] for each in key], query)]
        return [
            self._within(child, first, last),
            breaks(reference, child),
            kind(reference, child) == self.words.value(name),
        ]

    def captured(self, name: str, above: str) -> str:
        """An expression: how many rows of a kind were captured since the mirror's number was `above`."""
        clause = self.mirror.clause
        query = sa.select(sa.func.count()).select_from(clause)
        return f"({self.words.sql(query.where(*self._since(clause, name, above)))})"

    def change(self, name: str, policy: Policy, new: list[str], above: str) -> str:
        """Change, or delete, exactly the rows captured since."""
        mirror = self.mirror
        target = mirror.source_clause
        kept = mirror.clause.alias("m")
        since = self._since(kept, name, above)
        same = [target.c[column] == kept.c[column] for column in mirror.key]
        if isinstance(policy, Delete) and self.words.deletes_from_two:
            return self.words.sql(sa.delete(target).where(*same, *since))
        if isinstance(policy, Delete):
            keys = sa.select(*(kept.c[column] for column in mirror.key)).where(*since)
            return self.words.sql(
                sa.delete(target).where(row_in([target.c[column] for column in mirror.key], keys))
            )
        values: dict[Any, Any] = {
            target.c[column]: sa.literal_column(each)
            for column, each in zip(self.facts.reference.columns, new, strict=True)
        }
        for column in self.words.dialect.change_extras(self.facts.child):
            values[target.c[column]] = target.c[column]
        return self.words.sql(sa.update(target).values(values).where(*same, *since))

    def healed(self, kept: FromClause, above: str) -> ColumnElement[bool]:
        """True for the rows of the mirror set aside since although their parent is there by now.

        Args:
            kept: the mirror, under an alias.
        """
        reference = self.facts.reference
        return sa.and_(
            kept.c[ID] > sa.literal_column(above),
            kept.c[STATE] == self.words.value(HELD),
            none_null(reference, kept),
            parent_exists(reference, kept),
        )

    def _since(self, clause: Any, name: str, above: str) -> list[ColumnElement[bool]]:
        return [clause.c[ID] > sa.literal_column(above), clause.c[MIRROR_KIND] == self.words.value(name)]


def row_in(columns: list[ColumnElement[Any]], query: sa.Select[Any]) -> ColumnElement[bool]:
    """`(a, b) IN (SELECT ...)`."""
    if len(columns) == 1:
        return columns[0].in_(query)
    return sa.tuple_(*columns).in_(query)
