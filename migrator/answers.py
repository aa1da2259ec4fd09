"""Before the first change: has every listed orphan an answer, and is every answer a parent?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Facts, shown
from migrator.context import Context
from migrator.decisions import decided
from migrator.errors import Refused
from migrator.policy import Decisions, Expression, Keep, Lookup, Policy, Refuse, heard
from migrator.predicate import none_null, table_clause
from migrator.repairs import source_of
from migrator.saying import driver_says
from migrator.values import First, Source, evaluated, goes_astray
from migrator.worklist import KIND, Worklist


def check_answers(
    context: Context, connection: Connection, facts: Facts, worklist: Worklist, policy: Policy, kind: str
) -> None:
    """For a policy, or chain, whose values differ from row to row.

    Raises:
        Refused: a computed value is no parent, or a row has no answer and the chain no last word.
    """
    chain = heard(policy, kind)
    try:
        if not chain:
            raise nobody_to_create(facts, kind)
        source = first_of(facts, chain, lambda path: decided(context.dialect, connection, facts, path))
        if source is not None:
            questions = Questions(facts, worklist, source, kind)
            _divided(connection, questions)
            _astray(connection, questions)
            if has_no_last_word(chain):
                _unanswered(connection, questions)
    except sa.exc.DBAPIError as error:
        if context.dialect.verdict(error) in ("lock-timeout", "deadlock", "lost", "retry", "no-room"):
            raise
        raise Refused(
            f"The {'/'.join(one.name for one in chain)} policy of {facts.reference} cannot be "
            f"computed: {driver_says(error)}",
            hint="Try its SQL in a client of your own. Nothing was changed.",
        ) from error


def nobody_to_create(facts: Facts, kind: str) -> Refused:
    """What to say where creating parents is all that is to be done with orphans that name none."""
    return Refused(
        f"{kind} orphans of {facts.reference} name nobody who could be created.",
        hint="Say what to do with them: Chain(CreateParents(...), Backfill()).",
    )


def cannot_be_null(facts: Facts) -> Refused | None:
    """What to say to set-null where the reference is declared NOT NULL, or a column of it is."""
    reference, child = facts.reference, facts.child
    if not reference.nullable:
        return Refused(
            f"set-null would leave {', '.join(reference.columns)} NULL, and {reference} is NOT NULL. "
            "Nothing was changed.",
            hint="Use backfill or delete, or declare the reference nullable.",
        )
    for name in reference.columns:
        # SQLite allows a NULL in most primary keys, and no row is found again by one.
        if not child.column(name).nullable or name in child.primary_key:
            return Refused(
                f"set-null would leave {name} NULL, and {child.name}.{name} is NOT NULL. "
                "Nothing was changed.",
                hint=f"Use backfill or delete, or let {child.name}.{name} be NULL first.",
            )
    return None


def first_of(facts: Facts, chain: Sequence[Policy], file: Callable[[str], Source]) -> Source | None:
    """Where the values of a chain come from, its first answer first; None where all rows get the same.

    Args:
        file: see `repairs.source_of`.
    """
    found = [source_of(facts, one, file) for one in chain]
    sources = tuple(source for source in found if source is not None)
    return sources[0] if len(sources) == 1 else First(facts.reference, sources) if sources else None


def has_no_last_word(chain: Sequence[Policy]) -> bool:
    """Whether the chain has nothing to do with a row that no source of it has an answer for."""
    return isinstance(chain[-1], (Expression, Lookup, Decisions, Refuse, Keep))


@dataclass(frozen=True)
class Questions:
    """What is asked of the listed orphans of a kind, as queries.

    Args:
        facts: the catalog.
        worklist: where they are listed.
        source: their values.
        kind: theirs.
    """

    facts: Facts
    worklist: Worklist
    source: Source
    kind: str

    def divided(self) -> sa.Select[Any] | None:
        """The keys of those with two answers; None where none can have."""
        facts = self.facts
        columns = dict.fromkeys((*(column.name for column in facts.child.columns), *facts.child.handle))
        child = table_clause(facts.reference.child, *columns).alias("c")
        divided = self.source.divided(child)
        if divided is None:
            return None
        return sa.select(*(child.c[column] for column in facts.child.handle)).where(
            self._listed(child), divided
        )

    def astray(self) -> sa.Select[Any]:
        """The keys, then the new values, of those whose value is no parent."""
        relation = self._values()
        columns = [relation.c[f"k{at}"] for at in range(len(self.facts.child.handle))]
        shown = [relation.c[column] for column in self.facts.reference.columns]
        return sa.select(*columns, *shown).where(goes_astray(self.facts.reference, relation))

    def answered(self) -> sa.Select[Any]:
        """How many have an answer."""
        relation = self._values()
        query = sa.select(sa.func.count()).select_from(relation)
        return query.where(none_null(self.facts.reference, relation))

    def _values(self) -> FromClause:
        """The listed rows with their new values."""
        columns = [column.name for column in self.facts.child.columns]
        return evaluated(self.facts.reference, self.source, self.facts.child.handle, columns, self._listed)

    def _listed(self, child: FromClause) -> ColumnElement[bool]:
        """IN, which every server answers from the child's key, one look-up for each entry. The keys are
        never NULL, and nothing of the list can be taken for a column that an expression names."""
        key = self.facts.child.handle
        entries = self.worklist.clause.alias("w")
        found = sa.select(*(entries.c[column] for column in key)).where(
            entries.c[KIND] == sa.literal_column(f"'{self.kind}'")
        )
        columns = [child.c[column] for column in key]
        return columns[0].in_(found) if len(key) == 1 else sa.tuple_(*columns).in_(found)


def _divided(connection: Connection, questions: Questions) -> None:
    facts, query = questions.facts, questions.divided()
    row = None if query is None else connection.execute(query.limit(1)).first()
    if row is not None:
        raise Refused(
            f"The lookup has two different answers for {facts.reference.child} ({_named(facts, row)}). "
            "Nothing was changed.",
            hint="Leave one, or decide such rows in a file: Chain(Decisions(...), Lookup(...)).",
        )


def _astray(connection: Connection, questions: Questions) -> None:
    facts = questions.facts
    row = connection.execute(questions.astray().limit(1)).first()
    if row is not None:
        value = ", ".join(str(part) for part in row[len(facts.child.handle) :])
        raise Refused(
            f"The value {value} for {facts.reference.child} ({_named(facts, row)}) is itself no parent in "
            f"{facts.reference.parent}. Nothing was changed.",
            hint="Mend the expression, lookup or decision, or create that parent.",
        )


def _named(facts: Facts, row: Sequence[Any]) -> str:
    return ", ".join(f"{shown(name)}={value}" for name, value in zip(facts.child.handle, row, strict=False))


def _unanswered(connection: Connection, questions: Questions) -> None:
    facts, kind = questions.facts, questions.kind
    entries = questions.worklist.counts(connection).get(kind, 0)
    answered = int(connection.scalar(questions.answered()) or 0)
    if answered < entries:
        raise Refused(
            f"{entries - answered} of {entries} {kind} orphan(s) of {facts.reference} have no answer. "
            "Nothing was changed.",
            hint="End the chain with a policy that has one for every row: Chain(..., Backfill()).",
        )
