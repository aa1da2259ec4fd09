"""The statements of a sweep that all databases share; each puts its own loop around them. What is an orphan
is `predicate`'s word alone, what becomes of it is said in `turns`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.answers import Questions, first_of
from migrator.catalog import Facts, Table
from migrator.decisions import DecisionsFile
from migrator.mirror import ACTION, CREATED, ID, Mirror, mirror_of
from migrator.mirror import KIND as MIRROR_KIND
from migrator.offline.records import Records
from migrator.offline.words import Words
from migrator.parents import keyed_parent, parents_mirror
from migrator.plan import Sweep
from migrator.policy import Backfill, CreateParents, Policy, heard
from migrator.predicate import breaks, child_alias, kind, table_clause
from migrator.reference import Reference, TableName
from migrator.repairs import source_of
from migrator.scan import policies_of
from migrator.sentinel import stated_key, stated_values, unique_part
from migrator.sentinel_row import claiming, highest, is_drawn
from migrator.values import Source
from migrator.worklist import KIND, SEQ, Worklist


@dataclass(frozen=True)
class Target:
    """The parent that a backfill points at.

    Args:
        columns: its key's columns; what a lookup answers.
        lookup: a SELECT of its key.
        insert: the statement that makes it; None where it has to be there.
        newest: whether the lookup finds the newest row: it says nothing about a row that was there before.
        above: the statement that makes it under a key above all others, where a counter may be behind.
    """

    columns: tuple[str, ...]
    lookup: str
    insert: str | None = None
    newest: bool = False
    above: str | None = None


@dataclass(frozen=True)
class Sweeping:
    """One sweep.

    Args:
        words, records, facts: whose.
        work: the policies.
        list_name: the worklist's table; by default the one an online run would use.
        max_orphan_share, max_orphans: see `Settings`.
        files: the decisions files that the policies name, by their paths.
    """

    words: Words
    records: Records
    facts: Facts
    work: Sweep
    max_orphan_share: float
    max_orphans: int = 0
    files: Mapping[str, DecisionsFile] = field(default_factory=dict)
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
        return mirror_of(self.facts.reference, self.facts.child)

    @property
    def parents(self) -> Mirror:
        """The mirror of parents that we create."""
        return parents_mirror(self.facts)

    @property
    def homes(self) -> Mapping[Mirror, Table]:
        """The mirrors it needs, each with its table."""
        found = {self.mirror: self.facts.child}
        return {self.parents: keyed_parent(self.facts), **found} if self.creates else found

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

    @property
    def chains(self) -> Mapping[str, tuple[Policy, ...]]:
        """Who is asked about each of them, in order."""
        return {name: heard(policy, name) for name, policy in self.policies.items()}

    @property
    def backfills(self) -> Mapping[str, Backfill]:
        """The backfill of each kind that has one, which is its last word."""
        last = {name: chain[-1] for name, chain in self.chains.items() if chain}
        return {name: policy for name, policy in last.items() if isinstance(policy, Backfill)}

    @property
    def creates(self) -> bool:
        """Whether parents may be created."""
        return any(isinstance(one, CreateParents) for chain in self.chains.values() for one in chain)

    # -- values of each row's own --------------------------------------------------------------------
    def source(self, policy: Policy) -> Source | None:
        """See `repairs.source_of`."""
        return source_of(self.facts, policy, self._decided)

    def questions(self, name: str) -> Questions | None:
        """What is to be asked about a kind's chain; None where all its rows get the same."""
        source = first_of(self.facts, self.chains[name], self._decided)
        return None if source is None else Questions(self.facts, self.worklist, source, name)

    def _decided(self, path: str) -> Source:
        return self.files[path].source

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
        insert, above = None, None
        if policy.to is None:
            stated = stated_values(self.facts.parent, policy.sentinel)
            given = {name: self.words.value(value) for name, value in stated.items()}
            insert = self._insert(given) if given else self.words.dialect.insert_defaults(reference.parent)
            if is_drawn(self.facts, stated):
                zero: ColumnElement[int] = sa.literal_column("0")
                ends = [sa.func.coalesce(end.scalar_subquery(), zero) for end in highest(reference)]
                beyond = sa.func.greatest(*ends) + sa.literal_column("1")
                above = self._insert({**given, reference.parent_columns[0]: beyond})
        found = self.words.sql(query)
        return Target(reference.parent_columns, found, insert, newest=not values, above=above)

    def _insert(self, given: Mapping[str, ColumnElement[Any]]) -> str:
        clause = table_clause(self.facts.reference.parent, *given)
        statement = self.words.sql(sa.insert(clause).values(dict(given)))
        return self.words.dialect.insert_identity(statement)

    def parent_values(self, policy: Backfill) -> dict[str, Any]:
        """The values by which the parent of a backfill is found.

        Raises:
            Refused: `backfill_to` has not as many values as the key.
        """
        if policy.to is not None:
            key = stated_key(self.facts, policy.to)
            return dict(zip(self.facts.reference.parent_columns, key, strict=True))
        return unique_part(self.facts.parent, stated_values(self.facts.parent, policy.sentinel))

    def same(self, parent: FromClause, values: Mapping[str, Any]) -> list[ColumnElement[bool]]:
        """True for the rows with these values."""
        return [parent.c[name] == self.words.value(value) for name, value in values.items()]

    def claimed(self, key: list[str]) -> str:
        """An expression: whether rows of the child refer to a key, given as expressions. A sentinel row that
        got it would make them its own."""
        query = claiming(self.facts.reference, [sa.literal_column(each) for each in key])
        return f"EXISTS ({self.words.sql(query)})"

    @property
    def claim(self) -> str:
        """What to say where the key that the server gave is such a one."""
        reference = self.facts.reference
        return (
            f"the new sentinel row's key is one that rows of {reference.child} refer to: state another with "
            f"-x sentinel.{reference.parent_columns[0]}=<value>"
        )

    # -- a batch -------------------------------------------------------------------------------------
    def lock(self, first: str, last: str) -> sa.Select[Any]:
        """A SELECT that locks a stretch's rows, in the order of their key.

        Args:
            first, last: expressions for numbers of the list, the first excluded.
        """
        child = child_alias(self.facts.reference, *self.facts.child.key)
        columns = [child.c[column] for column in self.facts.child.key]
        query = sa.select(*columns).where(self.within(child, first, last)).order_by(*columns)
        return self.words.dialect.for_update(query)

    def within(self, child: FromClause, first: str, last: str) -> ColumnElement[bool]:
        """True for the rows of the child that a stretch of the list names; arguments as for `lock`."""
        listed = self.worklist.clause.alias("w")
        stretch = (listed.c[SEQ] > sa.literal_column(first), listed.c[SEQ] <= sa.literal_column(last))
        return self._named(child, listed, *stretch)

    def on_list(self, child: FromClause, name: str) -> ColumnElement[bool]:
        """True for the rows of the child that the list has as orphans of a kind."""
        listed = self.worklist.clause.alias("w")
        return self._named(child, listed, listed.c[KIND] == self.words.value(name))

    def _named(
        self, child: FromClause, listed: FromClause, *conditions: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        key = self.facts.child.key
        query = sa.select(*(listed.c[name] for name in key)).where(*conditions)
        return row_in([child.c[name] for name in key], query)

    def captured(self, name: str, above: str) -> str:
        """An expression: how many rows of a kind were captured since the mirror's number was `above`."""
        clause = self.mirror.clause
        query = sa.select(sa.func.count()).select_from(clause)
        query = query.where(
            clause.c[ID] > sa.literal_column(above),
            clause.c[MIRROR_KIND] == self.words.value(name),
            clause.c[ACTION] != self.words.value(CREATED),
        )
        return f"({self.words.sql(query)})"


def how_many_left(words: Words, reference: Reference) -> str:
    """An expression: how many orphans there are."""
    child = child_alias(reference)
    query = sa.select(sa.func.count()).select_from(child).where(breaks(reference, child))
    return f"({words.sql(query)})"


def too_few_rounds(reference: Reference) -> str:
    """What to say where a set has orphans after its last round."""
    return f"orphans of {reference} are left: write the script again, it goes on with the next round"


def row_in(columns: list[ColumnElement[Any]], query: sa.Select[Any]) -> ColumnElement[bool]:
    """`(a, b) IN (SELECT ...)`."""
    if len(columns) == 1:
        return columns[0].in_(query)
    return sa.tuple_(*columns).in_(query)
