"""One policy of a chain at work: what it sets aside of the listed orphans of a kind, what it makes of them.

A turn captures the rows it has an answer for, then changes exactly the captured ones: it finds them by the
mirror, not by asking again. What is left over is for the next policy's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Facts
from migrator.mirror import ACTION, AT, CHANGED, CREATED, DELETED, HELD, ID, KEPT, NEW, RUN_ID, STATE, Mirror
from migrator.mirror import KIND as MIRROR_KIND
from migrator.offline.sweeping import Sweeping, row_in
from migrator.policy import Backfill, CreateParents, Delete, Keep, Policy, Refuse, SetNull
from migrator.predicate import breaks, kind, orphaned, table_clause
from migrator.sentinel import stated_values
from migrator.typefamily import family
from migrator.values import evaluated, settles


@dataclass(frozen=True)
class Turn:
    """The turn of a policy.

    Args:
        sweeping: the sweep.
        kind: of which orphans.
        policy: whose turn it is.
        key: for a backfill: expressions for the parent's key.
        begun, since: expressions: the mirror's numbers above which are the rows of the whole chain, and of
            this turn.
        stretch: the numbers of the list it is about, the first excluded, where others write meanwhile: each
            row is asked again what it is. None for the whole list, where nobody does: what it says is true.
    """

    sweeping: Sweeping
    kind: str
    policy: Policy
    key: list[str]
    begun: str
    since: str
    stretch: tuple[str, str] | None = None

    @property
    def action(self) -> str:
        """What it does to a row, in the quarantine's words."""
        if isinstance(self.policy, CreateParents):
            return KEPT
        return DELETED if isinstance(self.policy, Delete) else CHANGED

    @property
    def repoints(self) -> bool:
        """Whether it gives rows another parent."""
        return self.action == CHANGED and not isinstance(self.policy, SetNull)

    # -- setting aside ---------------------------------------------------------------------------------
    def capture(self) -> str:
        """Copy the rows it has an answer for, whole, into the mirror."""
        sweeping, mirror = self.sweeping, self.sweeping.mirror
        child = table_clause(mirror.source, *mirror.columns).alias("c")
        new: list[ColumnElement[Any]] = [sa.literal_column(each) for each in self.key]
        if isinstance(self.policy, SetNull):
            new = [sa.null() for _ in mirror.reference_columns]
        wanted = self._wanted(child)
        source = sweeping.source(self.policy)
        if source is not None:
            reference = sweeping.facts.reference
            relation = evaluated(reference, source, mirror.key, mirror.columns, self._listed)
            wanted += [relation.c[f"k{at}"] == child.c[column] for at, column in enumerate(mirror.key)]
            wanted.append(settles(reference, relation))
            new = [relation.c[column] for column in reference.columns]
        values = {f"{NEW}{at}": each for at, each in enumerate(new)}
        query = self._copied(child, mirror, self.action, values).where(*wanted)
        return self._into(mirror, values, query.order_by(*(child.c[column] for column in mirror.key)))

    def _copied(
        self, row: FromClause, mirror: Mirror, action: str, values: dict[str, ColumnElement[Any]]
    ) -> sa.Select[Any]:
        sweeping, value = self.sweeping, self.sweeping.words.value
        said: dict[str, ColumnElement[Any]] = {
            RUN_ID: sweeping.records.run_id,
            MIRROR_KIND: value(self.kind),
            ACTION: value(action),
            AT: sa.literal_column(sweeping.words.now),
            STATE: value(HELD),
            **values,
            **{column: row.c[column] for column in mirror.columns},
        }
        return sa.select(*(each.label(column) for column, each in said.items()))

    def _into(self, mirror: Mirror, values: dict[str, Any], query: sa.Select[Any]) -> str:
        columns = [RUN_ID, MIRROR_KIND, ACTION, AT, STATE, *values, *mirror.columns]
        return self.sweeping.words.sql(sa.insert(mirror.clause).from_select(columns, query))

    def _listed(self, child: FromClause) -> ColumnElement[bool]:
        if self.stretch is not None:
            return self.sweeping.within(child, *self.stretch)
        return self.sweeping.on_list(child, self.kind)

    def _wanted(self, child: FromClause) -> list[ColumnElement[bool]]:
        reference, value = self.sweeping.facts.reference, self.sweeping.words.value
        if self.stretch is None:
            # Nobody else writes: what the list says is true, but for whom an earlier turn has settled.
            first = self.begun == self.since
            return [self._listed(child)] if first else [self._listed(child), self._left_over(child)]
        wanted = [kind(reference, child) == value(self.kind), breaks(reference, child)]
        if self.action != KEPT:
            return [self._listed(child), *wanted]
        # Every row that names a parent is evidence when it is made, not those of this stretch alone: the
        # others are no orphans any more after that, and a scan after a crash would not find them.
        other = table_clause(reference.child, *reference.columns, *self.sweeping.mirror.key).alias("s")
        named = sa.select(*(other.c[column] for column in reference.columns)).where(self._listed(other))
        return [row_in([child.c[column] for column in reference.columns], named), *wanted]

    def _left_over(self, child: FromClause) -> ColumnElement[bool]:
        """True for the rows that no earlier turn of the chain has captured."""
        mirror = self.sweeping.mirror
        kept = mirror.clause.alias("e")
        earlier = sa.select(*(kept.c[column] for column in mirror.key)).where(
            kept.c[ID] > sa.literal_column(self.begun),
            kept.c[MIRROR_KIND] == self.sweeping.words.value(self.kind),
        )
        return ~row_in([child.c[column] for column in mirror.key], earlier)

    # -- changing ----------------------------------------------------------------------------------------
    def change(self) -> str:
        """Change, or delete, exactly the rows captured. The new values are taken from the mirror: what they
        are computed from may change between two statements."""
        mirror, words = self.sweeping.mirror, self.sweeping.words
        target, kept = mirror.source_clause, mirror.clause.alias("m")
        same = [target.c[column] == kept.c[column] for column in mirror.key]
        if isinstance(self.policy, Delete) and words.deletes_from_two:
            return words.sql(sa.delete(target).where(*same, *self.ours(kept)))
        if isinstance(self.policy, Delete):
            columns: list[ColumnElement[Any]] = [target.c[column] for column in mirror.key]
            return words.sql(sa.delete(target).where(self._captured(columns, mirror.key)))
        values: dict[Any, Any] = {
            target.c[column]: new
            for column, new in zip(mirror.reference_columns, mirror.new(kept), strict=True)
        }
        for column in words.dialect.change_extras(self.sweeping.facts.child):
            values[target.c[column]] = target.c[column]
        return words.sql(sa.update(target).values(values).where(*same, *self.ours(kept)))

    def ours(self, kept: FromClause) -> list[ColumnElement[bool]]:
        """True for the rows of the mirror, under an alias, that this turn has captured."""
        return [
            kept.c[ID] > sa.literal_column(self.since),
            kept.c[MIRROR_KIND] == self.sweeping.words.value(self.kind),
            kept.c[ACTION] == self.sweeping.words.value(self.action),
        ]

    def _captured(self, columns: list[ColumnElement[Any]], places: Iterable[str]) -> ColumnElement[bool]:
        """True for the rows captured, by what these columns of the mirror say of their key."""
        kept = self.sweeping.mirror.clause.alias("m")
        keys = sa.select(*(kept.c[place] for place in places))
        return row_in(columns, keys.where(*self.ours(kept)))

    def still_orphans(self) -> str:
        """An expression: how many of the rows it gave a parent have none: a trigger takes the value back."""
        reference, mirror = self.sweeping.facts.reference, self.sweeping.mirror
        child = table_clause(reference.child, *reference.columns, *mirror.key).alias("c")
        columns: list[ColumnElement[Any]] = [child.c[column] for column in mirror.key]
        # A row may stand under the key that it was to get, or under the old one, where it took that back.
        under = dict.fromkeys((tuple(mirror.places.values()), mirror.key))
        query = sa.select(sa.func.count()).select_from(child)
        query = query.where(
            sa.or_(*(self._captured(columns, places) for places in under)), breaks(reference, child)
        )
        return f"({self.sweeping.words.sql(query)})"

    # -- creating parents --------------------------------------------------------------------------------
    def make(self) -> str:
        """Insert each parent that the captured rows name and that is not there, once."""
        facts, words = self.sweeping.facts, self.sweeping.words
        reference = facts.reference
        assert isinstance(self.policy, CreateParents)
        kept = self.sweeping.mirror.clause.alias("m")
        named = (
            sa.select(*(kept.c[column] for column in reference.columns))
            .where(*self.ours(kept), orphaned(reference, kept))
            .distinct()
            .subquery("n")
        )
        columns: list[ColumnElement[Any]] = [named.c[column] for column in reference.columns]
        key = dict(zip(reference.parent_columns, map(words.sql, columns), strict=True))
        stated: dict[str, ColumnElement[Any]] = {
            column: sa.literal_column(
                words.filled(
                    value, key, None if _is_text(facts, column) else facts.parent.column(column).type
                )
            )
            for column, value in stated_values(facts.parent, self.policy.values).items()
            if column not in key
        }
        target = table_clause(reference.parent, *key, *stated)
        query = sa.select(*columns, *stated.values())
        statement = sa.insert(target).from_select([*key, *stated], query)
        return words.dialect.insert_identity(words.sql(statement))

    def made(self) -> str:
        """Copy the parents that the captured rows name into the mirror of what we made. That is as many as
        were inserted, unless somebody else inserted one meanwhile."""
        facts = self.sweeping.facts
        reference, mirror = facts.reference, self.sweeping.parents
        kept = self.sweeping.mirror.clause.alias("m")
        parent = table_clause(
            reference.parent, *dict.fromkeys((*reference.parent_columns, *mirror.columns))
        ).alias("p")
        named = sa.select(*(kept.c[column] for column in reference.columns)).where(*self.ours(kept))
        query = self._copied(parent, mirror, CREATED, {}).where(
            row_in([parent.c[column] for column in reference.parent_columns], named)
        )
        return self._into(mirror, {}, query)


def _is_text(facts: Facts, column: str) -> bool:
    return family(facts.parent.column(column)) == "text"


def turns(
    sweeping: Sweeping,
    key: Callable[[str], list[str]],
    *,
    begun: str,
    since: str,
    stretch: tuple[str, str] | None = None,
) -> Iterator[Turn]:
    """The turns of all chains, one kind after the other; those that do something to rows.

    Args:
        key: for a kind: expressions for the key of the parent of its backfill.
        begun, since, stretch: see `Turn`.
    """
    for name, chain in sweeping.chains.items():
        # On a server every turn asks for its own mark.
        first = begun if stretch is None else since
        for policy in chain:
            if not isinstance(policy, (Keep, Refuse)):
                given = key(name) if isinstance(policy, Backfill) else []
                yield Turn(sweeping, name, policy, given, begun, first, stretch)
                first = since
