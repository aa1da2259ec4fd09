"""`migrator quarantine purge`: removing copies for good."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator import lock
from migrator.batches import BatchSize
from migrator.context import Context, Progress, Silent
from migrator.errors import Refused, UsageError
from migrator.mirror import HEALED, ID, RESTORED, STATE, SUPERSEDED
from migrator.operate import translate
from migrator.plainsql import number_sql
from migrator.quarantined.holdings import Holding, Selection, holdings, nothing_selected
from migrator.quarantined.restoring import drop_settled
from migrator.quarantined.run import PURGE, by_hand
from migrator.restore import Restored, Telling
from migrator.sessions import Sessions

#: Rows whose copy has served: they are back, or the application's version stands.
SETTLED = (RESTORED, HEALED, SUPERSEDED)
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


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


def before_age(text: str) -> str:
    """The moment that was an age ago, as the journal writes times.

    Raises:
        UsageError: `text` is not like 30d, 12h, 2w or 90m.
    """
    match = re.fullmatch(r"(\d+)\s*([mhdw])", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no age.", hint="Write it as 30d, 12h, 2w or 90m.")
    then = datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    return then.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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


def purge(sessions: Sessions, selection: Selection, *, progress: Progress | None = None) -> Purged:
    """Remove the selected rows, in batches, under the run lock, with the settings, throttles and stops of a
    sweep. Killed anywhere, the same call goes on.

    Raises:
        UsageError: there is no quarantine.
        RunLocked: a run is at work.
        Interrupted, Stopped: stopped after a batch.
    """
    try:
        with lock.hold(sessions) as check:
            with sessions.open() as connection:
                found = holdings(connection, selection.references)
            if not found:
                raise nothing_selected(found)
            with by_hand(sessions, PURGE, found[0].reference, check, progress or Silent()) as context:
                total = sum(_removed(context, holding, selection) for holding in found)
            with sessions.open() as connection:
                return Purged(total, drop_settled(connection, sessions.dialect, found))
    except sa.exc.DBAPIError as error:
        raise translate(sessions.dialect.verdict(error), error) from error


def _removed(context: Context, holding: Holding, selection: Selection) -> int:
    """What is selected of one mirror. Nobody but us works in it, so no lock is waited for."""
    settings, clause = context.sessions.settings, holding.mirror.clause
    total, size = 0, BatchSize.of(settings)
    with context.sessions.work() as connection:
        goal = _count(connection, holding, selection)
        tell = Telling(context, connection, goal)
        while ids := _page(connection, holding, selection, size.rows):
            context.check()
            began = time.monotonic()
            with context.dialect.transaction(connection):
                gone = sa.delete(clause).where(clause.c[ID].in_([number_sql(one) for one in ids]))
                total += connection.execute(gone).rowcount
                tell.in_journal(Restored(total))
            size = size.after(len(ids), time.monotonic() - began)
            context.progress.rows(f"purge {holding.mirror.name}", total, goal)
            time.sleep(settings.pause_ms / 1000)
    return total


def _page(connection: Connection, holding: Holding, selection: Selection, rows: int) -> list[int]:
    clause = holding.mirror.clause
    query = sa.select(clause.c[ID]).where(*selection.where(holding.mirror, clause))
    return [int(one) for one in connection.execute(query.order_by(clause.c[ID]).limit(rows)).scalars()]


def _count(connection: Connection, holding: Holding, selection: Selection, states: Sequence[str] = ()) -> int:
    clause = holding.mirror.clause
    query = sa.select(sa.func.count()).select_from(clause).where(*selection.where(holding.mirror, clause))
    if states:
        query = query.where(clause.c[STATE].in_(states))
    return int(connection.scalar(query) or 0)
