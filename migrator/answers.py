"""Before the first change: has every listed orphan an answer, and is every answer a parent?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Facts
from migrator.context import Context
from migrator.errors import Refused
from migrator.policy import CreateParents, Policy, flat
from migrator.predicate import none_null
from migrator.repairs import source_of
from migrator.values import Source, evaluated, goes_astray
from migrator.worklist import KIND, Worklist


def check_answers(
    context: Context, connection: Connection, facts: Facts, worklist: Worklist, policy: Policy, kind: str
) -> None:
    """For a policy, or chain, whose values differ from row to row.

    Raises:
        Refused: a computed value is no parent, or a row has no answer and the chain no last word.
    """
    chain = flat(policy)
    sources = [source_of(context.dialect, connection, facts, one) for one in chain]
    computed = [source for source in sources if source is not None]
    if not computed:
        if all(isinstance(one, CreateParents) for one in chain) and kind != "dangling":
            raise Refused(
                f"{kind} orphans of {facts.reference} name nobody who could be created.",
                hint="Say what to do with them: Chain(CreateParents(...), Backfill()).",
            )
        return
    try:
        for source in computed:
            _astray(connection, facts, worklist, source, kind)
        if all(source is not None for source in sources):
            _unanswered(connection, facts, worklist, computed, kind)
    except sa.exc.DBAPIError as error:
        line = str(error.orig).strip().splitlines()[0]
        raise Refused(
            f"The {'/'.join(one.name for one in chain)} policy of {facts.reference} cannot be "
            f"computed: {line}",
            hint="Try its SQL in a client of your own. Nothing was changed.",
        ) from error


def _values(facts: Facts, worklist: Worklist, source: Source, kind: str) -> Any:
    """The listed rows of a kind with their new values."""

    def listed(child: Any) -> ColumnElement[bool]:
        entries = worklist.clause.alias("w")
        return sa.exists(
            sa.select(sa.literal_column("1"))
            .select_from(entries)
            .where(
                entries.c[KIND] == sa.literal_column(f"'{kind}'"),
                *(entries.c[column] == child.c[column] for column in facts.child.key),
            )
            .correlate(child)
        )

    columns = [column.name for column in facts.child.columns]
    return evaluated(facts.reference, source, facts.child.key, columns, listed)


def _astray(connection: Connection, facts: Facts, worklist: Worklist, source: Source, kind: str) -> None:
    relation = _values(facts, worklist, source, kind)
    columns = [relation.c[f"k{at}"] for at in range(len(facts.child.key))]
    shown = [relation.c[column] for column in facts.reference.columns]
    query = sa.select(*columns, *shown).where(goes_astray(facts.reference, relation)).limit(1)
    row = connection.execute(query).first()
    if row is not None:
        at = len(columns)
        key = ", ".join(f"{name}={value}" for name, value in zip(facts.child.key, row[:at], strict=True))
        value = ", ".join(str(part) for part in row[at:])
        raise Refused(
            f"The value {value} for {facts.reference.child} ({key}) is itself no parent in "
            f"{facts.reference.parent}. Nothing was changed.",
            hint="Mend the expression, lookup or decision, or create that parent.",
        )


def _unanswered(
    connection: Connection, facts: Facts, worklist: Worklist, sources: list[Source], kind: str
) -> None:
    entries = worklist.counts(connection).get(kind, 0)
    answered: set[tuple[Any, ...]] = set()
    for source in sources:
        relation = _values(facts, worklist, source, kind)
        columns = [relation.c[f"k{at}"] for at in range(len(facts.child.key))]
        query = sa.select(*columns).where(none_null(facts.reference, relation))
        answered.update(tuple(row) for row in connection.execute(query))
    if len(answered) < entries:
        raise Refused(
            f"{entries - len(answered)} of {entries} {kind} orphan(s) of {facts.reference} have no answer. "
            "Nothing was changed.",
            hint="End the chain with a policy that has one for every row: Chain(..., Backfill()).",
        )
