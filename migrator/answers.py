"""Before the first change: has every listed orphan an answer, and is every answer a parent?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Facts, shown
from migrator.context import Context
from migrator.errors import Refused
from migrator.policy import Keep, Policy, Refuse, heard
from migrator.predicate import none_null, table_clause
from migrator.repairs import source_of
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
        found = [source_of(context.dialect, connection, facts, one) for one in chain]
        sources = tuple(source for source in found if source is not None)
        if not sources and not chain:
            raise Refused(
                f"{kind} orphans of {facts.reference} name nobody who could be created.",
                hint="Say what to do with them: Chain(CreateParents(...), Backfill()).",
            )
        if sources:
            first = sources[0] if len(sources) == 1 else First(facts.reference, sources)
            _divided(connection, facts, worklist, first, kind)
            _astray(connection, facts, worklist, first, kind)
            if len(sources) == len(chain) or isinstance(chain[-1], (Refuse, Keep)):
                _unanswered(connection, facts, worklist, first, kind)
    except sa.exc.DBAPIError as error:
        if context.dialect.verdict(error) in ("lock-timeout", "deadlock", "lost", "retry"):
            raise
        line = str(error.orig).strip().splitlines()[0]
        raise Refused(
            f"The {'/'.join(one.name for one in chain)} policy of {facts.reference} cannot be "
            f"computed: {line}",
            hint="Try its SQL in a client of your own. Nothing was changed.",
        ) from error


def _values(facts: Facts, worklist: Worklist, source: Source, kind: str) -> FromClause:
    """The listed rows of a kind with their new values."""

    def listed(child: FromClause) -> ColumnElement[bool]:
        return _listed(facts, worklist, child, kind)

    columns = [column.name for column in facts.child.columns]
    return evaluated(facts.reference, source, facts.child.handle, columns, listed)


def _listed(facts: Facts, worklist: Worklist, child: FromClause, kind: str) -> ColumnElement[bool]:
    """IN, which every server answers from the child's key, one look-up for each entry. The keys are never
    NULL, and nothing of the list can be taken for a column that an expression names."""
    key = facts.child.handle
    entries = worklist.clause.alias("w")
    found = sa.select(*(entries.c[column] for column in key)).where(
        entries.c[KIND] == sa.literal_column(f"'{kind}'")
    )
    columns = [child.c[column] for column in key]
    return columns[0].in_(found) if len(key) == 1 else sa.tuple_(*columns).in_(found)


def _divided(connection: Connection, facts: Facts, worklist: Worklist, source: Source, kind: str) -> None:
    columns = dict.fromkeys((*(column.name for column in facts.child.columns), *facts.child.handle))
    child = table_clause(facts.reference.child, *columns).alias("c")
    divided = source.divided(child)
    if divided is None:
        return
    query = sa.select(*(child.c[column] for column in facts.child.handle)).limit(1)
    row = connection.execute(query.where(_listed(facts, worklist, child, kind), divided)).first()
    if row is not None:
        raise Refused(
            f"The lookup has two different answers for {facts.reference.child} ({_named(facts, row)}). "
            "Nothing was changed.",
            hint="Leave one, or decide such rows in a file: Chain(Decisions(...), Lookup(...)).",
        )


def _astray(connection: Connection, facts: Facts, worklist: Worklist, source: Source, kind: str) -> None:
    relation = _values(facts, worklist, source, kind)
    columns = [relation.c[f"k{at}"] for at in range(len(facts.child.handle))]
    shown = [relation.c[column] for column in facts.reference.columns]
    query = sa.select(*columns, *shown).where(goes_astray(facts.reference, relation)).limit(1)
    row = connection.execute(query).first()
    if row is not None:
        value = ", ".join(str(part) for part in row[len(columns) :])
        raise Refused(
            f"The value {value} for {facts.reference.child} ({_named(facts, row)}) is itself no parent in "
            f"{facts.reference.parent}. Nothing was changed.",
            hint="Mend the expression, lookup or decision, or create that parent.",
        )


def _named(facts: Facts, row: Sequence[Any]) -> str:
    return ", ".join(f"{shown(name)}={value}" for name, value in zip(facts.child.handle, row, strict=False))


def _unanswered(connection: Connection, facts: Facts, worklist: Worklist, source: Source, kind: str) -> None:
    entries = worklist.counts(connection).get(kind, 0)
    relation = _values(facts, worklist, source, kind)
    query = sa.select(sa.func.count()).select_from(relation).where(none_null(facts.reference, relation))
    answered = int(connection.scalar(query) or 0)
    if answered < entries:
        raise Refused(
            f"{entries - answered} of {entries} {kind} orphan(s) of {facts.reference} have no answer. "
            "Nothing was changed.",
            hint="End the chain with a policy that has one for every row: Chain(..., Backfill()).",
        )
