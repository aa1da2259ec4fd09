"""`migrator quarantine restore`: rows put back by hand, some or all, whether or not the reference stands.

An orphan cannot come back while the foreign key stands; a row whose parent is there by now can. What does
not come back stays in quarantine and is told apart: blocked by the reference, or in conflict with a row of
today.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import journal, lock, quarantine
from migrator.batches import BatchSize
from migrator.catalog import Facts
from migrator.context import Context
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.plainsql import number_sql
from migrator.predicate import none_null, parent_exists
from migrator.quarantine import (
    ACTION,
    CHANGED,
    CONFLICT,
    CREATED,
    DELETED,
    HELD,
    ID,
    RESTORED,
    STATE,
    SUPERSEDED,
)
from migrator.quarantined.conflicts import Conflict, conflicts, count
from migrator.quarantined.holdings import Holding, Selection, holdings, nothing_selected
from migrator.reference import TableName
from migrator.restore import mark, put_back
from migrator.restore_all import remove_parents, remove_sentinels
from migrator.sessions import Sessions

OnConflict = Literal["report", "skip", "newest"]

_PUT_BACK = (DELETED, CHANGED)


@dataclass(frozen=True)
class Outcome:
    """What became of the selected rows.

    Args:
        restored: back in their table.
        superseded: settled: the application's newer row stands (`newest`).
        blocked: orphans still, which the standing reference would refuse.
        conflicts: how many stay because of a row, or the lack of one, of today.
        listed: these, as far as they were asked for.
        dropped: mirrors that are empty now and gone with the migration they belonged to.
        parents: parents that a policy had created, gone again, sentinels among them.
    """

    restored: int = 0
    superseded: int = 0
    blocked: int = 0
    conflicts: int = 0
    listed: tuple[Conflict, ...] = ()
    dropped: tuple[str, ...] = ()
    parents: int = 0


def restore(
    sessions: Sessions,
    selection: Selection,
    *,
    on_conflict: OnConflict = "report",
    leave_out: frozenset[str] = frozenset(),
    limit: int = 100,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Put the selected rows back, in batches, under the run lock. Never overwrites.

    Args:
        on_conflict: `report` lists what could not come back; `skip` leaves it without a word; `newest`
            settles it where the application has a newer version of that very row, which stands.
        leave_out: columns their table has lost and whose values are given up.
        limit: how many conflicts to list with both versions.

    Raises:
        Refused: every selected row is an orphan still and the reference stands; nothing was changed.
        UsageError: the selection means no row.
        RunLocked: a run is at work.
    """
    with lock.hold(sessions) as check:
        with sessions.open() as connection:
            found = holdings(connection, selection.references)
            if not any(_waiting(connection, of, selection, _PUT_BACK) for of in found) and not (
                selection.is_whole
                and any(
                    _waiting(connection, of, selection, (CREATED,)) or _sentinels(connection, of)
                    for of in found
                )
            ):
                raise nothing_selected(found)
            guards = {of.mirror.name: _guard(connection, sessions.dialect, of) for of in found}
        work = _Work(sessions, selection, found, guards, leave_out, check, progress)
        restored = work.removed() + work.changed()
        parents = work.created() if selection.is_whole else 0
        with sessions.open() as connection:
            outcome = _settled(connection, sessions.dialect, work, on_conflict, limit)
            outcome = replace(outcome, restored=restored, parents=parents)
            if (
                outcome.blocked
                and not restored
                and not parents
                and not outcome.conflicts
                and not outcome.superseded
            ):
                raise _standing(connection, sessions.dialect, found, outcome.blocked)
            return replace(outcome, dropped=drop_settled(connection, sessions.dialect, found))


def drop_settled(connection: Connection, dialect: Dialect, found: Sequence[Holding]) -> tuple[str, ...]:
    """Drop the mirrors with nothing left in them whose migration was taken back, and the journal when
    nothing is left to take back at all. Returns their names."""
    gone: list[str] = []
    for holding in found:
        if not holding.in_force and not quarantine.held(connection, holding.mirror):
            quarantine.drop(connection, dialect, holding.mirror)
            gone.append(holding.mirror.name.name)
    if gone:
        journal.drop_if_idle(connection)
    return tuple(gone)


@dataclass(frozen=True)
class _Guard:
    """What a standing reference refuses.

    Args:
        foreign_key: its name; None where none stands.
        not_null: whether NULL is refused.
    """

    reference: Holding
    foreign_key: str | None = None
    not_null: bool = False

    def passes(self, kept: sa.FromClause) -> list[ColumnElement[bool]]:
        """The conditions on quarantined rows that may come back."""
        reference = self.reference.reference
        found: list[ColumnElement[bool]] = []
        if self.not_null:
            found.append(none_null(reference, kept))
        if self.foreign_key is not None:
            found.append(sa.or_(~none_null(reference, kept), parent_exists(reference, kept)))
        return found


