"""What a delete would pull along: rows of other tables that refer to the rows to be removed.

A cascade deletes rows nobody archived (airflow PR 51952), a RESTRICT stops a batch half-way through
the night (home-assistant 125211). So inbound foreign keys are read before the first change.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, ForeignKey
from migrator.errors import Refused
from migrator.predicate import KINDS, table_clause
from migrator.worklist import KIND, Worklist


def refuse_dependants(
    connection: Connection,
    facts: Facts,
    worklist: Worklist,
    protected: Sequence[ForeignKey],
    kinds: tuple[str, ...] = KINDS,
) -> None:
    """Stop where deleting the listed orphans would be stopped by, or must not touch, other rows.

    Args:
        protected: the foreign keys whose rows the policy does not allow to go along.
        kinds: the kinds of orphan that are to be deleted.

    Raises:
        Refused: naming each table, its constraint and how many rows of it refer to the orphans.
    """
    found = [
        (fk, count)
        for fk in protected
        if fk.parent.name == facts.child.name.name
        and (count := _referring(connection, facts, worklist, fk, kinds))
    ]
    if not found:
        return
    listed = "; ".join(
        f"{count} row(s) of {fk.child} by {fk.name or 'an unnamed foreign key'} (ON DELETE {fk.on_delete})"
        for fk, count in found
    )
    raise Refused(
        f"Deleting the orphans of {facts.reference} would touch rows that refer to them: {listed}.",
        hint="Use on_dangling=backfill, or Delete(dependants='delete') in the revision, or settle those "
        "rows first.",
    )


def _referring(
    connection: Connection, facts: Facts, worklist: Worklist, fk: ForeignKey, kinds: tuple[str, ...]
) -> int:
    """Rows of the other table that refer to a listed orphan."""
    other = table_clause(fk.child, *fk.columns).alias("d")
    child = table_clause(facts.reference.child, *facts.child.key, *fk.parent_columns).alias("c")
    listed = worklist.clause.alias("w")
    query = (
        sa.select(sa.func.count())
        .select_from(
            listed.join(
                child, sa.and_(*(child.c[column] == listed.c[column] for column in facts.child.key))
            ).join(
                other,
                sa.and_(
                    *(
                        other.c[ours] == child.c[theirs]
                        for ours, theirs in zip(fk.columns, fk.parent_columns, strict=True)
                    )
                ),
            )
        )
        .where(listed.c[KIND].in_([sa.literal_column(f"'{kind}'") for kind in kinds]))
    )
    return int(connection.scalar(query) or 0)
