"""Rows that were set aside and need not have been: their parent appeared meanwhile. They are put back."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import FromClause

from migrator import quarantine
from migrator.catalog import Facts, ForeignKey, Table
from migrator.context import Context
from migrator.mirror import ACTION, CHANGED, DELETED, DEPENDANT, HEALED, HELD, ID, KIND, STATE, Mirror
from migrator.predicate import breaks, none_null, parent_exists, table_clause
from migrator.reference import Reference
from migrator.restore import put_back

#: Rows put back in one transaction.
_AT_ONCE = 1000


def appeared(
    context: Context, connection: Connection, mirror: Mirror, *, above: int, rows: int = 0
) -> list[int]:
    """The numbers of rows in the child's mirror that were set aside although their parent is there now,
    newest first.

    Args:
        above: look only at numbers above this one.
        rows: how many at most; 0 for all.
    """
    kept = mirror.clause.alias("m")
    query = sa.select(kept.c[ID]).where(parent_came(context.reference, kept, str(above)))
    query = query.order_by(kept.c[ID].desc())
    return [int(number) for number in connection.execute(query.limit(rows) if rows else query).scalars()]


def parent_came(reference: Reference, kept: FromClause, above: str) -> ColumnElement[bool]:
    """True for the rows of the child's mirror that were set aside although their parent is there now.

    Args:
        kept: the mirror, under an alias.
        above: an expression: look only at numbers above this one.
    """
    return sa.and_(
        kept.c[ID] > sa.literal_column(above),
        kept.c[STATE] == _word(HELD),
        # Evidence, parents we made and dependants were not set aside for want of this parent.
        kept.c[ACTION].in_([_word(DELETED), _word(CHANGED)]),
        kept.c[KIND] != _word(DEPENDANT),
        none_null(reference, kept),
        parent_exists(reference, kept),
    )


def heal(context: Context, connection: Connection, mirror: Mirror, numbers: list[int]) -> int:
    """Put these rows back, in the caller's transaction; returns how many are. One whose key was taken again
    is marked a conflict and not looked at again."""
    if not numbers:
        return 0
    return put_back(connection, context.dialect, mirror, numbers, state=HEALED).restored


def heal_all(context: Context, connection: Connection, facts: Facts, mirror: Mirror) -> int:
    """The whole quarantine, at the end of a run: orphans whose parent appeared, then dependants whose own
    parents are all there again, until nothing more comes back."""
    total = 0
    while True:
        healed = _pages(context, connection, mirror, None)
        for other in quarantine.mirrors(connection, context.reference):
            ours = other.source == facts.child.name
            table = facts.child if ours else context.dialect.table(connection, other.source)
            condition = _Dependants(context, facts, other, table)
            healed += _pages(context, connection, other, condition)
        total += healed
        if not healed:
            return total


def _pages(context: Context, connection: Connection, mirror: Mirror, dependants: _Dependants | None) -> int:
    total = 0
    while True:
        with context.dialect.transaction(connection):
            if dependants is None:
                numbers = appeared(context, connection, mirror, above=0, rows=_AT_ONCE)
            else:
                numbers = dependants.whole_again(connection)
            total += heal(context, connection, mirror, numbers)
        if not numbers:
            return total


class _Dependants:
    """The dependants in a mirror.

    Args:
        mirror: theirs.
        table: the table they come from, as it is now.
    """

    def __init__(self, context: Context, facts: Facts, mirror: Mirror, table: Table) -> None:
        self.context, self.facts, self.mirror, self.table = context, facts, mirror, table

    def whole_again(self, connection: Connection) -> list[int]:
        """The numbers of those to whose return nothing stands in the way, oldest first: what is referred to
        was set aside before what refers to it."""
        kept = self.mirror.clause.alias("m")
        removed = sa.and_(kept.c[ACTION] == _word(DELETED), *self._free_to_return(kept))
        changed = sa.and_(kept.c[ACTION] == _word(CHANGED), *self._free_to_refer(kept))
        query = (
            sa.select(kept.c[ID])
            .where(kept.c[KIND] == _word(DEPENDANT), kept.c[STATE] == _word(HELD), sa.or_(removed, changed))
            .order_by(kept.c[ID])
            .limit(_AT_ONCE)
        )
        return [int(number) for number in connection.execute(query).scalars()]

    def _free_to_return(self, kept: FromClause) -> Iterator[ColumnElement[bool]]:
        for key in self.table.foreign_keys:
            unset = [kept.c[column].is_(None) for column in key.columns]
            alternatives = [*unset, _parent_there(key, kept)]
            if key.parent == self.table.name:
                pairs = zip(key.columns, key.parent_columns, strict=True)
                alternatives.append(sa.and_(*(kept.c[ours] == kept.c[theirs] for ours, theirs in pairs)))
            yield sa.or_(*alternatives)
        if self.table.name == self.facts.child.name:
            yield ~breaks(self.context.reference, kept)

    def _free_to_refer(self, kept: FromClause) -> Iterator[ColumnElement[bool]]:
        wanted = set(self.mirror.reference_columns)
        for key in self.table.foreign_keys:
            if set(key.columns) == wanted:
                yield _parent_there(key, kept)
        live = table_clause(self.table.name, *self.mirror.key).alias("l")
        same = (live.c[column] == kept.c[column] for column in self.mirror.key)
        yield sa.exists(sa.select(sa.literal_column("1")).select_from(live).where(*same).correlate(kept))


def _parent_there(key: ForeignKey, kept: FromClause) -> ColumnElement[bool]:
    parent = table_clause(key.parent, *key.parent_columns).alias("p")
    pairs = zip(key.columns, key.parent_columns, strict=True)
    return sa.exists(
        sa.select(sa.literal_column("1"))
        .select_from(parent)
        .where(*(parent.c[theirs] == kept.c[ours] for ours, theirs in pairs))
        .correlate(kept)
    )


def _word(word: str) -> ColumnElement[str]:
    return sa.literal_column(f"'{word}'")