@dataclass(frozen=True)
class _Work:
    sessions: Sessions
    selection: Selection
    found: Sequence[Holding]
    guards: dict[TableName, _Guard]
    leave_out: frozenset[str]
    check: Callable[[], None]
    progress: Callable[[str], None]

    def removed(self) -> int:
        """Removed rows, again while that brings some back: a row may be another's parent."""
        total = 0
        while True:
            done = sum(self._mirror(of, DELETED) for of in self.found)
            total += done
            if not done:
                return total

    def changed(self) -> int:
        """Changes undone, newest first."""
        return sum(self._mirror(of, CHANGED) for of in self.found)

    def created(self) -> int:
        """Parents that we made, as a downgrade removes them: where nothing refers to them any more. While
        the foreign key stands its children have to have them."""
        total = 0
        for holding in self.found:
            if not holding.is_child or self.guards[holding.mirror.name].foreign_key is not None:
                continue
            with self.sessions.open() as connection:
                facts = self.sessions.dialect.facts(connection, holding.reference)
                runs = journal.runs(connection, holding.reference)
            if not runs:
                continue
            mirrors = [of.mirror for of in self.found if of.reference == holding.reference]
            context = Context(self.sessions, holding.reference, runs[-1], check=self.check)
            total += remove_parents(context, facts, mirrors, self._size)
            total += len(_sentinels_of(runs)) - remove_sentinels(context, facts, undone=True)
        return total

    @property
    def _size(self) -> BatchSize:
        settings = self.sessions.settings
        return BatchSize(
            settings.batch_size, settings.batch_floor, settings.batch_ceiling, settings.batch_target_ms / 1000
        )

    def _mirror(self, holding: Holding, action: str) -> int:
        dialect, size = self.sessions.dialect, self._size
        total, past = 0, None
        with self.sessions.work() as connection:
            while ids := self._page(connection, holding, action, past, size.rows):
                self.check()
                with dialect.transaction(connection):
                    done = put_back(
                        connection,
                        dialect,
                        holding.mirror,
                        ids,
                        state=RESTORED,
                        leave_out=self.leave_out,
                    )
                total += done.restored
                past = ids[-1]
                self.progress(f"{holding.mirror.source}: {total:,} row(s) back")
        return total

    def _page(
        self, connection: Connection, holding: Holding, action: str, past: int | None, rows: int
    ) -> list[int]:
        clause = holding.mirror.clause
        number = clause.c[ID]
        forward = action == DELETED
        query = (
            sa.select(number)
            .where(
                clause.c[STATE].in_((HELD, CONFLICT)),
                clause.c[ACTION] == action,
                *self.selection.where(holding.mirror, clause),
                *self.guards[holding.mirror.name].passes(clause),
            )
            .order_by(number if forward else number.desc())
            .limit(rows)
        )
        if past is not None:
            query = query.where(number > number_sql(past) if forward else number < number_sql(past))
        return [int(one) for one in connection.execute(query).scalars()]


def _guard(connection: Connection, dialect: Dialect, holding: Holding) -> _Guard:
    """What stands now. Only the child's own rows are orphans of the reference."""
    if not holding.is_child:
        return _Guard(holding)
    facts: Facts = dialect.facts(connection, holding.reference)
    key = facts.foreign_key
    refused = bool(facts.guards) or facts.null_check != "absent" or facts.not_null
    name = (key.name or "the unnamed foreign key") if key is not None else None
    return _Guard(holding, name, refused and not holding.reference.nullable)


def _sentinels(connection: Connection, holding: Holding) -> bool:
    """Whether a downgrade left a sentinel row of ours."""
    runs = journal.runs(connection, holding.reference)
    return any(run.state == "undone" for run in _sentinels_of(runs))


def _sentinels_of(runs: Sequence[journal.Run]) -> list[journal.Run]:
    return [run for run in runs if run.facts.get("sentinel") is not None]


def _waiting(connection: Connection, holding: Holding, selection: Selection, actions: Sequence[str]) -> int:
    clause = holding.mirror.clause
    query = sa.select(sa.func.count()).select_from(clause)
    query = query.where(
        clause.c[STATE].in_((HELD, CONFLICT)),
        clause.c[ACTION].in_(actions),
        *selection.where(holding.mirror, clause),
    )
    return int(connection.scalar(query) or 0)


def _settled(
    connection: Connection, dialect: Dialect, work: _Work, on_conflict: OnConflict, limit: int
) -> Outcome:
    """What is left, told apart."""
    superseded = blocked = left = 0
    listed: list[Conflict] = []
    for holding in work.found:
        mirror = holding.mirror
        if on_conflict == "newest":
            every = conflicts(connection, dialect, holding, work.selection)
            # Numbers only: the rows themselves are looked at page by page.
            numbers = [one.row.id for one in every if one.is_superseded]
            for at in range(0, len(numbers), 1000):
                mark(connection, mirror, numbers[at : at + 1000], SUPERSEDED)
            superseded += len(numbers)
        here = count(connection, holding, work.selection)
        left += here
        blocked += _waiting(connection, holding, work.selection, _PUT_BACK)
        blocked -= count(connection, holding, work.selection, _PUT_BACK)
        if on_conflict != "skip" and here and len(listed) < limit:
            listed += conflicts(connection, dialect, holding, work.selection, limit=limit - len(listed))
    return Outcome(superseded=superseded, blocked=blocked, conflicts=left, listed=tuple(listed))


def _standing(connection: Connection, dialect: Dialect, found: Sequence[Holding], blocked: int) -> Refused:
    holding = next((of for of in found if of.is_child), found[0])
    guard = _guard(connection, dialect, holding)
    what = f"foreign key {guard.foreign_key}" if guard.foreign_key else "NOT NULL"
    return Refused(
        f"{blocked} row(s) of {holding.mirror.source} cannot be put back while the {what} of "
        f"{holding.reference} stands: they are orphans still, and it would refuse them. Nothing was changed.",
        hint="Take the reference back first: alembic downgrade, to the revision before its sweep, which puts "
        "them all back; or create the parents they name, then run this again.",
    )
