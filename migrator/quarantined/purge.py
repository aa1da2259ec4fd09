"""`migrator quarantine purge`: removing copies for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import lock
from migrator.errors import Refused
from migrator.plainsql import number_sql
from migrator.quarantine import HEALED, ID, RESTORED, STATE, SUPERSEDED
from migrator.quarantined.holdings import Holding, Selection, holdings, nothing_selected
from migrator.quarantined.restoring import drop_settled
from migrator.sessions import Sessions

#: Rows whose copy has served: they are back, or the application's version stands.
SETTLED = (RESTORED, HEALED, SUPERSEDED)
_BATCH = 5000


@dataclass(frozen=True)
class Doomed:
    """What a purge would remove.

    Args:
        rows: all selected rows.
        needed: those of them without which the migration could not be rolled back whole.
        lost: those of them that exist nowhere else and that no downgrade would bring back any more.
    """

    rows: int
    needed: int
    lost: int
    references: tuple[str, ...]


@dataclass(frozen=True)
class Purged:
    """What a purge removed: rows, and mirrors that were empty then."""

    rows: int
    dropped: tuple[str, ...]


def doomed(connection: Connection, selection: Selection) -> Doomed:
    """Look first. Reads only.

    Raises:
        UsageError: the selection means no row.
    """
    found = holdings(connection, selection.references)
    rows = needed = lost = 0
    references: dict[str, None] = {}
    for holding in found:
        every = _count(connection, holding, selection)
        open_rows = every - _count(connection, holding, selection, SETTLED)
        rows += every
        if holding.in_force and open_rows:
            needed += open_rows
            references[str(holding.reference)] = None
        else:
            lost += open_rows
    if not rows:
        raise nothing_selected(found)
    return Doomed(rows, needed, lost, tuple(references))


def refuse_needed(what: Doomed) -> None:
    """Stop where the migration could still be rolled back, and these rows with it.

    Raises:
        Refused: naming the references.
    """
    if what.needed:
        raise Refused(
            f"{what.needed} of these rows would come back with a downgrade of "
            f"{', '.join(what.references)}: purged, they are gone for good. Nothing was changed.",
            hint="Export them first (migrator quarantine export), then say --even-if-needed; or purge only "
            "what has served: --state restored --state healed --state superseded.",
        )


def purge(sessions: Sessions, selection: Selection) -> Purged:
    """Remove the selected rows, in batches, under the run lock.

    Raises:
        RunLocked: a run is at work.
    """
    total = 0
    with lock.hold(sessions) as check:
        with sessions.work() as connection:
            found = holdings(connection, selection.references)
            for holding in found:
                while ids := _page(connection, holding, selection):
                    check()
                    clause = holding.mirror.clause
                    with sessions.dialect.transaction(connection):
                        gone = sa.delete(clause).where(clause.c[ID].in_([number_sql(one) for one in ids]))
                        total += connection.execute(gone).rowcount
        with sessions.open() as connection:
            return Purged(total, drop_settled(connection, sessions.dialect, found))


def _page(connection: Connection, holding: Holding, selection: Selection) -> list[int]:
    clause = holding.mirror.clause
    query = sa.select(clause.c[ID]).where(*selection.where(holding.mirror, clause))
    return [int(one) for one in connection.execute(query.order_by(clause.c[ID]).limit(_BATCH)).scalars()]


def _count(connection: Connection, holding: Holding, selection: Selection, states: Sequence[str] = ()) -> int:
    clause = holding.mirror.clause
    query = sa.select(sa.func.count()).select_from(clause).where(*selection.where(holding.mirror, clause))
    if states:
        query = query.where(clause.c[STATE].in_(states))
    return int(connection.scalar(query) or 0)
