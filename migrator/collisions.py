"""Two rows that a backfill would give one key, because the reference is part of the key. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.catalog import Facts
from migrator.errors import Refused
from migrator.predicate import child_alias
from migrator.worklist import KIND, Worklist, bound


def check_collisions(
    connection: Connection, facts: Facts, worklist: Worklist, kind: str, parent: Sequence[Any] | None
) -> None:
    """That the listed orphans of a kind may all be given one parent.

    Args:
        kind: which of them.
        parent: its key; None where it is still to be made, so that no row has it yet.

    Raises:
        Refused: two of them would have the same key then, or one the key of a row that is there.
    """
    target = None if parent is None else [bound(value) for value in parent]
    for query in collisions(facts, worklist, kind, target):
        found = connection.execute(query.limit(1)).first()
        if found is not None:
            raise refusal(facts, dict(zip(_rest(facts), found, strict=False)))


def collisions(
    facts: Facts, worklist: Worklist, kind: str, parent: Sequence[ColumnElement[Any]] | None
) -> Iterator[sa.Select[Any]]:
    """What is asked for that: each query finds rows, by what is left of their key, where something is wrong.
    Nothing is asked where the key is apart from the reference.

    Args:
        parent: its key, as expressions.
    """
    reference, key = facts.reference, facts.child.key
    moved = [column for column in key if column in reference.columns]
    if not moved:
        return
    rest = _rest(facts)
    listed = worklist.clause.alias("w")
    ours = listed.c[KIND] == sa.literal_column(f"'{kind}'")
    left: list[ColumnElement[Any]] = [listed.c[column] for column in rest]
    same: sa.Select[Any] = sa.select(*(left or [sa.literal_column("1")])).where(ours)
    yield same.group_by(listed.c[KIND], *left).having(sa.func.count() > sa.literal_column("1"))
    if parent is None:
        return
    value = dict(zip(reference.columns, parent, strict=True))
    there = child_alias(reference, *key)
    query: sa.Select[Any] = (
        sa.select(*(left or [sa.literal_column("1")]))
        .select_from(listed)
        .where(
            ours,
            # One that has this part of the parent's key already stays where it is.
            sa.or_(*(listed.c[column] != value[column] for column in moved)),
            sa.exists(
                sa.select(sa.literal_column("1"))
                .select_from(there)
                .where(
                    *(there.c[column] == value[column] for column in moved),
                    *(there.c[column] == listed.c[column] for column in rest),
                )
                .correlate(listed)
            ),
        )
    )
    yield query


def refusal(facts: Facts, rest: dict[str, Any] | None = None) -> Refused:
    """What to say then.

    Args:
        rest: what is left of the key of such rows, where that is known.
    """
    child, key = facts.reference.child, ", ".join(facts.child.key)
    which = ", ".join(f"{name}={value!r}" for name, value in (rest or {}).items())
    return Refused(
        f"A backfill would give rows of {child} the key of another row: its key ({key}) contains the "
        f"reference{f' (such rows have {which})' if which else ''}. Nothing was changed.",
        hint="Delete them (-x on_dangling=delete), or give each a parent of its own: by an expression, a "
        "lookup, a decisions file, or created parents.",
    )


def _rest(facts: Facts) -> list[str]:
    return [column for column in facts.child.key if column not in facts.reference.columns]
