"""What a delete would pull along: rows of other tables that refer to the rows to be removed.

A cascade deletes rows nobody archived (airflow PR 51952), a RESTRICT stops a batch half-way through
the night (home-assistant 125211). So inbound foreign keys are read before the first change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts, ForeignKey
from migrator.closure import Closure, Key, Reached, TooMuch, refers, walk
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.mirror import Mirror, mirror_of
from migrator.predicate import table_clause
from migrator.worklist import KIND, Worklist

#: Listed orphans whose dependants are looked for at a time, before the first change.
_AT_ONCE = 500


def refuse_dependants(
    connection: Connection, dialect: Dialect, facts: Facts, worklist: Worklist, closure: Closure, kind: str
) -> None:
    """Stop where deleting the listed orphans would be stopped by, or must not touch, other rows.

    Args:
        closure: what the policy lets go along, and what it does not.
        kind: the kind of orphan that is to be deleted.

    Raises:
        Refused: naming each table, its constraint and how many rows of it refer to what is to go.
    """
    if any(edge.removes or not edge.table.key for edge in closure.edges):
        found = _further_off(connection, dialect, facts, worklist, closure, kind)
    else:  # nothing goes along, so nothing further off can object: one statement tells
        protected = [protection.key for protection in closure.protected]
        found = Counter({key: _referring(connection, facts, worklist, key, kind) for key in protected})
    if not +found:
        return
    listed = "; ".join(
        f"{count} row(s) of {key.child} by {key.name or 'an unnamed foreign key'} (ON DELETE {key.on_delete})"
        for key, count in found.items()
        if count
    )
    raise Refused(
        f"Deleting the orphans of {facts.reference} would touch rows that refer to them: {listed}.",
        hint="Use on_dangling=backfill, or Delete(dependants='delete') in the revision, or settle those "
        "rows first.",
    )


def _further_off(
    connection: Connection, dialect: Dialect, facts: Facts, worklist: Worklist, closure: Closure, kind: str
) -> Counter[ForeignKey]:
    """Rows that protect an orphan or a dependant, found by walking there as the sweep would. Reads only.

    Raises:
        Refused: a dependant has no key by which its rows could be named.
    """
    root = mirror_of(facts.reference, facts.child)
    homes = {root.source: root, **{edge.table.name: edge.mirror for edge in closure.edges if edge.removes}}
    count: Counter[ForeignKey] = Counter()
    for keys in _pages(connection, worklist, kind):
        for reached in _walked(connection, dialect, closure, root, keys):
            for protection in closure.protected:
                gone = sorted(reached.taken.get(protection.parent, ()), key=repr)
                if gone:
                    home = homes[protection.parent]
                    count[protection.key] += _protecting(connection, dialect, protection.key, home, gone)
    return count


def _walked(
    connection: Connection, dialect: Dialect, closure: Closure, root: Mirror, keys: list[Key]
) -> Iterator[Reached]:
    """As much at a time as a batch may pull along."""
    try:
        yield walk(connection, dialect, closure, root, keys, lock=False)
    except TooMuch:
        if len(keys) == 1:
            raise
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            yield from _walked(connection, dialect, closure, root, half)


def _pages(connection: Connection, worklist: Worklist, kind: str) -> Iterator[list[Key]]:
    after = 0
    while entries := worklist.page(connection, after, _AT_ONCE, kind):
        yield [key for _, key in entries]
        after = entries[-1][0]


def _protecting(
    connection: Connection, dialect: Dialect, key: ForeignKey, parent: Mirror, gone: Sequence[Key]
) -> int:
    other = table_clause(key.child, *key.columns).alias("d")
    query = sa.select(sa.func.count()).select_from(other).where(refers(dialect, key, other, parent, gone))
    return int(connection.scalar(query) or 0)


def _referring(connection: Connection, facts: Facts, worklist: Worklist, fk: ForeignKey, kind: str) -> int:
    """Rows of the other table that refer to a listed orphan."""
    other = table_clause(fk.child, *fk.columns).alias("d")
    child = table_clause(facts.reference.child, *facts.child.handle, *fk.parent_columns).alias("c")
    listed = worklist.clause.alias("w")
    query = (
        sa.select(sa.func.count())
        .select_from(
            listed.join(
                child, sa.and_(*(child.c[column] == listed.c[column] for column in facts.child.handle))
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
        .where(listed.c[KIND] == sa.literal_column(f"'{kind}'"))
    )
    return int(connection.scalar(query) or 0)
