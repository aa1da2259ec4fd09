"""The rows of a batch: locked by their keys, and looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.context import Context
from migrator.predicate import breaks, child_alias, kind
from migrator.worklist import Key


def lock(
    context: Context, connection: Connection, facts: Facts, keys: Sequence[Key], *, skip_locked: bool
) -> list[tuple[Key, str]]:
    """Lock the rows by key, in key order; returns the keys of those locked, each with the kind that its row
    is of now, should it be an orphan: a locking read meets the newest version of a row."""
    child = child_alias(context.reference, *facts.child.handle)
    columns = [child.c[column] for column in facts.child.handle]
    query = sa.select(*columns, kind(context.reference, child).label("kind"))
    query = query.where(context.dialect.key_in(columns, keys)).order_by(*columns)
    locking = context.dialect.for_update(query, skip_locked=skip_locked)
    return [(tuple(row[:-1]), str(row[-1])) for row in connection.execute(locking).all()]


def still_orphans(
    context: Context, connection: Connection, facts: Facts, locked: Sequence[tuple[Key, str]]
) -> dict[str, list[Key]]:
    """Which of the locked rows are orphans now, by kind: a new statement sees what was committed since the
    scan. All of them, as a rule, which a count tells; else the server says which. Never by comparing keys
    here: to Python two of them may be equal that are not (02:30 before and after the clock goes back), and
    one may not equal itself (NaN)."""
    if not locked:
        return {}
    query = _orphans_among(context, facts, [key for key, _ in locked])
    count = connection.scalar(query.with_only_columns(sa.func.count(), maintain_column_froms=True))
    found: dict[str, list[Key]] = {}
    if count == len(locked):
        for key, name in locked:
            found.setdefault(name, []).append(key)
        return found
    for row in connection.execute(query).all():
        found.setdefault(str(row[0]), []).append(tuple(row[1:]))
    return found


def any_orphan(context: Context, connection: Connection, facts: Facts, keys: Sequence[Key]) -> bool:
    """Whether one of these rows is an orphan."""
    return (
        bool(keys) and connection.execute(_orphans_among(context, facts, keys).limit(1)).first() is not None
    )


def _orphans_among(context: Context, facts: Facts, keys: Sequence[Key]) -> sa.Select[Any]:
    """Those of these rows that are orphans: their kind and their key."""
    child = child_alias(context.reference, *facts.child.handle)
    columns = [child.c[column] for column in facts.child.handle]
    return sa.select(kind(context.reference, child).label("kind"), *columns).where(
        context.dialect.key_in(columns, keys), breaks(context.reference, child)
    )
